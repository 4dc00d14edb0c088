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
use crate::schema::{Field, MessageType};

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
    current: &'static str,
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
            let (message, message_type) = (message.into(), self.current);
            self.findings.push(Finding { kind, path, message, message_type });
        }
    }

    fn broken(&mut self, message: impl Into<String>) {
        self.report(FindingKind::Rule, message);
    }

    fn rules_of(&mut self, field: Field) -> Option<Arc<FieldRules>> {
        let bytes = field.rules()?;
        let decode = || Arc::new(FieldRules::decode(bytes).unwrap_or_default());
        Some(Arc::clone(self.rules.entry(bytes.as_ptr().addr()).or_insert_with(decode)))
    }
}
