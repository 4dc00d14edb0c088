//! Paths, queries, hosts and networks.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::context::LogContext;
use super::eval::{Kind, bytes};
use super::op::PathSource;
use super::write::Text;

/// The part of a path before `?`.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|&b| b == b'?').next().unwrap_or(path)
}

pub(super) fn write_path(
    ctx: &LogContext<'_>,
    source: PathSource,
    query: bool,
    out: &mut Vec<u8>,
) -> Kind {
    let path = choose(ctx, source, "x-envoy-original-path", ":path");
    bytes(path.map(|p| if query { p } else { without_query(p) }), out)
}

/// The first query parameter of this name, decoded.
pub(super) fn write_param(ctx: &LogContext<'_>, name: &str, out: &mut Vec<u8>) -> Kind {
    let Some(query) = query(ctx) else { return Kind::Absent };
    for pair in query.split(|&b| b == b'&') {
        let (key, value) = split_at_byte(pair, b'=');
        if decoded_eq(key, name.as_bytes()) {
            decode(value, out);
            return Kind::Text;
        }
    }
    Kind::Absent
}

pub(super) fn write_params(ctx: &LogContext<'_>, decoded: bool, out: &mut Vec<u8>) -> Kind {
    let Some(query) = query(ctx) else { return Kind::Absent };
    if decoded {
        decode_visible(query, out);
    } else {
        out.extend_from_slice(query);
    }
    Kind::Text
}

/// The host a client asked for.
pub(super) fn host<'a>(ctx: &LogContext<'a>, source: PathSource) -> Option<&'a [u8]> {
    choose(ctx, source, "x-envoy-original-host", ":authority")
}

/// A host without `:port`; brackets of an IPv6 address stay.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&b| b == b':') {
        Some(colon)
            if host.get(colon + 1..).is_some_and(|p| p.iter().all(u8::is_ascii_digit))
                && (host.starts_with(b"[")
                    == host.get(..colon).is_some_and(|h| h.ends_with(b"]")))
                && !host
                    .get(..colon)
                    .is_some_and(|h| !h.starts_with(b"[") && h.contains(&b':')) =>
        {
            host.get(..colon).unwrap_or(host)
        }
        _ => host,
    }
}

/// Appends the network of `len` bits that `ip` is in; at most all bits of the address.
pub(super) fn write_network(ip: IpAddr, len: u8, out: &mut Vec<u8>) -> Kind {
    let len = len.min(if ip.is_ipv4() { 32 } else { 128 });
    let network = match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    };
    let _ = write!(Text(out), "{network}/{len}");
    Kind::Text
}

fn choose<'a>(
    ctx: &LogContext<'a>,
    source: PathSource,
    original: &str,
    current: &str,
) -> Option<&'a [u8]> {
    match source {
        PathSource::Original => ctx.request(original),
        PathSource::Current => ctx.request(current),
        PathSource::OriginalOrCurrent => ctx.request(original).or_else(|| ctx.request(current)),
    }
}

fn query<'a>(ctx: &LogContext<'a>) -> Option<&'a [u8]> {
    let path = ctx.request(":path")?;
    let start = path.iter().position(|&b| b == b'?')?;
    path.get(start + 1..)
}

fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|&b| b == byte) {
        Some(at) => text
            .split_at_checked(at)
            .map_or((text, &[]), |(a, b)| (a, b.get(1..).unwrap_or_default())),
        None => (text, &[]),
    }
}

/// The bytes of `%XX`-encoded text.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let hex = |b: u8| char::from(b).to_digit(16);
        if first == b'%'
            && let [high, low, tail @ ..] = after
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            return Some((high * 16 + low) as u8);
        }
        rest = after;
        Some(first)
    })
}

/// As [`decode`], but what would decode to a space or a control character stays as it is.
fn decode_visible(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let piece = if first == b'%' { rest.get(..3).unwrap_or(rest) } else { &[first] };
        let mut bytes = decoded(piece);
        match (bytes.next(), bytes.next()) {
            (Some(byte @ (0x21..=0x7e | 0x80..)), None) => {
                out.push(byte);
                rest = rest.get(piece.len()..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
}

fn decode(text: &[u8], out: &mut Vec<u8>) {
    out.extend(decoded(text));
}

fn decoded_eq(text: &[u8], name: &[u8]) -> bool {
    decoded(text).eq(name.iter().copied())
}
