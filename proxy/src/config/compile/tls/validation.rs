//! `CertificateValidationContext`, alone and combined.

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;
use ringway_xds::api::envoy::r#type::matcher::v3 as matcher;

use super::certificate::{source, watched};
use super::secrets;
use crate::config::compile::at::At;
use crate::config::compile::cx::Cx;
use crate::config::compile::scalar::{extension, hex, string_match, type_name};
use crate::config::compile::set::refuse;
use crate::plan::tls::{SanKind, SanMatch, SecretKind, Source, Validation, ValidationRecipe};

/// Compiles whichever form of validation context there is; `None` after an error, and
/// `Some(None)` where there is none.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: Option<&api::common_tls_context::ValidationContextType>,
) -> Option<Option<Validation>> {
    use api::common_tls_context::ValidationContextType as Type;
    let slot = match context {
        None => return Some(None),
        Some(Type::ValidationContext(context)) => {
            secrets::inline_validation(cx, &at.field("validation_context"), context)
        }
        Some(Type::ValidationContextSdsSecretConfig(config)) => {
            let at = at.field("validation_context_sds_secret_config");
            secrets::slot(cx, &at, config, SecretKind::Validation)
        }
        Some(Type::CombinedValidationContext(combined)) => {
            return combine(cx, &at.field("combined_validation_context"), combined).map(Some);
        }
        Some(Type::ValidationContextCertificateProvider(_)) => {
            cx.unsupported(&at.field("validation_context_certificate_provider"));
            None
        }
        Some(Type::ValidationContextCertificateProviderInstance(_)) => {
            cx.unsupported(&at.field("validation_context_certificate_provider_instance"));
            None
        }
    };
    slot.map(|slot| Some(Validation { default: None, slot }))
}

/// The secret is laid over the default: fields it sets win, lists grow (Envoy's `MergeFrom`).
fn combine(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    combined: &api::common_tls_context::CombinedCertificateValidationContext,
) -> Option<Validation> {
    let api::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context,
        validation_context_sds_secret_config,
        validation_context_certificate_provider,
        validation_context_certificate_provider_instance,
    } = combined;
    refuse!(cx, at, validation_context_certificate_provider);
    refuse!(cx, at, validation_context_certificate_provider_instance);
    let default_at = at.field("default_validation_context");
    let default = default_validation_context.as_ref();
    let Some(config) = validation_context_sds_secret_config else {
        let empty = api::CertificateValidationContext::default();
        let slot = secrets::inline_validation(cx, &default_at, default.unwrap_or(&empty))?;
        return Some(Validation { default: None, slot });
    };
    let at = at.field("validation_context_sds_secret_config");
    let slot = secrets::slot(cx, &at, config, SecretKind::Validation);
    let default = match default {
        Some(default) => Some(secrets::default_validation(cx, &default_at, default)?),
        None => None,
    };
    Some(Validation { default, slot: slot? })
}

/// Compiles one context.
pub(super) fn one(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: &api::CertificateValidationContext,
) -> Option<ValidationRecipe> {
    let api::CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list,
    } = context;
    let require_signed_certificate_timestamp =
        require_signed_certificate_timestamp.unwrap_or_default();
    refuse!(cx, at, ca_certificate_provider_instance, system_root_certs);
    refuse!(cx, at, require_signed_certificate_timestamp);
    let domains = match custom_validator_config {
        Some(config) => spiffe(cx, &at.field("custom_validator_config"), config)?,
        None => Vec::new(),
    };
    watched(cx, at, watched_directory.as_ref());
    let untrusted = api::certificate_validation_context::TrustChainVerification::AcceptUntrusted;
    let mut sans =
        typed_sans(cx, &at.field("match_typed_subject_alt_names"), match_typed_subject_alt_names);
    sans.extend(untyped_sans(cx, &at.field("match_subject_alt_names"), match_subject_alt_names));
    let in_data = |s: &Option<ringway_xds::api::envoy::config::core::v3::DataSource>| {
        s.as_ref().is_some_and(|source| source.watched_directory.is_some())
    };
    let watch = watched_directory.is_some() || in_data(trusted_ca) || in_data(crl);
    let trusted_ca = match trusted_ca {
        Some(data) => Some(source(cx, &at.field("trusted_ca"), data)?),
        None => None,
    };
    let crl = match crl {
        Some(data) => Some(source(cx, &at.field("crl"), data)?),
        None => None,
    };
    Some(ValidationRecipe {
        trusted_ca,
        crl,
        watched: watch,
        only_leaf_crl: *only_verify_leaf_cert_crl,
        allow_expired: *allow_expired_certificate,
        accept_untrusted: *trust_chain_verification == untrusted as i32,
        max_depth: max_verify_depth.map(|depth| depth as usize),
        sans,
        hashes: hashes(cx, &at.field("verify_certificate_hash"), verify_certificate_hash),
        spkis: spkis(cx, &at.field("verify_certificate_spki"), verify_certificate_spki),
        suppress_ca_list: *suppress_client_ca_list,
        domains,
    })
}

/// `envoy.tls.cert_validator.spiffe`: who is trusted, by trust domain; `None` after an error.
fn spiffe(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &core::TypedExtensionConfig,
) -> Option<Vec<(Box<str>, Source)>> {
    const TYPE: &str = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
    let any = config.typed_config.as_ref();
    let Some(any) = any.filter(|any| type_name(&any.type_url) == TYPE) else {
        extension(cx, at, config);
        return None;
    };
    let at = at.field("typed_config");
    let api::SpiffeCertValidatorConfig { trust_domains, trust_bundles } = cx.unpack(&at, any)?;
    refuse!(cx, &at, trust_bundles);
    let at = at.field("trust_domains");
    if trust_domains.is_empty() {
        cx.invalid(&at, "a trust domain is required");
        return None;
    }
    let mut out: Vec<(Box<str>, Source)> = Vec::with_capacity(trust_domains.len());
    for (index, domain) in trust_domains.iter().enumerate() {
        let at = at.index(index);
        let api::spiffe_cert_validator_config::TrustDomain {
            name,
            trust_bundle,
            workload_trust_domain,
        } = domain;
        refuse!(cx, &at, workload_trust_domain);
        if out.iter().any(|(known, _)| **known == **name) {
            let message =
                format!("Multiple trust bundles are given for one trust domain for {name}");
            cx.invalid(&at.field("name"), message);
        }
        let bundle_at = at.field("trust_bundle");
        let Some(bundle) = trust_bundle else {
            cx.invalid(&bundle_at, "a trust bundle is required");
            return None;
        };
        out.push((Box::from(name.as_str()), source(cx, &bundle_at, bundle)?));
    }
    Some(out)
}

fn typed_sans(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::SubjectAltNameMatcher]) -> Vec<SanMatch> {
    use api::subject_alt_name_matcher::SanType;
    let mut out = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let at = at.index(index);
        let api::SubjectAltNameMatcher { san_type, matcher, oid } = entry;
        let kind = match SanType::try_from(*san_type) {
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::Email) => SanKind::Email,
            Ok(SanType::IpAddress) => SanKind::Ip,
            Ok(SanType::OtherName) if oid.is_empty() => {
                cx.invalid(&at.field("oid"), "OTHER_NAME requires an OID");
                continue;
            }
            Ok(SanType::OtherName) => SanKind::Other(oid.as_str().into()),
            // The schema lets no other value through.
            Ok(SanType::Unspecified) | Err(_) => continue,
        };
        let Some(matcher) = matcher else { continue };
        let matcher = string_match(cx, &at.field("matcher"), matcher);
        out.extend(matcher.map(|matcher| SanMatch { kind, matcher }));
    }
    out
}

/// Matchers without a type look at names of four types.
fn untyped_sans(cx: &mut Cx<'_>, at: &At<'_>, list: &[matcher::StringMatcher]) -> Vec<SanMatch> {
    let mut out = Vec::new();
    for (index, matcher) in list.iter().enumerate() {
        let Some(matcher) = string_match(cx, &at.index(index), matcher) else { continue };
        for kind in [SanKind::Dns, SanKind::Uri, SanKind::Email, SanKind::Ip] {
            out.push(SanMatch { kind, matcher: matcher.clone() });
        }
    }
    out
}

/// SHA-256 in hex, colons allowed.
fn hashes(cx: &mut Cx<'_>, at: &At<'_>, list: &[String]) -> Vec<[u8; 32]> {
    let mut out = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let digits = text.replace(':', "");
        match hex(&digits).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(hash) => out.push(hash),
            None => {
                let message = format!("Invalid hex-encoded SHA-256 {text}");
                cx.invalid_allowed(&at.index(index), message, "64 hex digits");
            }
        }
    }
    out
}

/// SHA-256 in base64.
fn spkis(cx: &mut Cx<'_>, at: &At<'_>, list: &[String]) -> Vec<[u8; 32]> {
    let mut out = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match unbase64(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(hash) => out.push(hash),
            None => {
                let message = format!("Invalid base64-encoded SHA-256 {text}");
                cx.invalid_allowed(&at.index(index), message, "32 bytes in base64");
            }
        }
    }
    out
}

/// Without padding inside, and with any bits behind the last byte, unlike what is read elsewhere.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in body.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}
