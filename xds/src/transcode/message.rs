//! Messages, their fields, lists and maps.

use super::{MESSAGE_DEPTH_MAX, Transcoder, suggest};
use crate::diagnostic::Diagnostic;
use crate::schema::{Field, Kind, MessageType};
use crate::tree::{Entry, Node, Value};
use crate::wire;

impl Transcoder<'_> {
    /// Appends the fields of a message, well-known types included.
    pub(super) fn message(&mut self, node: &Node, message: MessageType, out: &mut Vec<u8>) {
        self.depth += 1;
        if self.depth > MESSAGE_DEPTH_MAX {
            let text = format!("more than {MESSAGE_DEPTH_MAX} messages inside one another");
            self.error(node, Diagnostic::error("", text));
        } else if !self.well_known(node, message, out) {
            self.plain_message(node, message, None, out);
        }
        self.depth -= 1;
    }

    /// Appends the fields of a message from a map; `skip` is a key that is no field of it.
    pub(super) fn plain_message(
        &mut self,
        node: &Node,
        message: MessageType,
        skip: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, &format!("a map with the fields of {}", message.full_name()));
            return;
        };
        let mut oneofs: Vec<Option<Field>> = vec![None; message.oneofs().len()];
        for entry in entries {
            if skip == Some(&*entry.key) {
                continue;
            }
            let Some(field) = message.field_named(&entry.key) else {
                self.unknown_field(entry, message);
                continue;
            };
            let mark = self.path.field(field.name());
            if self.is_first_of_oneof(entry, field, &mut oneofs) {
                self.field(&entry.node, field, out);
            }
            self.path.back(mark);
        }
    }

    fn unknown_field(&mut self, entry: &Entry, message: MessageType) {
        let mark = self.path.field(&entry.key);
        let text = format!("{} has no field `{}`", message.full_name(), entry.key);
        let diagnostic = Diagnostic::error("", text)
            .allowed(suggest::field_list(message))
            .suggestion(suggest::field(message, &entry.key));
        self.error_at((entry.line, entry.column), diagnostic);
        self.path.back(mark);
    }

    /// A second member of a oneof is refused; `null` is no member.
    fn is_first_of_oneof(
        &mut self,
        entry: &Entry,
        field: Field,
        oneofs: &mut [Option<Field>],
    ) -> bool {
        let Some(slot) = field.oneof_index().and_then(|index| oneofs.get_mut(index)) else {
            return true;
        };
        if entry.node.value == Value::Null {
            return true;
        }
        if let Some(first) = slot.replace(field) {
            let text = if first == field {
                format!("`{}` is set twice", field.name())
            } else {
                format!(
                    "`{}` excludes `{}`: only one of them may be set",
                    first.name(),
                    field.name()
                )
            };
            self.error_at((entry.line, entry.column), Diagnostic::error("", text));
            return false;
        }
        true
    }

    fn field(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) {
        if node.value == Value::Null && !is_value(field) {
            return;
        }
        if field.is_map() {
            self.map(node, field, out);
            return;
        }
        match &node.value {
            Value::List(items) if field.is_repeated() && !is_list_value(field, items) => {
                for (index, item) in items.iter().enumerate() {
                    let mark = self.path.index(index);
                    self.item(item, field, out);
                    self.path.back(mark);
                }
            }
            // One value where a list is due is a list of one.
            _ => self.single(node, field, out),
        }
    }

    /// An element of a list: `null` is an empty one.
    fn item(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) {
        if node.value == Value::Null && !is_value(field) {
            if field.kind() == Kind::Message {
                wire::put_bytes(out, field.number(), &[]);
            }
            return;
        }
        self.single(node, field, out);
    }

    fn single(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) {
        match field.message() {
            Some(message) => {
                let nested = wire::begin_message(out, field.number());
                self.message(node, message, out);
                wire::end_message(out, &nested);
            }
            None => self.scalar(node, field, out),
        }
    }

    fn map(&mut self, node: &Node, field: Field, out: &mut Vec<u8>) {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, "a map");
            return;
        };
        let Some((key_field, value_field)) = field.message().and_then(entry_fields) else {
            return;
        };
        for entry in entries {
            let mark = self.path.key(&entry.key);
            let nested = wire::begin_message(out, field.number());
            let (line, column) = (entry.line, entry.column);
            let value = match key_field.kind() {
                Kind::Bool if &*entry.key == "true" => Value::Bool(true),
                Kind::Bool if &*entry.key == "false" => Value::Bool(false),
                _ => Value::String(entry.key.clone()),
            };
            self.scalar(&Node { line, column, value }, key_field, out);
            self.item(&entry.node, value_field, out);
            wire::end_message(out, &nested);
            self.path.back(mark);
        }
    }
}

/// The fields of a map's entry.
pub(crate) fn entry_fields(entry: MessageType) -> Option<(Field, Field)> {
    Some((entry.field_numbered(1)?, entry.field_numbered(2)?))
}

/// Whether `null` is a value of the field.
fn is_value(field: Field) -> bool {
    field.message().is_some_and(|message| message.full_name() == "google.protobuf.Value")
        || field.enumeration().is_some_and(|kind| kind.full_name() == "google.protobuf.NullValue")
}

/// A list of lists is a list of `ListValue`; of anything else a list is the list of the field.
fn is_list_value(field: Field, items: &[Node]) -> bool {
    field.message().is_some_and(|message| message.full_name() == "google.protobuf.ListValue")
        && !items.iter().all(|item| matches!(item.value, Value::List(_)))
}
