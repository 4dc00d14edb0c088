//! Field lines of a block (RFC 7541 section 6) to whoever wants them.

use super::dynamic::Table;
use super::statics::{self, STATIC_LEN};
use super::{Field, huffman, integer};
use crate::http2::HEADER_TABLE_SIZE;
use crate::http2::error::ConnectionError;

/// Where lines go.
pub(in crate::http2) trait Target {
    /// Takes a line from a table.
    fn add_line(&mut self, line: &[u8], field: Field);

    /// Where a line is written that came as a literal.
    fn scratch(&mut self) -> &mut Vec<u8>;

    /// Takes, or cuts off, the line that was written at `at` of the scratch.
    fn add_written(&mut self, at: usize, field: Field);
}

/// The decoding half of a connection's compression state.
#[derive(Debug)]
pub(in crate::http2) struct Decoder {
    table: Table,
    /// Most the encoder may make the table: what our SETTINGS said.
    limit: usize,
    /// The limit went below the table's size: the next block has to begin with a size update.
    update_due: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        let size = HEADER_TABLE_SIZE as usize;
        Self { table: Table::new(size), limit: size, update_due: false }
    }
}

const INTEGER: ConnectionError =
    ConnectionError::compression("a header block holds an integer that is cut short or too large");
const STRING: ConnectionError =
    ConnectionError::compression("a header block holds a string that is longer than the block");
const HUFFMAN: ConnectionError =
    ConnectionError::compression("a header block holds a string with an invalid Huffman code");
const INDEX: ConnectionError =
    ConnectionError::compression("a header block names a table entry that does not exist");
const UPDATE: ConnectionError = ConnectionError::compression(
    "a change of the table size must come first in a block and not be above the limit",
);
const NO_UPDATE: ConnectionError = ConnectionError::compression(
    "a header block does not begin with the change of the table size that SETTINGS asked for",
);

impl Decoder {
    /// The SETTINGS that allow this size hold from now on.
    pub(in crate::http2) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.update_due = bytes < self.table.size_max();
    }

    /// Reads a whole block. What is wrong with its lines is the block's to remember; an error is
    /// one of the coding, after which nothing can be read any more.
    pub(in crate::http2) fn decode(
        &mut self,
        bytes: &[u8],
        block: &mut impl Target,
    ) -> Result<(), ConnectionError> {
        let mut rest = bytes;
        while let Some(0x20..0x40) = rest.first() {
            self.update_size(&mut rest)?;
        }
        if self.update_due && !rest.is_empty() {
            return Err(NO_UPDATE);
        }
        while let Some(first) = rest.first() {
            match first {
                0x80.. => {
                    let index = integer::read(&mut rest, 7).ok_or(INTEGER)?;
                    let (line, field) = self.entry(index as usize).ok_or(INDEX)?;
                    block.add_line(line, field);
                }
                0x40..0x80 => self.literal(&mut rest, 6, true, block)?,
                0x20..0x40 => return Err(UPDATE),
                0x00..0x20 => self.literal(&mut rest, 4, false, block)?,
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    #[inline]
    fn entry(&self, index: usize) -> Option<(&[u8], Field)> {
        if index <= STATIC_LEN {
            return statics::row(index);
        }
        self.table.get(index - STATIC_LEN - 1)
    }

    fn update_size(&mut self, rest: &mut &[u8]) -> Result<(), ConnectionError> {
        let size = integer::read(rest, 5).ok_or(INTEGER)? as usize;
        if size > self.limit {
            return Err(UPDATE);
        }
        self.table.resize(size);
        self.update_due = false;
        Ok(())
    }

    /// A literal, whose name may be that of a table entry. The line is written where it may stay:
    /// at the end of the block's headers.
    fn literal(
        &mut self,
        rest: &mut &[u8],
        prefix: u32,
        indexed: bool,
        block: &mut impl Target,
    ) -> Result<(), ConnectionError> {
        let never = !indexed && rest.first().is_some_and(|first| first & 0x10 != 0);
        let index = integer::read(rest, prefix).ok_or(INTEGER)? as usize;
        let lines = block.scratch();
        let at = lines.len();
        let of_name = if index == 0 {
            string(rest, lines)?;
            None
        } else {
            let (line, field) = self.entry(index).ok_or(INDEX)?;
            lines.extend_from_slice(line.get(..field.name_len as usize).unwrap_or_default());
            Some(field)
        };
        let name_end = lines.len();
        lines.extend_from_slice(b": ");
        string(rest, lines)?;
        let name = lines.get(at..name_end).unwrap_or_default();
        let value = lines.get(name_end + 2..).unwrap_or_default();
        let field = match of_name {
            Some(field) => field.with_value(value, never),
            None => Field::of(name, value, never),
        };
        if indexed {
            self.table.insert(name, value, field);
        }
        lines.extend_from_slice(b"\r\n");
        block.add_written(at, field);
        Ok(())
    }
}

/// Reads a string (RFC 7541 section 5.2) to the end of `out`.
#[inline]
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), ConnectionError> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::read(rest, 7).ok_or(INTEGER)? as usize;
    let (bytes, tail) = rest.split_at_checked(len).ok_or(STRING)?;
    *rest = tail;
    if coded {
        return huffman::decode(bytes, out).ok_or(HUFFMAN);
    }
    out.extend_from_slice(bytes);
    Ok(())
}
