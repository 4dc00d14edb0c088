//! A bounded queue with one sending and one receiving thread.

use super::CAPACITY;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter on a cache line of its own: the two sides do not slow each other down.
#[repr(align(64))]
struct Counter(AtomicUsize);

/// Messages between `head` and `tail` are initialised and belong to the receiver; the other slots
/// belong to the sender.
pub(super) struct Ring<M> {
    /// Messages taken so far; only the receiver adds.
    head: Counter,
    /// Messages put so far; only the sender adds.
    tail: Counter,
    slots: Box<[UnsafeCell<MaybeUninit<M>>]>,
}

// SAFETY: a ring is shared by exactly two threads by construction of the mesh: end `i` is the only
// sender of row `i` and the only receiver of column `i`, and neither `MeshEnd` nor `Mailbox` can be
// cloned. The counters hand each slot from one to the other with release and acquire. Safe code has
// no single-producer queue without a lock or an allocation per message.
unsafe impl<M: Send> Sync for Ring<M> {}

impl<M> Ring<M> {
    pub(super) fn new() -> Self {
        Self {
            head: Counter(AtomicUsize::new(0)),
            tail: Counter(AtomicUsize::new(0)),
            slots: (0..CAPACITY).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        }
    }

    /// Sender: whether a push would fail.
    pub(super) fn is_full(&self) -> bool {
        let tail = self.tail.0.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head.0.load(Ordering::Acquire)) == CAPACITY
    }

    /// Sender: puts a message, or gives it back when there is no room.
    pub(super) fn push(&self, message: M) -> Result<(), M> {
        if self.is_full() {
            return Err(message);
        }
        let tail = self.tail.0.load(Ordering::Relaxed);
        // SAFETY: the slot at `tail` is the sender's (see the type), as there is room, and this is
        // the sender's thread.
        unsafe { (*self.slots[tail % CAPACITY].get()).write(message) };
        self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Receiver: takes the oldest message.
    pub(super) fn pop(&self) -> Option<M> {
        let head = self.head.0.load(Ordering::Relaxed);
        if head == self.tail.0.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the slot at `head` is initialised and the receiver's (see the type), and this is
        // the receiver's thread; moving `head` on gives the emptied slot back.
        let message = unsafe { (*self.slots[head % CAPACITY].get()).assume_init_read() };
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        Some(message)
    }
}

impl<M> Drop for Ring<M> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
