//! Addresses, socket options, keep-alive, CIDR ranges.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ringway_xds::api::envoy::config::core::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::set::refuse;
use crate::plan::{Address, SocketOption, TcpKeepalive};

/// `SOL_SOCKET` and friends fit; Envoy's fields are 64 bits wide.
fn narrow(cx: &mut Cx<'_>, at: &At<'_>, value: i64) -> i32 {
    i32::try_from(value).unwrap_or_else(|_| {
        cx.invalid_allowed(at, format!("{value} is out of range"), "a 32-bit integer");
        0
    })
}

/// An address that must be an IP address or a pipe, as those of listeners and STATIC hosts.
pub(crate) fn address(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::Address>,
) -> Option<Address> {
    match value.and_then(|value| value.address.as_ref()) {
        Some(api::address::Address::SocketAddress(value)) => {
            socket_address(cx, &at.field("socket_address"), value).map(Address::Ip)
        }
        Some(api::address::Address::Pipe(value)) => pipe(cx, &at.field("pipe"), value),
        Some(api::address::Address::EnvoyInternalAddress(_)) => {
            cx.unsupported(&at.field("envoy_internal_address"));
            None
        }
        None => {
            cx.invalid_allowed(at, "an address is required", "socket_address, pipe");
            None
        }
    }
}

/// As [`address`], or an internal listener, as those of hosts.
pub(crate) fn host_address(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::Address>,
) -> Option<Address> {
    use api::envoy_internal_address::AddressNameSpecifier as Name;
    let Some(api::address::Address::EnvoyInternalAddress(internal)) =
        value.and_then(|value| value.address.as_ref())
    else {
        return address(cx, at, value);
    };
    let api::EnvoyInternalAddress { endpoint_id, address_name_specifier } = internal;
    let at = at.field("envoy_internal_address");
    let Some(Name::ServerListenerName(listener)) = address_name_specifier else {
        cx.invalid_allowed(&at, "value is required", "server_listener_name");
        return None;
    };
    Some(Address::Internal {
        listener: Arc::from(listener.as_str()),
        endpoint: Arc::from(endpoint_id.as_str()),
    })
}

/// Does a listener at this address take IPv4 connections on its IPv6 socket?
pub(crate) fn ipv4_compat(value: Option<&api::Address>) -> bool {
    match value.and_then(|value| value.address.as_ref()) {
        Some(api::address::Address::SocketAddress(value)) => value.ipv4_compat,
        _ => false,
    }
}

/// As [`ipv4_compat`], of a listener: only where the socket can take them.
pub(crate) fn checked_ipv4_compat(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::Address>,
    compiled: Option<&Address>,
) -> bool {
    let asked = ipv4_compat(value);
    if let (true, Some(Address::Ip(address))) = (asked, compiled) {
        let can = match address.ip() {
            IpAddr::V6(ip) => ip.is_unspecified() || ip.to_ipv4_mapped().is_some(),
            IpAddr::V4(_) => false,
        };
        if !can {
            let message = format!(
                "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: \
                 {address}"
            );
            let at = at.field("socket_address");
            cx.invalid_allowed(&at.field("ipv4_compat"), message, "false, or address: '::'");
        }
    }
    asked
}

fn pipe(cx: &mut Cx<'_>, at: &At<'_>, value: &api::Pipe) -> Option<Address> {
    let api::Pipe { path, mode } = value;
    // sun_path takes 108 bytes with the zero at its end.
    let limit = if path.starts_with('@') { 108 } else { 107 };
    if path.len() > limit {
        let message =
            format!("path \"{path}\" exceeds maximum UNIX domain socket path size of 108");
        cx.invalid_allowed(&at.field("path"), message, format!("at most {limit} bytes"));
        return None;
    }
    if path.starts_with('@') && *mode != 0 {
        cx.invalid(&at.field("mode"), "cannot set mode for abstract AF_UNIX sockets");
        return None;
    }
    Some(Address::Pipe { path: PathBuf::from(path), mode: *mode })
}

/// An IP address with a port.
pub(crate) fn socket_address(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &api::SocketAddress,
) -> Option<SocketAddr> {
    let (host, port) = host_and_port(cx, at, value)?;
    match host.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => {
            let message = format!(
                "malformed IP address: {host}. Consider setting resolver_name or setting cluster \
                 type to 'STRICT_DNS' or 'LOGICAL_DNS'"
            );
            cx.invalid_allowed(&at.field("address"), message, "an IPv4 or IPv6 address");
            None
        }
    }
}

/// Host and port as written.
pub(crate) fn host_and_port<'v>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &'v api::SocketAddress,
) -> Option<(&'v str, u16)> {
    use api::socket_address::{PortSpecifier, Protocol};
    let api::SocketAddress {
        protocol,
        address,
        resolver_name,
        // Of listening sockets only: see `ipv4_compat`.
        ipv4_compat: _,
        network_namespace_filepath,
        port_specifier,
    } = value;
    refuse!(cx, at, network_namespace_filepath, resolver_name);
    if !network_namespace_filepath.is_empty() {
        return None;
    }
    if *protocol == Protocol::Udp as i32 {
        cx.unsupported_allowed(&at.field("protocol"), "UDP", "TCP");
        return None;
    }
    let port = match port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(*port).ok(),
        Some(PortSpecifier::NamedPort(name)) => {
            let what = format!("a port by its name ('{name}')");
            cx.unsupported_allowed(&at.field("named_port"), &what, "port_value");
            return None;
        }
        None => {
            cx.invalid(at, "a port is required");
            return None;
        }
    };
    let Some(port) = port else {
        cx.invalid_allowed(&at.field("port_value"), "not a port", "0 to 65535");
        return None;
    };
    Some((address.as_str(), port))
}

/// A list of socket options, applied in the state they ask for.
pub(crate) fn socket_options(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::SocketOption],
) -> Vec<SocketOption> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, option)| socket_option(cx, &at.index(index), option)).collect()
}

fn socket_option(cx: &mut Cx<'_>, at: &At<'_>, option: &api::SocketOption) -> Option<SocketOption> {
    use api::socket_option::{SocketState, Value};
    let api::SocketOption {
        // For people.
        description: _,
        level,
        name,
        state,
        r#type: kind,
        ip_version,
        value,
    } = option;
    refuse!(cx, at, ip_version);
    if kind.as_ref().is_some_and(|kind| kind.datagram.is_some()) {
        cx.unsupported(&at.field("type"));
    }
    // Envoy sets an option once, in one of three states. Options are set before the socket is bound
    // here; only those that must wait would notice.
    if *state != SocketState::StatePrebind as i32 {
        cx.unsupported_allowed(&at.field("state"), "a state after binding", "STATE_PREBIND");
    }
    let level = narrow(cx, &at.field("level"), *level);
    let name = narrow(cx, &at.field("name"), *name);
    let value = match value {
        Some(Value::IntValue(value)) => {
            narrow(cx, &at.field("int_value"), *value).to_ne_bytes().to_vec()
        }
        Some(Value::BufValue(bytes)) => bytes.clone(),
        None => {
            cx.invalid_allowed(at, "a value is required", "int_value, buf_value");
            return None;
        }
    };
    Some(SocketOption { level, name, value })
}

/// `TcpKeepalive`; zeros leave the kernel's default, as in Envoy.
pub(crate) fn keepalive(value: Option<&api::TcpKeepalive>) -> Option<TcpKeepalive> {
    let api::TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval } = value?;
    Some(TcpKeepalive {
        probes: keepalive_probes.filter(|n| *n > 0),
        time_s: keepalive_time.filter(|n| *n > 0),
        interval_s: keepalive_interval.filter(|n| *n > 0),
    })
}

/// A list of CIDR ranges as (network, prefix length).
pub(crate) fn cidrs(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::CidrRange]) -> Vec<(IpAddr, u8)> {
    let mut out = Vec::with_capacity(list.len());
    for (index, range) in list.iter().enumerate() {
        let api::CidrRange { address_prefix, prefix_len } = range;
        let at = at.index(index);
        let Ok(ip) = address_prefix.parse::<IpAddr>() else {
            let message = format!("malformed IP address: {address_prefix}");
            cx.invalid_allowed(&at.field("address_prefix"), message, "an IPv4 or IPv6 address");
            continue;
        };
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        // A longer prefix counts as a full one, as in Envoy.
        let len = prefix_len.unwrap_or(0).min(bits);
        out.push((ip, u8::try_from(len).unwrap_or(u8::MAX)));
    }
    out
}
