//! Header compression (RFC 7541).
//!
//! Table entries are kept as whole lines, `name: value\r\n`, just as a
//! [`HeaderMap`](crate::HeaderMap) keeps them, and with what was found out about them when they
//! came: an indexed field costs one short copy and no check.

mod decode;
mod dynamic;
mod encode;
mod huffman;
mod integer;
mod statics;

pub(super) use decode::{Decoder, Target};
pub(super) use encode::Encoder;

use super::error::H2Rule;
use crate::chars::{TOKEN_LOWER, is_field_value};
use crate::headers::{LineShape, NAME_BYTES_MAX};
use crate::names::KnownName;

/// Bytes the table size counts on top of name and value of an entry (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// A line, and what was found out about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name_len: u32,
    pub(super) value_len: u32,
    pub(super) known: Option<KnownName>,
    /// The rule that name or value break, as far as it does not depend on the message.
    pub(super) broken: Option<H2Rule>,
    /// The name has an underscore.
    pub(super) underscore: bool,
    pub(super) sensitive: bool,
}

impl Field {
    /// Judges a line whose name is `name` and whose value is `value`.
    pub(super) fn of(name: &[u8], value: &[u8], sensitive: bool) -> Self {
        let known = KnownName::lookup(name);
        let mut field = Self {
            name_len: name.len() as u32,
            value_len: value.len() as u32,
            known,
            broken: None,
            underscore: false,
            sensitive,
        };
        if known.is_none() {
            field.broken = broken_name(name);
            field.underscore = name.contains(&b'_');
        }
        if field.broken.is_none() && !is_field_value(value) {
            field.broken = Some(H2Rule::HeaderValue);
        }
        field
    }

    /// The same name with another value.
    pub(super) fn with_value(self, value: &[u8], sensitive: bool) -> Self {
        let name_broken = self.broken.filter(|rule| *rule != H2Rule::HeaderValue);
        let value_broken = (!is_field_value(value)).then_some(H2Rule::HeaderValue);
        Self {
            value_len: value.len() as u32,
            broken: name_broken.or(value_broken),
            sensitive,
            ..self
        }
    }

    /// What the table size counts.
    #[inline]
    pub(super) fn size(self) -> usize {
        self.bytes() + ENTRY_OVERHEAD
    }

    /// Bytes of name and value.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        self.name_len as usize + self.value_len as usize
    }

    /// Bytes of the whole line.
    #[inline]
    pub(super) fn line_len(self) -> usize {
        self.bytes() + 4
    }

    /// The value in a line of this shape.
    #[inline]
    pub(super) fn value(self, line: &[u8]) -> &[u8] {
        let start = self.name_len as usize + 2;
        line.get(start..start + self.value_len as usize).unwrap_or_default()
    }

    #[inline]
    pub(super) fn shape(self) -> LineShape {
        LineShape {
            name_len: self.name_len,
            value_len: self.value_len,
            known: self.known,
            sensitive: self.sensitive,
        }
    }
}

/// What is wrong with a name that is not known: it must be a lower-case token.
fn broken_name(name: &[u8]) -> Option<H2Rule> {
    match name {
        [b':', ..] => Some(H2Rule::UnknownPseudo),
        [] => Some(H2Rule::HeaderName),
        _ if name.len() > NAME_BYTES_MAX => Some(H2Rule::HeaderName),
        _ if name.iter().all(|b| TOKEN_LOWER[usize::from(*b)] == *b && *b != 0) => None,
        _ => Some(H2Rule::HeaderName),
    }
}

#[cfg(test)]
mod tests;
