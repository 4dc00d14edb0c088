//! The storage of one shard's statistics: two tables of cells, allocated in small chunks on the
//! first write, so that what a shard never touches costs it nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sparse::Sparse;

/// Cells in a chunk of counters and gauges: 128 bytes. A thread writes few of a block's cells,
/// which stand together: the control thread those of a cluster's members and updates, a shard
/// those of its traffic.
const DENSE_CHUNK: usize = 16;
/// Cells in a chunk of histograms and code tables: 1 KB of empty cells.
const SPARSE_CHUNK: usize = 64;
/// Chunks under one middle node.
const DENSE_MID: usize = 512;
/// The same for histograms and code tables.
const SPARSE_MID: usize = 64;
/// Middle nodes of a table.
const TOP: usize = 1024;

/// Largest number of counters and gauges of a process (8,388,608).
pub const MAX_DENSE: u32 = (TOP * DENSE_MID * DENSE_CHUNK) as u32;
/// Largest number of histograms and code tables of a process (4,194,304).
pub const MAX_SPARSE: u32 = (TOP * SPARSE_MID * SPARSE_CHUNK) as u32;

/// Chunk size of the dense table: the registry keeps a block inside one chunk where it fits.
pub(super) const DENSE_CHUNK_LEN: u32 = DENSE_CHUNK as u32;

/// One shard's statistics. Written by one thread, read by any.
#[derive(Debug)]
pub struct Page {
    dense: Table<AtomicU64, DENSE_CHUNK, DENSE_MID>,
    sparse: Table<OnceLock<Box<Sparse>>, SPARSE_CHUNK, SPARSE_MID>,
}

impl Default for Page {
    fn default() -> Self {
        Self { dense: Table::new(), sparse: Table::new() }
    }
}

impl Page {
    /// The raw cell of a counter or gauge (see [`decode`]); 0 if never written.
    pub fn dense(&self, slot: u32) -> u64 {
        self.dense.get(slot).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// The table behind a histogram or code slot, if anything was recorded.
    pub(super) fn sparse(&self, slot: u32) -> Option<&Sparse> {
        self.sparse.get(slot)?.get().map(Box::as_ref)
    }

    /// Whether there is a chunk for one of these histogram or code slots.
    pub(super) fn has_sparse(&self, slots: std::ops::Range<u32>) -> bool {
        let last = slots.end.saturating_sub(1);
        let mut each = slots.step_by(SPARSE_CHUNK).chain([last]);
        each.any(|slot| self.sparse.get(slot).is_some())
    }

    /// Writer side: the cell, allocated with its chunk if this is the first write to it.
    #[inline]
    pub(super) fn dense_mut(&self, slot: u32) -> Option<&AtomicU64> {
        match self.dense.get(slot) {
            Some(cell) => Some(cell),
            None => self.dense.alloc(slot),
        }
    }

    /// Writer side: the table of a histogram or code slot.
    #[inline]
    pub(super) fn sparse_mut(&self, slot: u32) -> Option<&Sparse> {
        let cell = match self.sparse.get(slot) {
            Some(cell) => cell,
            None => self.sparse.alloc(slot)?,
        };
        Some(cell.get_or_init(Default::default))
    }

    /// Zeroes slots before they get a new name. Only for slots that nobody writes any more.
    pub(super) fn clear(&self, dense: std::ops::Range<u32>, sparse: std::ops::Range<u32>) {
        for slot in dense {
            if let Some(cell) = self.dense.get(slot) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        for slot in sparse {
            if let Some(table) = self.sparse(slot) {
                table.clear();
            }
        }
    }
}

/// Splits a raw cell into value and "was ever written". The flag is what `usedonly` needs: a
/// gauge set to 0 is used, one never touched is not.
pub fn decode(raw: u64) -> (i64, bool) {
    ((raw as i64) >> 1, raw & 1 == 1)
}

/// A value marked as written.
pub(super) fn encode(value: i64) -> u64 {
    ((value as u64) << 1) | 1
}

type Chunk<T, const N: usize> = Box<[T; N]>;
type Mid<T, const N: usize, const MID: usize> = Box<[OnceLock<Chunk<T, N>>; MID]>;

/// Two levels of chunks that only ever grow; lookups take no lock.
#[derive(Debug)]
struct Table<T, const N: usize, const MID: usize> {
    top: Box<[OnceLock<Mid<T, N, MID>>]>,
}

impl<T: Default, const N: usize, const MID: usize> Table<T, N, MID> {
    fn new() -> Self {
        Self { top: (0..TOP).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        let mid = self.top.get(slot / (N * MID))?.get()?;
        mid.get(slot / N % MID)?.get()?.get(slot % N)
    }

    #[cold]
    fn alloc(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        let mid = self.top.get(slot / (N * MID))?;
        let mid = mid.get_or_init(|| Box::new([const { OnceLock::new() }; MID]));
        let chunk = mid.get(slot / N % MID)?;
        let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| T::default())));
        chunk.get(slot % N)
    }
}
