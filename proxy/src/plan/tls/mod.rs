//! TLS, compiled: what a listener's or a cluster's connections negotiate, and with what keys.
//!
//! A context holds a recipe (the configuration, as read) and what was made from it. When a file it
//! names changes, the control thread makes that anew and swaps it in: handshakes begun later use
//! it, connections that are up keep what they have, and the plan stays as it is.

mod build;
mod key_log;
pub mod names;
pub mod notes;
mod ocsp;
mod pick;
mod san;
mod session;
mod validate;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::SupportedKxGroup;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, SupportedCipherSuite};

use crate::config::sds::Part;
use crate::observe::stats::{BlockHandle, Gauge, ShardStats, SslFactoryStats, SslStats};
use crate::plan::certificate::Certificate;

pub use key_log::KeyLogFile;
pub use pick::OcspPolicy;
pub use san::{SanKind, SanMatch};
pub use session::TICKET_KEY;
pub use validate::Validator;

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration itself.
    Inline(Arc<[u8]>),
    /// A file.
    File(PathBuf),
    /// A part of a secret in a file of secrets.
    Sds {
        /// The file of secrets.
        file: PathBuf,
        /// Name of the secret.
        name: Arc<str>,
        /// Which part.
        part: Part,
        /// The file that the secret names, if the part is not in the secret itself.
        content: Option<PathBuf>,
    },
}

impl fmt::Display for Source {
    /// As Envoy names it: the path, or `<inline>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Sds { content: Some(path), .. } => path.display().fmt(f),
            Self::Inline(_) | Self::Sds { content: None, .. } => f.write_str("<inline>"),
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
    /// Suites of both versions, in order of preference.
    pub suites: Vec<SupportedCipherSuite>,
    /// Key exchange groups, in order of preference.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Signature schemes, in order of preference.
    pub schemes: Arc<[SignatureScheme]>,
}

/// `TlsCertificate`.
#[derive(Debug, Clone)]
pub struct CertificateRecipe {
    /// Name of the secret it came in; empty where it stands in the context.
    pub name: Arc<str>,
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
    /// Name of the secret it came in; empty where it stands in the context.
    pub name: Arc<str>,
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
}

/// `CommonTlsContext`.
#[derive(Debug, Clone)]
pub struct CommonRecipe {
    /// `tls_params`.
    pub params: Params,
    /// `tls_certificates`, and those named by SDS.
    pub certificates: Vec<CertificateRecipe>,
    /// `validation_context`, combined.
    pub validation: Option<ValidationRecipe>,
    /// `alpn_protocols`.
    pub alpn: Vec<Vec<u8>>,
    /// `key_log`.
    pub key_log: Option<Arc<KeyLogFile>>,
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
    Keys(Vec<Source>),
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

/// What a server context was made to.
#[derive(Debug)]
pub struct ServerMaterial {
    /// For clients that share a protocol with `alpn_protocols`, or do not speak of any.
    pub config: Arc<ServerConfig>,
    /// For clients whose protocols have nothing in common with ours: these go without.
    pub without_alpn: Arc<ServerConfig>,
    /// What there is to show of its certificates.
    pub shown: Shown,
}

/// What a client context was made to.
#[derive(Debug)]
pub struct ClientMaterial {
    /// The configuration.
    pub config: Arc<ClientConfig>,
    /// What there is to show of its certificates.
    pub shown: Shown,
}

/// Certificates of a context, for `/certs` and statistics.
#[derive(Debug, Default)]
pub struct Shown {
    /// Trusted roots: the secret's name, path, and the first certificate.
    pub roots: Vec<ShownCertificate>,
    /// Our own.
    pub own: Vec<ShownCertificate>,
}

/// One certificate for `/certs` and statistics.
#[derive(Debug)]
pub struct ShownCertificate {
    /// Name of its secret, which may be empty.
    pub name: Arc<str>,
    /// Where it came from, as Envoy names it.
    pub path: String,
    /// What is known of it.
    pub facts: Arc<Certificate>,
    /// Its OCSP response is valid until then, in seconds since 1970.
    pub ocsp_until: Option<i64>,
}

/// A listener's TLS.
#[derive(Debug)]
pub struct ServerContext {
    /// `listener.<l>.ssl.*`.
    pub stats: SslStats,
    /// Gauges of [`Shown`]'s roots, then of its own certificates.
    pub(crate) expiry: Vec<Expiry>,
    factory: SslFactoryStats,
    recipe: ServerRecipe,
    material: ArcSwap<ServerMaterial>,
}

impl ServerContext {
    /// Makes a context.
    ///
    /// # Errors
    /// What of its certificates and keys is wrong, for a person.
    pub fn new(
        recipe: ServerRecipe,
        stats: SslStats,
        factory: SslFactoryStats,
    ) -> Result<Self, String> {
        let material = ArcSwap::from_pointee(build::server(&recipe)?);
        Ok(Self { stats, expiry: Vec::new(), factory, recipe, material })
    }

    /// What handshakes use now.
    pub fn material(&self) -> Arc<ServerMaterial> {
        self.material.load_full()
    }

    /// The configured protocols, most preferred first.
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.recipe.common.alpn
    }
}

/// A cluster's TLS.
#[derive(Debug)]
pub struct ClientContext {
    /// `cluster.<c>.ssl.*`.
    pub stats: SslStats,
    /// Gauges of [`Shown`]'s roots, then of its own certificates.
    pub(crate) expiry: Vec<Expiry>,
    factory: SslFactoryStats,
    recipe: ClientRecipe,
    material: ArcSwap<ClientMaterial>,
}

impl ClientContext {
    /// Makes a context.
    ///
    /// # Errors
    /// What of its certificates and keys is wrong, for a person.
    pub fn new(
        recipe: ClientRecipe,
        stats: SslStats,
        factory: SslFactoryStats,
    ) -> Result<Self, String> {
        let material = ArcSwap::from_pointee(build::client(&recipe)?);
        Ok(Self { stats, expiry: Vec::new(), factory, recipe, material })
    }

    /// What handshakes use now.
    pub fn material(&self) -> Arc<ClientMaterial> {
        self.material.load_full()
    }

    /// The configuration it was made from.
    pub fn recipe(&self) -> &ClientRecipe {
        &self.recipe
    }

    /// The server name for a host: configured, or the host's own where that is asked for.
    pub fn server_name(&self, host_name: Option<&str>) -> Option<Arc<str>> {
        match host_name {
            Some(name) if self.recipe.auto_host_sni && !name.is_empty() => Some(Arc::from(name)),
            _ => self.recipe.sni.clone(),
        }
    }
}

/// A gauge of when a certificate expires.
#[derive(Debug)]
pub struct Expiry {
    pub(crate) _block: BlockHandle,
    pub(crate) gauge: Gauge,
}

/// Writes when the certificates shown expire. One thread does, that of control.
fn write_expiry(shown: &Shown, gauges: &[Expiry], stats: &ShardStats) {
    for (shown, expiry) in shown.roots.iter().chain(&shown.own).zip(gauges) {
        stats.gauge_set(expiry.gauge, u64::try_from(shown.facts.not_after).unwrap_or(0));
    }
}

/// A context whose files may change.
pub trait Reload: Send + Sync {
    /// The files that are watched; none where nothing is.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads them again and uses what they hold from now on.
    ///
    /// # Errors
    /// Why what was there before stays.
    fn reload(&self) -> Result<(), String>;

    /// What `/certs` shows.
    fn show(&self, see: &mut dyn FnMut(&Shown));

    /// Writes the gauges of certificates; `reloaded` says that they are new.
    fn count(&self, stats: &ShardStats, reloaded: bool);
}

/// What both kinds of context do in the same way.
macro_rules! show_and_count {
    () => {
        fn show(&self, see: &mut dyn FnMut(&Shown)) {
            see(&self.material.load().shown);
        }

        fn count(&self, stats: &ShardStats, reloaded: bool) {
            write_expiry(&self.material.load().shown, &self.expiry, stats);
            if reloaded {
                stats.inc(self.factory.ssl_context_update_by_sds());
            }
        }
    };
}

impl Reload for ServerContext {
    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.recipe.common.watched_files();
        let watched = self.recipe.common.certificates.iter().any(|c| c.watched);
        if let Some(TicketRecipe::Keys(keys)) = &self.recipe.tickets
            && watched
        {
            files.extend(keys.iter().flat_map(self::files));
        }
        files
    }

    fn reload(&self) -> Result<(), String> {
        self.material.store(Arc::new(build::server(&self.recipe)?));
        Ok(())
    }

    show_and_count!();
}

impl Reload for ClientContext {
    fn files(&self) -> Vec<PathBuf> {
        self.recipe.common.watched_files()
    }

    fn reload(&self) -> Result<(), String> {
        self.material.store(Arc::new(build::client(&self.recipe)?));
        Ok(())
    }

    show_and_count!();
}

/// The files that a source's bytes are in, or named by.
fn files(source: &Source) -> impl Iterator<Item = PathBuf> {
    let (file, content) = match source {
        Source::File(path) => (Some(path), None),
        Source::Inline(_) => (None, None),
        Source::Sds { file, content, .. } => (Some(file), content.as_ref()),
    };
    file.into_iter().chain(content).cloned().collect::<Vec<_>>().into_iter()
}

impl CommonRecipe {
    fn watched_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for certificate in self.certificates.iter().filter(|c| c.watched) {
            let CertificateRecipe { chain, key, ocsp, .. } = certificate;
            files.extend([Some(chain), Some(key), ocsp.as_ref()].into_iter().flatten());
        }
        if let Some(validation) = self.validation.as_ref().filter(|v| v.watched) {
            files.extend([&validation.trusted_ca, &validation.crl].into_iter().flatten());
        }
        files.into_iter().flat_map(self::files).collect()
    }
}
