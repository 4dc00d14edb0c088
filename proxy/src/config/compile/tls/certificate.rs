//! `TlsCertificate`, and bytes by name.

use std::path::PathBuf;
use std::sync::Arc;

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use crate::config::compile::at::At;
use crate::config::compile::cx::Cx;
use crate::config::compile::scalar::data_source;
use crate::config::compile::set::refuse;
use crate::plan::tls::{CertificateRecipe, Source};

/// Compiles a certificate; `None` after an error.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    certificate: &api::TlsCertificate,
) -> Option<CertificateRecipe> {
    let api::TlsCertificate {
        certificate_chain,
        private_key,
        pkcs12,
        watched_directory,
        private_key_provider,
        password,
        ocsp_staple,
        signed_certificate_timestamp,
        tls_params,
    } = certificate;
    if pkcs12.is_some() {
        let what = "a PKCS#12 container";
        cx.unsupported_allowed(&at.field("pkcs12"), what, "certificate_chain and private_key");
    }
    if password.is_some() {
        let what = "an encrypted private key";
        cx.unsupported_allowed(&at.field("password"), what, "a key without password");
    }
    refuse!(cx, at, private_key_provider, signed_certificate_timestamp, tls_params);
    let (Some(chain), Some(key)) = (certificate_chain, private_key) else {
        if pkcs12.is_none() {
            let message = "Failed to load incomplete certificate: certificate_chain and \
                           private_key are both required";
            cx.invalid(at, message);
        }
        return None;
    };
    let chain = source(cx, &at.field("certificate_chain"), chain);
    let key = source(cx, &at.field("private_key"), key);
    let ocsp = match ocsp_staple {
        Some(staple) => Some(source(cx, &at.field("ocsp_staple"), staple)?),
        None => None,
    };
    watched(cx, at, watched_directory.as_ref());
    let watched = watched_directory.is_some();
    Some(CertificateRecipe { chain: chain?, key: key?, ocsp, watched })
}

/// `watched_directory`: which directory says nothing here, as the files themselves are watched,
/// through links of their path; but it has to be there.
pub(super) fn watched(cx: &mut Cx<'_>, at: &At<'_>, watched: Option<&core::WatchedDirectory>) {
    // How a change is noticed is our affair: by looking.
    let Some(core::WatchedDirectory { path, watch_modify: _ }) = watched else { return };
    if !std::path::Path::new(path).is_dir() {
        let message = format!("'{path}' is not a directory");
        cx.invalid(&at.field("watched_directory").field("path"), message);
    }
}

/// Bytes of a `DataSource`: a file's are read when they are needed, and may be read again.
pub(super) fn source(cx: &mut Cx<'_>, at: &At<'_>, value: &core::DataSource) -> Option<Source> {
    use core::data_source::Specifier;
    let core::DataSource { watched_directory, specifier } = value;
    watched(cx, at, watched_directory.as_ref());
    if let Some(Specifier::Filename(path)) = specifier {
        return Some(Source::File(PathBuf::from(path)));
    }
    let value = core::DataSource { watched_directory: None, specifier: specifier.clone() };
    data_source(cx, at, &value).map(|bytes| Source::Inline(Arc::from(bytes)))
}
