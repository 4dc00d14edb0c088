//! The downstream connections of a shard: how many there are, and how to wake them all.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use slab::Slab;

use crate::listener::ActiveListener;

/// All connections of the shard.
#[derive(Default)]
pub(crate) struct Connections {
    tasks: RefCell<Slab<Waker>>,
    when_empty: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Connections {
    /// To be awaited by the task of a new connection; the key is for [`Connections::leave`].
    pub(crate) async fn enter(&self, listener: &ActiveListener) -> usize {
        listener.connections.set(listener.connections.get() + 1);
        poll_fn(|cx| Poll::Ready(self.tasks.borrow_mut().insert(cx.waker().clone()))).await
    }

    /// The connection is gone.
    pub(crate) fn leave(&self, key: usize, listener: &ActiveListener) {
        listener.connections.set(listener.connections.get().saturating_sub(1));
        let empty = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.try_remove(key);
            tasks.is_empty()
        };
        if empty && let Some(tell) = self.when_empty.take() {
            tell();
        }
    }

    /// Wakes every connection, so that idle ones see what has changed.
    pub(crate) fn wake_all(&self) {
        for (_, waker) in self.tasks.borrow().iter() {
            waker.wake_by_ref();
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Calls `tell` once, as soon as there is none.
    pub(crate) fn when_empty(&self, tell: impl FnOnce() + 'static) {
        self.when_empty.set(Some(Box::new(tell)));
    }
}
