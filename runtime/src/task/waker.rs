//! Wakers without memory: runtime id, task index and generation packed into the data pointer.
//!
//! Cloning and dropping one does nothing; waking looks the runtime up among those of this thread.
//! A wake on any other thread is ignored: tasks of a shard wait for their own shard only, and what
//! crosses threads is a message of [`crate::mesh`], whose doorbell wakes the receiver's thread.

use crate::current;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// The index that stands for the future of `block_on`.
pub(crate) const ROOT: u32 = (1 << INDEX_BITS) - 1;

const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(usize::BITS == 64, "wakers pack 64 bits into a pointer");

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, |_| {});

/// A waker for one task. It owns nothing, so it costs nothing to make.
pub(super) fn borrowed(runtime: u16, index: u32, generation: u32) -> Waker {
    let word = u64::from(runtime) << (INDEX_BITS + GENERATION_BITS)
        | u64::from(generation & GENERATION_MASK) << INDEX_BITS
        | u64::from(index & ROOT);
    let data = std::ptr::without_provenance::<()>(word as usize);
    // SAFETY: the functions of the table treat the pointer as a number and never follow it, so
    // they hold for any thread and any time. `std::task::Wake` would cost an allocation with
    // atomic counts per task.
    unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
}

/// The generation after `generation`.
pub(super) fn next_generation(generation: u32) -> u32 {
    (generation + 1) & GENERATION_MASK
}

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    let word = data.addr() as u64;
    let runtime = (word >> (INDEX_BITS + GENERATION_BITS)) as u16;
    let generation = (word >> INDEX_BITS) as u32 & GENERATION_MASK;
    let index = word as u32 & ROOT;
    current::with_id(runtime, |shared| shared.tasks.wake(index, generation));
}
