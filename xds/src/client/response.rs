//! Reads a response where it lies: nothing is copied or decoded that is not asked for.

use std::time::Duration;

use super::update::Protocol;
use crate::types::WRAPPER;
use crate::wire::{Malformed, Record, Records, WireValue, string_field};

/// What a response says besides its resources.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) type_url: &'a str,
    pub(super) version: &'a str,
    pub(super) nonce: &'a str,
    pub(super) control_plane: Option<&'a str>,
    /// How many resources and removals follow.
    pub(super) items: usize,
    /// Whether there are resources and none has a body: heartbeats alone remove nothing.
    pub(super) only_heartbeats: bool,
    pub(super) errors: Vec<RawError<'a>>,
}

/// A resource on the wire.
#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    /// Of the wrapper.
    pub(super) name: &'a str,
    /// Of the wrapper.
    pub(super) version: &'a str,
    /// Of the body.
    pub(super) type_url: &'a str,
    pub(super) body: Option<&'a [u8]>,
    /// `Err`: not a time that can pass.
    pub(super) ttl: Option<Result<Duration, ()>>,
    pub(super) aliases: Vec<&'a str>,
}

/// A `ResourceError` on the wire.
#[derive(Debug, Default)]
pub(super) struct RawError<'a> {
    pub(super) name: &'a str,
    pub(super) code: i32,
    pub(super) message: &'a str,
}

/// One thing a response says of a resource.
pub(super) enum Item<'a> {
    Resource(Raw<'a>),
    Removed(&'a str),
}

impl<'a> Head<'a> {
    /// Reads the head, and checks every resource as far as [`items`] will read it.
    pub(super) fn read(protocol: Protocol, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut head = Head::default();
        let (mut resources, mut bodies) = (0_usize, 0_usize);
        for record in Records(bytes) {
            let record = record?;
            match (protocol, record.number) {
                (_, 1) => head.version = record.text()?,
                (_, 4) => head.type_url = record.text()?,
                (_, 5) => head.nonce = record.text()?,
                (Protocol::Sotw, 6) | (Protocol::Delta, 7) => {
                    head.control_plane = Some(string_field(record.bytes()?, 1)?);
                }
                (Protocol::Sotw, 7) | (Protocol::Delta, 9) => {
                    head.errors.push(RawError::read(record.bytes()?)?);
                }
                _ => {}
            }
            match item(protocol, record)? {
                Some(Item::Resource(raw)) => {
                    resources += 1;
                    bodies += usize::from(raw.body.is_some());
                }
                Some(Item::Removed(_)) => head.items += 1,
                None => {}
            }
        }
        head.only_heartbeats = resources > 0 && bodies == 0;
        head.items += resources;
        Ok(head)
    }
}

/// The resources and removals of a response, in its order.
pub(super) fn items(
    protocol: Protocol,
    bytes: &[u8],
) -> impl Iterator<Item = Result<Item<'_>, Malformed>> {
    Records(bytes).filter_map(move |record| record.and_then(|r| item(protocol, r)).transpose())
}

fn item(protocol: Protocol, record: Record<'_>) -> Result<Option<Item<'_>>, Malformed> {
    Ok(match (protocol, record.number) {
        (Protocol::Sotw, 2) => Some(Item::Resource(Raw::in_any(record.bytes()?)?)),
        (Protocol::Delta, 2) => Some(Item::Resource(Raw::read(record.bytes()?)?)),
        (Protocol::Delta, 6) => Some(Item::Removed(record.text()?)),
        (Protocol::Delta, 8) => Some(Item::Removed(string_field(record.bytes()?, 1)?)),
        _ => None,
    })
}

impl<'a> Raw<'a> {
    /// A resource of a state-of-the-world response: itself, or in a wrapper.
    fn in_any(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (type_url, value) = any(bytes)?;
        if type_url == WRAPPER {
            return Self::read(value);
        }
        Ok(Self { type_url, body: Some(value), ..Self::default() })
    }

    /// `envoy.service.discovery.v3.Resource`. Its `cache_control` speaks to caching proxies, its
    /// `metadata` to people.
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut raw = Self::default();
        let mut located = "";
        for record in Records(bytes) {
            let record = record?;
            match record.number {
                1 => raw.version = record.text()?,
                2 => {
                    let (type_url, value) = any(record.bytes()?)?;
                    (raw.type_url, raw.body) = (type_url, Some(value));
                }
                3 => raw.name = record.text()?,
                4 => raw.aliases.push(record.text()?),
                6 => raw.ttl = Some(duration(record.bytes()?)?),
                8 => located = string_field(record.bytes()?, 1)?,
                _ => {}
            }
        }
        if raw.name.is_empty() {
            raw.name = located;
        }
        Ok(raw)
    }
}

impl<'a> RawError<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut error = Self::default();
        for record in Records(bytes) {
            let record = record?;
            match record.number {
                1 => error.name = string_field(record.bytes()?, 1)?,
                2 => {
                    for record in Records(record.bytes()?) {
                        match record? {
                            Record { number: 1, value: WireValue::Varint(code) } => {
                                error.code = code as i32;
                            }
                            record if record.number == 2 => error.message = record.text()?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(error)
    }
}

/// Field 1 of a body if the body begins with it, as every serializer writes it.
///
/// A later field 1 would override it: good enough to look for a body that is known already, and
/// for nothing else.
pub(super) fn leading_name(body: &[u8]) -> Option<&str> {
    match Records(body).next()?.ok()? {
        record if record.number == 1 => record.text().ok(),
        _ => None,
    }
}

/// The name of the resource in `body`: field 1, in every type that has one.
pub(super) fn name(body: &[u8]) -> Result<&str, Malformed> {
    string_field(body, 1)
}

fn any(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut type_url, mut value) = ("", [].as_slice());
    for record in Records(bytes) {
        let record = record?;
        match record.number {
            1 => type_url = record.text()?,
            2 => value = record.bytes()?,
            _ => {}
        }
    }
    Ok((type_url, value))
}

fn duration(bytes: &[u8]) -> Result<Result<Duration, ()>, Malformed> {
    let (mut seconds, mut nanos) = (0_u64, 0_u64);
    for record in Records(bytes) {
        match record? {
            Record { number: 1, value: WireValue::Varint(value) } => seconds = value,
            Record { number: 2, value: WireValue::Varint(value) } => nanos = value,
            Record { number: 1 | 2, .. } => return Err(Malformed),
            _ => {}
        }
    }
    // google.protobuf.Duration ends at 10,000 years; negative numbers are far above.
    let valid = seconds <= 315_576_000_000 && nanos < 1_000_000_000;
    Ok(if valid { Ok(Duration::new(seconds, nanos as u32)) } else { Err(()) })
}
