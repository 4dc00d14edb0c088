//! Protobuf's wire format, as far as a table-driven reader and writer need it.

/// A field as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) number: u32,
    pub(crate) value: WireValue<'a>,
}

impl<'a> Record<'a> {
    /// The payload of a string, bytes or message field.
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self.value {
            WireValue::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// The payload of a string field.
    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }
}

/// The last of the string fields with this number, as protobuf has it; empty if there is none.
pub(crate) fn string_field(bytes: &[u8], number: u32) -> Result<&str, Malformed> {
    let mut found = "";
    for record in Records(bytes) {
        let record = record?;
        if record.number == number {
            found = record.text()?;
        }
    }
    Ok(found)
}

/// The payload of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the records of a message one after the other; after an error it ends.
pub(crate) struct Records<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = record(&mut self.0);
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(Malformed))
    }
}

fn record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0)?;
    let value = match tag & 7 {
        0 => WireValue::Varint(varint(rest)?),
        1 => WireValue::Fixed64(u64::from_le_bytes(take(rest)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            WireValue::Bytes(bytes)
        }
        5 => WireValue::Fixed32(u32::from_le_bytes(take(rest)?)),
        _ => return None,
    };
    Some(Record { number, value })
}

/// Reads a varint off the front.
pub(crate) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads `N` bytes off the front.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a field of eight bytes.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend(value.to_le_bytes());
}

/// Appends a field of four bytes.
pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_varint(out, u64::from(field) << 3 | 5);
    out.extend(value.to_le_bytes());
}

/// Appends a string, bytes or a finished message.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Appends a string; the empty one is not written, as proto3 has it.
pub(crate) fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

/// Where an embedded message begins whose length is not known yet.
pub(crate) struct Nested(usize);

/// Begins an embedded message: what is appended until [`end_message`] is in it.
pub(crate) fn begin_message(out: &mut Vec<u8>, field: u32) -> Nested {
    put_varint(out, u64::from(field) << 3 | 2);
    out.push(0);
    Nested(out.len())
}

/// Ends an embedded message; a length of more than one byte moves its content up.
pub(crate) fn end_message(out: &mut Vec<u8>, nested: &Nested) {
    let length = out.len() - nested.0;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[nested.0 - 1] = short;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, length as u64);
    out.splice(nested.0 - 1..nested.0, prefix);
}
