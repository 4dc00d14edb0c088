//! Checks of a peer's certificate (`CertificateValidationContext`), in Envoy's order: the chain,
//! then names, then pins.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::notes::{self, Refusal};
use super::san::SanMatch;
use crate::plan::certificate::{Certificate, San};

/// How often an expired chain is looked at again, at a time when less of it was expired.
const EXPIRED_TRIES: usize = 8;

/// What a peer's certificate has to stand.
#[derive(Default)]
pub struct Validator {
    /// Trusted certificates, as configured.
    pub roots: Vec<Arc<Certificate>>,
    /// The same, prepared.
    pub anchors: Vec<TrustAnchor<'static>>,
    /// Revocation lists.
    pub crls: Vec<CertRevocationList<'static>>,
    /// `only_verify_leaf_cert_crl`.
    pub only_leaf_crl: bool,
    /// `allow_expired_certificate`.
    pub allow_expired: bool,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`.
    pub accept_untrusted: bool,
    /// `max_verify_depth`: most certificates between the peer's and the root.
    pub max_depth: Option<usize>,
    /// `match_typed_subject_alt_names`: one of them must match.
    pub sans: Vec<SanMatch>,
    /// `verify_certificate_hash`.
    pub hashes: Vec<[u8; 32]>,
    /// `verify_certificate_spki`.
    pub spkis: Vec<[u8; 32]>,
}

/// Whose certificate is checked.
pub struct Role<'a> {
    usage: KeyUsage,
    algorithms: &'a WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Validator {
    /// Whether a certificate is looked at, at all.
    pub fn verifies(&self) -> bool {
        !self.roots.is_empty() || !self.hashes.is_empty() || !self.spkis.is_empty()
    }

    /// Checks a chain. `expected_san` is one more name it must have.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: &Role<'_>,
        expected_san: Option<&str>,
    ) -> Result<(), Refusal> {
        if !self.roots.is_empty() {
            let chain = self.check_chain(leaf, intermediates, now, role);
            if !self.accept_untrusted {
                chain.map_err(Refusal::Chain)?;
            }
        }
        let pinned = !self.hashes.is_empty() || !self.spkis.is_empty();
        if self.sans.is_empty() && expected_san.is_none() && !pinned {
            return Ok(());
        }
        let facts = Certificate::parse(leaf).map_err(Refusal::Chain)?;
        if let Some(name) = expected_san.filter(|name| !has_name(&facts, name)) {
            let has = names_of(&facts);
            let text =
                format!("verify SAN list, expected SANs: [{name}], certificate SANs: [{has}]");
            return Err(Refusal::San(text));
        }
        if !self.sans.is_empty() && !self.sans.iter().any(|san| san.matches(&facts)) {
            let has = names_of(&facts);
            return Err(Refusal::San(format!("SAN matcher, certificate SANs are [{has}]")));
        }
        let known = self.hashes.contains(&facts.sha256) || self.spkis.contains(&facts.spki_sha256);
        if pinned && !known { Err(Refusal::Hash) } else { Ok(()) }
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: &Role<'_>,
    ) -> Result<(), String> {
        // A certificate that is trusted itself needs no issuer.
        if let Some(own) = self.roots.iter().find(|root| *root.der == **leaf) {
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let valid = (own.not_before..=own.not_after).contains(&seconds);
            return if valid || self.allow_expired {
                Ok(())
            } else {
                Err("certificate has expired".to_owned())
            };
        }
        let cert = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
        let mut at = now;
        for _ in 0..EXPIRED_TRIES {
            match self.check_at(&cert, intermediates, at, role) {
                Err(webpki::Error::CertExpired { not_after, .. }) if self.allow_expired => {
                    at = not_after;
                }
                Err(webpki::Error::CertNotValidYet { not_before, .. }) if self.allow_expired => {
                    at = not_before;
                }
                Err(error) => return Err(reason(&error)),
                Ok(()) => return Ok(()),
            }
        }
        Err("certificate has expired".to_owned())
    }

    fn check_at(
        &self,
        cert: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
        role: &Role<'_>,
    ) -> Result<(), webpki::Error> {
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let depth = if self.only_leaf_crl {
            RevocationCheckDepth::EndEntity
        } else {
            RevocationCheckDepth::Chain
        };
        // A certificate whose issuer has no list counts as one whose list is missing.
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            builder
                .with_depth(depth)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let within_depth = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            match self.max_depth {
                Some(most) if between > most => Err(webpki::Error::MaximumPathDepthExceeded),
                _ => Ok(()),
            }
        };
        let path = cert.verify_for_usage(
            role.algorithms.all,
            &self.anchors,
            intermediates,
            at,
            role.usage,
            revocation,
            Some(&within_depth),
        )?;
        self.note_path(&path);
        Ok(())
    }

    fn note_path(&self, path: &VerifiedPath<'_>) {
        let anchor = path.anchor();
        let root = self.anchors.iter().position(|known| std::ptr::eq(known, anchor));
        let root = root.and_then(|index| self.roots.get(index));
        notes::with(|notes| {
            notes.path = path.intermediate_certificates().map(|c| Arc::from(&*c.der())).collect();
            notes.path.extend(root.map(|root| Arc::from(&*root.der)));
        });
    }
}

/// Words for an error of the chain, those of OpenSSL's family where there are such.
fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid".to_owned(),
        webpki::Error::CertRevoked => "certificate revoked".to_owned(),
        webpki::Error::UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        webpki::Error::UnknownRevocationStatus => "unable to get certificate CRL".to_owned(),
        webpki::Error::CrlExpired { .. } => "CRL has expired".to_owned(),
        webpki::Error::MaximumPathDepthExceeded => "certificate chain too long".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose".to_owned(),
        other => other.to_string(),
    }
}

/// All names of a certificate, for messages.
fn names_of(facts: &Certificate) -> String {
    let texts = facts.sans.iter().map(|san| match san {
        San::Dns(text) | San::Uri(text) | San::Email(text) | San::Ip(text) => &**text,
        San::Other(_, text) => &**text,
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether a certificate is for this host name, or has this IP address or URI.
fn has_name(facts: &Certificate, name: &str) -> bool {
    facts.sans.iter().any(|san| match san {
        San::Dns(pattern) => super::san::dns_matches(name, pattern),
        San::Ip(text) | San::Uri(text) => **text == *name,
        San::Email(_) | San::Other(..) => false,
    })
}

/// Checks clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) validator: Arc<Validator>,
    pub(super) required: bool,
    /// Names of the roots, sent to clients to choose by.
    pub(super) hints: Vec<DistinguishedName>,
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Checks servers' certificates.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) validator: Arc<Validator>,
    /// The certificate must be for the name we asked for.
    pub(super) match_sni: bool,
    /// `enforce_rsa_key_usage`.
    pub(super) rsa_key_usage: bool,
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate that is valid and not the one that was asked for.
#[derive(Debug)]
struct Unwanted;

impl fmt::Display for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a certificate that was asked for")
    }
}

impl std::error::Error for Unwanted {}

/// The error that rustls turns into the right alert; the notes have the reason.
fn refuse(refusal: Refusal) -> Error {
    let error = match &refusal {
        Refusal::Chain(_) => CertificateError::UnknownIssuer,
        Refusal::NoCertificate => return Error::NoCertificatesPresented,
        Refusal::San(_) | Refusal::Hash | Refusal::KeyUsage => {
            CertificateError::Other(OtherError(Arc::new(Unwanted)))
        }
    };
    notes::with(|notes| notes.refusal = Some(refusal));
    Error::InvalidCertificate(error)
}

fn note_scheme(scheme: SignatureScheme, allowed: &[SignatureScheme]) -> Result<(), Error> {
    if !allowed.contains(&scheme) {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    notes::with(|notes| notes.peer_scheme = Some(scheme));
    Ok(())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let role = Role { usage: KeyUsage::client_auth(), algorithms: &self.algorithms };
        self.validator.check(leaf, intermediates, now, &role, None).map_err(refuse)?;
        notes::with(|notes| notes.verified = self.validator.verifies());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note_scheme(dss.scheme, &self.schemes)?;
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note_scheme(dss.scheme, &self.schemes)?;
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let expected = notes::with(|notes| notes.expected_san.clone());
        let sni = match server_name {
            ServerName::DnsName(name) if self.match_sni => Some(name.as_ref()),
            _ => None,
        };
        let expected = expected.as_deref().or(sni);
        let role = Role { usage: KeyUsage::server_auth(), algorithms: &self.algorithms };
        self.validator.check(leaf, intermediates, now, &role, expected).map_err(refuse)?;
        notes::with(|notes| notes.verified = self.validator.verifies());
        if self.rsa_key_usage {
            check_rsa_usage(leaf).map_err(refuse)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note_scheme(dss.scheme, &self.schemes)?;
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note_scheme(dss.scheme, &self.schemes)?;
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// An RSA key that says what it is for must be for signatures: every suite here is one where the
/// server signs.
fn check_rsa_usage(leaf: &CertificateDer<'_>) -> Result<(), Refusal> {
    let facts = Certificate::parse(leaf).map_err(Refusal::Chain)?;
    let wrong = facts.is_rsa && facts.key_usage.is_some_and(|usage| !usage.digital_signature);
    if wrong { Err(Refusal::KeyUsage) } else { Ok(()) }
}
