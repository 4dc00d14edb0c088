//! `TlsParameters`.

use std::sync::Arc;

use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;
use rustls::crypto::SupportedKxGroup;
use rustls::{SignatureScheme, SupportedCipherSuite};

use super::Role;
use crate::config::compile::at::At;
use crate::config::compile::cx::Cx;
use crate::config::compile::set::refuse;
use crate::plan::tls::Params;
use crate::plan::tls::names::{self, Named};

/// What is supported of versions, for messages.
const VERSIONS: &str = "TLSv1_2, TLSv1_3";

/// Compiles the parameters; `None` after an error.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    params: Option<&api::TlsParameters>,
    role: Role,
) -> Option<Arc<Params>> {
    if let Some(known) = cx.secrets.params(role, params) {
        return Some(known);
    }
    let before = cx.finding_count();
    let compiled = compile_new(cx, at, params, role).map(Arc::new)?;
    if cx.finding_count() == before {
        cx.secrets.keep_params(role, params, &compiled);
    }
    Some(compiled)
}

fn compile_new(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    params: Option<&api::TlsParameters>,
    role: Role,
) -> Option<Params> {
    let empty = api::TlsParameters::default();
    let api::TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = params.unwrap_or(&empty);
    refuse!(cx, at, compliance_policies);
    let range = (*tls_minimum_protocol_version, *tls_maximum_protocol_version);
    let (tls12, tls13) = versions(cx, at, range, role)?;
    let mut suites = suites(cx, &at.field("cipher_suites"), cipher_suites)?;
    suites.splice(0..0, names::TLS13);
    let groups = groups(cx, &at.field("ecdh_curves"), ecdh_curves)?;
    let schemes = schemes(cx, &at.field("signature_algorithms"), signature_algorithms)?;
    let params = Params::new((tls12, tls13), suites, groups, schemes);
    cx.ok(at, params)
}

/// Whether TLS 1.2 and TLS 1.3 are spoken. Servers offer both by default, clients TLS 1.2 only.
fn versions(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    (min, max): (i32, i32),
    role: Role,
) -> Option<(bool, bool)> {
    use api::tls_parameters::TlsProtocol as Version;
    let default = if role == Role::Server { Version::TlSv13 } else { Version::TlSv12 };
    let version = |value: i32| Version::try_from(value).unwrap_or(Version::TlsAuto);
    let min_version = match version(min) {
        Version::TlsAuto => Version::TlSv12,
        other => other,
    };
    let max_version = match version(max) {
        Version::TlsAuto => default,
        other => other,
    };
    if min_version as i32 > max_version as i32 {
        // BoringSSL then has no version at all, which Envoy finds out with the first connection.
        let message = format!(
            "the minimum, {}, is above the maximum, {}",
            min_version.as_str_name(),
            max_version.as_str_name()
        );
        cx.invalid(&at.field("tls_minimum_protocol_version"), message);
        return None;
    }
    let spoken = |one: Version| (min_version as i32..=max_version as i32).contains(&(one as i32));
    let (tls12, tls13) = (spoken(Version::TlSv12), spoken(Version::TlSv13));
    if !tls12 && !tls13 {
        let what = format!("a connection of at most {}", max_version.as_str_name());
        let at = at.field("tls_maximum_protocol_version");
        cx.unsupported_allowed(&at, &what, VERSIONS);
        return None;
    }
    if (min_version as i32) < Version::TlSv12 as i32 {
        let message = format!(
            "{} and what comes before TLS 1.2 is not spoken: peers need TLS 1.2 or 1.3",
            min_version.as_str_name()
        );
        cx.warn(&at.field("tls_minimum_protocol_version"), message);
    }
    Some((tls12, tls13))
}

/// A list of suites of TLS 1.2: names, or groups `[a|b]` of equal rank, of which the order counts
/// here as well.
fn suites(cx: &mut Cx<'_>, at: &At<'_>, list: &[String]) -> Option<Vec<SupportedCipherSuite>> {
    if list.is_empty() {
        return Some(names::tls12_default());
    }
    let mut out = Vec::new();
    let mut left_out = Vec::new();
    let mut wrong = Vec::new();
    let all = list.iter().flat_map(|entry| entry.split(':'));
    for name in all.flat_map(|entry| entry.trim_matches(['[', ']']).split('|')) {
        match names::tls12_suite(name) {
            Some(Named::Suite(suite)) if !out.contains(&suite) => out.push(suite),
            Some(Named::Suite(_)) => {}
            Some(Named::NotHere) => left_out.push(name),
            None => wrong.push(name),
        }
    }
    let known = names::tls12_names().collect::<Vec<_>>().join(", ");
    if !wrong.is_empty() {
        let message = format!("Failed to initialize cipher suites: unknown {}", wrong.join(", "));
        cx.invalid_allowed(at, message, known);
        return None;
    }
    if out.is_empty() {
        let what = format!("a list of {} only", left_out.join(", "));
        cx.unsupported_allowed(at, &what, &known);
        return None;
    }
    if !left_out.is_empty() {
        let message = format!(
            "{}: left out, as there is neither CBC nor key exchange by RSA here; peers that know \
             no other suite cannot connect",
            left_out.join(", ")
        );
        cx.warn(at, message);
    }
    Some(out)
}

fn groups(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[String],
) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    // What Envoy 1.40 offers and takes, the hybrid with a post-quantum part before all.
    let default = ["X25519MLKEM768", "X25519", "P-256"].map(str::to_owned);
    let list = if list.is_empty() { &default[..] } else { list };
    let mut out = Vec::new();
    for name in list.iter().flat_map(|entry| entry.split(':')) {
        match (names::group(name), name) {
            (Some(group), _) => out.push(group),
            (None, "P-521" | "secp521r1" | "P-224" | "X25519Kyber768Draft00") => {
                cx.unsupported_allowed(at, name, &names::GROUPS.join(", "));
                return None;
            }
            (None, _) => {
                let message = format!("Failed to initialize ECDH curves {}", list.join(":"));
                cx.invalid_allowed(at, message, names::GROUPS.join(", "));
                return None;
            }
        }
    }
    Some(out)
}

fn schemes(cx: &mut Cx<'_>, at: &At<'_>, list: &[String]) -> Option<Arc<[SignatureScheme]>> {
    if list.is_empty() {
        return Some(names::default_schemes().into());
    }
    let mut out = Vec::new();
    for name in list.iter().flat_map(|entry| entry.split(':')) {
        match names::scheme(name) {
            Some(Some(scheme)) => out.push(scheme),
            Some(None) => cx.warn(at, format!("{name}: left out, as there is no SHA-1 here")),
            None => {
                let message =
                    format!("Failed to initialize TLS signature algorithms {}", list.join(":"));
                cx.invalid_allowed(
                    at,
                    message,
                    names::scheme_names().collect::<Vec<_>>().join(", "),
                );
                return None;
            }
        }
    }
    if out.is_empty() {
        let allowed = names::scheme_names().collect::<Vec<_>>().join(", ");
        cx.unsupported_allowed(at, "a list of SHA-1 signatures only", &allowed);
        return None;
    }
    Some(out.into())
}
