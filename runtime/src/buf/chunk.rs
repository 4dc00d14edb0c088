//! [`Chunk`]: a counted slice of a buffer.

use super::header::Raw;
use super::pool::CLASSES;
use crate::current;
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::NonNull;

/// A counted, read-only slice of a buffer: cloning and slicing copy no bytes.
///
/// It belongs to the thread that made it. The buffer goes back to its pool when the last slice of
/// it is dropped, so a small slice kept for long pins the whole buffer: see
/// [`Chunk::capacity_held`].
pub struct Chunk {
    ptr: NonNull<u8>,
    len: usize,
    /// `None` for static data.
    owner: Option<Raw>,
}

impl Chunk {
    /// The empty chunk. Holds no memory.
    pub const fn new() -> Self {
        Self { ptr: NonNull::dangling(), len: 0, owner: None }
    }

    /// Data that is part of the program.
    pub const fn from_static(data: &'static [u8]) -> Self {
        // A reference is never null; `NonNull::from` is not const.
        match NonNull::new(data.as_ptr().cast_mut()) {
            Some(ptr) => Self { ptr, len: data.len(), owner: None },
            None => Self::new(),
        }
    }

    /// A copy of `data` in a buffer of the current runtime's pool (or of its own without one).
    pub fn copy_from(data: &[u8]) -> Self {
        let mut buf = super::BufMut::with_capacity(data.len());
        buf.extend_from_slice(data);
        buf.freeze()
    }

    /// The first `len` bytes of a buffer.
    pub(crate) fn from_raw(owner: Raw, len: usize) -> Self {
        debug_assert!(len <= owner.capacity());
        if len == 0 {
            return Self::new();
        }
        Self { ptr: owner.data(), len: len.min(owner.capacity()), owner: Some(owner) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the buffer that this slice keeps from being reused; 0 for static data.
    pub fn capacity_held(&self) -> usize {
        self.owner.as_ref().map_or(0, Raw::capacity)
    }

    /// A part of this chunk, sharing its buffer. A range beyond the end is cut off at the end.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        }
        .min(self.len);
        let end = match range.end_bound() {
            Bound::Included(&at) => at.saturating_add(1),
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len,
        }
        .clamp(start, self.len);
        if start == end {
            return Self::new();
        }
        Self { ptr: self.at(start), len: end - start, owner: self.owner.clone() }
    }

    /// Cuts off and returns the first `at` bytes (all of them when there are fewer).
    pub fn split_to(&mut self, at: usize) -> Self {
        if at >= self.len {
            return std::mem::take(self);
        }
        let head = self.slice(..at);
        self.advance(at);
        head
    }

    /// Drops the first `n` bytes (all of them when there are fewer).
    pub fn advance(&mut self, n: usize) {
        if n >= self.len {
            *self = Self::new();
        } else {
            self.ptr = self.at(n);
            self.len -= n;
        }
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        if len == 0 {
            *self = Self::new();
        } else {
            self.len = self.len.min(len);
        }
    }

    /// Joins two slices that follow each other in the same buffer, without a copy.
    ///
    /// # Errors
    /// Gives both back when they do not.
    pub fn unsplit(self, next: Self) -> Result<Self, (Self, Self)> {
        if next.is_empty() {
            return Ok(self);
        }
        if self.is_empty() {
            return Ok(next);
        }
        let same = matches!((&self.owner, &next.owner), (Some(a), Some(b)) if a.same(b));
        if !same || self.at(self.len) != next.ptr {
            return Err((self, next));
        }
        let len = self.len + next.len;
        Ok(Self { len, ..self })
    }

    /// The bytes for changing in place (decryption), when no other slice shares the buffer.
    pub fn try_mut(&mut self) -> Option<&mut [u8]> {
        if !self.owner.as_ref()?.is_unique() {
            return None;
        }
        // SAFETY: the range lies in the buffer we own, whose bytes are always initialised; this is
        // the only reference to it and it is borrowed for as long as the result. The borrow
        // checker cannot see a run-time count.
        Some(unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) })
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.len);
        // SAFETY: callers pass offsets up to `len`, so the pointer stays inside the slice or at
        // its end.
        unsafe { self.ptr.add(offset) }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` and `len` describe initialised bytes of static data or of the buffer that
        // `owner` keeps alive; they are only changed through `try_mut`, which borrows us. A
        // counted slice with its own reference count has no safe spelling.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self { ptr: self.ptr, len: self.len, owner: self.owner.clone() }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<u8>> for Chunk {
    /// Takes the vector over without a copy.
    fn from(vec: Vec<u8>) -> Self {
        let len = vec.len();
        Self::from_raw(Raw::from_vec(vec), len)
    }
}

impl From<String> for Chunk {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&'static [u8]> for Chunk {
    fn from(data: &'static [u8]) -> Self {
        Self::from_static(data)
    }
}

impl From<&'static str> for Chunk {
    fn from(text: &'static str) -> Self {
        Self::from_static(text.as_bytes())
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Chunk {}

impl PartialEq<[u8]> for Chunk {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Chunk {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}

impl PartialEq<&[u8]> for Chunk {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

/// A buffer of the current runtime's pool, or one of its own where no runtime is current.
pub(super) fn lease(cap: usize) -> Raw {
    current::try_with(|shared| shared.pool.lease(cap)).unwrap_or_else(|| {
        // The same sizes, or growing byte by byte would copy quadratically.
        Raw::exact(CLASSES.into_iter().find(|&size| size >= cap).unwrap_or(cap))
    })
}
