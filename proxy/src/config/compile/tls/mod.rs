//! `DownstreamTlsContext` and `UpstreamTlsContext`.
//!
//! What rustls cannot do is refused where it would change who can connect, and let be where it
//! would not: a list of cipher suites may name ones that only Envoy has, as long as one is left; a
//! minimum of TLS 1.0 changes nothing for those who speak TLS 1.2.

mod certificate;
mod params;
mod secrets;
mod store;
mod validation;

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use super::address::cidrs;
use super::at::At;
use super::cx::Cx;
use super::scalar::optional_duration;
use super::set::refuse;
use crate::observe::stats::{SslFactoryStats, SslStats};
use crate::plan::tls::{
    AutoNames, ClientContext, ClientRecipe, CommonRecipe, Context, KeyLogFile, OcspPolicy,
    SecretKind, ServerContext, ServerRecipe, TicketRecipe,
};

pub(crate) use secrets::{accept, look};
pub use store::SecretStore;

/// `session_timeout` where nothing is said.
const SESSION_TIMEOUT: Duration = Duration::from_secs(7200);

/// Which end of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Compiles a listener's context; `None` after an error.
pub(crate) fn server(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: &api::DownstreamTlsContext,
    scope: &str,
) -> Option<Arc<ServerContext>> {
    let api::DownstreamTlsContext {
        common_tls_context,
        require_client_certificate,
        require_sni,
        disable_stateful_session_resumption,
        session_timeout,
        ocsp_staple_policy,
        full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers,
        session_ticket_keys_type,
    } = context;
    let require_sni = require_sni.unwrap_or_default();
    refuse!(cx, at, require_sni);
    let common = common(cx, at, common_tls_context.as_ref(), Role::Server)?;
    if common.certificates.is_empty() {
        // Where they come from elsewhere, that has been refused already.
        let elsewhere = common_tls_context.as_ref().is_some_and(|common| {
            common.tls_certificate_provider_instance.is_some()
                || common.custom_tls_certificate_selector.is_some()
        });
        if elsewhere {
            return None;
        }
        cx.invalid(&at.field("common_tls_context"), "No TLS certificates found for server context");
        return None;
    }
    if require_client_certificate.is_none() && common.validation.is_some() {
        cx.warn(
            at,
            "a validation_context without require_client_certificate: clients may come without a \
             certificate; say require_client_certificate: true or false",
        );
    }
    let timeout = optional_duration(cx, &at.field("session_timeout"), *session_timeout);
    let timeout = timeout.unwrap_or(SESSION_TIMEOUT);
    let recipe = ServerRecipe {
        common,
        require_client_certificate: require_client_certificate.unwrap_or_default(),
        ocsp_policy: ocsp_policy(*ocsp_staple_policy),
        full_scan: full_scan_certs_on_sni_mismatch.unwrap_or_default(),
        prefer_client_ciphers: *prefer_client_ciphers,
        tickets: tickets(cx, at, session_ticket_keys_type.as_ref())?,
        stateful: !*disable_stateful_session_resumption,
        session_timeout_s: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX),
    };
    let stats = SslStats::new(cx.registry, scope);
    let factory = SslFactoryStats::new(cx.registry, scope, "server");
    let made = ServerContext::new(recipe, stats, factory);
    let made = Arc::new(built(cx, &at.field("common_tls_context"), made)?);
    cx.secrets.add_user(cx.registry, scope, &(made.clone() as Arc<dyn Context>));
    Some(made)
}

/// Takes a context or a secret; an error is recorded here.
fn built<T>(cx: &mut Cx<'_>, at: &At<'_>, made: Result<T, String>) -> Option<T> {
    match made {
        // Envoy takes certificates of X.509 version 1.
        Err(error) if error.contains("UnsupportedCertVersion") => {
            cx.unsupported_allowed(at, "a certificate of X.509 version 1 or 2", "version 3");
            None
        }
        made => cx.ok(at, made),
    }
}

/// Compiles a cluster's context; `None` after an error.
pub(crate) fn client(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: &api::UpstreamTlsContext,
    scope: &str,
    auto: &AutoNames,
) -> Option<Arc<ClientContext>> {
    let api::UpstreamTlsContext {
        common_tls_context,
        sni,
        auto_host_sni,
        auto_sni_san_validation,
        allow_renegotiation,
        max_session_keys,
        enforce_rsa_key_usage,
    } = context;
    if *allow_renegotiation {
        // A server that renegotiates gets an alert; none has to.
        let message = "renegotiation is never taken part in; a server that asks for it is refused";
        cx.warn(&at.field("allow_renegotiation"), message);
    }
    let common = common(cx, at, common_tls_context.as_ref(), Role::Client)?;
    if common.certificates.len() > 1 {
        let message = "Multiple TLS certificates are not supported for client contexts";
        cx.invalid(&at.field("common_tls_context"), message);
    }
    if sni.len() > 255 {
        cx.invalid_allowed(&at.field("sni"), "the server name is too long", "at most 255 bytes");
    }
    if !sni.is_empty() && rustls::pki_types::DnsName::try_from(sni.as_str()).is_err() {
        // Envoy sends whatever is given; what is no DNS name the TLS library does not send.
        let what = format!("'{sni}' is no host name: such a server name");
        cx.unsupported_allowed(&at.field("sni"), &what, "a host name");
    }
    if *auto_sni_san_validation && common.validation.is_none() {
        let message = "'auto_sni_san_validation' was configured without a validation context";
        cx.invalid(&at.field("auto_sni_san_validation"), message);
    }
    let recipe = ClientRecipe {
        common,
        sni: (!sni.is_empty()).then(|| cx.text(sni)),
        auto_host_sni: *auto_host_sni,
        match_sni: *auto_sni_san_validation,
        session_keys: max_session_keys.unwrap_or(1) as usize,
        rsa_key_usage: enforce_rsa_key_usage.unwrap_or(true),
        auto: auto.clone(),
    };
    let stats = SslStats::new(cx.registry, scope);
    let factory = SslFactoryStats::new(cx.registry, scope, "client");
    let made = ClientContext::new(recipe, stats, factory);
    let made = Arc::new(built(cx, &at.field("common_tls_context"), made)?);
    cx.secrets.add_user(cx.registry, scope, &(made.clone() as Arc<dyn Context>));
    Some(made)
}

fn common(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: Option<&api::CommonTlsContext>,
    role: Role,
) -> Option<CommonRecipe> {
    let at = &at.field("common_tls_context");
    let empty = api::CommonTlsContext::default();
    let api::CommonTlsContext {
        tls_params,
        tls_certificates,
        tls_certificate_sds_secret_configs,
        tls_certificate_provider_instance,
        custom_tls_certificate_selector,
        tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance,
        alpn_protocols,
        custom_handshaker,
        key_log,
        validation_context_type,
    } = context.unwrap_or(&empty);
    refuse!(cx, at, tls_certificate_provider_instance, custom_tls_certificate_selector);
    refuse!(cx, at, tls_certificate_certificate_provider, custom_handshaker);
    refuse!(cx, at, tls_certificate_certificate_provider_instance);
    let params = params::compile(cx, &at.field("tls_params"), tls_params.as_ref(), role);
    let mut certificates = Vec::new();
    for (index, certificate) in tls_certificates.iter().enumerate() {
        let at = at.field("tls_certificates");
        let at = at.index(index);
        certificates.push(secrets::inline_certificate(cx, &at, certificate));
    }
    if certificates.is_empty() {
        for (index, config) in tls_certificate_sds_secret_configs.iter().enumerate() {
            let at = at.field("tls_certificate_sds_secret_configs");
            certificates.push(secrets::slot(cx, &at.index(index), config, SecretKind::Certificate));
        }
    } else if !tls_certificate_sds_secret_configs.is_empty() {
        let message = "SDS and non-SDS TLS certificates may not be mixed in server contexts";
        cx.invalid(&at.field("tls_certificate_sds_secret_configs"), message);
    }
    let validation = validation::compile(cx, at, validation_context_type.as_ref());
    let alpn = alpn(cx, &at.field("alpn_protocols"), alpn_protocols);
    let alpn = cx.secrets.alpn(alpn);
    let key_log = match key_log {
        Some(config) => Some(key_log_file(cx, &at.field("key_log"), config)?),
        None => None,
    };
    let certificates = certificates.into_iter().collect::<Option<Vec<_>>>()?;
    Some(CommonRecipe { params: params?, certificates, validation: validation?, alpn, key_log })
}

/// Protocol names of 1 to 255 bytes (RFC 7301 section 3.1), 65535 in all.
fn alpn(cx: &mut Cx<'_>, at: &At<'_>, protocols: &[String]) -> Vec<Vec<u8>> {
    // Envoy joins the list by commas, so that one entry may hold several.
    let names: Vec<&str> =
        protocols.iter().flat_map(|names| names.split(',')).filter(|n| !n.is_empty()).collect();
    if names.iter().any(|name| name.len() > 255)
        || names.iter().map(|n| n.len() + 1).sum::<usize>() > 65535
    {
        let message = "Invalid ALPN protocol string";
        cx.invalid_allowed(at, message, "names of 1 to 255 bytes, 65535 in all");
    }
    names.into_iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn key_log_file(cx: &mut Cx<'_>, at: &At<'_>, config: &api::TlsKeyLog) -> Option<Arc<KeyLogFile>> {
    let api::TlsKeyLog { path, local_address_range, remote_address_range } = config;
    let local = cidrs(cx, &at.field("local_address_range"), local_address_range);
    let remote = cidrs(cx, &at.field("remote_address_range"), remote_address_range);
    let opened = KeyLogFile::open(std::path::Path::new(path), local, remote);
    let opened = opened.map_err(|error| format!("cannot open '{path}': {error}"));
    cx.ok(&at.field("path"), opened).map(Arc::new)
}

fn ocsp_policy(policy: i32) -> OcspPolicy {
    use api::downstream_tls_context::OcspStaplePolicy as Policy;
    match Policy::try_from(policy) {
        Ok(Policy::StrictStapling) => OcspPolicy::Strict,
        Ok(Policy::MustStaple) => OcspPolicy::Must,
        // The schema lets no other value through.
        Ok(Policy::LenientStapling) | Err(_) => OcspPolicy::Lenient,
    }
}

/// Keys of tickets; `None` after an error, and `Some(None)` where there are no tickets.
fn tickets(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::downstream_tls_context::SessionTicketKeysType>,
) -> Option<Option<TicketRecipe>> {
    use api::downstream_tls_context::SessionTicketKeysType as Type;
    let slot = match config {
        None | Some(Type::DisableStatelessSessionResumption(false)) => {
            return Some(Some(TicketRecipe::Generated));
        }
        Some(Type::DisableStatelessSessionResumption(true)) => return Some(None),
        Some(Type::SessionTicketKeys(keys)) => {
            secrets::inline_ticket_keys(cx, &at.field("session_ticket_keys"), keys)
        }
        Some(Type::SessionTicketKeysSdsSecretConfig(config)) => {
            let at = at.field("session_ticket_keys_sds_secret_config");
            secrets::slot(cx, &at, config, SecretKind::TicketKeys)
        }
    };
    slot.map(|slot| Some(TicketRecipe::Keys(slot)))
}
