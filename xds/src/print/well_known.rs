//! The types of `google.protobuf` that JSON writes in a way of their own.

use super::{Printer, REDACTED};
use crate::rules::any_parts;
use crate::rules::values::scalar;
use crate::schema::{self, MessageType};
use crate::transcode::time::{format_duration, format_timestamp};
use crate::transcode::well_known::{is_well_known, is_wrapper, value};
use crate::wire::{Record, Records, WireValue};

impl Printer<'_> {
    /// Prints a well-known type; false if the message is none.
    pub(super) fn well_known(&mut self, message: MessageType, bytes: &[u8], secret: bool) -> bool {
        let Some(name) = message.full_name().strip_prefix("google.protobuf.") else {
            return false;
        };
        match name {
            "Any" => self.any(bytes, secret),
            "Struct" => self.struct_value(bytes, secret),
            "Value" => self.value(bytes, secret),
            "ListValue" => self.list_value(bytes, secret),
            "Duration" => {
                let (seconds, nanos) = time(bytes);
                self.string(&format_duration(seconds, nanos));
            }
            "Timestamp" => {
                let (seconds, nanos) = time(bytes);
                self.string(&format_timestamp(seconds, nanos));
            }
            "FieldMask" => self.field_mask(bytes),
            _ if is_wrapper(name) => {
                let Some(field) = message.field_numbered(1) else { return false };
                let records: Vec<Record<'_>> = Records(bytes).map_while(Result::ok).collect();
                self.scalar(field, scalar(field, &records), secret);
            }
            _ => return false,
        }
        true
    }

    fn any(&mut self, bytes: &[u8], secret: bool) {
        let (url, inner) = any_parts(bytes);
        let mut group = self.begin('{', '}');
        if let Some(url) = url.filter(|url| !url.is_empty()) {
            self.key(&mut group, "@type");
            self.string(url);
            match schema::message_of_url(url) {
                Some(message) if is_well_known(message) => {
                    self.key(&mut group, "value");
                    self.message(message, inner, secret);
                }
                Some(message) => self.fields(&mut group, message, inner, secret),
                // Nobody knows what the bytes mean.
                None => {
                    self.key(&mut group, "value");
                    let shown = if secret { REDACTED } else { inner };
                    self.string(&crate::transcode::base64::encode(shown));
                }
            }
        }
        self.end(&group);
    }

    fn struct_value(&mut self, bytes: &[u8], secret: bool) {
        let mut group = self.begin('{', '}');
        for record in Records(bytes).map_while(Result::ok) {
            let Record { number: 1, value: WireValue::Bytes(entry) } = record else { continue };
            let (mut key, mut inner): (&[u8], &[u8]) = (&[], &[]);
            for record in Records(entry).map_while(Result::ok) {
                match (record.number, record.value) {
                    (1, WireValue::Bytes(text)) => key = text,
                    (2, WireValue::Bytes(bytes)) => inner = bytes,
                    _ => {}
                }
            }
            self.key(&mut group, &String::from_utf8_lossy(key));
            self.nested(|printer| printer.value(inner, secret));
        }
        self.end(&group);
    }

    fn list_value(&mut self, bytes: &[u8], secret: bool) {
        let mut group = self.begin('[', ']');
        for record in Records(bytes).map_while(Result::ok) {
            if let Record { number: 1, value: WireValue::Bytes(inner) } = record {
                self.item(&mut group);
                self.nested(|printer| printer.value(inner, secret));
            }
        }
        self.end(&group);
    }

    /// Values hold values: the depth counts here too.
    fn nested(&mut self, print: impl FnOnce(&mut Self)) {
        self.depth += 1;
        if self.depth > super::DEPTH_MAX {
            self.out.push_str("null");
        } else {
            print(self);
        }
        self.depth -= 1;
    }

    fn value(&mut self, bytes: &[u8], secret: bool) {
        let Some(Ok(record)) = Records(bytes).last() else {
            self.out.push_str("null");
            return;
        };
        match (record.number, record.value) {
            (value::STRUCT, WireValue::Bytes(inner)) => self.struct_value(inner, secret),
            (value::LIST, WireValue::Bytes(inner)) => self.list_value(inner, secret),
            (value::STRING, WireValue::Bytes(text)) => {
                let text = if secret { REDACTED } else { text };
                self.string(&String::from_utf8_lossy(text));
            }
            (value::NUMBER, WireValue::Fixed64(bits)) if !secret => {
                self.float(f64::from_bits(bits), false);
            }
            (value::BOOL, WireValue::Varint(bits)) if !secret => {
                self.out.push_str(if bits == 0 { "false" } else { "true" });
            }
            _ => self.out.push_str("null"),
        }
    }

    /// Paths in snake_case become lowerCamelCase, with commas between them.
    fn field_mask(&mut self, bytes: &[u8]) {
        let mut text = String::new();
        for record in Records(bytes).map_while(Result::ok) {
            let WireValue::Bytes(path) = record.value else { continue };
            if !text.is_empty() {
                text.push(',');
            }
            let mut upper = false;
            for c in String::from_utf8_lossy(path).chars() {
                match c {
                    '_' => upper = true,
                    c if std::mem::take(&mut upper) => text.push(c.to_ascii_uppercase()),
                    c => text.push(c),
                }
            }
        }
        self.string(&text);
    }
}

/// Seconds and nanoseconds of a Duration or Timestamp.
pub(crate) fn time(bytes: &[u8]) -> (i64, i32) {
    let (mut seconds, mut nanos) = (0, 0);
    for record in Records(bytes).map_while(Result::ok) {
        match (record.number, record.value) {
            (1, WireValue::Varint(bits)) => seconds = bits.cast_signed(),
            (2, WireValue::Varint(bits)) => nanos = bits as i32,
            _ => {}
        }
    }
    (seconds, nanos)
}
