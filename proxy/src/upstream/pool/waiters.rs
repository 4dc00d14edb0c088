//! The queue of requests that wait for a connection: first in, first out, and out of the middle.

use std::task::{Poll, Waker};

use super::{AcquireError, Lent};

/// What a waiter gets.
pub(super) type Outcome = Result<Lent, AcquireError>;

/// One waiter; used up by [`Waiters::remove`] and by a ready [`Waiters::poll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaiterKey(usize);

/// A slab with the queue threaded through it. LIFECYCLE of an entry: queued → delivered (out of
/// the queue, outcome stored, waker called) → taken by its future; or queued → removed.
#[derive(Default)]
pub(super) struct Waiters {
    slab: slab::Slab<Waiter>,
    first: Option<usize>,
    last: Option<usize>,
    queued: u32,
}

struct Waiter {
    previous: Option<usize>,
    next: Option<usize>,
    /// Wants a connection that has not served a request.
    fresh: bool,
    waker: Option<Waker>,
    outcome: Option<Outcome>,
    queued: bool,
}

impl Waiters {
    /// How many wait in the queue.
    pub(super) fn waiting(&self) -> u32 {
        self.queued
    }

    /// How many entries there are, delivered ones included.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn push(&mut self, fresh: bool) -> WaiterKey {
        let previous = self.last;
        let waiter =
            Waiter { previous, next: None, fresh, waker: None, outcome: None, queued: true };
        let key = self.slab.insert(waiter);
        match previous.and_then(|p| self.slab.get_mut(p)) {
            Some(before) => before.next = Some(key),
            None => self.first = Some(key),
        }
        self.last = Some(key);
        self.queued += 1;
        WaiterKey(key)
    }

    /// Takes the oldest out of the queue that may have the connection: any, if it is `fresh`.
    pub(super) fn pop_oldest(&mut self, fresh: bool) -> Option<WaiterKey> {
        let mut at = self.first;
        while let Some(key) = at {
            let waiter = self.slab.get(key)?;
            if fresh || !waiter.fresh {
                self.unlink(key);
                return Some(WaiterKey(key));
            }
            at = waiter.next;
        }
        None
    }

    /// Stores what a popped waiter gets, and wakes it.
    pub(super) fn deliver(&mut self, key: WaiterKey, outcome: Outcome) {
        if let Some(waiter) = self.slab.get_mut(key.0) {
            waiter.outcome = Some(outcome);
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }

    /// The outcome, if there is one by now.
    pub(super) fn poll(&mut self, key: WaiterKey, waker: &Waker) -> Poll<Outcome> {
        let Some(waiter) = self.slab.get_mut(key.0) else {
            return Poll::Ready(Err(AcquireError::PoolClosed));
        };
        if let Some(outcome) = waiter.outcome.take() {
            self.slab.remove(key.0);
            return Poll::Ready(outcome);
        }
        match &mut waiter.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Poll::Pending
    }

    /// Drops a waiter: `Some` with what it had been given, `None` if it was still in the queue.
    pub(super) fn remove(&mut self, key: WaiterKey) -> Option<Outcome> {
        let waiter = self.slab.get(key.0)?;
        if waiter.queued {
            self.unlink(key.0);
        }
        self.slab.remove(key.0).outcome
    }

    fn unlink(&mut self, key: usize) {
        let Some(waiter) = self.slab.get_mut(key) else { return };
        let (previous, next) = (waiter.previous.take(), waiter.next.take());
        waiter.queued = false;
        match previous.and_then(|p| self.slab.get_mut(p)) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match next.and_then(|n| self.slab.get_mut(n)) {
            Some(after) => after.previous = previous,
            None => self.last = previous,
        }
        self.queued -= 1;
    }

    /// Whether the queue can be walked and has the length it says.
    pub(super) fn check(&self) -> Result<(), String> {
        let (mut at, mut seen, mut previous) = (self.first, 0, None);
        while let Some(key) = at {
            let waiter = self.slab.get(key).ok_or("the queue leads to nowhere")?;
            if waiter.previous != previous || !waiter.queued || seen > self.queued {
                return Err("the queue of waiters is broken".into());
            }
            previous = at;
            at = waiter.next;
            seen += 1;
        }
        if seen != self.queued || self.last != previous {
            return Err(format!("{seen} requests in the queue, {} counted", self.queued));
        }
        Ok(())
    }
}
