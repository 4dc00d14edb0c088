//! Secrets in files: a `DiscoveryResponse` in YAML or JSON, as Envoy reads it from a
//! `path_config_source`.

use std::path::Path;

use prost::Message;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;
use ringway_xds::api::envoy::service::discovery::v3::DiscoveryResponse;
use ringway_xds::{Diagnostic, Document, Format};

use super::files::read_file;

/// A part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `tls_certificate.certificate_chain`.
    Chain,
    /// `tls_certificate.private_key`.
    Key,
    /// `tls_certificate.ocsp_staple`.
    Ocsp,
    /// `validation_context.trusted_ca`.
    TrustedCa,
    /// `validation_context.crl`.
    Crl,
    /// `session_ticket_keys.keys[n]`.
    TicketKey(usize),
}

/// Reads a secret from a file.
///
/// # Errors
/// What is wrong with the file, or that the secret is not in it.
pub(crate) fn secret_of_file(path: &Path, name: &str) -> Result<api::Secret, String> {
    const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
    let shown = path.display().to_string();
    let text = String::from_utf8(read_file(path)?).map_err(|_| format!("'{shown}' is no text"))?;
    let first = |found: Vec<Diagnostic>| match found.first() {
        Some(diagnostic) => diagnostic.to_string(),
        None => format!("'{shown}' is no {RESPONSE}"),
    };
    let document = Document::parse(&text, &shown, Format::of_file(&shown)).map_err(first)?;
    let (bytes, _, _) = document.encode(RESPONSE).map_err(first)?;
    let response =
        DiscoveryResponse::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
    let secrets = response.resources.iter();
    let mut secrets = secrets.filter_map(|any| api::Secret::decode(any.value.as_slice()).ok());
    let found = secrets.find(|secret| secret.name == name || name.is_empty());
    found.ok_or_else(|| format!("there is no secret '{name}' in '{shown}'"))
}

/// Bytes of a part of a secret in a file, as they are now.
///
/// # Errors
/// As [`secret_of_file`], or that it has no such part.
pub(crate) fn part_of_file(path: &Path, name: &str, part: Part) -> Result<Vec<u8>, String> {
    use core::data_source::Specifier;
    let secret = secret_of_file(path, name)?;
    let missing = || format!("secret '{name}' in '{}' has lost a part", path.display());
    let source = source(&secret, part).ok_or_else(missing)?;
    match source.specifier.ok_or_else(missing)? {
        Specifier::InlineString(text) => Ok(text.into_bytes()),
        Specifier::InlineBytes(bytes) => Ok(bytes),
        Specifier::Filename(file) => read_file(file),
        Specifier::EnvironmentVariable(name) => {
            let value = std::env::var(&name);
            value.map(String::into_bytes).map_err(|_| format!("no environment variable {name}"))
        }
    }
}

fn source(secret: &api::Secret, part: Part) -> Option<core::DataSource> {
    use api::secret::Type;
    match (secret.r#type.as_ref()?, part) {
        (Type::TlsCertificate(certificate), Part::Chain) => certificate.certificate_chain.clone(),
        (Type::TlsCertificate(certificate), Part::Key) => certificate.private_key.clone(),
        (Type::TlsCertificate(certificate), Part::Ocsp) => certificate.ocsp_staple.clone(),
        (Type::ValidationContext(context), Part::TrustedCa) => context.trusted_ca.clone(),
        (Type::ValidationContext(context), Part::Crl) => context.crl.clone(),
        (Type::SessionTicketKeys(keys), Part::TicketKey(index)) => keys.keys.get(index).cloned(),
        _ => None,
    }
}
