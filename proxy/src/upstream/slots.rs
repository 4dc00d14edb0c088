//! A bounded number of places for things that need sockets, such as health checks and look-ups:
//! thousands may be due in the same millisecond.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Places; who finds none waits for its turn, oldest first.
#[derive(Debug)]
pub(super) struct Slots {
    free: Cell<u32>,
    queue: RefCell<VecDeque<Waker>>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(Rc<Slots>);

impl Slots {
    /// With `places`.
    pub(super) fn new(places: u32) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(places), queue: RefCell::default() })
    }

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
