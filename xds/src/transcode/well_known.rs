//! The types of `google.protobuf` that JSON writes in a way of their own.

use super::{Transcoder, time};
use crate::schema::MessageType;
use crate::tree::{Node, Value};
use crate::wire;

/// Field numbers of `google.protobuf.Value`.
pub(crate) mod value {
    pub(crate) const NULL: u32 = 1;
    pub(crate) const NUMBER: u32 = 2;
    pub(crate) const STRING: u32 = 3;
    pub(crate) const BOOL: u32 = 4;
    pub(crate) const STRUCT: u32 = 5;
    pub(crate) const LIST: u32 = 6;
}

/// Whether JSON writes the type in a way of its own.
pub(crate) fn is_well_known(message: MessageType) -> bool {
    message.full_name().strip_prefix("google.protobuf.").is_some_and(|name| {
        is_wrapper(name)
            || matches!(
                name,
                "Any" | "Duration" | "FieldMask" | "ListValue" | "Struct" | "Timestamp" | "Value"
            )
    })
}

/// Whether it is a message around one scalar, by its name after `google.protobuf.`.
pub(crate) fn is_wrapper(name: &str) -> bool {
    matches!(
        name,
        "BoolValue"
            | "BytesValue"
            | "DoubleValue"
            | "FloatValue"
            | "Int32Value"
            | "Int64Value"
            | "StringValue"
            | "UInt32Value"
            | "UInt64Value"
    )
}

impl Transcoder<'_> {
    /// Appends a well-known type; false if the message is none, or is written as a plain one:
    /// Envoy takes wrappers, durations, timestamps and masks also as maps of their fields.
    pub(super) fn well_known(
        &mut self,
        node: &Node,
        message: MessageType,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(name) = message.full_name().strip_prefix("google.protobuf.") else {
            self.check_typed_struct(node, message);
            return false;
        };
        let is_map = matches!(node.value, Value::Map(_));
        match name {
            "Any" => self.any(node, out),
            "Struct" => self.struct_value(node, out),
            "Value" => self.value(node, out),
            "ListValue" => self.list_value(node, out),
            "Duration" if !is_map => self.duration(node, out),
            "Timestamp" if !is_map => self.timestamp(node, out),
            "FieldMask" if !is_map => self.field_mask(node, out),
            _ if is_wrapper(name) && !is_map => {
                if let Some(field) = message.field_numbered(1) {
                    self.scalar(node, field, out);
                }
            }
            _ => return false,
        }
        true
    }

    fn struct_value(&mut self, node: &Node, out: &mut Vec<u8>) {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, "a map");
            return;
        };
        for entry in entries {
            let mark = self.path.field(&entry.key);
            let nested = wire::begin_message(out, 1);
            wire::put_bytes(out, 1, entry.key.as_bytes());
            let inner = wire::begin_message(out, 2);
            self.value(&entry.node, out);
            wire::end_message(out, &inner);
            wire::end_message(out, &nested);
            self.path.back(mark);
        }
    }

    fn list_value(&mut self, node: &Node, out: &mut Vec<u8>) {
        let Value::List(items) = &node.value else {
            self.mismatch(node, "a list");
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let mark = self.path.index(index);
            let nested = wire::begin_message(out, 1);
            self.value(item, out);
            wire::end_message(out, &nested);
            self.path.back(mark);
        }
    }

    fn value(&mut self, node: &Node, out: &mut Vec<u8>) {
        match &node.value {
            Value::Null => wire::put_number(out, value::NULL, 0),
            Value::Bool(flag) => wire::put_number(out, value::BOOL, u64::from(*flag)),
            Value::Number(text) => match text.parse::<f64>() {
                Ok(number) => wire::put_fixed64(out, value::NUMBER, number.to_bits()),
                Err(_) => self.mismatch(node, "a number"),
            },
            Value::String(text) => wire::put_bytes(out, value::STRING, text.as_bytes()),
            Value::Map(_) => {
                let nested = wire::begin_message(out, value::STRUCT);
                self.struct_value(node, out);
                wire::end_message(out, &nested);
            }
            Value::List(_) => {
                let nested = wire::begin_message(out, value::LIST);
                self.list_value(node, out);
                wire::end_message(out, &nested);
            }
        }
    }

    fn duration(&mut self, node: &Node, out: &mut Vec<u8>) {
        let parsed = match &node.value {
            Value::String(text) => time::parse_duration(text),
            _ => Err("expected a duration"),
        };
        match parsed {
            Ok((seconds, nanos)) => put_time(out, seconds, nanos),
            Err(_) => self.mismatch(node, "a duration: seconds with a closing s, such as 1.5s"),
        }
    }

    fn timestamp(&mut self, node: &Node, out: &mut Vec<u8>) {
        let parsed = match &node.value {
            Value::String(text) => time::parse_timestamp(text),
            _ => None,
        };
        match parsed {
            Some((seconds, nanos)) => put_time(out, seconds, nanos),
            None => self.mismatch(node, "a time as in RFC 3339, such as 2024-05-01T12:00:00Z"),
        }
    }

    /// Paths in lowerCamelCase, comma between them, become snake_case.
    fn field_mask(&mut self, node: &Node, out: &mut Vec<u8>) {
        let Value::String(text) = &node.value else {
            self.mismatch(node, "field paths with commas between them");
            return;
        };
        for path in text.split(',').filter(|path| !path.is_empty()) {
            let mut snake = String::with_capacity(path.len() + 4);
            for c in path.chars() {
                if c.is_ascii_uppercase() {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            wire::put_bytes(out, 1, snake.as_bytes());
        }
    }
}

/// Seconds and nanoseconds, as both Duration and Timestamp number them.
fn put_time(out: &mut Vec<u8>, seconds: i64, nanos: i32) {
    if seconds != 0 {
        wire::put_number(out, 1, seconds.cast_unsigned());
    }
    if nanos != 0 {
        wire::put_number(out, 2, i64::from(nanos).cast_unsigned());
    }
}
