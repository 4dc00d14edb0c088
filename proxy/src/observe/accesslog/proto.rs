//! Appends fields of a message in protobuf's wire format (protobuf.dev, "Encoding"), straight into
//! a buffer: an access log makes no tree of messages per stream.

use prost::encoding::encode_varint;

/// Appends fields of one message. Values that are zero or empty are left out, as proto3 does.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<u8>);

impl Fields<'_> {
    /// A number or an enumeration.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, 0);
            encode_varint(value, self.0);
        }
    }

    /// A number of a oneof: written even where it is 0.
    pub(super) fn chosen_number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        encode_varint(value, self.0);
    }

    /// A boolean.
    pub(super) fn flag(&mut self, field: u32, value: bool) {
        self.number(field, u64::from(value));
    }

    /// A string that is known to be UTF-8, or bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_even_empty(field, value);
        }
    }

    /// A string.
    pub(super) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A string of a oneof, written even where it is empty; see [`Fields::lossy`].
    pub(super) fn chosen_text(&mut self, field: u32, value: &[u8]) {
        self.bytes_even_empty(field, String::from_utf8_lossy(value).as_bytes());
    }

    /// A message that is encoded already, written even where it has no field.
    pub(super) fn raw(&mut self, field: u32, message: &[u8]) {
        self.bytes_even_empty(field, message);
    }

    /// A number in eight bytes.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A string whose bytes came from the network: what is no UTF-8 is replaced, for a receiver
    /// must refuse the whole message otherwise.
    pub(super) fn lossy(&mut self, field: u32, value: &[u8]) {
        self.text(field, &String::from_utf8_lossy(value));
    }

    /// A message, written even where it has no field.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(field, 2);
        let length = self.0.len();
        self.0.push(0);
        let begin = self.0.len();
        write(&mut Fields(self.0));
        let size = self.0.len() - begin;
        // Most messages are short: their length is one byte and they stay where they are.
        if let Ok(short @ 0..0x80) = u8::try_from(size) {
            if let Some(byte) = self.0.get_mut(length) {
                *byte = short;
            }
            return;
        }
        let mut prefix = Vec::with_capacity(10);
        encode_varint(size as u64, &mut prefix);
        self.0.splice(length..begin, prefix);
    }

    /// An entry of a `map<string, string>`.
    pub(super) fn entry(&mut self, field: u32, key: &str, value: &[u8]) {
        self.message(field, |entry| {
            entry.text(1, key);
            entry.lossy(2, value);
        });
    }

    /// A `google.protobuf.UInt32Value`.
    pub(super) fn wrapped(&mut self, field: u32, value: u64) {
        self.message(field, |wrapper| wrapper.number(1, value));
    }

    /// A `google.protobuf.Duration` or `Timestamp` of so many nanoseconds.
    pub(super) fn nanoseconds(&mut self, field: u32, value: u64) {
        const SECOND: u64 = 1_000_000_000;
        self.message(field, |time| {
            time.number(1, value / SECOND);
            time.number(2, value % SECOND);
        });
    }

    fn bytes_even_empty(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        encode_varint(value.len() as u64, self.0);
        self.0.extend_from_slice(value);
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        encode_varint(u64::from(field << 3 | wire_type), self.0);
    }
}

/// The head of a message's field of `length` bytes that follow.
pub(crate) fn field_head(field: u32, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    encode_varint(u64::from(field << 3 | 2), &mut out);
    encode_varint(length as u64, &mut out);
    out
}
