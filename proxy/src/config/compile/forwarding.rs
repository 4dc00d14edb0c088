//! Who the client is and what is told of it: `use_remote_address`, `xff_num_trusted_hops`,
//! `original_ip_detection_extensions`, `internal_address_config`, `forward_client_cert_details`.

use std::net::IpAddr;
use std::sync::Arc;

use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;
use ringway_xds::api::envoy::extensions::http::original_ip_detection::{custom_header, xff};
use ringway_xds::api::envoy::r#type::v3 as types;

use super::address::cidrs;
use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;
use super::set::refuse;
use crate::plan::http::{
    ClientCertMode, ClientCertRules, Forwarding, InternalAddresses, IpDetection,
};

const XFF: &str = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig";
const CUSTOM_HEADER: &str =
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig";

/// Compiles what a connection manager believes of a client's address.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
) -> Forwarding {
    let internal = match &config.internal_address_config {
        // Without the field no address is internal
        // (`envoy.reloadable_features.explicit_internal_address_config`, for good since 1.33).
        None => InternalAddresses::default(),
        Some(api::http_connection_manager::InternalAddressConfig { unix_sockets, cidr_ranges }) => {
            let at = at.field("internal_address_config");
            let cidrs = cidrs(cx, &at.field("cidr_ranges"), cidr_ranges);
            InternalAddresses { unix_sockets: *unix_sockets, cidrs }
        }
    };
    let use_remote_address = config.use_remote_address.unwrap_or_default();
    Forwarding {
        use_remote_address,
        xff_trusted_hops: config.xff_num_trusted_hops,
        skip_xff_append: config.skip_xff_append,
        represent_v4_as_v6: config.represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        detection: detections(cx, at, config, use_remote_address),
        internal,
    }
}

fn detections(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
    use_remote_address: bool,
) -> Vec<IpDetection> {
    let list = &config.original_ip_detection_extensions;
    let at = at.field("original_ip_detection_extensions");
    if !list.is_empty() && use_remote_address {
        let message = "Original IP detection extensions and use_remote_address may not be mixed";
        cx.invalid(&at, message);
    }
    if !list.is_empty() && config.xff_num_trusted_hops > 0 {
        let message = "Original IP detection extensions and xff_num_trusted_hops may not be mixed";
        cx.invalid(&at, message);
    }
    let each = list.iter().enumerate();
    each.filter_map(|(index, extension)| detection(cx, &at.index(index), extension)).collect()
}

fn detection(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    extension: &core::TypedExtensionConfig,
) -> Option<IpDetection> {
    let core::TypedExtensionConfig { name, typed_config } = extension;
    let Some(any) = typed_config else {
        missing_type(cx, at, name);
        return None;
    };
    let at = at.field("typed_config");
    match type_name(&any.type_url) {
        XFF => xff(cx, &at, any),
        CUSTOM_HEADER => {
            let config = cx.unpack::<custom_header::v3::CustomHeaderConfig>(&at, any)?;
            let custom_header::v3::CustomHeaderConfig {
                header_name,
                allow_extension_to_set_address_as_trusted,
                reject_with_status,
            } = config;
            Some(IpDetection::Header {
                name: Arc::from(header_name.to_ascii_lowercase()),
                trusted: allow_extension_to_set_address_as_trusted,
                reject: reject_with_status.map(error_status),
            })
        }
        other => {
            cx.unsupported_allowed(&at, other, &format!("{XFF}, {CUSTOM_HEADER}"));
            None
        }
    }
}

/// Envoy refuses with no status below 400: those become 403.
fn error_status(status: types::HttpStatus) -> u16 {
    let types::HttpStatus { code } = status;
    u16::try_from(code).ok().filter(|code| *code >= 400).unwrap_or(403)
}

fn xff(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<IpDetection> {
    let config = cx.unpack::<xff::v3::XffConfig>(at, any)?;
    let xff::v3::XffConfig { xff_num_trusted_hops, xff_trusted_cidrs, skip_xff_append } = config;
    if xff_trusted_cidrs.is_some() && xff_num_trusted_hops > 0 {
        let message = "Cannot set both xff_num_trusted_hops and xff_trusted_cidrs";
        cx.invalid(&at.field("xff_trusted_cidrs"), message);
    }
    let trusted = xff_trusted_cidrs.map(|xff::v3::XffTrustedCidrs { cidrs: list }| {
        let at = at.field("xff_trusted_cidrs");
        cidrs(cx, &at.field("cidrs"), &list)
    });
    Some(IpDetection::Xff {
        hops: xff_num_trusted_hops,
        trusted: trusted.filter(|list: &Vec<(IpAddr, u8)>| !list.is_empty()),
        append: !skip_xff_append.unwrap_or(true),
    })
}

/// Compiles what becomes of `x-forwarded-client-cert`.
pub(crate) fn client_cert(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
) -> ClientCertRules {
    use api::http_connection_manager::ForwardClientCertDetails as Mode;
    let details = config.set_current_client_cert_details.unwrap_or_default();
    let api::http_connection_manager::SetCurrentClientCertDetails {
        subject,
        cert,
        chain,
        dns,
        uri,
        issuer,
        format,
    } = details;
    refuse!(cx, &at.field("set_current_client_cert_details"), issuer, format);
    let mode = match Mode::try_from(config.forward_client_cert_details) {
        Ok(Mode::ForwardOnly) => ClientCertMode::ForwardOnly,
        Ok(Mode::AppendForward) => ClientCertMode::AppendForward,
        Ok(Mode::SanitizeSet) => ClientCertMode::SanitizeSet,
        Ok(Mode::AlwaysForwardOnly) => ClientCertMode::AlwaysForwardOnly,
        Ok(Mode::Sanitize) | Err(_) => ClientCertMode::Sanitize,
    };
    ClientCertRules { mode, subject: subject.unwrap_or_default(), cert, chain, dns, uri }
}
