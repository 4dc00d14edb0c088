//! The downstream connections of a shard: how many there are, and how to wake them all.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

use crate::listener::{ActiveChain, Admitted};

/// All connections of the shard. Their tasks are kept by their filter chains, so that those of one
/// chain can be told something as well.
#[derive(Default)]
pub(crate) struct Connections {
    count: Cell<usize>,
    chains: RefCell<Vec<Weak<ActiveChain>>>,
    /// Chains that are gone are swept out when there are so many.
    sweep_at: Cell<usize>,
    when_empty: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Connections {
    /// A chain has its first connection.
    pub(crate) fn add(&self, chain: &Rc<ActiveChain>) {
        let mut chains = self.chains.borrow_mut();
        if chains.len() >= self.sweep_at.get() {
            chains.retain(|chain| chain.strong_count() > 0);
            self.sweep_at.set((2 * chains.len()).max(16));
        }
        chains.push(Rc::downgrade(chain));
    }

    /// To be awaited by the task of a new connection; the key is for [`Connections::leave`].
    pub(crate) async fn enter(&self, link: &Admitted) -> usize {
        self.count.set(self.count.get() + 1);
        poll_fn(|cx| Poll::Ready(link.chain.remember(cx.waker()))).await
    }

    /// The connection is gone.
    pub(crate) fn leave(&self, key: usize, link: &Admitted) {
        link.chain.forget(key);
        self.count.set(self.count.get().saturating_sub(1));
        if self.count.get() == 0
            && let Some(tell) = self.when_empty.take()
        {
            tell();
        }
    }

    /// Wakes every connection, so that idle ones see what has changed.
    pub(crate) fn wake_all(&self) {
        let chains: Vec<Rc<ActiveChain>> =
            self.chains.borrow().iter().filter_map(Weak::upgrade).collect();
        chains.iter().for_each(|chain| chain.wake_all());
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Calls `tell` once, as soon as there is none.
    pub(crate) fn when_empty(&self, tell: impl FnOnce() + 'static) {
        self.when_empty.set(Some(Box::new(tell)));
    }
}
