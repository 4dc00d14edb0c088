//! Writes the table of fields and rules of every message: what `src/schema` reads.
//!
//! All integers little-endian. A name is a `u32`: offset into the names in the low 24 bits, length
//! above. Sections follow one another in the order of [`Table`]'s fields, after a header of their
//! seven sizes in bytes.

use std::collections::HashMap;

use crate::descriptor::{EnumType, Field, FileSet, KIND_ENUM, KIND_MESSAGE, MessageType};

const LABEL_REPEATED: i32 = 3;
/// No child, no oneof, no rules.
const NONE: u16 = u16::MAX;

/// Bits of a field's flags.
mod flag {
    pub(super) const REPEATED: u8 = 1;
    pub(super) const PACKED: u8 = 1 << 1;
    pub(super) const DEPRECATED: u8 = 1 << 2;
    pub(super) const DISALLOWED: u8 = 1 << 3;
    pub(super) const SENSITIVE: u8 = 1 << 4;
    /// Presence is tracked although it is a scalar outside a real oneof (`optional`).
    pub(super) const OPTIONAL: u8 = 1 << 5;
    pub(super) const MAP: u8 = 1 << 6;
}

/// Packages whose messages no configuration holds.
const LEFT_OUT: &[&str] = &["validate", "google.api", "envoy.annotations"];

/// The table as bytes.
pub(crate) fn build(set: &FileSet) -> Result<Vec<u8>, String> {
    let index = Index::new(set);
    let mut table = Table::default();
    for (name, message) in &index.messages {
        table.message(name, message, &index)?;
    }
    for (name, kind) in &index.enums {
        table.enumeration(name, kind)?;
    }
    table.finish()
}

/// Every message and enum by full name, sorted, nested ones too.
struct Index<'a> {
    messages: Vec<(String, &'a MessageType)>,
    enums: Vec<(String, &'a EnumType)>,
}

impl<'a> Index<'a> {
    fn new(set: &'a FileSet) -> Self {
        let mut index = Self { messages: Vec::new(), enums: Vec::new() };
        for file in &set.files {
            let is_descriptor = file.name == "google/protobuf/descriptor.proto";
            if is_descriptor || LEFT_OUT.contains(&file.package.as_str()) {
                continue;
            }
            index.enums.extend(file.enums.iter().map(|e| (join(&file.package, &e.name), e)));
            for message in &file.messages {
                index.add(&file.package, message);
            }
        }
        index.messages.sort_by(|a, b| a.0.cmp(&b.0));
        index.enums.sort_by(|a, b| a.0.cmp(&b.0));
        index
    }

    fn add(&mut self, scope: &str, message: &'a MessageType) {
        let name = join(scope, &message.name);
        self.enums.extend(message.enums.iter().map(|e| (join(&name, &e.name), e)));
        for nested in &message.nested {
            self.add(&name, nested);
        }
        self.messages.push((name, message));
    }

    /// Where the type a field names stands in its list.
    fn child(&self, field: &Field) -> Result<u16, String> {
        let Some(reference) = field.type_name.as_deref() else { return Ok(NONE) };
        let name = reference.trim_start_matches('.');
        let position = match field.kind {
            KIND_MESSAGE => self.messages.binary_search_by(|m| m.0.as_str().cmp(name)),
            KIND_ENUM => self.enums.binary_search_by(|e| e.0.as_str().cmp(name)),
            other => return Err(format!("field {} has the unknown kind {other}", field.name)),
        };
        position
            .ok()
            .and_then(|at| u16::try_from(at).ok())
            .ok_or_else(|| format!("field {} refers to unknown {reference}", field.name))
    }

    fn is_map(&self, child: u16, kind: i32) -> bool {
        kind == KIND_MESSAGE
            && self
                .messages
                .get(usize::from(child))
                .and_then(|(_, m)| m.options.as_ref())
                .is_some_and(|o| o.map_entry == Some(true))
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

#[derive(Default)]
struct Table {
    messages: Vec<u8>,
    fields: Vec<u8>,
    oneofs: Vec<u8>,
    enums: Vec<u8>,
    values: Vec<u8>,
    rules: Vec<u8>,
    names: Vec<u8>,
    known_names: HashMap<String, u32>,
    known_rules: HashMap<Vec<u8>, u16>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    fields: usize,
    oneofs: usize,
    values: usize,
}

impl Table {
    fn message(&mut self, name: &str, message: &MessageType, index: &Index) -> Result<(), String> {
        let full = self.name(name)?;
        let real_oneofs = message.oneofs.len() - synthetic(message);
        let skips_rules = message
            .options
            .as_ref()
            .is_some_and(|o| o.disabled == Some(true) || o.ignored == Some(true));
        let is_map = message.options.as_ref().is_some_and(|o| o.map_entry == Some(true));
        let record = &mut self.messages;
        record.extend(full.to_le_bytes());
        record.extend(short(self.counts.fields)?.to_le_bytes());
        record.extend(short(message.fields.len())?.to_le_bytes());
        record.extend(short(self.counts.oneofs)?.to_le_bytes());
        record.push(u8::try_from(real_oneofs).map_err(|e| e.to_string())?);
        record.push(u8::from(skips_rules) | u8::from(is_map) << 1);
        // Synthetic oneofs of `optional` fields come after the real ones.
        for oneof in &message.oneofs[..real_oneofs] {
            let required = oneof.options.as_ref().is_some_and(|o| o.required == Some(true));
            let name = self.name(&oneof.name)?;
            self.oneofs.extend(name.to_le_bytes());
            self.oneofs.extend(u32::from(required).to_le_bytes());
            self.counts.oneofs += 1;
        }
        let mut fields: Vec<&Field> = message.fields.iter().collect();
        fields.sort_by_key(|field| field.number);
        for field in fields {
            self.field(field, index)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, index: &Index) -> Result<(), String> {
        check_json_name(field)?;
        let name = self.name(&field.name)?;
        let child = index.child(field)?;
        let options = field.options.clone().unwrap_or_default();
        let rules = self.rules(options.rules.as_deref())?;
        let optional = field.proto3_optional == Some(true);
        let oneof = field.oneof_index.filter(|_| !optional).map_or(u8::MAX as i32, |at| at);
        let repeated = field.label == LABEL_REPEATED;
        let is_number = !matches!(field.kind, 9 | 11 | 12);
        let flags = [
            (repeated, flag::REPEATED),
            (repeated && is_number && options.packed != Some(false), flag::PACKED),
            (options.deprecated == Some(true), flag::DEPRECATED),
            (options.disallowed == Some(true), flag::DISALLOWED),
            (options.sensitive == Some(true), flag::SENSITIVE),
            (optional, flag::OPTIONAL),
            (index.is_map(child, field.kind), flag::MAP),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let record = &mut self.fields;
        record.extend(name.to_le_bytes());
        record.extend(field.number.to_le_bytes());
        record.extend(child.to_le_bytes());
        record.extend(rules.to_le_bytes());
        record.push(u8::try_from(field.kind).map_err(|e| e.to_string())?);
        record.push(u8::try_from(oneof).map_err(|e| e.to_string())?);
        record.push(flags);
        record.push(0);
        self.counts.fields += 1;
        Ok(())
    }

    fn enumeration(&mut self, name: &str, kind: &EnumType) -> Result<(), String> {
        let full = self.name(name)?;
        self.enums.extend(full.to_le_bytes());
        self.enums.extend(short(self.counts.values)?.to_le_bytes());
        self.enums.extend(short(kind.values.len())?.to_le_bytes());
        for value in &kind.values {
            let options = value.options.clone().unwrap_or_default();
            let name = self.name(&value.name)?;
            let flags = u32::from(options.deprecated == Some(true))
                | u32::from(options.disallowed == Some(true)) << 1;
            self.values.extend(name.to_le_bytes());
            self.values.extend(value.number.to_le_bytes());
            self.values.extend(flags.to_le_bytes());
            self.counts.values += 1;
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<u32, String> {
        if let Some(known) = self.known_names.get(name) {
            return Ok(*known);
        }
        let offset = u32::try_from(self.names.len()).map_err(|e| e.to_string())?;
        let length = u8::try_from(name.len()).map_err(|_| format!("name too long: {name}"))?;
        if offset >= 1 << 24 {
            return Err("more than 16 MiB of names".into());
        }
        self.names.extend(name.as_bytes());
        let packed = offset | u32::from(length) << 24;
        self.known_names.insert(name.to_owned(), packed);
        Ok(packed)
    }

    /// Rules as Envoy's descriptors hold them (`validate.FieldRules` on the wire), each after its
    /// length; a field refers to them by offset in units of four bytes.
    fn rules(&mut self, rules: Option<&[u8]>) -> Result<u16, String> {
        let Some(rules) = rules else { return Ok(NONE) };
        if let Some(known) = self.known_rules.get(rules) {
            return Ok(*known);
        }
        let at = short(self.rules.len() / 4)?;
        self.rules.extend(short(rules.len())?.to_le_bytes());
        self.rules.extend(rules);
        self.rules.resize(self.rules.len().next_multiple_of(4), 0);
        self.known_rules.insert(rules.to_vec(), at);
        Ok(at)
    }

    fn finish(self) -> Result<Vec<u8>, String> {
        let sections = [
            self.messages,
            self.fields,
            self.oneofs,
            self.enums,
            self.values,
            self.rules,
            self.names,
        ];
        let mut out = Vec::new();
        for section in &sections {
            let size = u32::try_from(section.len()).map_err(|e| e.to_string())?;
            out.extend(size.to_le_bytes());
        }
        for section in sections {
            out.extend(section);
        }
        Ok(out)
    }
}

fn synthetic(message: &MessageType) -> usize {
    message.fields.iter().filter(|field| field.proto3_optional == Some(true)).count()
}

fn short(number: usize) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|n| *n != NONE)
        .ok_or_else(|| format!("{number} does not fit the table's 16 bits: widen its records"))
}

/// The reader derives the JSON name; a field with one of its own would be misread.
fn check_json_name(field: &Field) -> Result<(), String> {
    let mut derived = String::new();
    let mut upper = false;
    for c in field.name.chars() {
        if c == '_' {
            upper = true;
        } else {
            derived.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    match &field.json_name {
        Some(given) if *given != derived => {
            Err(format!("field {} has the JSON name {given}, not {derived}", field.name))
        }
        _ => Ok(()),
    }
}
