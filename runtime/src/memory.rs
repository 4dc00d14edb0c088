//! Memory that is no longer used, back to the system.

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay`: how long mimalloc keeps freed pages, in ms.
const PURGE_DELAY: c_int = 15;

/// While it lives, freed memory goes back to the system at once; see [`frugal`].
#[derive(Debug)]
pub struct Frugal {
    delay_ms: c_long,
}

/// Begins a phase that needs much more memory than the rest of the process's life, such as loading
/// a large configuration.
///
/// The allocator keeps freed pages for a while, for what comes next, and gives them back when it is
/// used again; after such a phase it may not be for long, and what stays lies scattered over the
/// pages of what went. Until the answer is dropped, pages go back when they are free, which costs a
/// system call each: nothing for the path of a request. Does nothing where mimalloc is not the
/// global allocator. Holds for the whole process, so there should be one at a time.
#[must_use]
pub fn frugal() -> Frugal {
    // SAFETY: the functions take an option by its number, which both versions of mimalloc share,
    // and touch only its own tables, where any thread may read and write numbers at any time. Safe
    // code cannot: the allocator interface of the standard library has no way to say this.
    let delay_ms = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
    // SAFETY: see above.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
    Frugal { delay_ms }
}

impl Drop for Frugal {
    fn drop(&mut self) {
        // SAFETY: it takes no pointer and touches only memory that mimalloc itself manages and that
        // nothing refers to any more. Safe code cannot: see `frugal`.
        unsafe { libmimalloc_sys::mi_collect(true) };
        // SAFETY: see `frugal`.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, self.delay_ms) };
    }
}
