//! [`BufMut`]: a buffer while it is being written.

use super::chunk::lease;
use super::header::Raw;
use super::{Chunk, pool::CLASSES};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A growable writer into pooled memory; [`BufMut::freeze`] turns it into a [`Chunk`].
///
/// Sizes up to 256 KB come from the pool of the current runtime and return to it when the last
/// chunk is dropped; larger ones, and any made while no runtime is current, are allocations of
/// their own.
pub struct BufMut {
    raw: Option<Raw>,
    len: usize,
}

impl BufMut {
    /// An empty writer that holds no memory yet.
    pub const fn new() -> Self {
        Self { raw: None, len: 0 }
    }

    /// A writer with room for at least `cap` bytes.
    pub fn with_capacity(cap: usize) -> Self {
        if cap == 0 {
            return Self::new();
        }
        Self { raw: Some(lease(cap)), len: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it holds without growing.
    pub fn capacity(&self) -> usize {
        self.raw.as_ref().map_or(0, Raw::capacity)
    }

    /// Makes room for `more` further bytes; what is written is copied when the buffer must grow.
    pub fn reserve(&mut self, more: usize) {
        let need = self.len.saturating_add(more);
        if need <= self.capacity() {
            return;
        }
        let largest = CLASSES[CLASSES.len() - 1];
        // Beyond the pooled sizes grow by doubling, or appending would copy quadratically.
        let cap = if need > largest { need.max(self.capacity() * 2) } else { need };
        let mut grown = Self { raw: Some(lease(cap)), len: self.len };
        grown.copy_from_slice(self);
        *self = grown;
    }

    /// Appends `data`.
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        self.reserve(data.len());
        let at = self.len;
        self.len += data.len();
        self[at..].copy_from_slice(data);
    }

    /// Appends one byte.
    pub fn put_u8(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Appends `n` copies of `byte`.
    pub fn put_bytes(&mut self, byte: u8, n: usize) {
        self.reserve(n);
        let at = self.len;
        self.len += n;
        self[at..].fill(byte);
    }

    /// Drops what was written after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Drops what was written; keeps the buffer.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The unwritten rest of the buffer, for code that fills a slice (encryption, decompression).
    /// Its bytes are initialised, to nothing in particular. [`BufMut::advance`] makes them count.
    pub fn spare(&mut self) -> &mut [u8] {
        let len = self.len;
        match &self.raw {
            Some(raw) => &mut whole(raw)[len..],
            None => &mut [],
        }
    }

    /// Counts `n` bytes of [`BufMut::spare`] as written; at most what there is.
    pub fn advance(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(self.capacity());
    }

    /// What was written, as a chunk that can be shared and sent.
    pub fn freeze(self) -> Chunk {
        match self.raw {
            Some(raw) => Chunk::from_raw(raw, self.len),
            None => Chunk::new(),
        }
    }

    pub(crate) fn from_raw(raw: Raw) -> Self {
        Self { raw: Some(raw), len: 0 }
    }
}

/// All bytes of a buffer that a `BufMut` owns alone.
///
/// The lifetime is the caller's: both callers hold the `BufMut` borrowed for as long.
fn whole<'a>(raw: &Raw) -> &'a mut [u8] {
    debug_assert!(raw.is_unique());
    // SAFETY: a `BufMut` holds the only reference to its buffer until `freeze` consumes it, the
    // bytes are initialised, and each caller borrows the `BufMut` for the life of the result.
    // Safe code cannot turn a pooled allocation into a slice.
    unsafe { std::slice::from_raw_parts_mut(raw.data().as_ptr(), raw.capacity()) }
}

impl Deref for BufMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.raw {
            Some(raw) => &whole(raw)[..self.len],
            None => &[],
        }
    }
}

impl DerefMut for BufMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &self.raw {
            Some(raw) => &mut whole(raw)[..self.len],
            None => &mut [],
        }
    }
}

impl Default for BufMut {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for BufMut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl std::io::Write for BufMut {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BufMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}
