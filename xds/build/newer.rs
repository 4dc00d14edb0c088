//! Adds to the descriptors what Envoy has beyond them: `newer.txt`.

use crate::descriptor::{
    EnumType, EnumValue, Field, FieldOptions, File, FileSet, KIND_ENUM, KIND_MESSAGE,
    MessageOptions, MessageType, Oneof,
};

const NEWER: &str = include_str!("newer.txt");

/// Applies the list to `set`.
pub(crate) fn add_to(set: &mut FileSet) -> Result<(), String> {
    let mut block: Option<Block> = None;
    for (number, line) in NEWER.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let outcome = match (text.bytes().take_while(|b| *b == b' ').count(), &words[..]) {
            (_, []) => Ok(()),
            (0, [kind, name]) => block.take().map_or(Ok(()), |done| done.apply(set)).map(|()| {
                block = Some(Block::new(kind, name));
            }),
            (1, [number, name, rest @ ..]) => number
                .parse()
                .map_err(|_| "a number must come first".to_owned())
                .and_then(|number| block.as_mut().ok_or_else(no_block)?.line(number, name, rest)),
            (_, [word, rest @ ..]) => {
                block.as_mut().ok_or_else(no_block).and_then(|block| block.detail(word, rest))
            }
        };
        outcome.map_err(|text| format!("build/newer.txt, line {}: {text}", number + 1))?;
    }
    block.map_or(Ok(()), |done| done.apply(set))
}

fn no_block() -> String {
    "this line belongs to no message or enum".into()
}

/// A message or enum of the list.
struct Block {
    name: String,
    is_enum: bool,
    message: MessageType,
    values: Vec<EnumValue>,
    /// The oneof of each field.
    oneofs: Vec<Option<String>>,
}

impl Block {
    fn new(kind: &str, name: &str) -> Self {
        let mut message = MessageType { name: last(name).to_owned(), ..MessageType::default() };
        if kind == "map_entry" {
            let options = MessageOptions { map_entry: Some(true), ..MessageOptions::default() };
            message.options = Some(options);
        }
        Self {
            name: name.to_owned(),
            is_enum: kind == "enum",
            message,
            values: Vec::new(),
            oneofs: Vec::new(),
        }
    }

    fn line(&mut self, number: i32, name: &str, kind: &[&str]) -> Result<(), String> {
        if self.is_enum {
            self.values.push(EnumValue { name: name.to_owned(), number, options: None });
            return Ok(());
        }
        let (label, kind) = match kind {
            ["repeated", rest @ ..] => (3, rest),
            rest => (1, rest),
        };
        let (kind, type_name) = match kind {
            ["enum", name] => (KIND_ENUM, Some(format!(".{name}"))),
            [name] if name.contains('.') => (KIND_MESSAGE, Some(format!(".{name}"))),
            [scalar] => (scalar_kind(scalar)?, None),
            _ => return Err("a field needs a type".into()),
        };
        let name = name.to_owned();
        let field = Field { name, number, label, kind, type_name, ..Field::default() };
        self.message.fields.push(field);
        self.oneofs.push(None);
        Ok(())
    }

    fn detail(&mut self, word: &str, rest: &[&str]) -> Result<(), String> {
        let field = self.message.fields.last_mut().ok_or("there is no field above")?;
        let options = field.options.get_or_insert_with(FieldOptions::default);
        match (word, rest) {
            ("deprecated", []) => options.deprecated = Some(true),
            ("rules", [hex]) => options.rules = Some(bytes(hex)?),
            ("oneof", [name]) => {
                if let Some(oneof) = self.oneofs.last_mut() {
                    *oneof = Some((*name).to_owned());
                }
            }
            _ => return Err(format!("unknown word {word}")),
        }
        Ok(())
    }

    fn apply(self, set: &mut FileSet) -> Result<(), String> {
        if self.is_enum {
            let target = find_enum(set, &self.name);
            target.values.extend(self.values);
            return Ok(());
        }
        let target = find_message(set, &self.name);
        if target.options.is_none() {
            target.options = self.message.options;
        }
        for (mut field, oneof) in self.message.fields.into_iter().zip(self.oneofs) {
            field.oneof_index = oneof.map(|name| oneof_index(target, name)).transpose()?;
            target.fields.retain(|old| old.name != field.name && old.number != field.number);
            target.fields.push(field);
        }
        Ok(())
    }
}

fn oneof_index(message: &mut MessageType, name: String) -> Result<i32, String> {
    let known = message.oneofs.iter().position(|oneof| oneof.name == name);
    let index = known.unwrap_or_else(|| {
        message.oneofs.push(Oneof { name, options: None });
        message.oneofs.len() - 1
    });
    i32::try_from(index).map_err(|e| e.to_string())
}

/// The message of this name, made if there is none: nested if what is before its last dot is a
/// message, else in a file of that package.
fn find_message<'a>(set: &'a mut FileSet, name: &str) -> &'a mut MessageType {
    let (scope, short) = name.rsplit_once('.').unwrap_or(("", name));
    let siblings = if is_message(set, scope) {
        &mut find_message(set, scope).nested
    } else {
        let holds = |file: &File| {
            file.package == scope && file.messages.iter().any(|message| message.name == short)
        };
        let at = set.files.iter().position(holds);
        &mut file_at(set, at, scope).messages
    };
    let at = siblings.iter().position(|message| message.name == short).unwrap_or_else(|| {
        siblings.push(MessageType { name: short.to_owned(), ..MessageType::default() });
        siblings.len() - 1
    });
    &mut siblings[at]
}

fn find_enum<'a>(set: &'a mut FileSet, name: &str) -> &'a mut EnumType {
    let (scope, short) = name.rsplit_once('.').unwrap_or(("", name));
    let siblings = if is_message(set, scope) {
        &mut find_message(set, scope).enums
    } else {
        let holds =
            |file: &File| file.package == scope && file.enums.iter().any(|kind| kind.name == short);
        let at = set.files.iter().position(holds);
        &mut file_at(set, at, scope).enums
    };
    let at = siblings.iter().position(|kind| kind.name == short).unwrap_or_else(|| {
        siblings.push(EnumType { name: short.to_owned(), values: Vec::new() });
        siblings.len() - 1
    });
    &mut siblings[at]
}

fn is_message(set: &FileSet, name: &str) -> bool {
    set.files.iter().any(|file| {
        let inside = name.strip_prefix(file.package.as_str()).and_then(|n| n.strip_prefix('.'));
        inside.is_some_and(|inside| {
            let mut messages = &file.messages;
            inside.split('.').all(|part| {
                let found = messages.iter().find(|message| message.name == part);
                found.inspect(|message| messages = &message.nested).is_some()
            })
        })
    })
}

/// The file at an index, or a new one for the package.
fn file_at<'a>(set: &'a mut FileSet, at: Option<usize>, package: &str) -> &'a mut File {
    let at = at.unwrap_or_else(|| {
        set.files.push(File {
            name: format!("newer/{}.proto", set.files.len()),
            package: package.to_owned(),
            syntax: "proto3".into(),
            ..File::default()
        });
        set.files.len() - 1
    });
    &mut set.files[at]
}

fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// `FieldDescriptorProto.Type` of a scalar.
fn scalar_kind(name: &str) -> Result<i32, String> {
    const KINDS: [(&str, i32); 9] = [
        ("double", 1),
        ("float", 2),
        ("int64", 3),
        ("uint64", 4),
        ("int32", 5),
        ("bool", 8),
        ("string", 9),
        ("bytes", 12),
        ("uint32", 13),
    ];
    let found = KINDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind).ok_or_else(|| format!("unknown type {name}"))
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|e| e.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|e| e.to_string())
        })
        .collect()
}
