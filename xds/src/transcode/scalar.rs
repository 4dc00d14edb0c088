//! Numbers, booleans, strings, bytes and enums.

use super::{Transcoder, base64, suggest};
use crate::diagnostic::Diagnostic;
use crate::schema::{EnumType, Field, Kind};
use crate::tree::{Node, Value};
use crate::wire;

impl Transcoder<'_> {
    /// Appends a scalar field. A default is left out where the message cannot tell it from absent.
    pub(super) fn scalar(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) {
        let keep_default = field.has_presence() || field.is_repeated();
        let number = field.number();
        let start = out.len();
        let is_default = match field.kind() {
            Kind::String | Kind::Bytes => self.text(node, field, out),
            Kind::Double => self.float(node).is_none_or(|value| {
                wire::put_fixed64(out, number, value.to_bits());
                value.to_bits() == 0
            }),
            Kind::Float => self.float(node).is_none_or(|value| {
                let narrow = value as f32;
                wire::put_fixed32(out, number, narrow.to_bits());
                narrow.to_bits() == 0
            }),
            Kind::Bool => self.boolean(node).is_none_or(|value| {
                wire::put_number(out, number, u64::from(value));
                !value
            }),
            _ => self.whole(node, field).is_none_or(|value| {
                put_whole(out, field, value);
                value == 0
            }),
        };
        if is_default && !keep_default {
            out.truncate(start);
        }
    }

    /// Appends a string or bytes; whether it is empty.
    fn text(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) -> bool {
        let Value::String(text) = &node.value else {
            let found = node.describe();
            let mut diagnostic = Diagnostic::error("", format!("expected a string, found {found}"));
            if let Value::Bool(_) | Value::Number(_) = node.value {
                diagnostic = diagnostic.allowed("a string; put it in quotes");
            }
            self.error(node, diagnostic);
            return true;
        };
        if field.kind() == Kind::String {
            wire::put_bytes(out, field.number(), text.as_bytes());
            return text.is_empty();
        }
        match base64::decode(text) {
            Some(bytes) => {
                wire::put_bytes(out, field.number(), &bytes);
                bytes.is_empty()
            }
            None => {
                self.mismatch(node, "bytes in base64");
                true
            }
        }
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => return Some(*value),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "1" => return Some(true),
                "false" | "f" | "no" | "n" | "0" => return Some(false),
                _ => {}
            },
            _ => {}
        }
        self.mismatch(node, "true or false");
        None
    }

    fn float(&mut self, node: &Node) -> Option<f64> {
        let value = match &node.value {
            Value::Number(text) => text.parse().ok(),
            Value::String(text) => parse_float(text),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(node, "a number");
        }
        value
    }

    /// A whole number or an enum, in 128 bits: wide enough for every kind.
    fn whole(&mut self, node: &Node, field: Field) -> Option<i128> {
        if let Some(kind) = field.enumeration() {
            return self.enumeration(node, kind).map(i128::from);
        }
        let (low, high) = bounds(field.kind());
        let allowed = format!("a whole number from {low} to {high}");
        let text = match &node.value {
            Value::Number(text) | Value::String(text) => text,
            _ => {
                self.mismatch(node, &allowed);
                return None;
            }
        };
        let value = parse_whole(text);
        if value.is_none_or(|value| value < low || value > high) {
            self.mismatch(node, &allowed);
            return None;
        }
        value
    }

    fn enumeration(&mut self, node: &Node, kind: EnumType) -> Option<i32> {
        let number = match &node.value {
            Value::Null => Some(0),
            Value::Number(text) => parse_whole(text).and_then(|n| i32::try_from(n).ok()),
            Value::String(text) => {
                kind.named(text).map(|value| value.number()).or_else(|| text.trim().parse().ok())
            }
            _ => None,
        };
        if number.is_none() {
            let found = node.describe();
            let text = format!("{} has no value for {found}", kind.full_name());
            let suggestion = match &node.value {
                Value::String(text) => suggest::enum_value(kind, text),
                _ => None,
            };
            let diagnostic = Diagnostic::error("", text)
                .allowed(suggest::enum_list(kind))
                .suggestion(suggestion);
            self.error(node, diagnostic);
        }
        number
    }
}

fn put_whole(out: &mut Vec<u8>, field: Field, value: i128) {
    let number = field.number();
    // In range by `bounds`; narrowing keeps the two's complement that the wire wants.
    let bits = value as u64;
    match field.kind() {
        Kind::Fixed64 | Kind::Sfixed64 => wire::put_fixed64(out, number, bits),
        Kind::Fixed32 | Kind::Sfixed32 => wire::put_fixed32(out, number, bits as u32),
        Kind::Sint32 | Kind::Sint64 => {
            let signed = bits.cast_signed();
            wire::put_number(out, number, (signed << 1 ^ signed >> 63).cast_unsigned());
        }
        _ => wire::put_number(out, number, bits),
    }
}

fn bounds(kind: Kind) -> (i128, i128) {
    match kind {
        Kind::Int64 | Kind::Sfixed64 | Kind::Sint64 => (i64::MIN.into(), i64::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => (0, u64::MAX.into()),
        Kind::Uint32 | Kind::Fixed32 => (0, u32::MAX.into()),
        _ => (i32::MIN.into(), i32::MAX.into()),
    }
}

/// Digits, or any notation of a float without a fraction: `1e3`, `5.0`, `0x10`.
fn parse_whole(text: &str) -> Option<i128> {
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return None;
    }
    if let Ok(value) = text.parse::<i128>() {
        return Some(value);
    }
    let value = parse_float(text)?;
    // Beyond 2^64 no kind of field has room, so the conversion is exact or refused.
    (value.fract() == 0.0 && value.abs() < 2e19).then_some(value as i128)
}

fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let magnitude = u32::from_str_radix(digits, 16).ok().map(f64::from)?;
        return Some(if text.starts_with('-') { -magnitude } else { magnitude });
    }
    text.parse().ok()
}
