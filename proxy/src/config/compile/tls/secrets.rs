//! Secrets by name: those of the bootstrap (`static_resources.secrets`), and those of a file
//! (`sds_config` with a path). Secrets that a control plane serves come with xDS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use super::{certificate, validation};
use crate::config::compile::at::At;
use crate::config::compile::cx::Cx;
use crate::config::sds::{Part, secret_of_file};
use crate::observe::stats::Gauge;
use crate::plan::tls::{CertificateRecipe, Expiry, Shown, Source, ValidationRecipe};

/// The secrets of the bootstrap.
pub(crate) type Secrets = Vec<api::Secret>;

/// A secret, and the file it is in.
struct Found {
    secret: api::Secret,
    file: Option<PathBuf>,
}

/// Looks a secret up; an error is recorded where there is none.
fn find(cx: &mut Cx<'_>, at: &At<'_>, config: &api::SdsSecretConfig) -> Option<Found> {
    use core::config_source::ConfigSourceSpecifier as Specifier;
    let api::SdsSecretConfig { name, sds_config } = config;
    let Some(source) = sds_config else {
        let found = cx.secrets.iter().find(|secret| secret.name == *name).cloned();
        if found.is_none() {
            cx.invalid(&at.field("name"), format!("Unknown static secret: {name}"));
        }
        return found.map(|secret| Found { secret, file: None });
    };
    // Authorities, timeouts and API versions are those of servers.
    let core::ConfigSource { authorities: _, config_source_specifier, .. } = source;
    let at = at.field("sds_config");
    let path = match config_source_specifier {
        Some(Specifier::Path(path)) => path,
        // The file is watched as it is, so the directory to watch says nothing.
        Some(Specifier::PathConfigSource(core::PathConfigSource { path, .. })) => path,
        _ => {
            let allowed = "a static secret (no sds_config), or path_config_source";
            cx.unsupported_allowed(&at, "a secret from a server", allowed);
            return None;
        }
    };
    let secret = match secret_of_file(Path::new(path), name) {
        Ok(secret) => secret,
        Err(error) => {
            // Envoy starts without it and waits.
            cx.unsupported_allowed(&at, &format!("{error}: a secret that comes later"), "it now");
            return None;
        }
    };
    Some(Found { secret, file: Some(PathBuf::from(path)) })
}

impl Found {
    /// The source of a part: one in a file is looked for anew whenever it is read.
    fn source(&self, part: Part, own: Source) -> Source {
        match &self.file {
            None => own,
            Some(file) => Source::Sds {
                file: file.clone(),
                name: Arc::from(self.secret.name.as_str()),
                part,
                content: match own {
                    Source::File(path) => Some(path),
                    _ => None,
                },
            },
        }
    }
}

fn wrong_type(cx: &mut Cx<'_>, at: &At<'_>, name: &str, wanted: &str) {
    cx.invalid(&at.field("name"), format!("secret '{name}' is no {wanted}"));
}

/// A certificate by name.
pub(super) fn certificate(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::SdsSecretConfig,
) -> Option<CertificateRecipe> {
    let found = find(cx, at, config)?;
    let Some(api::secret::Type::TlsCertificate(certificate)) = &found.secret.r#type else {
        wrong_type(cx, at, &config.name, "tls_certificate");
        return None;
    };
    let mut recipe = certificate::compile(cx, at, &config.name, certificate)?;
    recipe.chain = found.source(Part::Chain, recipe.chain);
    recipe.key = found.source(Part::Key, recipe.key);
    recipe.ocsp = recipe.ocsp.map(|ocsp| found.source(Part::Ocsp, ocsp));
    recipe.watched |= found.file.is_some();
    Some(recipe)
}

/// A validation context by name, laid over `default`.
pub(super) fn validation(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::SdsSecretConfig,
    default: Option<&api::CertificateValidationContext>,
) -> Option<ValidationRecipe> {
    let found = find(cx, at, config)?;
    let Some(api::secret::Type::ValidationContext(context)) = &found.secret.r#type else {
        wrong_type(cx, at, &config.name, "validation_context");
        return None;
    };
    let merged = default.map(|default| validation::merged(default, context));
    let mut recipe = validation::one(cx, at, &config.name, merged.as_ref().unwrap_or(context))?;
    if context.trusted_ca.is_some() {
        recipe.trusted_ca = recipe.trusted_ca.map(|ca| found.source(Part::TrustedCa, ca));
    }
    if context.crl.is_some() {
        recipe.crl = recipe.crl.map(|crl| found.source(Part::Crl, crl));
    }
    recipe.watched |= found.file.is_some();
    Some(recipe)
}

/// `session_ticket_keys`.
pub(super) fn ticket_keys(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    keys: &api::TlsSessionTicketKeys,
) -> Vec<Source> {
    let api::TlsSessionTicketKeys { keys } = keys;
    let at = at.field("keys");
    let keys = keys.iter().enumerate();
    keys.filter_map(|(index, key)| certificate::source(cx, &at.index(index), key)).collect()
}

/// `session_ticket_keys_sds_secret_config`.
pub(super) fn named_ticket_keys(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::SdsSecretConfig,
) -> Vec<Source> {
    let Some(found) = find(cx, at, config) else { return Vec::new() };
    let Some(api::secret::Type::SessionTicketKeys(keys)) = &found.secret.r#type else {
        wrong_type(cx, at, &config.name, "session_ticket_keys");
        return Vec::new();
    };
    let own = ticket_keys(cx, at, keys).into_iter().enumerate();
    own.map(|(index, source)| found.source(Part::TicketKey(index), source)).collect()
}

/// Gauges of when certificates expire.
pub(super) fn expiry(cx: &mut Cx<'_>, scope: &str, shown: &Shown) -> Vec<Expiry> {
    let roots = shown.roots.iter().map(|root| ("unnamed_ca_cert", &root.name));
    let own = shown.own.iter().map(|own| ("unnamed_cert", &own.name));
    let mut out: Vec<Expiry> = Vec::new();
    for (unnamed, name) in roots.chain(own) {
        // Envoy makes the name of a nameless one from the hash of its name: that of nothing.
        let name = match &**name {
            "" => format!("{unnamed}_e3b0c442"),
            name => name.to_owned(),
        };
        let name = format!("{scope}ssl.certificate.{name}.expiration_unix_time_seconds");
        let (block, gauge): (_, Gauge) = cx.registry.gauge(&name);
        out.push(Expiry { _block: block, gauge });
    }
    out
}
