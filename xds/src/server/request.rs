//! Reads requests of both forms.

use crate::client::Protocol;
use crate::wire::{Malformed, Record, Records, WireValue, string_field};

/// A `DiscoveryRequest` or `DeltaDiscoveryRequest`.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) node: Option<&'a [u8]>,
    pub(super) type_url: &'a str,
    /// State of the world.
    pub(super) version: &'a str,
    pub(super) nonce: &'a str,
    /// The text of `error_detail`: a NACK.
    pub(super) error: Option<&'a str>,
    /// State of the world: all names; incremental: those that come.
    pub(super) names: Vec<&'a str>,
    /// Incremental: names that go.
    pub(super) leaving: Vec<&'a str>,
    /// Incremental: what the client has.
    pub(super) initial: Vec<(&'a str, &'a str)>,
    /// A locator has dynamic parameters, of which we know nothing.
    pub(super) has_parameters: bool,
}

impl<'a> Request<'a> {
    pub(super) fn read(protocol: Protocol, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        for record in Records(bytes) {
            let record = record?;
            match protocol {
                Protocol::Sotw => request.sotw(record)?,
                Protocol::Delta => request.delta(record)?,
            }
        }
        Ok(request)
    }

    fn sotw(&mut self, record: Record<'a>) -> Result<(), Malformed> {
        match record.number {
            1 => self.version = record.text()?,
            2 => self.node = Some(record.bytes()?),
            3 => self.names.push(record.text()?),
            4 => self.type_url = record.text()?,
            5 => self.nonce = record.text()?,
            6 => self.error = Some(string_field(record.bytes()?, 2)?),
            7 => {
                let name = self.locator(record.bytes()?)?;
                self.names.push(name);
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, record: Record<'a>) -> Result<(), Malformed> {
        match record.number {
            1 => self.node = Some(record.bytes()?),
            2 => self.type_url = record.text()?,
            3 => self.names.push(record.text()?),
            4 => self.leaving.push(record.text()?),
            5 => {
                let entry = record.bytes()?;
                self.initial.push((string_field(entry, 1)?, string_field(entry, 2)?));
            }
            6 => self.nonce = record.text()?,
            7 => self.error = Some(string_field(record.bytes()?, 2)?),
            8 => {
                let name = self.locator(record.bytes()?)?;
                self.names.push(name);
            }
            9 => {
                let name = self.locator(record.bytes()?)?;
                self.leaving.push(name);
            }
            _ => {}
        }
        Ok(())
    }

    fn locator(&mut self, bytes: &'a [u8]) -> Result<&'a str, Malformed> {
        for record in Records(bytes) {
            if let Record { number: 2, value: WireValue::Bytes(_) } = record? {
                self.has_parameters = true;
            }
        }
        string_field(bytes, 1)
    }
}
