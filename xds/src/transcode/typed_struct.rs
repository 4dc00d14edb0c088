//! A `TypedStruct` on the wire to the message it stands for.

use std::sync::Arc;

use super::transcode;
use super::well_known::value;
use crate::diagnostic::Diagnostic;
use crate::schema::{self, MessageType};
use crate::tree::{DEPTH_MAX, Entry, Node, Value};
use crate::wire::{Record, Records, WireValue};

/// The type a `TypedStruct` names and the message of that type it stands for. None if nobody knows
/// the type, or the bytes are no `TypedStruct`; errors if the value does not fit the type.
pub fn typed_struct_bytes(bytes: &[u8]) -> Option<(MessageType, Result<Vec<u8>, Vec<Diagnostic>>)> {
    let (mut url, mut fields) = (None, Vec::new());
    for record in Records(bytes) {
        match record.ok()? {
            Record { number: 1, value: WireValue::Bytes(text) } => {
                url = std::str::from_utf8(text).ok();
            }
            Record { number: 2, value: WireValue::Bytes(bytes) } => {
                entries(bytes, 0, &mut fields)?;
            }
            _ => {}
        }
    }
    let url = url?;
    let message = schema::message(url.rsplit_once('/').map_or(url, |(_, name)| name))?;
    let node = node(Value::Map(fields));
    let (bytes, errors) = transcode(&node, message, &Arc::from(""), "");
    Some((message, if errors.is_empty() { Ok(bytes) } else { Err(errors) }))
}

fn node(value: Value) -> Node {
    Node { line: 0, column: 0, value }
}

/// The fields of a `google.protobuf.Struct`.
fn entries(bytes: &[u8], depth: usize, out: &mut Vec<Entry>) -> Option<()> {
    for record in Records(bytes) {
        let Record { number: 1, value: WireValue::Bytes(entry) } = record.ok()? else { continue };
        let (mut key, mut found) = ("", node(Value::Null));
        for record in Records(entry) {
            match record.ok()? {
                Record { number: 1, value: WireValue::Bytes(text) } => {
                    key = std::str::from_utf8(text).ok()?;
                }
                Record { number: 2, value: WireValue::Bytes(bytes) } => {
                    found = json_value(bytes, depth + 1)?;
                }
                _ => {}
            }
        }
        out.push(Entry { key: key.into(), line: 0, column: 0, node: found });
    }
    Some(())
}

/// A `google.protobuf.Value`.
fn json_value(bytes: &[u8], depth: usize) -> Option<Node> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut found = Value::Null;
    for record in Records(bytes) {
        let record = record.ok()?;
        found = match (record.number, record.value) {
            (value::NUMBER, WireValue::Fixed64(bits)) => {
                Value::Number(f64::from_bits(bits).to_string().into())
            }
            (value::STRING, WireValue::Bytes(text)) => {
                Value::String(std::str::from_utf8(text).ok()?.into())
            }
            (value::BOOL, WireValue::Varint(bits)) => Value::Bool(bits != 0),
            (value::STRUCT, WireValue::Bytes(bytes)) => {
                let mut all = Vec::new();
                entries(bytes, depth, &mut all)?;
                Value::Map(all)
            }
            (value::LIST, WireValue::Bytes(bytes)) => Value::List(items(bytes, depth)?),
            _ => continue,
        };
    }
    Some(node(found))
}

fn items(bytes: &[u8], depth: usize) -> Option<Vec<Node>> {
    let mut all = Vec::new();
    for record in Records(bytes) {
        if let Record { number: 1, value: WireValue::Bytes(bytes) } = record.ok()? {
            all.push(json_value(bytes, depth + 1)?);
        }
    }
    Some(all)
}
