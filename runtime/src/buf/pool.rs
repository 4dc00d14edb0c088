//! The pool of a runtime: free lists per size class, and the ring of buffers the kernel picks from.

use super::header::{Header, Kind, Raw};
use super::ring::BufRing;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

/// How much memory the buffers of one runtime may keep.
#[derive(Clone, Debug)]
pub struct BufferConfig {
    /// Buffers in the ring for multishot receives: a power of two, at most 32768. Memory is only
    /// touched as load asks for it.
    pub ring_buffers: u16,
    /// Bytes of one ring buffer, its 32 byte header included: a multiple of 4096.
    pub ring_buffer_size: usize,
    /// Bytes of one buffer of a large receive ([`crate::Stream::recv_hint`]).
    pub bulk_size: usize,
    /// Most bytes of free buffers kept per size class. What a second has not needed of them is
    /// given back by and by.
    pub retain_bytes_per_class: usize,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            ring_buffers: 1024,
            ring_buffer_size: 16 << 10,
            // Larger ones fall out of the cache between receive and send.
            bulk_size: 64 << 10,
            retain_bytes_per_class: 16 << 20,
        }
    }
}

/// Capacities of the pooled sizes, in bytes.
pub(crate) const CLASSES: [usize; 6] = [512, 2 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// Free buffers of one size, last in first out.
#[derive(Default)]
struct Free {
    list: Vec<NonNull<Header>>,
    /// The fewest there were since the last trim: these were not needed.
    unused: usize,
}

impl Free {
    fn pop(&mut self) -> Option<NonNull<Header>> {
        let header = self.list.pop();
        self.unused = self.unused.min(self.list.len());
        header
    }

    /// Frees half of what was not needed since the last time.
    fn trim(&mut self) {
        let surplus = self.unused.div_ceil(2);
        // The oldest are the coldest.
        for header in self.list.drain(..surplus.min(self.list.len())) {
            // SAFETY: made by `Raw::class`; a buffer in a free list has no references.
            unsafe { Raw::free_class(header) }
        }
        self.unused = self.list.len();
    }
}

/// Free buffers of one runtime. Reached only from its thread.
pub(crate) struct Pool {
    free: [RefCell<Free>; CLASSES.len()],
    ring: RefCell<Option<BufRing>>,
    leased: Cell<usize>,
    retain_bytes: usize,
}

impl Pool {
    pub(crate) fn new(config: &BufferConfig) -> Rc<Self> {
        Rc::new(Self {
            free: Default::default(),
            ring: RefCell::new(None),
            leased: Cell::new(0),
            retain_bytes: config.retain_bytes_per_class,
        })
    }

    /// A buffer of at least `cap` bytes. Above the largest class it is an allocation of its own.
    pub(crate) fn lease(self: &Rc<Self>, cap: usize) -> Raw {
        let Some(class) = CLASSES.iter().position(|&size| size >= cap) else {
            return Raw::exact(cap);
        };
        let free = self.free[class].borrow_mut().pop();
        let header = free.unwrap_or_else(|| Raw::class(CLASSES[class], class as u8));
        self.leased.set(self.leased.get() + 1);
        // SAFETY: the header is fresh or lay in this pool's free list; nobody refers to it.
        unsafe { Raw::lease(header, self) }
    }

    /// Takes over the ring of provided buffers; there is one per pool.
    pub(crate) fn install_ring(&self, ring: BufRing) {
        *self.ring.borrow_mut() = Some(ring);
    }

    /// The buffer that the kernel filled and reported as `bid`, now ours.
    pub(crate) fn lease_ring(self: &Rc<Self>, bid: u16) -> Option<Raw> {
        let header = self.ring.borrow_mut().as_mut()?.consume(bid)?;
        self.leased.set(self.leased.get() + 1);
        // SAFETY: `consume` hands out each id once until it comes back: nobody else refers to it.
        Some(unsafe { Raw::lease(header, self) })
    }

    /// Runs `f` on the ring, when there is one.
    pub(crate) fn with_ring<T>(&self, f: impl FnOnce(&mut BufRing) -> T) -> Option<T> {
        self.ring.borrow_mut().as_mut().map(f)
    }

    /// Gives memory that has not been needed since the last call back to the system.
    pub(crate) fn trim(&self) {
        self.free.iter().for_each(|free| free.borrow_mut().trim());
        self.with_ring(BufRing::trim);
    }

    /// Whether [`Pool::trim`] has something to do.
    pub(crate) fn has_surplus(&self) -> bool {
        self.free.iter().any(|free| !free.borrow().list.is_empty())
            || self.with_ring(|ring| ring.has_surplus()) == Some(true)
    }

    /// Buffers in somebody's hands: 0 when nothing leaks.
    pub(crate) fn leased(&self) -> usize {
        self.leased.get()
    }

    /// Called by the last reference to a pooled buffer.
    pub(super) fn take_back(&self, header: NonNull<Header>) {
        self.leased.set(self.leased.get() - 1);
        // SAFETY: a buffer that comes back has an initialised header.
        match unsafe { Kind::of(header) } {
            Kind::Ring(bid) => {
                if let Some(ring) = self.ring.borrow_mut().as_mut() {
                    ring.give_back(bid);
                }
            }
            Kind::Class(class) => {
                let class = usize::from(class);
                let mut free = self.free[class].borrow_mut();
                if free.list.len() * CLASSES[class] < self.retain_bytes {
                    free.list.push(header);
                } else {
                    // SAFETY: made by `Raw::class`, and its last reference has just gone.
                    unsafe { Raw::free_class(header) }
                }
            }
            Kind::Exact | Kind::Vec => debug_assert!(false, "not pooled"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for list in &mut self.free {
            for header in list.get_mut().list.drain(..) {
                // SAFETY: made by `Raw::class`; a buffer in a free list has no references.
                unsafe { Raw::free_class(header) }
            }
        }
    }
}
