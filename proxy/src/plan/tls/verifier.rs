//! What rustls asks about a peer's certificate, answered by a [`Validator`].

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::KeyUsage;

use super::notes::{self, Refusal};
use super::validate::{Role, Validator};
use crate::plan::certificate::Certificate;

/// Which signatures of handshakes are taken.
#[derive(Debug)]
pub(super) struct Signatures {
    pub(super) schemes: Arc<[SignatureScheme]>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Checks clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) validator: Arc<Validator>,
    pub(super) required: bool,
    /// Names of the roots, sent to clients to choose by.
    pub(super) hints: Vec<DistinguishedName>,
    pub(super) signatures: Signatures,
}

/// Checks servers' certificates.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) validator: Arc<Validator>,
    /// The certificate must be for the name we asked for.
    pub(super) match_sni: bool,
    /// `enforce_rsa_key_usage`.
    pub(super) rsa_key_usage: bool,
    pub(super) signatures: Signatures,
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

impl Signatures {
    fn verify_tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(dss.scheme)?;
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(dss.scheme)?;
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn note(&self, scheme: SignatureScheme) -> Result<(), Error> {
        if !self.schemes.contains(&scheme) {
            return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        notes::with(|notes| notes.peer_scheme = Some(scheme));
        Ok(())
    }
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
        let role = Role { usage: KeyUsage::client_auth(), algorithms: &self.signatures.algorithms };
        self.validator.check_peer(leaf, intermediates, now, &role, None).map_err(refuse)?;
        notes::with(|notes| notes.verified = self.validator.verifies());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes.to_vec()
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
        let role = Role { usage: KeyUsage::server_auth(), algorithms: &self.signatures.algorithms };
        self.validator.check_peer(leaf, intermediates, now, &role, expected).map_err(refuse)?;
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
        self.signatures.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes.to_vec()
    }
}

/// An RSA key that says what it is for must be for signatures: every suite here is one where the
/// server signs.
fn check_rsa_usage(leaf: &CertificateDer<'_>) -> Result<(), Refusal> {
    let facts = Certificate::parse(leaf).map_err(Refusal::Chain)?;
    let wrong = facts.is_rsa && facts.key_usage.is_some_and(|usage| !usage.digital_signature);
    if wrong { Err(Refusal::KeyUsage) } else { Ok(()) }
}
