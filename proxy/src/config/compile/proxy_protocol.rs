//! `ProxyProtocolUpstreamTransport`, and TLVs wherever they are configured.

use ringway_wire::proxy_protocol::Version;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::transport_sockets::proxy_protocol::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::type_name;
use crate::plan::transport::{PassTlvs, ProxyProtocol, Tlv};

const TYPE: &str =
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

/// Takes the wrapper off a cluster's transport socket, if there is one, and compiles what is in it.
pub(super) fn compile<T>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&core::TransportSocket>,
    inner: impl FnOnce(&mut Cx<'_>, &At<'_>, Option<&core::TransportSocket>) -> T,
) -> (Option<ProxyProtocol>, T) {
    use core::transport_socket::ConfigType;
    let any = socket.and_then(|socket| match socket.config_type.as_ref()? {
        // What is wrong with it is told by whoever compiles the socket as one without a wrapper.
        ConfigType::TypedConfig(any) => ringway_xds::unpack_typed_struct(any).ok(),
    });
    let Some(any) = any.filter(|any| type_name(&any.type_url) == TYPE) else {
        return (None, inner(cx, at, socket));
    };
    let at = at.field("typed_config");
    let config = cx.unpack::<api::ProxyProtocolUpstreamTransport>(&at, &any).unwrap_or_default();
    let api::ProxyProtocolUpstreamTransport {
        config,
        transport_socket,
        // Where the addresses are not known the header says so by itself.
        allow_unspecified_address: _,
        // The whole header is part of what a pool is found by, so this is always so.
        tlv_as_pool_key: _,
    } = config;
    let config = config.unwrap_or_default();
    let core::ProxyProtocolConfig { version, pass_through_tlvs, added_tlvs } = &config;
    let config_at = at.field("config");
    use core::proxy_protocol_config::Version as ApiVersion;
    let version = match ApiVersion::try_from(*version) {
        Ok(ApiVersion::V1) | Err(_) => Version::V1,
        Ok(ApiVersion::V2) => Version::V2,
    };
    let header = ProxyProtocol {
        version,
        pass: pass_tlvs(pass_through_tlvs.as_ref()),
        added: tlvs(cx, &config_at.field("added_tlvs"), added_tlvs),
    };
    let inner = inner(cx, &at.field("transport_socket"), transport_socket.as_ref());
    (Some(header), inner)
}

/// `pass_through_tlvs`.
fn pass_tlvs(config: Option<&core::ProxyProtocolPassThroughTlVs>) -> PassTlvs {
    use core::proxy_protocol_pass_through_tl_vs::PassTlVsMatchType;
    let Some(config) = config else { return PassTlvs::None };
    let core::ProxyProtocolPassThroughTlVs { match_type, tlv_type } = config;
    match PassTlVsMatchType::try_from(*match_type) {
        Ok(PassTlVsMatchType::IncludeAll) => PassTlvs::All,
        Ok(PassTlVsMatchType::Include) | Err(_) => {
            PassTlvs::Types(tlv_type.iter().filter_map(|kind| u8::try_from(*kind).ok()).collect())
        }
    }
}

/// A list of TLVs with fixed values.
pub(super) fn tlvs(cx: &mut Cx<'_>, at: &At<'_>, list: &[core::TlvEntry]) -> Vec<Tlv> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, entry)| tlv(cx, &at.index(index), entry)).collect()
}

fn tlv(cx: &mut Cx<'_>, at: &At<'_>, entry: &core::TlvEntry) -> Option<Tlv> {
    let core::TlvEntry { r#type, value, format_string } = entry;
    let message = match (value.is_empty(), format_string) {
        (false, None) => {
            return Some((u8::try_from(*r#type).ok()?, value.clone().into_boxed_slice()));
        }
        (true, Some(_)) => {
            cx.unsupported_allowed(&at.field("format_string"), "format_string", "value");
            return None;
        }
        (false, Some(_)) => {
            "Invalid TLV configuration: only one of 'value' or 'format_string' may be set."
        }
        (true, None) => "Invalid TLV configuration: one of 'value' or 'format_string' must be set.",
    };
    cx.invalid(at, message);
    None
}
