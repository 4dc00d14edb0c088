//! TLS, compiled: what a listener's or a cluster's connections negotiate, and with what keys.
//!
//! A context holds a recipe (the configuration, as read), the slots of its secrets, and what was
//! made of both. When a secret changes, the control thread puts it into its slot: the next
//! handshake makes the context's part of it anew, connections that are up keep what they have, and
//! the plan stays as it is. A cluster that nobody calls costs nothing but its recipe.

mod build;
mod context;
mod key_log;
pub mod names;
pub mod notes;
mod ocsp;
mod own;
mod pick;
mod san;
mod secret;
mod session;
mod validate;
mod verifier;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{SignatureScheme, SupportedCipherSuite};

use crate::config::files::read_file;

pub use context::{
    ClientContext, ClientMaterial, Context, ServerContext, ServerMaterial, Shown, ShownCertificate,
};
pub use key_log::KeyLogFile;
pub use own::OwnCertificate;
pub use pick::OcspPolicy;
pub use san::{SanKind, SanMatch};
pub use secret::{
    Secret, SecretBody, SecretKind, SecretRecipe, SecretSlot, SharedTrust, SlotKey, Unshared,
};
pub use session::TICKET_KEY;
pub use validate::{Trust, Validator};

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration itself.
    Inline(Arc<[u8]>),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// The bytes, as they are now.
    pub(crate) fn read(&self) -> Result<Arc<[u8]>, String> {
        match self {
            Self::Inline(bytes) => Ok(Arc::clone(bytes)),
            Self::File(path) => read_file(path).map(Arc::from),
        }
    }

    /// As [`Source::read`]; an error names what they should have been.
    fn read_for(&self, what: &str) -> Result<Arc<[u8]>, String> {
        self.read().map_err(|error| format!("Failed to load {what} from {self}: {error}"))
    }

    /// The file they are in.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

impl fmt::Display for Source {
    /// As Envoy names it: the path, or `<inline>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Inline(_) => f.write_str("<inline>"),
        }
    }
}

/// `TlsParameters`.
#[derive(Debug, Clone)]
pub struct Params {
    /// TLS 1.2 may be spoken.
    pub tls12: bool,
    /// TLS 1.3 may be spoken.
    pub tls13: bool,
    /// Signature schemes, in order of preference.
    pub schemes: Arc<[SignatureScheme]>,
    /// Suites and groups, in order of preference.
    provider: Arc<CryptoProvider>,
}

impl Params {
    /// Parameters with these versions, suites of both, key exchange groups and signature schemes,
    /// each in order of preference.
    ///
    /// # Errors
    /// Where no connection could come about by them.
    pub fn new(
        (tls12, tls13): (bool, bool),
        suites: Vec<SupportedCipherSuite>,
        groups: Vec<&'static dyn SupportedKxGroup>,
        schemes: Arc<[SignatureScheme]>,
    ) -> Result<Self, String> {
        let provider = CryptoProvider {
            cipher_suites: suites,
            kx_groups: groups,
            ..aws_lc_rs::default_provider()
        };
        let params = Self { tls12, tls13, schemes, provider: Arc::new(provider) };
        build::check(&params)?;
        Ok(params)
    }
}

/// `TlsCertificate`.
#[derive(Debug, Clone)]
pub struct CertificateRecipe {
    /// `certificate_chain`: PEM.
    pub chain: Source,
    /// `private_key`: PEM.
    pub key: Source,
    /// `ocsp_staple`: DER.
    pub ocsp: Option<Source>,
    /// Its files are read again when they change.
    pub watched: bool,
}

/// `CertificateValidationContext`.
#[derive(Debug, Clone, Default)]
pub struct ValidationRecipe {
    /// `trusted_ca`: PEM.
    pub trusted_ca: Option<Source>,
    /// `crl`: PEM.
    pub crl: Option<Source>,
    /// Its files are read again when they change.
    pub watched: bool,
    /// `only_verify_leaf_cert_crl`.
    pub only_leaf_crl: bool,
    /// `allow_expired_certificate`.
    pub allow_expired: bool,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`.
    pub accept_untrusted: bool,
    /// `max_verify_depth`.
    pub max_depth: Option<usize>,
    /// `match_typed_subject_alt_names`, and the older field without types.
    pub sans: Vec<SanMatch>,
    /// `verify_certificate_hash`.
    pub hashes: Vec<[u8; 32]>,
    /// `verify_certificate_spki`.
    pub spkis: Vec<[u8; 32]>,
    /// `suppress_client_ca_list`.
    pub suppress_ca_list: bool,
    /// `custom_validator_config` of SPIFFE: PEM of what is trusted, by trust domain.
    pub domains: Vec<(Box<str>, Source)>,
}

/// `CommonTlsContext`.
#[derive(Debug, Clone)]
pub struct CommonRecipe {
    /// `tls_params`.
    pub params: Arc<Params>,
    /// `tls_certificates`, and those named by SDS.
    pub certificates: Vec<Arc<SecretSlot>>,
    /// `validation_context`, in whichever form.
    pub validation: Option<Validation>,
    /// `alpn_protocols`.
    pub alpn: Arc<[Vec<u8>]>,
    /// `key_log`.
    pub key_log: Option<Arc<KeyLogFile>>,
}

/// What peers are checked by.
#[derive(Debug, Clone)]
pub struct Validation {
    /// `default_validation_context`, which the secret is laid over.
    pub default: Option<Arc<Validator>>,
    /// The secret, or what stands in the context itself.
    pub slot: Arc<SecretSlot>,
}

/// `DownstreamTlsContext`.
#[derive(Debug, Clone)]
pub struct ServerRecipe {
    /// `common_tls_context`.
    pub common: CommonRecipe,
    /// `require_client_certificate`.
    pub require_client_certificate: bool,
    /// `ocsp_staple_policy`.
    pub ocsp_policy: OcspPolicy,
    /// `full_scan_certs_on_sni_mismatch`.
    pub full_scan: bool,
    /// `prefer_client_ciphers`.
    pub prefer_client_ciphers: bool,
    /// Session tickets; `disable_stateless_session_resumption` is `None`.
    pub tickets: Option<TicketRecipe>,
    /// Sessions are kept for clients without tickets; `disable_stateful_session_resumption`.
    pub stateful: bool,
    /// `session_timeout` in seconds.
    pub session_timeout_s: u32,
}

/// Keys of session tickets.
#[derive(Debug, Clone)]
pub enum TicketRecipe {
    /// Generated by this process, and changed every now and then.
    Generated,
    /// `session_ticket_keys`: the first makes tickets, all open them.
    Keys(Arc<SecretSlot>),
}

/// `UpstreamTlsContext`.
#[derive(Debug, Clone)]
pub struct ClientRecipe {
    /// `common_tls_context`.
    pub common: CommonRecipe,
    /// `sni`.
    pub sni: Option<Arc<str>>,
    /// `auto_host_sni`: the name of the endpoint, where it has one.
    pub auto_host_sni: bool,
    /// `auto_sni_san_validation`.
    pub match_sni: bool,
    /// `max_session_keys`.
    pub session_keys: usize,
    /// `enforce_rsa_key_usage`.
    pub rsa_key_usage: bool,
    /// `upstream_http_protocol_options` of the cluster.
    pub auto: AutoNames,
}

/// Names that follow the requests a connection is made for (`UpstreamHttpProtocolOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoNames {
    /// `auto_sni`: SNI is the request's host.
    pub sni: bool,
    /// `auto_san_validation`: the certificate must be for the request's host.
    pub san: bool,
    /// `override_auto_sni_header`: the host is in this header, if the request has it.
    pub header: Option<Box<str>>,
}
