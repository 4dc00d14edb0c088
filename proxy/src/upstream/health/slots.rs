//! How many checks a shard has under way at once: each needs a socket and buffers, and thousands
//! of hosts may be due in the same millisecond.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Checks under way per shard.
const CHECKS_MAX: u32 = 512;

/// Places for checks; a check that finds none waits for its turn, oldest first.
#[derive(Debug)]
pub(in crate::upstream) struct Slots {
    free: Cell<u32>,
    queue: RefCell<VecDeque<Waker>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { free: Cell::new(CHECKS_MAX), queue: RefCell::default() }
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(Rc<Slots>);

impl Slots {
    /// Waits for a place.
    pub(super) async fn take(self: &Rc<Self>) -> Slot {
        poll_fn(|cx| {
            if let Some(rest) = self.free.get().checked_sub(1) {
                self.free.set(rest);
                return Poll::Ready(Slot(self.clone()));
            }
            let mut queue = self.queue.borrow_mut();
            if !queue.iter().any(|waiting| waiting.will_wake(cx.waker())) {
                queue.push_back(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        // A waker whose task is gone passes nothing on, so wake as many as there are places.
        let free = self.0.free.get() as usize;
        let mut queue = self.0.queue.borrow_mut();
        let n = free.min(queue.len());
        queue.drain(..n).for_each(Waker::wake);
    }
}
