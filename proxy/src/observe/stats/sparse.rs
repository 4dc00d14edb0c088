//! Counts by a small key, in little memory: histogram buckets and response codes.
//!
//! A cell holds key and count in one word, so a reader never sees a count under a wrong key. One
//! thread writes; a full table is continued in a table twice its size.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a cell that count; the 13 above hold `key + 1` (0: free).
const COUNT_BITS: u32 = 51;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Cells of the first table (32 bytes): most histograms of an idle cluster have one or two values.
const FIRST: usize = 4;
/// Cells looked at in the first table before going to the next one, which is many times its size.
const FIRST_PROBES: usize = FIRST;
/// Cells of the second table.
const SECOND: usize = 64;
/// Cells looked at in the other tables.
const PROBES: usize = 8;
/// Keys are below this.
pub(super) const MAX_KEY: u16 = (1 << 13) - 2;

/// Counts by key. At 60 distinct keys: under 1 KB.
#[derive(Debug)]
pub(super) struct Sparse {
    cells: Box<[AtomicU64]>,
    next: OnceLock<Box<Self>>,
}

impl Default for Sparse {
    fn default() -> Self {
        Self::with_cells(FIRST)
    }
}

impl Sparse {
    fn with_cells(len: usize) -> Self {
        Self { cells: (0..len).map(|_| AtomicU64::new(0)).collect(), next: OnceLock::new() }
    }

    /// Adds `n` to the count of `key`. Writer only.
    #[inline]
    pub(super) fn add(&self, key: u16, n: u64) {
        let tag = u64::from(key.min(MAX_KEY)) + 1;
        if self.add_here::<FIRST_PROBES>(usize::from(key), tag, n) {
            return;
        }
        let mut table = self.next.get_or_init(|| Box::new(Self::with_cells(SECOND)));
        while !table.add_here::<PROBES>(usize::from(key), tag, n) {
            let len = table.cells.len() * 2;
            table = table.next.get_or_init(|| Box::new(Self::with_cells(len)));
        }
    }

    /// Keys near each other are common and must not collide, so a key is its own hash.
    #[inline]
    fn add_here<const PROBES: usize>(&self, start: usize, tag: u64, n: u64) -> bool {
        let mask = self.cells.len() - 1;
        for i in 0..PROBES {
            let Some(cell) = self.cells.get((start + i) & mask) else { return false };
            let raw = cell.load(Ordering::Relaxed);
            if raw >> COUNT_BITS == tag {
                cell.store((raw & !COUNT_MASK) | ((raw + n) & COUNT_MASK), Ordering::Relaxed);
                return true;
            }
            if raw == 0 {
                cell.store((tag << COUNT_BITS) | (n & COUNT_MASK), Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// Calls `f(key, count)` for every key, in no order. Any thread.
    pub(super) fn each(&self, mut f: impl FnMut(u16, u64)) {
        let mut table = Some(self);
        while let Some(t) = table {
            for cell in &t.cells {
                let raw = cell.load(Ordering::Relaxed);
                if raw != 0 {
                    f((raw >> COUNT_BITS) as u16 - 1, raw & COUNT_MASK);
                }
            }
            table = t.next.get().map(Box::as_ref);
        }
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 0)
    }

    /// Empties it, keeping the memory.
    pub(super) fn clear(&self) {
        let mut table = Some(self);
        while let Some(t) = table {
            for cell in &t.cells {
                cell.store(0, Ordering::Relaxed);
            }
            table = t.next.get().map(Box::as_ref);
        }
    }

    /// Bytes on the heap, for the memory test.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let own = size_of::<Self>() + self.cells.len() * 8;
        own + self.next.get().map_or(0, |next| next.bytes())
    }
}
