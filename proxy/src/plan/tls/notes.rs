//! What the callbacks of a handshake tell the one that drives it.
//!
//! rustls calls certificate resolvers and verifiers that a configuration shares by all of its
//! connections, and hands nothing of what they found on. They are called synchronously, though, on
//! the thread that drives the handshake: so this is a return value by another way, valid from
//! [`begin`] to [`take`], and no state of the thread.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::SignatureScheme;

use crate::plan::certificate::Certificate;

/// Why a peer's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It sent none, and one is required.
    NoCertificate,
    /// Its chain does not lead to a trusted root, or is not valid.
    Chain(String),
    /// None of its names matches; which it has, in words.
    San(String),
    /// Neither its hash nor that of its key is among those listed.
    Hash,
    /// Its key may not be used for what it was used for.
    KeyUsage,
}

/// Findings of one step of a handshake.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Our certificate, as it was picked.
    pub certificate: Option<Arc<Certificate>>,
    /// The scheme of the peer's signature.
    pub peer_scheme: Option<SignatureScheme>,
    /// Why the peer's certificate was refused.
    pub refusal: Option<Refusal>,
    /// The peer's certificate was checked against roots or pins.
    pub verified: bool,
    /// The path that was verified: issuers up to the root, DER.
    pub path: Vec<Arc<[u8]>>,
    /// The peer asked for an OCSP response, and what came of it.
    pub ocsp: Option<Ocsp>,
    /// Given to the callbacks: a name the certificate must have, besides what is configured.
    pub expected_san: Option<Arc<str>>,
    /// Given to the callbacks: the client can take an OCSP response.
    pub ocsp_capable: bool,
    /// Given to the callbacks: both ends of the connection, for the key log.
    pub addresses: Option<(IpAddr, IpAddr)>,
}

/// What was done about an OCSP response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ocsp {
    /// Sent along.
    Stapled,
    /// Left out.
    Omitted,
    /// Needed and not there.
    Failed,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// Begins a step with what the callbacks need to know.
pub fn begin(notes: Notes) {
    NOTES.with_borrow_mut(|current| *current = notes);
}

/// Ends a step: what was given and what was found.
pub fn take() -> Notes {
    NOTES.take()
}

/// Reads or adds to the notes of the step.
pub(super) fn with<T>(f: impl FnOnce(&mut Notes) -> T) -> T {
    NOTES.with_borrow_mut(f)
}
