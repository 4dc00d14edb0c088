//! [`HeaderMap`]: header lines in order, duplicates kept, in one reusable arena.
//!
//! Every line lives in the arena just as it goes out (`name: value\r\n`, name in lower case), so
//! that writing a forwarded head copies runs of neighbouring lines in one go. A parsed head is
//! copied into the arena once; lines added later are appended to it. Changing or removing a line
//! only touches its entry; the arena shrinks on [`HeaderMap::clear`].

mod block;

use std::ops::Range;

pub(crate) use block::{LineRef, LineShape};

use crate::chars::{breaks_line, is_token};
use crate::names::{KnownName, Name};

/// Marks an entry whose name is not known.
const UNKNOWN: u8 = u8::MAX;

/// Flag: value and CRLF follow the name in the arena exactly as they are written out.
const VERBATIM: u8 = 1;
/// Flag: the name in its original case lies `cased_shift` further on in the arena.
const CASED: u8 = 2;
/// Flag: the value is not to be put into a compression table.
const SENSITIVE: u8 = 4;

/// Which known names have an entry: one bit each. In two words, because shifting a `u128` takes
/// several instructions on every line parsed.
#[derive(Clone, Copy, Debug, Default)]
struct Presence([u64; 2]);

impl Presence {
    #[inline]
    fn has(self, id: u8) -> bool {
        self.0.get(usize::from(id >> 6)).is_some_and(|word| word >> (id & 63) & 1 == 1)
    }

    /// Ids without a bit ([`UNKNOWN`]) change nothing.
    #[inline]
    fn add(&mut self, id: u8) {
        if let Some(word) = self.0.get_mut(usize::from(id >> 6)) {
            *word |= 1 << (id & 63);
        }
    }

    fn is_empty(self) -> bool {
        self.0 == [0; 2]
    }

    fn remove(&mut self, id: u8) {
        if let Some(word) = self.0.get_mut(usize::from(id >> 6)) {
            *word &= !(1 << (id & 63));
        }
    }
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where the name starts; for `VERBATIM` entries also where the line starts.
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    known: u8,
    flags: u8,
}

impl Entry {
    /// A line found by the parser: `name` and `value` in the arena, `verbatim` when exactly one
    /// space stands between colon and value and nothing between value and CRLF.
    #[inline]
    pub(crate) fn parsed(
        name: Range<usize>,
        value: Range<usize>,
        known: Option<KnownName>,
        verbatim: bool,
    ) -> Self {
        Self {
            name_at: name.start as u32,
            value_at: value.start as u32,
            value_len: value.len() as u32,
            name_len: name.len() as u16,
            known: known.map_or(UNKNOWN, |k| k as u8),
            flags: if verbatim { VERBATIM } else { 0 },
        }
    }

    /// The known name, if it is one.
    #[inline]
    pub(crate) fn known(&self) -> Option<KnownName> {
        KnownName::from_id(self.known)
    }

    #[inline]
    fn name(&self) -> Range<usize> {
        let start = self.name_at as usize;
        start..start + usize::from(self.name_len)
    }

    #[inline]
    fn value(&self) -> Range<usize> {
        let start = self.value_at as usize;
        start..start + self.value_len as usize
    }

    /// Points to a new value. The line written with it starts at `line`, unless the name must stay
    /// where its original spelling is found.
    fn replace(&mut self, line: usize, value: Range<usize>) {
        self.value_at = value.start as u32;
        self.value_len = value.len() as u32;
        if self.flags & CASED == 0 {
            self.name_at = line as u32;
            self.flags |= VERBATIM;
        } else {
            self.flags &= !VERBATIM;
        }
    }

    /// End of the line with its CRLF; only for `VERBATIM` entries.
    #[inline]
    fn line_end(&self) -> u32 {
        self.value_at + self.value_len + 2
    }
}

/// How many lines may be joined before their memory is given back: a head of a thousand crumbs of
/// cookies would hold ten times what it says, for as long as its stream lasts.
const JOINED_MAX: usize = 64;

/// Longest name that can be added, in bytes.
pub const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// Header lines in order; duplicates kept; names in lower case.
///
/// `Host` and pseudo-headers are not in here but in [`RequestHead`](crate::RequestHead).
///
/// Names given as text must be lower-case (see [`Name`]). Values are any bytes; CR, LF and NUL in
/// a value that is *added* are replaced by spaces, as RFC 9110 section 5.5 allows, so that no
/// caller can break out of its line.
#[derive(Clone, Debug, Default)]
pub struct HeaderMap {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// One bit per known name with at least one entry.
    present: Presence,
    /// Known names whose lines the parser is yet to join.
    repeated: Presence,
    /// Sum of name and value lengths.
    byte_size: usize,
    /// How far behind a name its original spelling lies, for `CASED` entries.
    cased_shift: u32,
    /// Scratch of the parser, kept for its capacity: where the lines of a head end.
    pub(crate) line_ends: Vec<u32>,
}

impl HeaderMap {
    /// An empty map; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes everything and keeps the buffers.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.present = Presence::default();
        self.repeated = Presence::default();
        self.byte_size = 0;
        self.cased_shift = 0;
    }

    /// Gives memory back when one message needed far more than the usual: keeps at most
    /// `bytes_max` of arena. The map must be empty.
    pub fn trim(&mut self, bytes_max: usize) {
        if self.entries.is_empty() && self.arena.capacity() > bytes_max {
            self.arena = Vec::new();
            self.entries = Vec::new();
            self.line_ends = Vec::new();
        }
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sum of the lengths of all names and values, as Envoy's `HeaderMap::byteSize` counts.
    pub fn byte_size(&self) -> usize {
        self.byte_size
    }

    /// Value of the first line of that name.
    #[inline]
    pub fn get<'n>(&self, name: impl Into<Name<'n>>) -> Option<&[u8]> {
        let at = self.position(name.into())?;
        self.entries.get(at).map(|e| self.bytes(e.value()))
    }

    /// Values of all lines of that name, in order.
    pub fn get_all<'s, 'n: 's>(
        &'s self,
        name: impl Into<Name<'n>>,
    ) -> impl Iterator<Item = &'s [u8]> {
        let name = name.into();
        let entries = if self.may_have(name) { self.entries.as_slice() } else { &[] };
        entries.iter().filter(move |e| self.is_named(e, name)).map(|e| self.bytes(e.value()))
    }

    /// Whether there is a line of that name.
    #[inline]
    pub fn contains<'n>(&self, name: impl Into<Name<'n>>) -> bool {
        match name.into() {
            Name::Known(known) => self.present.has(known as u8),
            other => self.position(other).is_some(),
        }
    }

    /// Number of lines of that name.
    pub fn count<'n>(&self, name: impl Into<Name<'n>>) -> usize {
        self.get_all(name.into()).count()
    }

    /// All lines in order: name in lower case, value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|e| (self.bytes(e.name()), self.bytes(e.value())))
    }

    /// All lines in order, with the known name where there is one.
    pub fn iter_named(&self) -> impl ExactSizeIterator<Item = (Name<'_>, &[u8])> {
        self.entries.iter().map(|e| (self.entry_name(e), self.bytes(e.value())))
    }

    /// Adds a line at the end. `false`, and nothing added, when `name` is no token.
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) -> bool {
        let name = name.into();
        let Some(entry) = self.write_line(name, value) else { return false };
        self.push(entry);
        true
    }

    /// Makes `value` the only one of that name: overwrites the first line in place, removes the
    /// others, or adds one. `false`, and nothing changed, when `name` is no token.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) -> bool {
        let name = name.into();
        let Some(at) = self.position(name) else { return self.append(name, value) };
        self.rewrite(at, false, &[value]);
        self.remove_from(at + 1, name);
        true
    }

    /// Adds to the first line of that name, `, ` between (RFC 9110 section 5.3), or adds a line.
    pub fn append_joined<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) -> bool {
        self.append_with(name, b", ", value)
    }

    /// Adds to the first line of that name with `delimiter` between, or adds a line. Envoy joins
    /// `x-forwarded-for` with `, ` and most others with `,`.
    pub fn append_with<'n>(
        &mut self,
        name: impl Into<Name<'n>>,
        delimiter: &[u8],
        value: &[u8],
    ) -> bool {
        let name = name.into();
        let Some(at) = self.position(name) else { return self.append(name, value) };
        let empty = self.entries.get(at).is_none_or(|e| e.value_len == 0);
        let delimiter = if empty { &[] } else { delimiter };
        self.rewrite(at, true, &[delimiter, value]);
        true
    }

    /// Removes all lines of that name; returns how many there were.
    pub fn remove<'n>(&mut self, name: impl Into<Name<'n>>) -> usize {
        let name = name.into();
        self.remove_from(0, name)
    }

    /// Removes all lines whose name starts with the lower-case `prefix`; returns how many.
    pub fn remove_prefix(&mut self, prefix: &[u8]) -> usize {
        self.retain(|name, _| !name.as_bytes().starts_with(prefix))
    }

    /// Keeps the lines `keep` says yes to; returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(Name<'_>, &[u8]) -> bool) -> usize {
        let arena = std::mem::take(&mut self.arena);
        let before = self.entries.len();
        let (mut present, mut byte_size) = (Presence::default(), 0usize);
        self.entries.retain(|e| {
            let name = arena.get(e.name()).unwrap_or_default();
            let value = arena.get(e.value()).unwrap_or_default();
            let known = KnownName::from_id(e.known);
            let stays = keep(known.map_or(Name::Other(name), Name::Known), value);
            if stays {
                present.add(e.known);
                byte_size += name.len() + value.len();
            }
            stays
        });
        self.arena = arena;
        self.present = present;
        self.byte_size = byte_size;
        before - self.entries.len()
    }
}

/// For the parser and the encoder.
impl HeaderMap {
    /// Takes over a received head; entries are pushed next, ranging into it.
    #[inline]
    pub(crate) fn load(&mut self, head: &[u8]) {
        self.clear();
        self.arena.extend_from_slice(head);
    }

    #[inline]
    pub(crate) fn arena_mut(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    /// Keeps a second copy of the head whose names are not lower-cased.
    pub(crate) fn keep_case(&mut self, head: &[u8]) {
        self.cased_shift = self.arena.len() as u32;
        self.arena.extend_from_slice(head);
    }

    /// Marks the last entry as having its original spelling in the second copy.
    pub(crate) fn mark_cased(&mut self) {
        if let Some(entry) = self.entries.last_mut() {
            entry.flags |= CASED;
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        self.byte_size += usize::from(entry.name_len) + entry.value_len as usize;
        self.present.add(entry.known);
        self.entries.push(entry);
    }

    /// Notes that lines of this name are to be joined once all are there.
    #[inline]
    pub(crate) fn mark_repeated(&mut self, known: KnownName) {
        self.repeated.add(known as u8);
    }

    /// Joins the lines of each marked name into its first, with commas; empty values add nothing.
    /// Each value is copied once, so that many lines cost no more than their bytes.
    pub(crate) fn join_repeated(&mut self) {
        self.join_repeated_with(|_| Some(b","));
    }

    fn join_lines(&mut self, known: KnownName, delimiter: &[u8]) {
        let name = Name::Known(known);
        let Some(first) = self.position(name) else { return };
        let entries = std::mem::take(&mut self.entries);
        let line = self.arena.len();
        self.arena.extend_from_slice(name.as_bytes());
        self.arena.extend_from_slice(b": ");
        let start = self.arena.len();
        for entry in entries.iter().filter(|e| e.known == known as u8 && e.value_len > 0) {
            if self.arena.len() > start {
                self.arena.extend_from_slice(delimiter);
            }
            self.arena.extend_from_within(entry.value());
        }
        let value = start..self.arena.len();
        self.arena.extend_from_slice(b"\r\n");
        self.entries = entries;
        let joined = self.remove_from(first + 1, name);
        if let Some(entry) = self.entries.get_mut(first) {
            self.byte_size = self.byte_size + value.len() - entry.value_len as usize;
            entry.replace(line, value);
        }
        if joined > JOINED_MAX {
            self.compact();
        }
    }

    /// Gives back what lines that are gone took. Names as received have their place and keep it.
    fn compact(&mut self) {
        if self.entries.iter().any(|entry| entry.flags & CASED != 0) {
            return;
        }
        let mut arena = Vec::with_capacity(self.wire_size());
        for entry in &mut self.entries {
            let line = arena.len();
            arena.extend_from_slice(self.arena.get(entry.name()).unwrap_or_default());
            arena.extend_from_slice(b": ");
            let start = arena.len();
            arena.extend_from_slice(self.arena.get(entry.value()).unwrap_or_default());
            let value = start..arena.len();
            arena.extend_from_slice(b"\r\n");
            entry.replace(line, value);
        }
        self.arena = arena;
        self.entries.shrink_to(JOINED_MAX);
    }

    /// Hands out the lines as they go on the wire, neighbours together: few, large pieces.
    #[inline]
    pub(crate) fn for_each_run(&self, mut put: impl FnMut(&[u8])) {
        let mut run: Option<Range<u32>> = None;
        for e in &self.entries {
            if e.flags & VERBATIM == 0 {
                if let Some(r) = run.take() {
                    put(self.bytes(r.start as usize..r.end as usize));
                }
                put(self.bytes(e.name()));
                put(b": ");
                put(self.bytes(e.value()));
                put(b"\r\n");
                continue;
            }
            match &mut run {
                Some(r) if r.end == e.name_at => r.end = e.line_end(),
                _ => {
                    if let Some(r) = run.replace(e.name_at..e.line_end()) {
                        put(self.bytes(r.start as usize..r.end as usize));
                    }
                }
            }
        }
        if let Some(r) = run {
            put(self.bytes(r.start as usize..r.end as usize));
        }
    }

    /// All lines with the name as received where that is known: `(lower, original, value)`. Lines
    /// of one name share the spelling of the first that was received, as in Envoy.
    pub(crate) fn iter_cased(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>, &[u8])> {
        self.entries.iter().map(|e| {
            let lower = self.bytes(e.name());
            let alike =
                |other: &&Entry| other.flags & CASED != 0 && self.bytes(other.name()) == lower;
            let original = self.entries.iter().find(alike).map(|first| {
                let shift = self.cased_shift as usize;
                let name = first.name();
                self.bytes(name.start + shift..name.end + shift)
            });
            (lower, original, self.bytes(e.value()))
        })
    }

    /// Bytes held by the arena.
    #[cfg(test)]
    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Bytes the lines take on the wire.
    #[inline]
    pub(crate) fn wire_size(&self) -> usize {
        self.byte_size + 4 * self.entries.len()
    }
}

impl HeaderMap {
    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.arena.get(range).unwrap_or_default()
    }

    #[inline]
    fn entry_name(&self, entry: &Entry) -> Name<'_> {
        let known = KnownName::from_id(entry.known);
        known.map_or_else(|| Name::Other(self.bytes(entry.name())), Name::Known)
    }

    #[inline]
    fn is_named(&self, entry: &Entry, name: Name<'_>) -> bool {
        match name {
            Name::Known(known) => entry.known == known as u8,
            Name::Other(bytes) => entry.known == UNKNOWN && self.bytes(entry.name()) == bytes,
        }
    }

    #[inline]
    fn may_have(&self, name: Name<'_>) -> bool {
        match name {
            Name::Known(known) => self.present.has(known as u8),
            Name::Other(_) => true,
        }
    }

    #[inline]
    fn position(&self, name: Name<'_>) -> Option<usize> {
        if !self.may_have(name) {
            return None;
        }
        self.entries.iter().position(|e| self.is_named(e, name))
    }

    /// Writes `name: value\r\n` at the end of the arena.
    fn write_line(&mut self, name: Name<'_>, value: &[u8]) -> Option<Entry> {
        let known = match name {
            Name::Known(known) => Some(known),
            Name::Other(bytes) if is_token(bytes) && bytes.len() <= NAME_BYTES_MAX => None,
            Name::Other(_) => return None,
        };
        let start = self.arena.len();
        let name = name.as_bytes();
        self.arena.extend_from_slice(name);
        if known.is_none() {
            self.arena.get_mut(start..).unwrap_or_default().make_ascii_lowercase();
        }
        let name = start..self.arena.len();
        self.arena.extend_from_slice(b": ");
        let value = self.write_value(value);
        self.arena.extend_from_slice(b"\r\n");
        Some(Entry::parsed(name, value, known, true))
    }

    /// Writes a value at the end of the arena, made safe for a line.
    fn write_value(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(value);
        if breaks_line(value) {
            for byte in self.arena.get_mut(start..).unwrap_or_default() {
                if matches!(*byte, b'\r' | b'\n' | 0) {
                    *byte = b' ';
                }
            }
        }
        start..self.arena.len()
    }

    /// Gives the entry a new value: its old one when `keep_old`, then `parts`.
    fn rewrite(&mut self, at: usize, keep_old: bool, parts: &[&[u8]]) {
        let Some(&old) = self.entries.get(at) else { return };
        // A line stays one piece on the wire when it is written anew as a whole; but an original
        // spelling is found relative to the name, so such a name stays where it is.
        let whole = old.flags & CASED == 0;
        let name_at = self.arena.len();
        if whole {
            self.arena.extend_from_within(old.name());
            self.arena.extend_from_slice(b": ");
        }
        let value_at = self.arena.len();
        if keep_old {
            self.arena.extend_from_within(old.value());
        }
        for part in parts {
            self.write_value(part);
        }
        let value_len = self.arena.len() - value_at;
        self.arena.extend_from_slice(b"\r\n");
        if let Some(entry) = self.entries.get_mut(at) {
            entry.replace(name_at, value_at..value_at + value_len);
        }
        self.byte_size = self.byte_size + value_len - old.value_len as usize;
    }

    fn remove_from(&mut self, start: usize, name: Name<'_>) -> usize {
        if !self.may_have(name) {
            return 0;
        }
        let mut entries = std::mem::take(&mut self.entries);
        let before = entries.len();
        let mut at = 0;
        entries.retain(|entry| {
            let gone = at >= start && self.is_named(entry, name);
            at += 1;
            if gone {
                self.byte_size -= usize::from(entry.name_len) + entry.value_len as usize;
            }
            !gone
        });
        let removed = before - entries.len();
        self.entries = entries;
        if start == 0
            && let Name::Known(known) = name
        {
            self.present.remove(known as u8);
        }
        removed
    }
}

/// Equal when the same lines come in the same order.
impl PartialEq for HeaderMap {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for HeaderMap {}

#[cfg(test)]
mod tests;
