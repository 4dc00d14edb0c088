//! Messages on the wire to proto-JSON, as Envoy's admin pages write it: names in snake_case, one
//! space of indent, `Any` opened up, secrets struck out if asked.

#[cfg(test)]
mod tests;
mod text;
mod well_known;

use prost::{Message, Name};

use crate::rules::values::{Scalar, scalar, scalars};
use crate::schema::{self, Field, Kind, MessageType};
use crate::transcode::entry_fields;
use crate::wire::{Record, Records, WireValue};

pub(crate) use well_known::time;

/// Messages inside one another, at most: protobuf's own limit. What is deeper prints empty.
const DEPTH_MAX: usize = 100;
/// What stands for a secret.
const REDACTED: &[u8] = b"[redacted]";

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonOptions {
    /// Lines and one space of indent a level; else all in one line without spaces.
    pub pretty: bool,
    /// Levels of indent to begin with, for a message inside something already printed.
    pub indent: usize,
    /// Also fields without presence that hold their default.
    pub defaults: bool,
    /// Strike out fields that Envoy marks sensitive, and all below them.
    pub redact: bool,
}

impl Default for JsonOptions {
    /// As `/config_dump` prints.
    fn default() -> Self {
        Self { pretty: true, indent: 0, defaults: false, redact: true }
    }
}

/// Prints a message.
pub fn json<M: Message + Name>(message: &M, options: JsonOptions) -> String {
    let mut out = String::new();
    if let Some(kind) = schema::message(&M::full_name()) {
        write_json(&mut out, kind, &message.encode_to_vec(), options);
    }
    out
}

/// Prints bytes of the type `message` after what `out` holds. Bytes that are no such message are
/// printed as far as they are one.
pub fn write_json(out: &mut String, message: MessageType, bytes: &[u8], options: JsonOptions) {
    let depth = options.indent;
    Printer { out, options, indent: depth, depth: 0 }.message(message, bytes, false);
}

struct Printer<'a> {
    out: &'a mut String,
    options: JsonOptions,
    indent: usize,
    depth: usize,
}

/// The state of a list or map that is being written.
struct Group {
    empty: bool,
    close: char,
}

impl Printer<'_> {
    /// `secret` says that a field around the message is sensitive.
    fn message(&mut self, message: MessageType, bytes: &[u8], secret: bool) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.out.push_str("{}");
        } else if !self.well_known(message, bytes, secret) {
            let mut group = self.begin('{', '}');
            self.fields(&mut group, message, bytes, secret);
            self.end(&group);
        }
        self.depth -= 1;
    }

    /// The fields of a message into an open map.
    fn fields(&mut self, group: &mut Group, message: MessageType, bytes: &[u8], secret: bool) {
        let mut records: Vec<Record<'_>> = Records(bytes).map_while(Result::ok).collect();
        records.sort_by_key(|record| record.number);
        let mut rest = records.as_slice();
        for field in message.fields() {
            let number = field.number();
            let skipped = rest.iter().take_while(|record| record.number < number).count();
            rest = rest.split_at(skipped).1;
            let own = rest.iter().take_while(|record| record.number == number).count();
            let (own, after) = rest.split_at(own);
            rest = after;
            if own.is_empty() && (field.has_presence() || !self.options.defaults) {
                continue;
            }
            let secret = secret || self.options.redact && field.is_sensitive();
            self.field(group, field, own, secret);
        }
    }

    fn field(&mut self, group: &mut Group, field: Field, records: &[Record<'_>], secret: bool) {
        if field.is_map() {
            self.key(group, field.name());
            self.map(field, records, secret);
        } else if let Some(message) = field.message() {
            self.key(group, field.name());
            if field.is_repeated() {
                self.list_of_messages(message, records, secret);
            } else {
                self.message(message, &joined(records), secret);
            }
        } else if field.is_repeated() {
            self.key(group, field.name());
            let mut list = self.begin('[', ']');
            for value in scalars(field, records) {
                self.item(&mut list);
                self.scalar(field, value, secret);
            }
            self.end(&list);
        } else {
            self.one_scalar(group, field, records, secret);
        }
    }

    fn one_scalar(
        &mut self,
        group: &mut Group,
        field: Field,
        records: &[Record<'_>],
        secret: bool,
    ) {
        let value = scalar(field, records);
        let is_default = value == Scalar::default_of(field.kind());
        if is_default && !field.has_presence() && !self.options.defaults {
            return;
        }
        // Envoy clears secret numbers and strikes out secret text.
        if secret && !matches!(value, Scalar::Bytes(_)) {
            return;
        }
        self.key(group, field.name());
        self.scalar(field, value, secret);
    }

    fn list_of_messages(&mut self, message: MessageType, records: &[Record<'_>], secret: bool) {
        let mut list = self.begin('[', ']');
        for record in records {
            if let WireValue::Bytes(bytes) = record.value {
                self.item(&mut list);
                self.message(message, bytes, secret);
            }
        }
        self.end(&list);
    }

    fn map(&mut self, field: Field, records: &[Record<'_>], secret: bool) {
        let Some((key_field, value_field)) = field.message().and_then(entry_fields) else {
            return;
        };
        let mut map = self.begin('{', '}');
        for record in records {
            let WireValue::Bytes(entry) = record.value else { continue };
            let entry: Vec<Record<'_>> = Records(entry).map_while(Result::ok).collect();
            let (keys, values): (Vec<Record<'_>>, Vec<Record<'_>>) =
                entry.into_iter().partition(|record| record.number == 1);
            self.key(&mut map, &scalar(key_field, &keys).text());
            match value_field.message() {
                Some(message) => self.message(message, &joined(&values), secret),
                None => {
                    self.scalar(value_field, scalar(value_field, &values), secret);
                }
            }
        }
        self.end(&map);
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, secret: bool) {
        let wide = matches!(
            field.kind(),
            Kind::Int64 | Kind::Uint64 | Kind::Fixed64 | Kind::Sfixed64 | Kind::Sint64
        );
        match value {
            Scalar::Bytes(bytes) => {
                let bytes = if secret { REDACTED } else { bytes };
                if field.kind() == Kind::String {
                    self.string(&String::from_utf8_lossy(bytes));
                } else {
                    self.string(&crate::transcode::base64::encode(bytes));
                }
            }
            Scalar::Bool(flag) => self.out.push_str(if flag { "true" } else { "false" }),
            Scalar::Float(number) => self.float(number, field.kind() == Kind::Float),
            Scalar::Signed(number) => match field.enumeration() {
                Some(kind) => self.enumeration(kind, number),
                None => self.whole(&number.to_string(), wide),
            },
            Scalar::Unsigned(number) => self.whole(&number.to_string(), wide),
        }
    }

    fn enumeration(&mut self, kind: schema::EnumType, number: i64) {
        if kind.full_name() == "google.protobuf.NullValue" {
            self.out.push_str("null");
            return;
        }
        match i32::try_from(number).ok().and_then(|number| kind.numbered(number)) {
            Some(value) => self.string(value.name()),
            None => self.out.push_str(&number.to_string()),
        }
    }

    /// Numbers of 64 bits are strings: JSON's own are floats to many readers.
    fn whole(&mut self, digits: &str, wide: bool) {
        if wide {
            self.string(digits);
        } else {
            self.out.push_str(digits);
        }
    }

    fn begin(&mut self, open: char, close: char) -> Group {
        self.out.push(open);
        self.indent += 1;
        Group { empty: true, close }
    }

    fn item(&mut self, group: &mut Group) {
        if !group.empty {
            self.out.push(',');
        }
        group.empty = false;
        self.line();
    }

    fn key(&mut self, group: &mut Group, key: &str) {
        self.item(group);
        self.string(key);
        self.out.push_str(if self.options.pretty { ": " } else { ":" });
    }

    fn end(&mut self, group: &Group) {
        self.indent -= 1;
        if !group.empty {
            self.line();
        }
        self.out.push(group.close);
    }

    fn line(&mut self) {
        if self.options.pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', self.indent));
        }
    }
}

/// A message in several records is the records one after the other.
fn joined(records: &[Record<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for record in records {
        if let WireValue::Bytes(bytes) = record.value {
            all.extend(bytes);
        }
    }
    all
}
