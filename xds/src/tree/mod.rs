//! A configuration as text wrote it: maps, lists and scalars, each with its position.

mod json;
mod lookup;
mod number;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use json::parse as parse_json;
pub(crate) use lookup::{Place, find};
pub(crate) use number::yaml_integer;
pub(crate) use yaml::parse as parse_yaml;

/// Maps and lists inside one another, at most. Protobuf itself stops at 100 messages.
pub(crate) const DEPTH_MAX: usize = 200;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) value: Value,
}

/// A value, typed as the notation has it; the schema decides what it becomes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As written in JSON, in decimal; of YAML only whole numbers of 32 bits.
    Number(Box<str>),
    String(Box<str>),
    List(Vec<Node>),
    /// In the order of the text. In JSON a key may occur twice: protobuf merges what they hold.
    Map(Vec<Entry>),
}

/// A key of a map, where it begins, and what it leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) node: Node,
}

/// Text that is no YAML or JSON, or is not what it seems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
}

/// What parsing found.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Node,
    /// What Envoy silently passes over: where, and what it is.
    pub(crate) passed_over: Vec<SyntaxError>,
}

impl Node {
    /// For messages: what was found instead.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(text) => format!("the number {text}"),
            Value::String(text) => {
                let shown: String = text.chars().take(60).collect();
                let dots = if shown.len() < text.len() { "…" } else { "" };
                format!("the string \"{}{dots}\"", shown.escape_debug())
            }
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }

    /// The value of a key; of two equal ones the last.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().rev().find(|entry| *entry.key == *key).map(|entry| &entry.node)
            }
            _ => None,
        }
    }
}

impl Entry {
    /// Where to point for the whole of it: at its key if the value goes over many lines.
    pub(crate) fn place(&self) -> (u32, u32) {
        match self.node.value {
            Value::Map(_) | Value::List(_) => (self.line, self.column),
            _ => (self.node.line, self.node.column),
        }
    }
}
