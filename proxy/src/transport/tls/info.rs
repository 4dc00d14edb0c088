//! What is known of an established TLS connection.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::plan::certificate::{Certificate, url_encoded_pem};

/// Facts of a TLS connection, fixed once its handshake is done.
#[derive(Debug, Default)]
pub(crate) struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite under OpenSSL's name: `ECDHE-RSA-AES128-GCM-SHA256`,
    /// `TLS_AES_128_GCM_SHA256`.
    pub(crate) cipher: &'static str,
    /// The key exchange group under BoringSSL's name; `None` where a TLS 1.2 session was resumed.
    pub(crate) group: Option<&'static str>,
    /// The protocol that ALPN agreed on.
    pub(crate) alpn: Option<Rc<[u8]>>,
    /// The name the client asked for.
    pub(crate) sni: Option<Rc<str>>,
    /// An earlier session was resumed.
    pub(crate) resumed: bool,
    /// The peer's certificate was verified against trusted roots or pins.
    pub(crate) peer_validated: bool,
    /// Our certificate; `None` where none was sent.
    pub(crate) local: Option<Arc<Certificate>>,
    /// How long the handshake took, in nanoseconds.
    pub(crate) handshake_ns: u64,
    /// The peer's certificates as it sent them, its own first; empty where it sent none.
    chain: Box<[CertificateDer<'static>]>,
    leaf: OnceCell<Option<Box<Certificate>>>,
    /// The certificates above the peer's on the path that was verified, the root last.
    issuers: Box<[Arc<[u8]>]>,
}

impl TlsInfo {
    /// Facts with a peer's chain.
    pub(super) fn with_chain(
        chain: Box<[CertificateDer<'static>]>,
        issuers: Box<[Arc<[u8]>]>,
    ) -> Self {
        Self { chain, issuers, ..Self::default() }
    }

    /// The peer sent a certificate.
    pub(crate) fn peer_presented(&self) -> bool {
        !self.chain.is_empty()
    }

    /// The peer's certificate; taken apart when first asked for.
    pub(crate) fn peer(&self) -> Option<&Certificate> {
        let parse = || Certificate::parse(self.chain.first()?).ok().map(Box::new);
        self.leaf.get_or_init(parse).as_deref()
    }

    /// The peer's chain, taken apart, its own certificate first: as it was verified, up to the
    /// root; as it was sent, where it was not.
    pub(crate) fn peer_chain(&self) -> impl Iterator<Item = Certificate> + '_ {
        let sent = if self.issuers.is_empty() { self.chain.len() } else { 1 };
        let sent = self.chain.iter().take(sent).map(|der| &**der);
        let ders = sent.chain(self.issuers.iter().map(|der| &**der));
        ders.filter_map(|der| Certificate::parse(der).ok())
    }

    /// The peer's certificate as in `Cert=` of `x-forwarded-client-cert`: PEM, percent-encoded.
    pub(crate) fn peer_url_encoded_pem(&self) -> Option<String> {
        self.chain.first().map(|der| url_encoded_pem(der))
    }

    /// The peer's certificates as in `Chain=` of `x-forwarded-client-cert`.
    pub(crate) fn peer_url_encoded_chain(&self) -> Option<String> {
        let pems = self.chain.iter().map(|der| url_encoded_pem(der));
        (!self.chain.is_empty()).then(|| pems.collect())
    }
}
