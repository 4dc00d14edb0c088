//! Transport sockets: plain text, so far.

use ringway_xds::api::envoy::config::core::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;

/// Takes `raw_buffer` or nothing.
pub(crate) fn raw_only(cx: &mut Cx<'_>, at: &At<'_>, socket: Option<&api::TransportSocket>) {
    const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let Some(api::TransportSocket { name, config_type }) = socket else { return };
    match config_type {
        Some(api::transport_socket::ConfigType::TypedConfig(any)) => {
            let found = type_name(&any.type_url);
            if found != RAW {
                cx.unsupported_allowed(&at.field("typed_config"), found, RAW);
            }
        }
        None => missing_type(cx, at, name),
    }
}
