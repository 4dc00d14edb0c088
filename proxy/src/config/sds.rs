//! Secrets in files: a `DiscoveryResponse` in YAML or JSON, as Envoy reads it from a
//! `path_config_source`; and secrets as they may be shown.

use std::path::Path;

use prost::Message;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;
use ringway_xds::api::envoy::service::discovery::v3::DiscoveryResponse;
use ringway_xds::{Diagnostic, Document, Format};

use super::files::read_file;

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
    found.ok_or_else(|| format!("Missing SDS resources for {name} in '{shown}'"))
}

/// What stands in the place of what must not be shown.
const REDACTED: &str = "[redacted]";

/// A secret as `/config_dump` shows it: without private keys, passwords, ticket keys and generic
/// secrets, and with the bytes of the files it names.
pub fn redact(secret: &mut api::Secret) {
    use api::secret::Type;
    let api::Secret { name: _, r#type } = secret;
    match r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let api::TlsCertificate {
                certificate_chain,
                private_key,
                pkcs12,
                watched_directory: _,
                private_key_provider,
                password,
                ocsp_staple,
                signed_certificate_timestamp,
                tls_params: _,
            } = certificate;
            certificate_chain.iter_mut().for_each(resolve);
            ocsp_staple.iter_mut().for_each(resolve);
            signed_certificate_timestamp.iter_mut().for_each(resolve);
            private_key.iter_mut().chain(pkcs12).chain(password).for_each(hide);
            // What it holds is known to the provider only.
            if let Some(api::PrivateKeyProvider { config_type, .. }) = private_key_provider {
                *config_type = None;
            }
        }
        Some(Type::ValidationContext(context)) => {
            context.trusted_ca.iter_mut().chain(&mut context.crl).for_each(resolve);
        }
        Some(Type::SessionTicketKeys(api::TlsSessionTicketKeys { keys })) => {
            keys.iter_mut().for_each(hide);
        }
        Some(Type::GenericSecret(api::GenericSecret { secret, secrets })) => {
            secret.iter_mut().chain(secrets.values_mut()).for_each(hide);
        }
        None => {}
    }
}

/// A file's bytes instead of its name, if it can be read.
fn resolve(source: &mut core::DataSource) {
    use core::data_source::Specifier;
    if let Some(Specifier::Filename(path)) = &source.specifier
        && let Ok(bytes) = read_file(path)
    {
        source.specifier = Some(Specifier::InlineBytes(bytes));
    }
}

fn hide(source: &mut core::DataSource) {
    use core::data_source::Specifier;
    let core::DataSource { watched_directory, specifier } = source;
    *watched_directory = None;
    *specifier = specifier.take().map(|specifier| match specifier {
        Specifier::InlineString(_) => Specifier::InlineString(REDACTED.to_owned()),
        Specifier::EnvironmentVariable(_) => Specifier::EnvironmentVariable(REDACTED.to_owned()),
        // The bytes of a file are what is shown, and these are hidden.
        Specifier::InlineBytes(_) | Specifier::Filename(_) => {
            Specifier::InlineBytes(REDACTED.as_bytes().to_vec())
        }
    });
}
