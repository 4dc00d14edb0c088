//! What every message of Envoy's API looks like: fields, kinds, enums, rules.
//!
//! One table in read-only memory, written by `build/table.rs`; the handles here are indexes into
//! it, free to copy. It knows all messages of Envoy, also those Ringway has no types for: a
//! configuration is checked whole, and what is not supported yet is told from what nobody knows.

mod table;
#[cfg(test)]
mod tests;

use table::{Section, name_at, number_at, section};

/// A message type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct MessageType(u16);

/// A field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field(u16);

/// A oneof of a message; those that stand for `optional` do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oneof(u16);

/// An enum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnumType(u16);

/// A value of an enum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnumValue(u16);

/// What a field holds, with the numbers of `FieldDescriptorProto.Type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 64-bit floating point.
    Double,
    /// 32-bit floating point.
    Float,
    /// Varint, two's complement.
    Int64,
    /// Varint.
    Uint64,
    /// Varint, two's complement in 64 bits.
    Int32,
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// Varint, 0 or 1.
    Bool,
    /// UTF-8 text.
    String,
    /// An embedded message.
    Message,
    /// Bytes.
    Bytes,
    /// Varint.
    Uint32,
    /// A number that [`Field::enumeration`] names.
    Enum,
    /// Four bytes.
    Sfixed32,
    /// Eight bytes.
    Sfixed64,
    /// Zigzag varint.
    Sint32,
    /// Zigzag varint.
    Sint64,
}

/// Finds a message by its full name, such as `envoy.config.cluster.v3.Cluster`.
pub fn message(full_name: &str) -> Option<MessageType> {
    find(Section::Messages, full_name).map(MessageType)
}

/// Finds a message by the URL in an `Any`: what follows the last slash is its name.
pub fn message_of_url(type_url: &str) -> Option<MessageType> {
    type_url.rsplit_once('/').and_then(|(_, name)| message(name))
}

/// Every message type, sorted by full name.
pub fn messages() -> impl Iterator<Item = MessageType> {
    (0..count(Section::Messages)).map(MessageType)
}

/// Bytes of the whole table.
pub fn size_bytes() -> usize {
    table::BYTES.len()
}

impl MessageType {
    /// `envoy.config.cluster.v3.Cluster`.
    pub fn full_name(self) -> &'static str {
        name_at(Section::Messages, self.0)
    }

    /// Its place among [`messages`].
    pub(crate) fn place(self) -> u16 {
        self.0
    }

    /// `Cluster`.
    pub fn name(self) -> &'static str {
        let full = self.full_name();
        full.rsplit_once('.').map_or(full, |(_, name)| name)
    }

    /// The fields, by rising number.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field> {
        let first = self.short(4);
        (first..first + self.short(6)).map(Field)
    }

    /// The oneofs, in the order of declaration.
    pub fn oneofs(self) -> impl ExactSizeIterator<Item = Oneof> {
        let first = self.short(8);
        (first..first + u16::from(self.byte(10))).map(Oneof)
    }

    /// The field with this name, as the proto file writes it or in lowerCamelCase.
    pub fn field_named(self, name: &str) -> Option<Field> {
        self.fields()
            .find(|field| field.name() == name)
            .or_else(|| self.fields().find(|field| is_camel_of(field.name(), name)))
    }

    /// The field with this number.
    pub fn field_numbered(self, number: u32) -> Option<Field> {
        let (mut low, mut high) = (self.short(4), self.short(4) + self.short(6));
        while low < high {
            let middle = low.midpoint(high);
            match Field(middle).number().cmp(&number) {
                std::cmp::Ordering::Equal => return Some(Field(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Whether its field rules are switched off (`validate.disabled`, `validate.ignored`).
    pub fn skips_rules(self) -> bool {
        self.byte(11) & 1 != 0
    }

    /// Whether it is the entry of a map field.
    pub fn is_map_entry(self) -> bool {
        self.byte(11) & 2 != 0
    }

    fn short(self, at: usize) -> u16 {
        table::short_at(Section::Messages, self.0, at)
    }

    fn byte(self, at: usize) -> u8 {
        table::byte_at(Section::Messages, self.0, at)
    }
}

impl Field {
    /// The name in the proto file: `connect_timeout`.
    pub fn name(self) -> &'static str {
        name_at(Section::Fields, self.0)
    }

    /// The number on the wire.
    pub fn number(self) -> u32 {
        number_at(Section::Fields, self.0, 4)
    }

    /// What one value of it is.
    pub fn kind(self) -> Kind {
        Kind::of_number(self.byte(12))
    }

    /// The message type of a message field.
    pub fn message(self) -> Option<MessageType> {
        (self.kind() == Kind::Message).then(|| MessageType(self.short(8)))
    }

    /// The enum of an enum field.
    pub fn enumeration(self) -> Option<EnumType> {
        (self.kind() == Kind::Enum).then(|| EnumType(self.short(8)))
    }

    /// Whether it is a list or a map.
    pub fn is_repeated(self) -> bool {
        self.byte(14) & 1 != 0
    }

    /// Whether a list of it is written as one packed record.
    pub fn is_packed(self) -> bool {
        self.byte(14) & (1 << 1) != 0
    }

    /// Whether Envoy warns of its use.
    pub fn is_deprecated(self) -> bool {
        self.byte(14) & (1 << 2) != 0
    }

    /// Whether Envoy refuses its use unless a runtime key allows it.
    pub fn is_disallowed(self) -> bool {
        self.byte(14) & (1 << 3) != 0
    }

    /// Whether its value is secret (`udpa.annotations.sensitive`).
    pub fn is_sensitive(self) -> bool {
        self.byte(14) & (1 << 4) != 0
    }

    /// Whether it is a map; its message is then the entry: `key` 1, `value` 2.
    pub fn is_map(self) -> bool {
        self.byte(14) & (1 << 6) != 0
    }

    /// Whether absent differs from the default: messages, members of a oneof, `optional`.
    pub fn has_presence(self) -> bool {
        let optional = self.byte(14) & (1 << 5) != 0;
        !self.is_repeated()
            && (optional || self.kind() == Kind::Message || self.oneof_index().is_some())
    }

    /// Its oneof, as an index into [`MessageType::oneofs`].
    pub fn oneof_index(self) -> Option<usize> {
        let index = self.byte(13);
        (index != u8::MAX).then_some(usize::from(index))
    }

    /// `validate.FieldRules` as bytes on the wire.
    pub fn rules(self) -> Option<&'static [u8]> {
        table::rules_at(self.short(10))
    }

    fn short(self, at: usize) -> u16 {
        table::short_at(Section::Fields, self.0, at)
    }

    fn byte(self, at: usize) -> u8 {
        table::byte_at(Section::Fields, self.0, at)
    }
}

impl Oneof {
    /// The name in the proto file.
    pub fn name(self) -> &'static str {
        name_at(Section::Oneofs, self.0)
    }

    /// Whether one of its fields must be set.
    pub fn is_required(self) -> bool {
        number_at(Section::Oneofs, self.0, 4) != 0
    }
}

impl EnumType {
    /// `envoy.config.cluster.v3.Cluster.LbPolicy`.
    pub fn full_name(self) -> &'static str {
        name_at(Section::Enums, self.0)
    }

    /// The values, in the order of declaration.
    pub fn values(self) -> impl ExactSizeIterator<Item = EnumValue> {
        let first = table::short_at(Section::Enums, self.0, 4);
        (first..first + table::short_at(Section::Enums, self.0, 6)).map(EnumValue)
    }

    /// The value with this number; of aliases the first.
    pub fn numbered(self, number: i32) -> Option<EnumValue> {
        self.values().find(|value| value.number() == number)
    }

    /// The value with this name in any case.
    pub fn named(self, name: &str) -> Option<EnumValue> {
        self.values()
            .find(|value| value.name() == name)
            .or_else(|| self.values().find(|value| value.name().eq_ignore_ascii_case(name)))
    }
}

impl EnumValue {
    /// `ROUND_ROBIN`.
    pub fn name(self) -> &'static str {
        name_at(Section::Values, self.0)
    }

    /// The number on the wire.
    pub fn number(self) -> i32 {
        number_at(Section::Values, self.0, 4).cast_signed()
    }

    /// Whether Envoy warns of its use.
    pub fn is_deprecated(self) -> bool {
        number_at(Section::Values, self.0, 8) & 1 != 0
    }

    /// Whether Envoy refuses its use unless a runtime key allows it.
    pub fn is_disallowed(self) -> bool {
        number_at(Section::Values, self.0, 8) & 2 != 0
    }
}

impl Kind {
    fn of_number(number: u8) -> Self {
        match number {
            1 => Self::Double,
            2 => Self::Float,
            3 => Self::Int64,
            4 => Self::Uint64,
            5 => Self::Int32,
            6 => Self::Fixed64,
            7 => Self::Fixed32,
            8 => Self::Bool,
            9 => Self::String,
            12 => Self::Bytes,
            13 => Self::Uint32,
            14 => Self::Enum,
            15 => Self::Sfixed32,
            16 => Self::Sfixed64,
            17 => Self::Sint32,
            18 => Self::Sint64,
            // Groups (10) do not occur in proto3.
            _ => Self::Message,
        }
    }

    /// Whether values of it lie on the wire after a length.
    pub fn is_length_delimited(self) -> bool {
        matches!(self, Self::String | Self::Bytes | Self::Message)
    }
}

/// Whether `name` is `proto_name` in lowerCamelCase.
pub(crate) fn is_camel_of(proto_name: &str, name: &str) -> bool {
    let mut given = name.bytes();
    let mut upper = false;
    for byte in proto_name.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let expected = if upper { byte.to_ascii_uppercase() } else { byte };
        if given.next() != Some(expected) {
            return false;
        }
        upper = false;
    }
    given.next().is_none()
}

fn count(of: Section) -> u16 {
    u16::try_from(section(of).len() / of.record_bytes()).unwrap_or(u16::MAX)
}

fn find(of: Section, name: &str) -> Option<u16> {
    let (mut low, mut high) = (0, count(of));
    while low < high {
        let middle = low.midpoint(high);
        match name_at(of, middle).cmp(name) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}
