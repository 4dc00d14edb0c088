//! Events of one thread, from the tasks that watch for them to the loop that handles them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A queue between tasks of one thread. Its sources are few and slow (signals, timers, messages
/// that are bounded themselves), so it needs no bound of its own.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Rc<RefCell<Inner<T>>>,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { inner: Rc::new(RefCell::new(Inner { items: VecDeque::new(), reader: None })) }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<T> Queue<T> {
    /// Adds an event and wakes the reader.
    pub(crate) fn push(&self, item: T) {
        let mut inner = self.inner.borrow_mut();
        inner.items.push_back(item);
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// The next event, if there is one.
    pub(crate) fn try_next(&self) -> Option<T> {
        self.inner.borrow_mut().items.pop_front()
    }

    /// The next event.
    pub(crate) async fn next(&self) -> T {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut inner = self.inner.borrow_mut();
        match inner.items.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
