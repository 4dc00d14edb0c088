//! The dynamic table (RFC 7541 section 2.3.2): a queue of lines in one buffer.

use std::collections::VecDeque;

use super::Field;

/// Lines, the newest at the back.
#[derive(Debug)]
pub(super) struct Table {
    /// The lines of all entries in a row; dead ones before the first.
    lines: Vec<u8>,
    entries: VecDeque<Entry>,
    /// Position of the first byte of `lines`, counting all bytes ever added; wraps.
    base: u32,
    /// Size of all entries, as the RFC counts.
    size: usize,
    /// Most it may be.
    size_max: usize,
}

#[derive(Debug)]
struct Entry {
    /// Position of the line, counting like `base`.
    at: u32,
    field: Field,
}

/// Dead bytes before the first line that are worth a move.
const DEAD_BYTES_MIN: usize = 256;

impl Table {
    pub(super) fn new(size_max: usize) -> Self {
        Self { lines: Vec::new(), entries: VecDeque::new(), base: 0, size: 0, size_max }
    }

    pub(super) fn size_max(&self) -> usize {
        self.size_max
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Changes the most it may be, and drops what is above.
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.shrink_to(size_max);
    }

    /// The entry that is `age` younger ones away from the newest.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], Field)> {
        let entry = self.entries.get(self.entries.len().checked_sub(age + 1)?)?;
        let start = entry.at.wrapping_sub(self.base) as usize;
        let line = self.lines.get(start..start + entry.field.line_len())?;
        Some((line, entry.field))
    }

    /// Adds an entry and drops old ones until there is room. One that is larger than the table
    /// empties it and is not added: `false`.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], field: Field) -> bool {
        debug_assert_eq!(name.len() + value.len(), field.bytes(), "the shape of a line");
        let size = field.size();
        let Some(room) = self.size_max.checked_sub(size) else {
            self.shrink_to(0);
            return false;
        };
        self.shrink_to(room);
        self.drop_dead_bytes();
        let at = self.base.wrapping_add(self.lines.len() as u32);
        for part in [name, b": ", value, b"\r\n"] {
            self.lines.extend_from_slice(part);
        }
        self.entries.push_back(Entry { at, field });
        self.size += size;
        true
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.field.size();
        }
    }

    /// Moves the lines to the front of the buffer when as much before them is dead: each byte is
    /// moved once for each byte added, at most.
    fn drop_dead_bytes(&mut self) {
        let dead = match self.entries.front() {
            Some(first) => first.at.wrapping_sub(self.base) as usize,
            None => self.lines.len(),
        };
        if dead == self.lines.len() || dead >= DEAD_BYTES_MIN && dead * 2 >= self.lines.len() {
            self.lines.drain(..dead);
            self.base = self.base.wrapping_add(dead as u32);
        }
    }
}
