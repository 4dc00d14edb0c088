//! The header in front of every buffer, and the owning pointer to it.

use super::Pool;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;

/// Bytes in front of the data. A multiple of the strictest alignment asked of the data.
pub(crate) const HEADER: usize = 32;

/// Where a buffer's memory comes from, and so where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A size class of the pool: back to its free list.
    Class(u8),
    /// A buffer of the ring the kernel picks from, by id: back to that ring.
    Ring(u16),
    /// An allocation of its own: freed.
    Exact,
    /// The header is the first field of a boxed [`VecBuf`]: the box is freed.
    Vec,
}

/// Counts the slices of one buffer.
#[repr(C, align(32))]
pub(crate) struct Header {
    refs: Cell<u32>,
    kind: Cell<Kind>,
    cap: Cell<usize>,
    /// While the buffer is leased: a strong count of the pool it goes back to, or null.
    pool: Cell<*const Pool>,
}

/// A `Vec` given to a [`super::Chunk`] as it is.
#[repr(C)]
struct VecBuf {
    header: Header,
    vec: Vec<u8>,
}

const _: () = assert!(size_of::<Header>() == HEADER);

/// One counted reference to a buffer: what `Chunk` and `BufMut` own.
///
/// The bytes behind it are always initialised: memory is asked for zeroed and stays readable.
pub(crate) struct Raw(NonNull<Header>);

impl Raw {
    /// A zeroed allocation of `cap` bytes outside of any pool.
    pub(crate) fn exact(cap: usize) -> Self {
        Self(alloc(cap, Kind::Exact))
    }

    /// A zeroed buffer of a pool's class; it is not leased yet.
    pub(super) fn class(cap: usize, class: u8) -> NonNull<Header> {
        alloc(cap, Kind::Class(class))
    }

    /// Frees a buffer that [`Raw::class`] made and nobody refers to.
    ///
    /// # Safety
    /// `header` came from [`Raw::class`] and no `Raw` refers to it.
    pub(super) unsafe fn free_class(header: NonNull<Header>) {
        // SAFETY: the caller's promise; the layout is the one `alloc` used, as `cap` never changes.
        // Safe code has no type for "header followed by cap bytes".
        unsafe { dealloc(header.as_ptr().cast(), layout(header.as_ref().cap.get())) }
    }

    /// Writes the header of a ring buffer whose memory starts at `at`.
    ///
    /// # Safety
    /// `at` is aligned to [`HEADER`], and `HEADER + cap` bytes from it are mapped for as long as
    /// the pool lives.
    pub(super) unsafe fn init_ring(at: *mut u8, cap: usize, bid: u16) -> NonNull<Header> {
        let header = at.cast::<Header>();
        // SAFETY: the caller's promise. The memory is shared with the kernel, so it cannot be a
        // Rust allocation.
        unsafe {
            header.write(Header {
                refs: Cell::new(0),
                kind: Cell::new(Kind::Ring(bid)),
                cap: Cell::new(cap),
                pool: Cell::new(std::ptr::null()),
            });
            NonNull::new_unchecked(header)
        }
    }

    /// Makes the first reference to a buffer that lay in `pool`.
    ///
    /// # Safety
    /// `header` belongs to `pool` and nobody refers to it.
    pub(super) unsafe fn lease(header: NonNull<Header>, pool: &Rc<Pool>) -> Self {
        // SAFETY: the caller's promise; a pooled header stays readable while its pool lives.
        let head = unsafe { header.as_ref() };
        debug_assert_eq!(head.refs.get(), 0);
        head.refs.set(1);
        head.pool.set(Rc::into_raw(Rc::clone(pool)));
        Self(header)
    }

    /// Takes a vector over without copying it.
    pub(crate) fn from_vec(vec: Vec<u8>) -> Self {
        let boxed = Box::new(VecBuf {
            header: Header {
                refs: Cell::new(1),
                kind: Cell::new(Kind::Vec),
                cap: Cell::new(vec.capacity()),
                pool: Cell::new(std::ptr::null()),
            },
            vec,
        });
        Self(NonNull::from(Box::leak(boxed)).cast())
    }

    /// First byte of the data.
    pub(crate) fn data(&self) -> NonNull<u8> {
        if self.kind() == Kind::Vec {
            // SAFETY: `Kind::Vec` is only set by `from_vec`, whose box starts with the header.
            // One thin pointer for all kinds is what keeps `Chunk` at three words.
            let vec = unsafe { &raw mut (*self.0.as_ptr().cast::<VecBuf>()).vec };
            // SAFETY: the vector lives as long as this reference; taking its pointer moves nothing.
            let ptr = unsafe { (*vec).as_mut_ptr() };
            return NonNull::new(ptr).unwrap_or(NonNull::dangling());
        }
        // SAFETY: every other kind has its data right behind the header, in the same allocation.
        unsafe { self.0.cast::<u8>().add(HEADER) }
    }

    /// Bytes of the whole buffer.
    pub(crate) fn capacity(&self) -> usize {
        self.header().cap.get()
    }

    /// Whether this is the only reference.
    pub(crate) fn is_unique(&self) -> bool {
        self.header().refs.get() == 1
    }

    /// Whether both refer to the same buffer.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    pub(crate) fn kind(&self) -> Kind {
        self.header().kind.get()
    }

    fn header(&self) -> &Header {
        // SAFETY: a `Raw` counts as a reference, so the header is alive. It is only read through
        // shared references and changed through its cells.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Raw {
    fn clone(&self) -> Self {
        let refs = &self.header().refs;
        // A count that overflows would free memory in use: stop instead, as `Rc` does.
        refs.set(refs.get().checked_add(1).unwrap_or_else(|| std::process::abort()));
        Self(self.0)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let header = self.header();
        let left = header.refs.get() - 1;
        header.refs.set(left);
        if left != 0 {
            return;
        }
        match header.kind.get() {
            Kind::Class(_) | Kind::Ring(_) => {
                let pool = header.pool.replace(std::ptr::null());
                // SAFETY: `lease` stored a strong count here; taking it back balances it, and
                // keeps the pool alive until the buffer lies in it. An `Rc` field would need a
                // drop of its own inside memory that outlives it.
                let pool = unsafe { Rc::from_raw(pool) };
                pool.take_back(self.0);
            }
            Kind::Exact => {
                // SAFETY: `exact` allocated it with this layout and this was the last reference.
                unsafe { dealloc(self.0.as_ptr().cast(), layout(header.cap.get())) }
            }
            Kind::Vec => {
                // SAFETY: `from_vec` leaked this box and this was the last reference.
                drop(unsafe { Box::from_raw(self.0.as_ptr().cast::<VecBuf>()) });
            }
        }
    }
}

impl Kind {
    /// Reads the kind of an unreferenced buffer.
    ///
    /// # Safety
    /// `header` points to an initialised header.
    pub(super) unsafe fn of(header: NonNull<Header>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { header.as_ref().kind.get() }
    }
}

fn alloc(cap: usize, kind: Kind) -> NonNull<Header> {
    let layout = layout(cap);
    // SAFETY: the layout is never empty, as it has room for a header. Zeroed, so that every byte
    // is initialised from the start; large blocks come from fresh pages and are not touched.
    let ptr = unsafe { alloc_zeroed(layout) }.cast::<Header>();
    let Some(header) = NonNull::new(ptr) else { handle_alloc_error(layout) };
    // SAFETY: fresh memory of at least a header's size and alignment.
    unsafe {
        header.write(Header {
            refs: Cell::new(if kind == Kind::Exact { 1 } else { 0 }),
            kind: Cell::new(kind),
            cap: Cell::new(cap),
            pool: Cell::new(std::ptr::null()),
        });
    }
    header
}

fn layout(cap: usize) -> Layout {
    match Layout::from_size_align(cap.saturating_add(HEADER), HEADER) {
        Ok(layout) => layout,
        Err(_) => handle_alloc_error(Layout::new::<Header>()),
    }
}
