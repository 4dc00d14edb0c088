//! `transport_socket` and `transport_socket_matches`: which of a cluster's sockets is for a host.

use prost_types::value::Kind;
use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;

use super::at::At;
use super::cx::Cx;
use super::scalar::type_name;
use super::{proxy_protocol, transport, upstream_http};
use crate::plan::metadata::{Map, Value};
use crate::plan::transport::{Internal, SocketIndex, SocketMatch, Sockets, UpstreamSocket};

/// What of a host's metadata is looked at.
const KEY: &str = "envoy.transport_socket_match";
/// Matches of a cluster: more than anybody has, and few enough to count.
const MATCHES_MAX: usize = 1024;

/// Compiles the transport sockets of a cluster.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    stat_name: &str,
) -> Sockets {
    let scope = format!("cluster.{stat_name}.");
    let auto = upstream_http::auto_names(cx, at, cluster);
    let socket = |cx: &mut Cx<'_>, at: &At<'_>, socket: Option<&core::TransportSocket>| {
        let at = at.field("transport_socket");
        let (proxy_protocol, (transport, passes_destination)) =
            proxy_protocol::compile(cx, &at, socket, |cx, at, inner| {
                transport::upstream(cx, at, inner, &scope, &auto)
            });
        let internal = Internal { passes_destination, buffer: cx.kept.internal_buffer };
        UpstreamSocket { proxy_protocol: proxy_protocol.map(Box::new), transport, internal }
    };
    let default = socket(cx, at, cluster.transport_socket.as_ref());
    let list = &cluster.transport_socket_matches;
    let at = at.field("transport_socket_matches");
    if list.len() > MATCHES_MAX {
        let message = format!("{} matches", list.len());
        cx.unsupported_allowed(&at, &message, &format!("at most {MATCHES_MAX}"));
        return Sockets::default();
    }
    let mut matches = Vec::with_capacity(list.len());
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        let api::cluster::TransportSocketMatch { name, r#match, transport_socket } = one;
        matches.push(SocketMatch {
            criteria: r#match.as_ref().map(map).unwrap_or_default(),
            socket: socket(cx, &at, transport_socket.as_ref()),
            matched: cx.registry.counter(&format!("{scope}{name}.total_match_count")),
        });
    }
    let mut sockets = Sockets { default, matches: matches.into(), bare: SocketIndex::DEFAULT };
    sockets.bare = resolve(&sockets, None, None);
    sockets
}

/// Whether protocols can be negotiated on a socket.
pub(super) fn may_negotiate(socket: Option<&core::TransportSocket>) -> bool {
    use core::transport_socket::ConfigType;
    match socket.and_then(|socket| socket.config_type.as_ref()) {
        // One that cannot be unpacked is refused elsewhere.
        Some(ConfigType::TypedConfig(any)) => ringway_xds::unpack_typed_struct(any)
            .is_ok_and(|any| type_name(&any.type_url) != transport::RAW),
        None => false,
    }
}

/// The socket of a host: the first match that its own metadata fulfils, else the first that the
/// metadata of its locality does, else `transport_socket`.
pub(super) fn resolve(
    sockets: &Sockets,
    endpoint: Option<&core::Metadata>,
    locality: Option<&core::Metadata>,
) -> SocketIndex {
    if sockets.matches.is_empty() {
        return SocketIndex::DEFAULT;
    }
    let of = |metadata: Option<&core::Metadata>| {
        let asked = metadata.and_then(|metadata| metadata.filter_metadata.get(KEY));
        first(sockets, asked)
    };
    of(endpoint).or_else(|| of(locality)).unwrap_or(SocketIndex::DEFAULT)
}

/// As [`resolve`], for a health check with criteria of its own.
pub(super) fn resolve_criteria(sockets: &Sockets, criteria: &prost_types::Struct) -> SocketIndex {
    first(sockets, Some(criteria)).unwrap_or(SocketIndex::DEFAULT)
}

fn first(sockets: &Sockets, asked: Option<&prost_types::Struct>) -> Option<SocketIndex> {
    let found = sockets.matches.iter().position(|one| holds(asked, &one.criteria));
    found.map(SocketIndex::of_match)
}

/// Whether a host has every value of the criteria; it may have others. Without metadata it has
/// those of a match that asks for none.
fn holds(asked: Option<&prost_types::Struct>, criteria: &Map) -> bool {
    let has = |name: &str, wanted: &Value| {
        let value = asked.and_then(|asked| asked.fields.get(name));
        value.is_some_and(|value| equals(wanted, value))
    };
    criteria.iter().all(|(name, wanted)| has(name, wanted))
}

/// Whether two values are the same, all the way down.
fn equals(wanted: &Value, value: &prost_types::Value) -> bool {
    match (wanted, &value.kind) {
        (Value::Null, Some(Kind::NullValue(_))) => true,
        (Value::Bool(a), Some(Kind::BoolValue(b))) => a == b,
        (Value::Number(a), Some(Kind::NumberValue(b))) => a == b,
        (Value::Text(a), Some(Kind::StringValue(b))) => **a == **b,
        (Value::List(a), Some(Kind::ListValue(b))) => {
            a.len() == b.values.len() && a.iter().zip(&b.values).all(|(a, b)| equals(a, b))
        }
        (Value::Map(a), Some(Kind::StructValue(b))) => {
            a.len() == b.fields.len()
                && a.iter()
                    .zip(&b.fields)
                    .all(|((name, a), (other, b))| **name == **other && equals(a, b))
        }
        _ => false,
    }
}

fn map(fields: &prost_types::Struct) -> Map {
    fields.fields.iter().map(|(name, field)| (Box::from(name.as_str()), value(field))).collect()
}

fn value(field: &prost_types::Value) -> Value {
    match &field.kind {
        // A value of no kind is none that a field rule lets through.
        Some(Kind::NullValue(_)) | None => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::NumberValue(number)) => Value::Number(*number),
        Some(Kind::StringValue(text)) => Value::Text(Box::from(text.as_str())),
        Some(Kind::ListValue(list)) => Value::List(list.values.iter().map(value).collect()),
        Some(Kind::StructValue(fields)) => Value::Map(map(fields)),
    }
}

#[cfg(test)]
mod tests;
