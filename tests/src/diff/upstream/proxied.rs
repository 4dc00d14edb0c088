//! The header of the PROXY protocol, versions 1 and 2, as a server sees it.

use crate::wire::{End, Peer, escape_latin};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Takes the header and tells it in words.
///
/// # Errors
/// The end came first, or what came is no such header.
pub(super) fn take(peer: &mut Peer, deadline: Instant) -> Result<String, End> {
    while peer.buf.len() < 12 {
        peer.fill(deadline)?;
    }
    if peer.buf.starts_with(V2) {
        let head = peer.exactly(16, deadline)?;
        let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
        let rest = peer.exactly(length, deadline)?;
        return Ok(version_2(head[12], head[13], &rest));
    }
    if !peer.buf.starts_with(b"PROXY ") {
        return Err(End::Garbage);
    }
    let line = peer.until(b"\r\n", deadline)?;
    Ok(format!("proxy v1 {}", escape_latin(&line).trim_end()))
}

fn version_2(command: u8, family: u8, rest: &[u8]) -> String {
    let port = |at: usize| rest.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let four = |at: usize| {
        let bytes: Option<[u8; 4]> = rest.get(at..at + 4).and_then(|b| b.try_into().ok());
        Ipv4Addr::from(bytes.unwrap_or_default())
    };
    let six = |at: usize| {
        let bytes: Option<[u8; 16]> = rest.get(at..at + 16).and_then(|b| b.try_into().ok());
        Ipv6Addr::from(bytes.unwrap_or_default())
    };
    let (addresses, used) = match family >> 4 {
        1 => (format!(" {}:{} {}:{}", four(0), port(8), four(4), port(10)), 12),
        2 => (format!(" [{}]:{} [{}]:{}", six(0), port(32), six(16), port(34)), 36),
        _ => (String::new(), 0),
    };
    let mut text = format!("proxy v2 command={command:02x} family={family:02x}{addresses}");
    let mut tlvs = rest.get(used..).unwrap_or_default();
    while let [kind, a, b, more @ ..] = tlvs {
        let length = usize::from(u16::from_be_bytes([*a, *b]));
        let value = more.get(..length).unwrap_or(more);
        text.push_str(&format!(" tlv {kind:02x}=\"{}\"", value.escape_ascii()));
        tlvs = more.get(length..).unwrap_or_default();
    }
    text
}
