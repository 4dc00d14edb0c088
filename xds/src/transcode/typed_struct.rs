//! A `TypedStruct` on the wire to the message it stands for.

use std::borrow::Cow;
use std::sync::Arc;

use prost_types::Any;

use super::any::is_typed_struct;
use super::transcode;
use super::well_known::value;
use crate::diagnostic::Diagnostic;
use crate::schema::{self, MessageType};
use crate::tree::{DEPTH_MAX, Entry, Node, Value};
use crate::wire::{Record, Records, WireValue};

/// The message a `TypedStruct` stands for.
pub(crate) struct Typed {
    pub(crate) message: MessageType,
    pub(crate) bytes: Vec<u8>,
    pub(crate) errors: Vec<Diagnostic>,
}

/// Turns an `Any` that holds a `TypedStruct` into one that holds the message it stands for. Any
/// other is handed back, also a `TypedStruct` of a type nobody knows.
///
/// # Errors
/// The value does not fit the type it names.
pub fn unpack_typed_struct(any: &Any) -> Result<Cow<'_, Any>, Vec<Diagnostic>> {
    let typed = schema::message_of_url(&any.type_url)
        .filter(|message| is_typed_struct(*message))
        .and_then(|_| typed_struct_bytes(&any.value));
    match typed {
        None => Ok(Cow::Borrowed(any)),
        Some(Typed { errors, .. }) if !errors.is_empty() => Err(errors),
        Some(Typed { message, bytes, .. }) => Ok(Cow::Owned(Any {
            type_url: format!("type.googleapis.com/{}", message.full_name()),
            value: bytes,
        })),
    }
}

/// The type a `TypedStruct` names and the message of that type it stands for. None if nobody knows
/// the type, or the bytes are no `TypedStruct`.
pub(crate) fn typed_struct_bytes(bytes: &[u8]) -> Option<Typed> {
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
    Some(Typed { message, bytes, errors })
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
