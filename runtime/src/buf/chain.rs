//! [`Chain`]: a list of chunks with a known length.

use super::{BufMut, Chunk};
use std::collections::VecDeque;

/// Capacity, in chunks, above which an emptied list gives its memory back.
const KEEP: usize = 16;

/// A queue of chunks: a body, or data on its way out. Never holds an empty chunk.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl Chain {
    /// The empty chain. Holds no memory.
    pub const fn new() -> Self {
        Self { chunks: VecDeque::new(), len: 0 }
    }

    /// Bytes in all chunks together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of chunks.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Appends a chunk; an empty one is dropped.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Puts a chunk in front; an empty one is dropped.
    pub fn push_front(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_front(chunk);
        }
    }

    /// Takes the first chunk.
    pub fn pop_front(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.len();
        self.trim();
        Some(chunk)
    }

    /// The first chunk.
    pub fn front(&self) -> Option<&Chunk> {
        self.chunks.front()
    }

    /// Drops the first `n` bytes (all of them when there are fewer).
    pub fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let Some(front) = self.chunks.front_mut() else { return };
            let step = front.len().min(n);
            n -= step;
            self.len -= step;
            if step == front.len() {
                self.chunks.pop_front();
            } else {
                front.advance(step);
            }
        }
        self.trim();
    }

    /// Cuts off and returns the first `at` bytes (all of them when there are fewer).
    pub fn split_to(&mut self, at: usize) -> Self {
        if at >= self.len {
            return std::mem::take(self);
        }
        let mut head = Self::new();
        while head.len < at {
            let Some(front) = self.chunks.front_mut() else { break };
            let want = at - head.len;
            if front.len() <= want {
                if let Some(chunk) = self.pop_front() {
                    head.push(chunk);
                }
            } else {
                head.push(front.split_to(want));
                self.len -= want;
            }
        }
        head
    }

    /// Moves all of `other` to the end.
    pub fn append(&mut self, other: &mut Self) {
        self.len += std::mem::take(&mut other.len);
        self.chunks.append(&mut other.chunks);
    }

    /// The chunks in order.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter()
    }

    /// Takes every chunk out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Chunk> + '_ {
        self.len = 0;
        self.chunks.drain(..)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.len = 0;
        self.chunks.clear();
        self.trim();
    }

    /// All bytes in one chunk; copies when there are several.
    pub fn into_chunk(mut self) -> Chunk {
        if self.chunks.len() <= 1 {
            return self.pop_front().unwrap_or_default();
        }
        let mut buf = BufMut::with_capacity(self.len);
        for chunk in &self.chunks {
            buf.extend_from_slice(chunk);
        }
        buf.freeze()
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            out.extend_from_slice(chunk);
        }
        out
    }

    fn trim(&mut self) {
        if self.chunks.is_empty() && self.chunks.capacity() > KEEP {
            self.chunks = VecDeque::new();
        }
    }
}

impl From<Chunk> for Chain {
    fn from(chunk: Chunk) -> Self {
        let mut chain = Self::new();
        chain.push(chunk);
        chain
    }
}

impl FromIterator<Chunk> for Chain {
    fn from_iter<I: IntoIterator<Item = Chunk>>(chunks: I) -> Self {
        let mut chain = Self::new();
        chain.extend(chunks);
        chain
    }
}

impl Extend<Chunk> for Chain {
    fn extend<I: IntoIterator<Item = Chunk>>(&mut self, chunks: I) {
        for chunk in chunks {
            self.push(chunk);
        }
    }
}

impl IntoIterator for Chain {
    type Item = Chunk;
    type IntoIter = std::collections::vec_deque::IntoIter<Chunk>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter()
    }
}

impl PartialEq<[u8]> for Chain {
    fn eq(&self, other: &[u8]) -> bool {
        let mut rest = other;
        self.len == other.len()
            && self.chunks.iter().all(|chunk| match rest.split_at_checked(chunk.len()) {
                Some((head, tail)) => {
                    rest = tail;
                    **chunk == *head
                }
                None => false,
            })
    }
}
