//! The way of HTTP/2 into and out of a [`HeaderMap`]: line by line, each already spelled as it
//! stands in the arena.

use super::{Entry, HeaderMap, NAME_BYTES_MAX, SENSITIVE};
use crate::names::KnownName;

/// What is known of a line `name: value\r\n`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineShape {
    pub(crate) name_len: u32,
    pub(crate) value_len: u32,
    pub(crate) known: Option<KnownName>,
    /// It must not enter a compression table, here or further on (RFC 7541 section 7.1.3).
    pub(crate) sensitive: bool,
}

/// One line of a map, for an encoder.
pub(crate) struct LineRef<'a> {
    pub(crate) known: Option<KnownName>,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) sensitive: bool,
}

impl HeaderMap {
    /// Where a line is written before [`push_written`](Self::push_written).
    #[inline]
    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.arena
    }

    /// Adds a line by copying it as a whole.
    #[inline]
    pub(crate) fn append_line(&mut self, line: &[u8], shape: LineShape) {
        let at = self.arena.len();
        self.arena.extend_from_slice(line);
        self.push_written(at, shape);
    }

    /// Adds the line that was written at `at` of the arena.
    #[inline]
    pub(crate) fn push_written(&mut self, at: usize, shape: LineShape) {
        let name_len = shape.name_len as usize;
        debug_assert!(name_len <= NAME_BYTES_MAX, "a name of {name_len} bytes");
        let value_at = at + name_len + 2;
        if let Some(known) = shape.known
            && self.present.has(known as u8)
        {
            self.mark_repeated(known);
        }
        let value = value_at..value_at + shape.value_len as usize;
        let mut entry = Entry::parsed(at..at + name_len, value, shape.known, true);
        if shape.sensitive {
            entry.flags |= SENSITIVE;
        }
        self.push(entry);
    }

    /// Joins the lines of each repeated name for which `delimiter` gives one.
    #[inline]
    pub(crate) fn join_repeated_with(
        &mut self,
        delimiter: impl Fn(KnownName) -> Option<&'static [u8]>,
    ) {
        if self.repeated.is_empty() {
            return;
        }
        let repeated = std::mem::take(&mut self.repeated);
        for known in (0..=127).filter(|id| repeated.has(*id)).filter_map(KnownName::from_id) {
            if let Some(delimiter) = delimiter(known) {
                self.join_lines(known, delimiter);
            }
        }
    }

    /// All lines in order.
    #[inline]
    pub(crate) fn lines(&self) -> impl Iterator<Item = LineRef<'_>> {
        self.entries.iter().map(|e| LineRef {
            known: e.known(),
            name: self.bytes(e.name()),
            value: self.bytes(e.value()),
            sensitive: e.flags & SENSITIVE != 0,
        })
    }
}
