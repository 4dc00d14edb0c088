//! Transport sockets.

use std::borrow::Cow;

use ringway_xds::api::envoy::config::core::v3 as api;
use ringway_xds::api::envoy::extensions::transport_sockets::internal_upstream::v3::{
    InternalUpstreamTransport, internal_upstream_transport,
};
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as tls_api;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;
use super::{istio, tls};
use crate::plan::tls::AutoNames;
use crate::plan::transport::{Downstream, Upstream};

pub(super) const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const INTERNAL: &str =
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// A filter chain's transport socket. `scope` is the prefix of its statistics:
/// `listener.<address>.`.
pub(crate) fn downstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&api::TransportSocket>,
    scope: &str,
) -> Downstream {
    let Some(any) = config(cx, at, socket) else { return Downstream::Raw };
    let at = at.field("typed_config");
    match type_name(&any.type_url) {
        RAW => Downstream::Raw,
        DOWNSTREAM_TLS => {
            let context = cx.unpack::<tls_api::DownstreamTlsContext>(&at, &any);
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

/// A cluster's transport socket, and whether an internal listener behind it is told of the
/// destination that a host's metadata has. `scope` is the prefix of its statistics:
/// `cluster.<name>.`; `auto` says which names follow requests.
pub(crate) fn upstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&api::TransportSocket>,
    scope: &str,
    auto: &AutoNames,
) -> (Upstream, bool) {
    let Some(any) = config(cx, at, socket) else { return (Upstream::Raw, false) };
    let at = at.field("typed_config");
    let transport = match type_name(&any.type_url) {
        RAW => Upstream::Raw,
        UPSTREAM_TLS => {
            let context = cx.unpack::<tls_api::UpstreamTlsContext>(&at, &any);
            let context = context.and_then(|context| tls::client(cx, &at, &context, scope, auto));
            context.map_or(Upstream::Raw, Upstream::Tls)
        }
        INTERNAL => return internal(cx, &at, &any, scope, auto),
        other => {
            let allowed = format!("{RAW}, {UPSTREAM_TLS}, {INTERNAL}");
            cx.unsupported_allowed(&at, other, &allowed);
            Upstream::Raw
        }
    };
    (transport, false)
}

/// `internal_upstream`: what is inside; and metadata that goes along, of which only what the
/// original_dst filter reads of hosts has a reader.
fn internal(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    any: &prost_types::Any,
    scope: &str,
    auto: &AutoNames,
) -> (Upstream, bool) {
    use internal_upstream_transport::MetadataValueSource;
    use ringway_xds::api::envoy::r#type::metadata::v3::metadata_kind::Kind;
    const READ: [&str; 2] = [istio::ORIGINAL_DST, istio::KEY];
    let Some(config) = cx.unpack::<InternalUpstreamTransport>(at, any) else {
        return (Upstream::Raw, false);
    };
    let mut passes = false;
    let InternalUpstreamTransport { passthrough_metadata, transport_socket } = config;
    for (index, source) in passthrough_metadata.iter().enumerate() {
        let MetadataValueSource { kind, name } = source;
        let at = at.field("passthrough_metadata");
        let at = at.index(index);
        let kind = kind.as_ref().and_then(|kind| kind.kind.as_ref());
        match (name.as_str(), kind) {
            (istio::ORIGINAL_DST, Some(Kind::Host(_))) => passes = true,
            (istio::ORIGINAL_DST, Some(Kind::Cluster(_))) => {
                cx.unsupported_allowed(&at.field("kind"), "cluster metadata", "host");
            }
            // Istio sends it always.
            (istio::KEY, Some(Kind::Host(_) | Kind::Cluster(_))) => {
                cx.warn(&at, "nothing reads this metadata behind an internal listener");
            }
            (_, Some(Kind::Host(_) | Kind::Cluster(_))) => {
                cx.unsupported_allowed(&at.field("name"), name, &READ.join(", "));
            }
            _ => {
                cx.unsupported_allowed(&at.field("kind"), "this kind of metadata", "host, cluster");
            }
        }
    }
    let at = at.field("transport_socket");
    // What is inside leads there only if it is one of these itself.
    let (transport, inner) = upstream(cx, &at, transport_socket.as_ref(), scope, auto);
    (transport, passes || inner)
}

/// The configuration of a socket; nothing where there is none.
fn config<'a>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    socket: Option<&'a api::TransportSocket>,
) -> Option<Cow<'a, prost_types::Any>> {
    let api::TransportSocket { name, config_type } = socket?;
    let Some(api::transport_socket::ConfigType::TypedConfig(any)) = config_type else {
        missing_type(cx, at, name);
        return None;
    };
    cx.typed(&at.field("typed_config"), any)
}
