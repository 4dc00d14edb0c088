//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who is behind a
//! connection, told at its start.

mod encode;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use encode::{TooLong, encode_v1, encode_v2};

/// Longest version 1 line with its CRLF, in bytes.
pub const V1_BYTES_MAX: usize = 107;

/// Longest version 2 header, in bytes.
pub const V2_BYTES_MAX: usize = 16 + u16::MAX as usize;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the addresses of version 2.
const V2_FIXED: usize = 16;
const UNIX_PATH: usize = 108;

/// Types of TLVs that have a meaning here.
pub mod tlv {
    /// The protocol chosen by ALPN.
    pub const ALPN: u8 = 0x01;
    /// The server name the client asked for.
    pub const AUTHORITY: u8 = 0x02;
    /// A checksum over the header; checked while parsing.
    pub const CRC32C: u8 = 0x03;
    /// Nothing.
    pub const NOOP: u8 = 0x04;
    /// An id of the connection, at most 128 bytes.
    pub const UNIQUE_ID: u8 = 0x05;
    /// Facts about the TLS session: flags, verification result, TLVs within.
    pub const SSL: u8 = 0x20;
    /// The name of a network namespace.
    pub const NETNS: u8 = 0x30;
}

/// What the start of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A header as far as one can tell; at least this many bytes, counted from the first, are
    /// needed before more can be told.
    NeedMore(usize),
    /// No header.
    Absent,
    /// A whole header.
    Header(Header<'a>),
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its version.
    pub version: Version,
    /// Its length: the bytes of the connection itself begin behind it.
    pub len: usize,
    /// Whose connection this is.
    pub addresses: Addresses<'a>,
    tlvs: &'a [u8],
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// The proxy's own (LOCAL, a health check say), or it does not know (`UNKNOWN`): the addresses
    /// of the socket count.
    Local,
    /// Somebody else's, but in a family the protocol has no words for (UNSPEC): the addresses of
    /// the socket count. Envoy refuses those.
    Unspecified,
    /// Over IP; both in the same family, and neither multicast, broadcast or unspecified.
    Inet {
        /// The client.
        source: SocketAddr,
        /// What the client connected to.
        destination: SocketAddr,
    },
    /// Over unix sockets: paths without trailing zeros. Envoy refuses those.
    Unix {
        /// The client.
        source: &'a [u8],
        /// What the client connected to.
        destination: &'a [u8],
    },
}

/// A header that breaks the protocol; nothing of it may be believed, and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Version 1: the line is no `PROXY TCP4|TCP6 source destination port port CRLF`.
    #[error(
        "the PROXY line must be 'PROXY TCP4|TCP6 SOURCE DESTINATION SOURCE-PORT \
         DESTINATION-PORT' or 'PROXY UNKNOWN', with single spaces, and end in CRLF"
    )]
    Line,
    /// Version 1: no CRLF within 107 bytes.
    #[error("the PROXY line is longer than 107 bytes")]
    LineTooLong,
    /// An address is none of its family, or no unicast address.
    #[error("an address in the PROXY header is not a unicast address of its family")]
    Address,
    /// A port is no number from 0 to 65535, or has leading zeros.
    #[error("a port in the PROXY header is not a number from 0 to 65535")]
    Port,
    /// Version 2: another version, or a command besides LOCAL and PROXY.
    #[error("the PROXY header has an unknown version or command")]
    Command,
    /// Version 2: an unknown family or transport.
    #[error("the PROXY header has an unknown address family or transport")]
    Family,
    /// Version 2: too short for its addresses.
    #[error("the PROXY header is too short for its addresses")]
    Short,
    /// Version 2: a TLV is cut short.
    #[error("a TLV of the PROXY header is longer than the header")]
    Tlv,
    /// Version 2: the checksum is wrong.
    #[error("the checksum (CRC32c) of the PROXY header is wrong")]
    Checksum,
}

/// Reads a header at the start of `input`.
///
/// # Errors
/// There is a header, and it breaks the protocol.
pub fn parse(input: &[u8]) -> Result<Parsed<'_>, ProxyError> {
    let (v1, v2) = (starts(input, V1_START), starts(input, V2_START));
    if v2 && input.len() >= V2_START.len() {
        return parse_v2(input);
    }
    if v1 && input.len() >= V1_START.len() {
        return parse_v1(input);
    }
    // The next byte may tell that it is something else.
    Ok(if v1 || v2 { Parsed::NeedMore(input.len() + 1) } else { Parsed::Absent })
}

/// Whether one is the beginning of the other.
fn starts(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(a, b)| a == b)
}

fn parse_v1(input: &[u8]) -> Result<Parsed<'_>, ProxyError> {
    let window = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let line = match window.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        Some(end) => match window.get(end..end + 2) {
            Some(b"\r\n") => window.get(..end).unwrap_or_default(),
            None if window.last() == Some(&b'\r') && end + 2 <= V1_BYTES_MAX => {
                return Ok(Parsed::NeedMore(end + 2));
            }
            _ => return Err(ProxyError::Line),
        },
        None if input.len() >= V1_BYTES_MAX => return Err(ProxyError::LineTooLong),
        // The shortest line there is; behind it, at least its end.
        None => return Ok(Parsed::NeedMore(15.max(input.len() + 2).min(V1_BYTES_MAX))),
    };
    let mut words = line.get(V1_START.len()..).ok_or(ProxyError::Line)?.split(|b| *b == b' ');
    let family = words.next();
    let addresses = match family {
        Some(b"UNKNOWN") => Addresses::Local,
        Some(b"TCP4" | b"TCP6") => {
            let mut next = || words.next().ok_or(ProxyError::Line);
            let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
            if words.next().is_some() {
                return Err(ProxyError::Line);
            }
            let v4 = family == Some(b"TCP4");
            inet(ip(source, v4)?, port(from)?, ip(destination, v4)?, port(to)?)?
        }
        _ => return Err(ProxyError::Line),
    };
    let len = line.len() + 2;
    Ok(Parsed::Header(Header { version: Version::V1, len, addresses, tlvs: &[] }))
}

fn ip(word: &[u8], v4: bool) -> Result<IpAddr, ProxyError> {
    let text = std::str::from_utf8(word).map_err(|_| ProxyError::Address)?;
    let ip = if v4 {
        text.parse::<Ipv4Addr>().map(IpAddr::V4)
    } else {
        text.parse::<Ipv6Addr>().map(IpAddr::V6)
    };
    ip.map_err(|_| ProxyError::Address)
}

fn port(word: &[u8]) -> Result<u16, ProxyError> {
    let plain = word.len() == 1 || !word.starts_with(b"0");
    let number = crate::chars::parse_u64(word).filter(|_| plain).ok_or(ProxyError::Port)?;
    u16::try_from(number).map_err(|_| ProxyError::Port)
}

fn inet<'a>(
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
) -> Result<Addresses<'a>, ProxyError> {
    let unicast = |ip: IpAddr| {
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        !(ip.is_unspecified() || ip.is_multicast() || broadcast)
    };
    if !unicast(source) || !unicast(destination) {
        return Err(ProxyError::Address);
    }
    Ok(Addresses::Inet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_v2(input: &[u8]) -> Result<Parsed<'_>, ProxyError> {
    if let Some(command) = input.get(12)
        && !matches!(command, 0x20 | 0x21)
    {
        return Err(ProxyError::Command);
    }
    let Some((fixed, rest)) = input.split_first_chunk::<V2_FIXED>() else {
        return Ok(Parsed::NeedMore(V2_FIXED));
    };
    let [.., command, family, l0, l1] = *fixed;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let local = command == 0x20;
    let (address_len, known) = match family {
        0x00 => (0, true),
        0x11 | 0x12 => (12, true),
        0x21 | 0x22 => (36, true),
        0x31 | 0x32 => (2 * UNIX_PATH, true),
        _ => (0, false),
    };
    if !known && !local {
        return Err(ProxyError::Family);
    }
    if address_len > len && !local {
        return Err(ProxyError::Short);
    }
    let Some(body) = rest.get(..len) else { return Ok(Parsed::NeedMore(V2_FIXED + len)) };
    let whole = input.get(..V2_FIXED + len).unwrap_or_default();
    // What a LOCAL or UNSPEC header carries is not to be looked at.
    let (addresses, tlvs) = match body.split_at_checked(address_len) {
        _ if local => (Addresses::Local, &[][..]),
        Some((addresses, tlvs)) if address_len > 0 => (v2_addresses(addresses)?, tlvs),
        _ => (Addresses::Unspecified, &[][..]),
    };
    check_tlvs(whole, tlvs)?;
    let len = whole.len();
    Ok(Parsed::Header(Header { version: Version::V2, len, addresses, tlvs }))
}

fn v2_addresses(bytes: &[u8]) -> Result<Addresses<'_>, ProxyError> {
    let port = |a: u8, b: u8| u16::from_be_bytes([a, b]);
    if let Some(&[s0, s1, s2, s3, d0, d1, d2, d3, p0, p1, q0, q1]) = bytes.as_array::<12>() {
        let source = Ipv4Addr::new(s0, s1, s2, s3);
        let destination = Ipv4Addr::new(d0, d1, d2, d3);
        return inet(source.into(), port(p0, p1), destination.into(), port(q0, q1));
    }
    if let Some((source, rest)) = bytes.split_first_chunk::<16>()
        && let Some((destination, &[p0, p1, q0, q1])) = rest.split_first_chunk::<16>()
    {
        let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
        return inet(source.into(), port(p0, p1), destination.into(), port(q0, q1));
    }
    let (source, destination) = bytes.split_at_checked(UNIX_PATH).ok_or(ProxyError::Short)?;
    Ok(Addresses::Unix { source: unix_path(source), destination: unix_path(destination) })
}

fn unix_path(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = bytes {
        bytes = rest;
    }
    bytes
}

/// Checks that each TLV is whole, and the checksum if there is one.
fn check_tlvs(whole: &[u8], tlvs: &[u8]) -> Result<(), ProxyError> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (kind, value) = next_tlv(&mut rest).ok_or(ProxyError::Tlv)?;
        if kind == tlv::CRC32C {
            let told = value.as_array().ok_or(ProxyError::Checksum)?;
            let at = whole.len() - rest.len() - value.len();
            if checksum(whole, at) != u32::from_be_bytes(*told) {
                return Err(ProxyError::Checksum);
            }
        }
    }
    Ok(())
}

/// The checksum of a header that has it at `at`: there, zeros are summed.
fn checksum(whole: &[u8], at: usize) -> u32 {
    let (before, rest) = whole.split_at_checked(at).unwrap_or((whole, &[]));
    let crc = crc32c(!0, before);
    !crc32c(crc32c(crc, &[0; 4]), rest.get(4..).unwrap_or_default())
}

fn next_tlv<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let ([kind, l0, l1], tail) = rest.split_first_chunk::<3>()?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (value, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some((*kind, value))
}

impl<'a> Header<'a> {
    /// The TLVs of version 2 in order: type and value. None for LOCAL and UNSPEC headers.
    pub fn tlvs(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.tlvs;
        std::iter::from_fn(move || next_tlv(&mut rest))
    }
}

static CRC32C: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Goes on with a CRC32c (Castagnoli, RFC 3720 appendix B.4); it begins with all ones and is
/// inverted at the end.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| CRC32C[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[cfg(test)]
mod tests;
