//! Checks a message as it lies on the wire: field rules (PGV), unknown fields, deprecated ones,
//! and everything inside `Any`, in one walk by the schema.
//!
//! The rules are those of protoc-gen-validate, in the words Envoy's generated code uses.

mod bounds;
mod check;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod values;

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use regex::Regex;

use crate::api::validate::FieldRules;
use crate::path::Path;
use crate::schema::{Field, MessageType, Oneof};
use crate::transcode::is_typed_struct;

pub(crate) use check::any_parts;

/// Messages inside one another, at most: protobuf's own limit.
const DEPTH_MAX: usize = 100;
/// Findings kept.
const FINDINGS_MAX: usize = 1000;

/// Something about a message that its type alone does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// The field, from the top.
    pub path: String,
    /// What is wrong, in Envoy's words where it is a rule.
    pub message: String,
    /// The message type the field belongs to.
    pub message_type: &'static str,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A field breaks its rule, or is missing.
    Rule,
    /// None of the fields of a oneof is set, and one must be.
    OneofRequired(MessageType, usize),
    /// A field the schema does not know.
    UnknownField,
    /// An `Any` of a type the schema does not know.
    UnknownType,
    /// Bytes that are no message.
    Malformed,
    /// A field or enum value that will go away.
    Deprecated,
    /// A field or enum value that is only taken if a runtime key allows it.
    Disallowed,
}

/// Checks `bytes` as a message of the type `message`.
pub fn check(message: MessageType, bytes: &[u8]) -> Vec<Finding> {
    Checker::default().check(message, bytes)
}

/// Checks messages one after the other, and keeps what it has read of the rules.
#[derive(Default)]
pub struct Checker {
    path: Path,
    findings: Vec<Finding>,
    depth: usize,
    /// Rules by where they lie in the table.
    rules: HashMap<usize, Arc<FieldRules>>,
    patterns: HashMap<String, Option<Regex>>,
    /// The message whose fields are at hand.
    current: Option<MessageType>,
    /// What is known of messages that were met, by their place in the schema.
    shapes: Vec<Option<Arc<Shape>>>,
}

/// What the walk asks of a message every time it meets one.
struct Shape {
    special: Special,
    /// Its fields with their numbers, and whether an absent one has to be looked at, too.
    fields: Box<[(u32, Field, bool)]>,
    oneofs: usize,
    /// One of them has to be set.
    has_required: bool,
}

/// Messages that are not only their fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    No,
    /// Its bytes are another message.
    Any,
    /// It stands for another message.
    TypedStruct,
    /// Values without a schema: nothing to check in them.
    FreeForm,
}

impl Checker {
    /// Checks `bytes` as a message of the type `message`.
    pub fn check(&mut self, message: MessageType, bytes: &[u8]) -> Vec<Finding> {
        self.message(message, bytes);
        std::mem::take(&mut self.findings)
    }

    fn report(&mut self, kind: FindingKind, message: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            let path = self.path.as_str().to_owned();
            let message_type = self.current.map_or("", MessageType::full_name);
            let message = message.into();
            self.findings.push(Finding { kind, path, message, message_type });
        }
    }

    fn broken(&mut self, message: impl Into<String>) {
        self.report(FindingKind::Rule, message);
    }

    fn shape(&mut self, message: MessageType) -> Arc<Shape> {
        let place = usize::from(message.place());
        if let Some(Some(shape)) = self.shapes.get(place) {
            return Arc::clone(shape);
        }
        if self.shapes.len() <= place {
            self.shapes.resize(place + 1, None);
        }
        let shape = Arc::new(Shape::of(message));
        if let Some(slot) = self.shapes.get_mut(place) {
            *slot = Some(Arc::clone(&shape));
        }
        shape
    }

    fn rules_of(&mut self, field: Field) -> Option<Arc<FieldRules>> {
        let bytes = field.rules()?;
        let decode = || Arc::new(FieldRules::decode(bytes).unwrap_or_default());
        Some(Arc::clone(self.rules.entry(bytes.as_ptr().addr()).or_insert_with(decode)))
    }
}

impl Shape {
    fn of(message: MessageType) -> Self {
        let special = match message.full_name() {
            "google.protobuf.Any" => Special::Any,
            "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => {
                Special::FreeForm
            }
            _ if is_typed_struct(message) => Special::TypedStruct,
            _ => Special::No,
        };
        let ruled = |field: Field| !message.skips_rules() && field.rules().is_some();
        Self {
            special,
            fields: message.fields().map(|field| (field.number(), field, ruled(field))).collect(),
            oneofs: message.oneofs().len(),
            has_required: !message.skips_rules() && message.oneofs().any(Oneof::is_required),
        }
    }
}
