//! The part of DNS messages (RFC 1035) that address look-ups need.
//!
//! A resolver library brings a name parser, an IDNA table and thirty crates with it; this is one
//! question, and the A, AAAA and CNAME records of one answer. Everything in a message is bounded
//! by its 64 KB; compression pointers must lead backwards, so reading a name ends.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest UDP answer we say we take (RFC 6891; what fits everywhere without fragments).
pub const UDP_SIZE: u16 = 1232;

/// A domain name, absolute, as its wire format without the root: length-prefixed labels.
#[derive(Clone, PartialEq, Eq)]
pub struct DnsName(Vec<u8>);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `RCODE`: 0 no error, 2 server failure, 3 no such name.
    pub code: u8,
    /// The answer did not fit: ask again over TCP.
    pub truncated: bool,
    /// Addresses of the name or of what it is an alias of, in the order of the answer, with the
    /// TTL in seconds (the least along the chain).
    pub addresses: Vec<(IpAddr, u32)>,
}

/// A message that is no answer to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;
/// Labels together, with their lengths and the root (RFC 1035 section 3.1).
const NAME_MAX: usize = 255;
/// Aliases followed; a longer chain is a mistake or an attack.
const CHAIN_MAX: usize = 16;

impl DnsName {
    /// From text; a trailing dot changes nothing. `None` if it is no domain name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 1);
        for label in text.split('.') {
            let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?;
            if !label.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            wire.push(len);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        (wire.len() < NAME_MAX).then_some(Self(wire))
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let Some((&len, tail)) = rest.split_first() {
            let (label, tail) = tail.split_at_checked(usize::from(len)).unwrap_or((tail, &[]));
            write!(f, "{}.", String::from_utf8_lossy(label))?;
            rest = tail;
        }
        Ok(())
    }
}

impl RecordType {
    fn number(self) -> u16 {
        match self {
            Self::A => TYPE_A,
            Self::Aaaa => TYPE_AAAA,
        }
    }
}

/// Writes a recursive question with one EDNS record.
pub fn question(id: u16, name: &DnsName, kind: RecordType, edns: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.0.len() + 5 + 11);
    out.extend_from_slice(&id.to_be_bytes());
    // RD; one question, no answers, no authorities.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    out.extend_from_slice(&name.0);
    out.push(0);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    if edns {
        out.push(0);
        out.extend_from_slice(&TYPE_OPT.to_be_bytes());
        out.extend_from_slice(&UDP_SIZE.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

/// Reads the answer to a question; anything else (another id, another question) is refused.
///
/// # Errors
/// [`Malformed`], without more detail: such a message is dropped.
pub fn reply(bytes: &[u8], id: u16, name: &DnsName, kind: RecordType) -> Result<Reply, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let (got, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    let is_response = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 0xf;
    if got != id || !is_response || opcode != 0 || questions > 1 {
        return Err(Malformed);
    }
    if questions == 1 {
        let asked = (reader.name()?, reader.u16()?, reader.u16()?);
        if asked != (name.clone(), kind.number(), CLASS_IN) {
            return Err(Malformed);
        }
    }
    let truncated = flags & 0x200 != 0;
    let code = (flags & 0xf) as u8;
    if truncated || code != 0 {
        return Ok(Reply { code, truncated, addresses: Vec::new() });
    }
    if questions == 0 {
        return Err(Malformed);
    }
    let records = records(&mut reader, answers)?;
    Ok(Reply { code, truncated, addresses: follow(name, &records, kind) })
}

struct Record {
    owner: DnsName,
    ttl: u32,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(DnsName),
}

fn records(reader: &mut Reader<'_>, count: u16) -> Result<Vec<Record>, Malformed> {
    let mut records = Vec::new();
    for _ in 0..count {
        let owner = reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        // A TTL with its highest bit set is to be taken for 0 (RFC 2181 section 8).
        let ttl = i32::from_be_bytes(reader.array()?).max(0) as u32;
        let len = usize::from(reader.u16()?);
        let start = reader.at;
        let data = match (kind, class, len) {
            (TYPE_A, CLASS_IN, 4) => {
                Some(Data::Address(Ipv4Addr::from(reader.array::<4>()?).into()))
            }
            (TYPE_AAAA, CLASS_IN, 16) => {
                Some(Data::Address(Ipv6Addr::from(reader.array::<16>()?).into()))
            }
            (TYPE_CNAME, CLASS_IN, _) => Some(Data::Alias(reader.name()?)),
            _ => None,
        };
        reader.at = start;
        reader.skip(len)?;
        records.extend(data.map(|data| Record { owner, ttl, data }));
    }
    Ok(records)
}

/// The addresses at the end of the chain of aliases that begins with `name`.
fn follow(name: &DnsName, records: &[Record], kind: RecordType) -> Vec<(IpAddr, u32)> {
    let (mut at, mut ttl) = (name, u32::MAX);
    for _ in 0..CHAIN_MAX {
        let alias = records.iter().find_map(|record| match &record.data {
            Data::Alias(target) if record.owner == *at => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, alias_ttl)) = alias else { break };
        (at, ttl) = (target, ttl.min(alias_ttl));
    }
    let wanted = |record: &Record| match record.data {
        Data::Address(ip) if record.owner == *at && ip.is_ipv4() == (kind == RecordType::A) => {
            Some((ip, record.ttl.min(ttl)))
        }
        _ => None,
    };
    records.iter().filter_map(wanted).collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let end = self.at.checked_add(N).ok_or(Malformed)?;
        let slice = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        slice.try_into().map_err(|_| Malformed)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        self.at = self.at.checked_add(n).filter(|&at| at <= self.bytes.len()).ok_or(Malformed)?;
        Ok(())
    }

    /// A name, with the pointers in it followed (RFC 1035 section 4.1.4).
    fn name(&mut self) -> Result<DnsName, Malformed> {
        let mut wire = Vec::new();
        let mut at = self.at;
        // Where reading goes on: behind the first pointer, or the root.
        let mut end = None;
        loop {
            let len = *self.bytes.get(at).ok_or(Malformed)?;
            match len >> 6 {
                0 if len == 0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Ok(DnsName(wire));
                }
                0 => {
                    let label = self.bytes.get(at..=at + usize::from(len)).ok_or(Malformed)?;
                    // Only letters change: a length is below `A`.
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    at += 1 + usize::from(len);
                    if wire.len() >= NAME_MAX {
                        return Err(Malformed);
                    }
                }
                3 => {
                    let low = *self.bytes.get(at + 1).ok_or(Malformed)?;
                    let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                    // Backwards only, so that this ends.
                    if target >= at {
                        return Err(Malformed);
                    }
                    end.get_or_insert(at + 2);
                    at = target;
                }
                _ => return Err(Malformed),
            }
        }
    }
}
