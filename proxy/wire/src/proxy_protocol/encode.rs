//! Writing headers.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, UNIX_PATH, V2_START, checksum, tlv};
use crate::chars::Decimal;

/// The TLVs do not fit into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLVs of a PROXY header are longer than 65535 bytes together with the addresses")]
pub struct TooLong;

/// Writes a version 1 line. What it has no words for (another family, unix sockets, addresses of
/// two families) is `UNKNOWN`.
pub fn encode_v1(addresses: &Addresses<'_>, out: &mut Vec<u8>) {
    let Addresses::Inet { source, destination } = addresses else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let family: &[u8] = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => b"PROXY TCP4 ",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => b"PROXY TCP6 ",
        _ => return out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
    };
    out.extend_from_slice(family);
    for ip in [source.ip(), destination.ip()] {
        out.extend_from_slice(ip.to_string().as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(Decimal::new(u64::from(source.port())).as_bytes());
    out.push(b' ');
    out.extend_from_slice(Decimal::new(u64::from(destination.port())).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a version 2 header: LOCAL for [`Addresses::Local`], PROXY otherwise, always for a stream
/// transport. An address of IPv4 beside one of IPv6 is written as IPv4-mapped; paths of unix
/// sockets are cut at 108 bytes. A [`tlv::CRC32C`] among `tlvs` gets its value computed, whatever
/// it has.
///
/// # Errors
/// It would be too long; nothing is written.
pub fn encode_v2<'t>(
    addresses: &Addresses<'_>,
    tlvs: impl Iterator<Item = (u8, &'t [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = out.len();
    let (command, family) = match addresses {
        Addresses::Local => (0x20, 0x00),
        Addresses::Unspecified => (0x21, 0x00),
        Addresses::Inet { source: SocketAddr::V4(_), destination: SocketAddr::V4(_) } => {
            (0x21, 0x11)
        }
        Addresses::Inet { .. } => (0x21, 0x21),
        Addresses::Unix { .. } => (0x21, 0x31),
    };
    out.extend_from_slice(V2_START);
    out.extend_from_slice(&[command, family, 0, 0]);
    write_addresses(addresses, out);
    let mut sum_at = None;
    for (kind, value) in tlvs {
        let value = if kind == tlv::CRC32C { &[0; 4] } else { value };
        let Ok(len) = u16::try_from(value.len()) else { return too_long(out, start) };
        out.push(kind);
        out.extend_from_slice(&len.to_be_bytes());
        if kind == tlv::CRC32C {
            sum_at = Some(out.len() - start);
        }
        out.extend_from_slice(value);
    }
    let Ok(len) = u16::try_from(out.len() - start - super::V2_FIXED) else {
        return too_long(out, start);
    };
    let header = out.get_mut(start..).unwrap_or_default();
    if let Some(place) = header.get_mut(14..16) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    if let Some(at) = sum_at {
        let sum = checksum(header, at);
        if let Some(place) = header.get_mut(at..at + 4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
    Ok(())
}

fn too_long(out: &mut Vec<u8>, start: usize) -> Result<(), TooLong> {
    out.truncate(start);
    Err(TooLong)
}

fn write_addresses(addresses: &Addresses<'_>, out: &mut Vec<u8>) {
    match addresses {
        Addresses::Local | Addresses::Unspecified => {}
        Addresses::Inet { source, destination } => {
            for ip in [source.ip(), destination.ip()] {
                match (ip, source.is_ipv4() && destination.is_ipv4()) {
                    (IpAddr::V4(v4), true) => out.extend_from_slice(&v4.octets()),
                    (IpAddr::V4(v4), false) => {
                        out.extend_from_slice(&v4.to_ipv6_mapped().octets());
                    }
                    (IpAddr::V6(v6), _) => out.extend_from_slice(&v6.octets()),
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
        Addresses::Unix { source, destination } => {
            for path in [source, destination] {
                let end = out.len() + UNIX_PATH;
                out.extend_from_slice(path.get(..UNIX_PATH).unwrap_or(path));
                out.resize(end, 0);
            }
        }
    }
}
