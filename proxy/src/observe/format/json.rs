//! JSON formats: a structure whose strings are format strings. Numbers stay numbers.

use serde_json::Value;

use super::context::LogContext;
use super::eval::Kind;
use super::op::{Op, Segment};
use super::parse::{Extensions, FormatError, segments};
use super::write::{json_string, quote_from};

/// A compiled `json_format`: one line of JSON per evaluation, keys in ascending order.
#[derive(Debug, Clone)]
pub struct JsonFormat {
    root: Node,
    omit_empty: bool,
}

#[derive(Debug, Clone)]
enum Node {
    /// JSON that needs no evaluation.
    Raw(Box<[u8]>),
    /// One operator: keeps its type, `null` if absent.
    One(Segment),
    /// Several: a string.
    Many(Box<[Segment]>),
    /// Keys are already quoted, with their colon.
    Map(Box<[(Box<[u8]>, Self)]>),
    List(Box<[Self]>),
}

impl JsonFormat {
    /// Compiles a structure.
    ///
    /// # Errors
    /// As [`Format::parse`](super::Format::parse), for any string in it; also if the root is no
    /// map.
    pub fn parse(
        structure: &Value,
        omit_empty_values: bool,
        extensions: Extensions,
    ) -> Result<Self, FormatError> {
        if !structure.is_object() {
            return Err(FormatError::new("json_format must be a map"));
        }
        let root = Node::parse(structure, extensions)?;
        Ok(Self { root, omit_empty: omit_empty_values })
    }

    /// As [`Format::needs_random`](super::Format::needs_random).
    pub fn needs_random(&self) -> bool {
        self.root.needs_random()
    }

    /// Appends one line, with its line feed.
    pub fn eval(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) {
        if !self.root.eval(ctx, self.omit_empty, out) {
            out.extend_from_slice(b"{}");
        }
        out.push(b'\n');
    }
}

impl Node {
    fn needs_random(&self) -> bool {
        match self {
            Self::Raw(_) => false,
            Self::One(segment) => super::needs_random(&segment.op),
            Self::Many(parts) => parts.iter().any(|part| super::needs_random(&part.op)),
            Self::Map(entries) => entries.iter().any(|(_, node)| node.needs_random()),
            Self::List(nodes) => nodes.iter().any(Self::needs_random),
        }
    }

    fn parse(value: &Value, extensions: Extensions) -> Result<Self, FormatError> {
        Ok(match value {
            Value::String(format) => {
                let mut parts = segments(format, extensions)?;
                match (parts.pop(), parts.is_empty()) {
                    (Some(Segment { op: Op::Text(text), .. }), true) => {
                        let mut raw = Vec::new();
                        json_string(&text, &mut raw);
                        Self::Raw(raw.into())
                    }
                    (Some(only), true) => Self::One(only),
                    (last, _) => {
                        parts.extend(last);
                        Self::Many(parts.into())
                    }
                }
            }
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by_key(|(key, _)| key.as_str());
                let entries = keys.into_iter().map(|(key, value)| {
                    let mut raw = Vec::new();
                    json_string(key.as_bytes(), &mut raw);
                    raw.push(b':');
                    Ok((raw.into_boxed_slice(), Self::parse(value, extensions)?))
                });
                Self::Map(entries.collect::<Result<_, FormatError>>()?)
            }
            Value::Array(list) => {
                let nodes = list.iter().map(|value| Self::parse(value, extensions));
                Self::List(nodes.collect::<Result<_, _>>()?)
            }
            Value::Null => Self::One(Segment { op: Op::Absent, max: None }),
            Value::Bool(_) | Value::Number(_) => Self::Raw(value.to_string().into_bytes().into()),
        })
    }

    /// Appends the value; false (and nothing appended) if it is left out.
    fn eval(&self, ctx: &LogContext<'_>, omit: bool, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match self {
            Self::Raw(json) => out.extend_from_slice(json),
            Self::One(segment) => match segment.eval_json(ctx, out) {
                Kind::Absent if omit => return false,
                Kind::Absent => out.extend_from_slice(b"null"),
                Kind::Text => quote_from(start, out),
                Kind::Number => {}
            },
            Self::Many(parts) => {
                super::eval_all(parts, ctx, omit, out);
                quote_from(start, out);
            }
            Self::Map(entries) => {
                out.push(b'{');
                let mut any = false;
                for (key, node) in entries {
                    let before = out.len();
                    if any {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    if node.eval(ctx, omit, out) {
                        any = true;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
                return keep(any || !omit, start, out);
            }
            Self::List(nodes) => {
                out.push(b'[');
                let mut any = false;
                for node in nodes {
                    let before = out.len();
                    if any {
                        out.push(b',');
                    }
                    if node.eval(ctx, omit, out) {
                        any = true;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b']');
                return keep(any || !omit, start, out);
            }
        }
        true
    }
}

fn keep(keep: bool, start: usize, out: &mut Vec<u8>) -> bool {
    if !keep {
        out.truncate(start);
    }
    keep
}
