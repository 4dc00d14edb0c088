//! Transport sockets.

use ringway_xds::api::envoy::config::core::v3 as api;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as tls_api;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;
use super::tls;
use crate::plan::tls::AutoNames;
use crate::plan::transport::{Downstream, Upstream};

pub(super) const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// A filter chain's transport socket. `scope` is the prefix of its statistics:
/// `listener.<address>.`.
pub(crate) fn downstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&api::TransportSocket>,
    scope: &str,
) -> Downstream {
    let Some((any, type_name)) = config(cx, at, socket) else { return Downstream::Raw };
    let at = at.field("typed_config");
    match type_name {
        RAW => Downstream::Raw,
        DOWNSTREAM_TLS => {
            let context = cx.unpack::<tls_api::DownstreamTlsContext>(&at, any);
            let context = context.and_then(|context| tls::server(cx, &at, &context, scope));
            context.map_or(Downstream::Raw, Downstream::Tls)
        }
        other => {
            let allowed = format!("{RAW}, {DOWNSTREAM_TLS}");
            cx.unsupported_allowed(&at, other, &allowed);
            Downstream::Raw
        }
    }
}

/// A cluster's transport socket. `scope` is the prefix of its statistics: `cluster.<name>.`;
/// `auto` says which names follow requests.
pub(crate) fn upstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&api::TransportSocket>,
    scope: &str,
    auto: &AutoNames,
) -> Upstream {
    let Some((any, type_name)) = config(cx, at, socket) else { return Upstream::Raw };
    let at = at.field("typed_config");
    match type_name {
        RAW => Upstream::Raw,
        UPSTREAM_TLS => {
            let context = cx.unpack::<tls_api::UpstreamTlsContext>(&at, any);
            let context = context.and_then(|context| tls::client(cx, &at, &context, scope, auto));
            context.map_or(Upstream::Raw, Upstream::Tls)
        }
        other => {
            let allowed = format!("{RAW}, {UPSTREAM_TLS}");
            cx.unsupported_allowed(&at, other, &allowed);
            Upstream::Raw
        }
    }
}

/// The configuration of a socket and its type; nothing where there is none.
fn config<'a>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&'a api::TransportSocket>,
) -> Option<(&'a prost_types::Any, &'a str)> {
    let api::TransportSocket { name, config_type } = socket?;
    let Some(api::transport_socket::ConfigType::TypedConfig(any)) = config_type else {
        missing_type(cx, at, name);
        return None;
    };
    Some((any, type_name(&any.type_url)))
}
