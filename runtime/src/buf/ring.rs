//! The ring of provided buffers: memory shared with the kernel, which picks one per receive.
//!
//! LIFECYCLE of a buffer: spare → in the ring (the kernel may fill it) → leased (a completion
//! named it; a `Raw` owns it) → spare or ring again. Only as many buffers lie in the ring as load
//! has asked for (`target`), and spares are reused last-in first-out: the ring is a queue, so
//! every buffer in it gets touched sooner or later, and an idle process should not be that large.

use super::header::{HEADER, Header, Raw};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers in the ring at the start.
const TARGET_MIN: u16 = 32;

/// Where a buffer is, to tell a lying completion from a true one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Untouched,
    Spare,
    InRing,
    Leased,
}

/// Memory and bookkeeping of one group of provided buffers.
pub(crate) struct BufRing {
    entries: Map,
    slabs: Map,
    count: u16,
    size: usize,
    tail: u16,
    in_ring: u16,
    target: u16,
    /// Ids below this have been used once and have a header.
    touched: u16,
    spare: Vec<u16>,
    /// Given back to the system, to be touched anew.
    cold: Vec<u16>,
    /// The fewest spares since the last trim: these were not needed.
    unused: usize,
    places: Vec<Place>,
}

impl BufRing {
    /// Maps `count` buffers of `size` bytes and the ring that names them.
    ///
    /// # Errors
    /// Sizes the kernel would not take (`InvalidInput`), or no memory.
    pub(crate) fn new(count: u16, size: usize) -> io::Result<Self> {
        if !count.is_power_of_two() || count > 32768 || !size.is_multiple_of(4096) || size == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "buffers: ring_buffers must be a power of two up to 32768 and ring_buffer_size \
                 a multiple of 4096",
            ));
        }
        let entry = size_of::<io_uring::types::BufRingEntry>();
        Ok(Self {
            entries: Map::new(usize::from(count) * entry)?,
            slabs: Map::new(usize::from(count) * size)?,
            count,
            size,
            tail: 0,
            in_ring: 0,
            target: TARGET_MIN.min(count),
            touched: 0,
            spare: Vec::new(),
            cold: Vec::new(),
            unused: 0,
            places: vec![Place::Untouched; usize::from(count)],
        })
    }

    /// Address of the ring, for its registration.
    pub(crate) fn address(&self) -> u64 {
        self.entries.ptr.as_ptr() as u64
    }

    /// Number of entries of the ring.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Whether a receive would find a buffer after [`BufRing::refill`].
    pub(crate) fn has_buffers(&self) -> bool {
        self.in_ring > 0
            || !self.spare.is_empty()
            || !self.cold.is_empty()
            || self.touched < self.count
    }

    /// A receive found the ring empty: keep more buffers in it from now on.
    pub(crate) fn starved(&mut self) {
        self.target = self.target.saturating_mul(2).min(self.count);
    }

    /// Fills the ring up to what recent load asked for. Called once per turn, before the kernel
    /// is entered.
    pub(crate) fn refill(&mut self) {
        if self.in_ring < self.target / 4 {
            self.starved();
        }
        self.fill();
    }

    /// Fills the ring for the first time.
    pub(crate) fn fill(&mut self) {
        while self.in_ring < self.target {
            let Some(bid) = self.spare.pop().or_else(|| self.touch()) else { break };
            self.push(bid);
        }
        self.unused = self.unused.min(self.spare.len());
    }

    /// Gives the pages of half of the spares that were not needed since the last time back to the
    /// system, and wants fewer buffers in the ring.
    pub(crate) fn trim(&mut self) {
        use rustix::mm::{Advice, madvise};
        let surplus = self.unused.div_ceil(2).min(self.spare.len());
        let idle: Vec<u16> = self.spare.drain(..surplus).collect();
        for bid in idle {
            // SAFETY: these pages hold one buffer, which nobody refers to and the kernel does not
            // have; its header is written anew before its next use. Anonymous memory that is given
            // back reads as zeros: safe code has no such call.
            let advised =
                unsafe { madvise(self.slab(bid).cast(), self.size, Advice::LinuxDontNeed) };
            debug_assert!(advised.is_ok());
            self.cold.push(bid);
        }
        self.unused = self.spare.len();
        self.target = (self.target / 2).max(TARGET_MIN.min(self.count));
    }

    /// Whether [`BufRing::trim`] has something to do.
    pub(crate) fn has_surplus(&self) -> bool {
        !self.spare.is_empty()
    }

    /// The kernel filled buffer `bid`. `None` when it did not have it.
    pub(crate) fn consume(&mut self, bid: u16) -> Option<NonNull<Header>> {
        let place = self.places.get_mut(usize::from(bid))?;
        if *place != Place::InRing {
            return None;
        }
        *place = Place::Leased;
        self.in_ring -= 1;
        Some(self.header(bid))
    }

    /// The last reference to buffer `bid` has gone.
    pub(crate) fn give_back(&mut self, bid: u16) {
        if self.in_ring < self.target {
            return self.push(bid);
        }
        if let Some(place) = self.places.get_mut(usize::from(bid)) {
            *place = Place::Spare;
        }
        self.spare.push(bid);
    }

    fn touch(&mut self) -> Option<u16> {
        let bid = match self.cold.pop() {
            Some(bid) => bid,
            None if self.touched == self.count => return None,
            None => {
                self.touched += 1;
                self.touched - 1
            }
        };
        let at = self.slab(bid);
        // SAFETY: a buffer starts at a multiple of 4096 inside the mapping, which lives as long
        // as this ring, and the ring as long as the pool.
        unsafe { Raw::init_ring(at, self.size - HEADER, bid) };
        Some(bid)
    }

    fn push(&mut self, bid: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let base = self.entries.ptr.as_ptr().cast::<io_uring::types::BufRingEntry>();
        // SAFETY: `index < count` and the mapping has `count` entries. The kernel does not read
        // an entry before the tail says so, below. Memory shared with the kernel cannot be a
        // safe slice.
        let entry = unsafe { &mut *base.add(index) };
        entry.set_addr(self.slab(bid) as u64 + HEADER as u64);
        entry.set_len((self.size - HEADER) as u32);
        entry.set_bid(bid);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the first entry of a live ring; its tail field is a u16 that only
        // this thread writes and the kernel reads, hence the atomic store with release order,
        // which makes the entry visible before the tail.
        unsafe {
            let tail = io_uring::types::BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
        if let Some(place) = self.places.get_mut(usize::from(bid)) {
            *place = Place::InRing;
        }
        self.in_ring += 1;
    }

    fn slab(&self, bid: u16) -> *mut u8 {
        // SAFETY: ids are below `count`, so the offset lies in the mapping.
        unsafe { self.slabs.ptr.as_ptr().add(usize::from(bid) * self.size) }
    }

    fn header(&self, bid: u16) -> NonNull<Header> {
        // SAFETY: mapped memory is not at address zero.
        unsafe { NonNull::new_unchecked(self.slab(bid).cast()) }
    }
}

/// An anonymous mapping, unmapped on drop. Pages appear when they are first touched.
struct Map {
    ptr: NonNull<u8>,
    len: usize,
}

impl Map {
    fn new(len: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing
        // that exists. The standard allocator gives no page-aligned memory that is lazily backed.
        let ptr = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let ptr = NonNull::new(ptr.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { ptr, len })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours alone; the pool drops it only after the kernel's ring is
        // closed and no slice is left. An error would mean it was not mapped: nothing to do.
        let _ = unsafe { rustix::mm::munmap(self.ptr.as_ptr().cast(), self.len) };
    }
}
