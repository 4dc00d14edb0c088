//! `google.protobuf.Any`: the type is named by `@type`, at any place among the keys. And
//! `TypedStruct`, which names its type and is checked against it.

use super::{Transcoder, suggest};
use crate::diagnostic::Diagnostic;
use crate::schema::{self, MessageType};
use crate::tree::{Entry, Node, Value};
use crate::wire;

/// The key that names the type.
const TYPE_KEY: &str = "@type";

impl Transcoder<'_> {
    /// Appends the two fields of an `Any`.
    pub(super) fn any(&mut self, node: &Node, out: &mut Vec<u8>) {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, "a map with the key @type");
            return;
        };
        if entries.is_empty() {
            return;
        }
        let Some(entry) = entries.iter().rev().find(|entry| *entry.key == *TYPE_KEY) else {
            let text = "the key @type is missing: nothing says what this is";
            let diagnostic = Diagnostic::error("", text)
                .allowed("a type URL, such as type.googleapis.com/envoy.….v3.Name");
            self.error(node, diagnostic);
            return;
        };
        let Some((url, message)) = self.any_type(entry) else { return };
        wire::put_bytes(out, 1, url.as_bytes());
        let nested = wire::begin_message(out, 2);
        if super::well_known::is_well_known(message) {
            self.any_value(entries, message, out);
        } else {
            self.plain_message(node, message, Some(TYPE_KEY), out);
            self.check_typed_struct(node, message);
        }
        wire::end_message(out, &nested);
    }

    /// The type an `@type` names; errors are reported.
    fn any_type<'n>(&mut self, entry: &'n Entry) -> Option<(&'n str, MessageType)> {
        let mark = self.path.field(TYPE_KEY);
        let found = self.type_named(&entry.node);
        self.path.back(mark);
        found
    }

    fn type_named<'n>(&mut self, node: &'n Node) -> Option<(&'n str, MessageType)> {
        let Value::String(url) = &node.value else {
            self.mismatch(node, "a type URL");
            return None;
        };
        let Some((_, name)) = url.rsplit_once('/') else {
            let text = format!("a type URL has a slash before the name of the type: `{url}`");
            let known = schema::message(url).map(|_| format!("type.googleapis.com/{url}"));
            self.error(node, Diagnostic::error("", text).suggestion(known));
            return None;
        };
        if let Some(message) = schema::message(name) {
            return Some((url, message));
        }
        self.error(node, unknown_type(name));
        None
    }

    /// A well-known type inside an `Any` lies under the key `value`.
    fn any_value(&mut self, entries: &[Entry], message: MessageType, out: &mut Vec<u8>) {
        for entry in entries {
            match &*entry.key {
                TYPE_KEY => {}
                "value" => {
                    let mark = self.path.field("value");
                    self.message(&entry.node, message, out);
                    self.path.back(mark);
                }
                key => {
                    let mark = self.path.field(key);
                    let name = message.full_name();
                    let text = format!("{name} in an Any has only the key `value`, no `{key}`");
                    self.error_at((entry.line, entry.column), Diagnostic::error("", text));
                    self.path.back(mark);
                }
            }
        }
    }

    /// Checks the value of a `TypedStruct` against the type it names, if that is known.
    pub(super) fn check_typed_struct(&mut self, node: &Node, message: MessageType) {
        if !is_typed_struct(message) {
            return;
        }
        let url = node.get("type_url").or_else(|| node.get("typeUrl"));
        let (Some(Node { value: Value::String(url), .. }), Some(value)) = (url, node.get("value"))
        else {
            return;
        };
        let name = url.rsplit_once('/').map_or(&**url, |(_, name)| name);
        let Some(inner) = schema::message(name) else { return };
        if matches!(value.value, Value::Map(_)) && !super::well_known::is_well_known(inner) {
            let mark = self.path.field("value");
            self.message(value, inner, &mut Vec::new());
            self.path.back(mark);
        }
    }
}

/// Whether the message is one of the two `TypedStruct`s.
pub(crate) fn is_typed_struct(message: MessageType) -> bool {
    matches!(message.full_name(), "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct")
}

/// The error for a type that no Envoy knows.
pub(crate) fn unknown_type(name: &str) -> Diagnostic {
    let shown: String = name.chars().take(120).collect();
    let old = name.starts_with("envoy.api.v2")
        || name.split('.').any(|part| matches!(part, "v2" | "v2alpha" | "v2alpha1"));
    let text = if old && name.starts_with("envoy.") {
        format!("{shown} is of the v2 API, which Envoy has dropped")
    } else {
        format!("no type is called {shown}")
    };
    Diagnostic::error("", text).suggestion(suggest::message(name))
}
