//! Messages of the configuration as JSON, secrets struck out.

use prost::{Message, Name};
use ringway_xds::print::{self, JsonOptions};
use ringway_xds::schema;

/// A message as JSON at depth 0; `defaults` also prints fields that hold their default.
pub(super) fn message<M: Message + Name>(message: &M, defaults: bool) -> String {
    print::json(message, JsonOptions { defaults, ..JsonOptions::default() })
}

/// Encoded bytes of a type as JSON at depth 0.
///
/// # Errors
/// The type is not known.
pub(super) fn bytes(type_name: &str, bytes: &[u8]) -> Result<String, String> {
    let kind = schema::message(type_name).ok_or_else(|| format!("unknown type {type_name}"))?;
    let mut out = String::new();
    print::write_json(&mut out, kind, bytes, JsonOptions::default());
    Ok(out)
}
