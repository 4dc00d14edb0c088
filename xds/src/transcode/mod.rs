//! A tree of YAML or JSON to protobuf's wire format, by the schema, with the conversions that
//! Envoy's parser makes and no others. Every error is kept, with its path and position.
//!
//! Read off the real Envoy 1.40 in the tests: names in snake_case or lowerCamelCase; enums by name
//! in any case or by number; numbers from strings; never a string from a number; one value where
//! a list is due; `null` for "not set"; a Duration or Timestamp also as a map of its fields.

mod any;
pub(crate) mod base64;
mod message;
mod scalar;
mod suggest;
#[cfg(test)]
mod tests;
pub(crate) mod time;
mod typed_struct;
pub(crate) mod well_known;

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::path::Path;
use crate::schema::MessageType;
use crate::tree::Node;

pub(crate) use any::{is_typed_struct, unknown_type};
pub(crate) use message::entry_fields;
pub(crate) use typed_struct::typed_struct_bytes;
pub use typed_struct::unpack_typed_struct;

/// Messages inside one another, at most: protobuf's own limit.
const MESSAGE_DEPTH_MAX: usize = 100;
/// Errors kept; who wrote more than these has a problem of another kind.
const ERRORS_MAX: usize = 200;

/// Writes the message of type `message` that `node` stands for, and says what it could not write:
/// the bytes are a whole message also then.
pub(crate) fn transcode(
    node: &Node,
    message: MessageType,
    file: &Arc<str>,
    text: &str,
) -> (Vec<u8>, Vec<Diagnostic>) {
    let mut out = Vec::new();
    let mut walk = Transcoder { file, text, path: Path::default(), errors: Vec::new(), depth: 0 };
    walk.message(node, message, &mut out);
    (out, walk.errors)
}

struct Transcoder<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    path: Path,
    errors: Vec<Diagnostic>,
    depth: usize,
}

impl Transcoder<'_> {
    /// Reports an error at the path, at a place in the text.
    fn error_at(&mut self, (line, column): (u32, u32), diagnostic: Diagnostic) {
        if self.errors.len() < ERRORS_MAX {
            let diagnostic = Diagnostic { path: self.path.as_str().to_owned(), ..diagnostic };
            self.errors.push(diagnostic.at(self.file, self.text, line, column));
        }
    }

    fn error(&mut self, node: &Node, diagnostic: Diagnostic) {
        self.error_at((node.line, node.column), diagnostic);
    }

    /// The usual error: this field takes something else.
    fn mismatch(&mut self, node: &Node, allowed: &str) {
        let found = node.describe();
        let diagnostic = Diagnostic::error("", format!("expected {allowed}, found {found}"));
        self.error(node, diagnostic);
    }
}
