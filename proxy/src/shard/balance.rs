//! How much each shard carries, and which should take the next connection.
//!
//! Every shard publishes its load in a page only it writes; whoever accepts a connection reads them
//! all. A connection on its way to another shard is counted there at once, so that two in a row do
//! not both go to the same shard. Nothing moves once a shard has taken it, so nothing is passed on
//! twice.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::plan::ceiling::Place;

/// What an HTTP/2 connection counts as: it stays, and carries many requests at once.
pub(crate) const HTTP2_WEIGHT: u32 = 4;

/// The loads of all shards.
#[derive(Debug)]
pub struct Loads(Box<[Page]>);

/// One shard's load, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Page {
    /// Weight of its connections; written by the shard alone.
    open: AtomicU32,
    /// Connections other shards have sent it and it has not taken yet.
    coming: AtomicU32,
}

impl Loads {
    /// Of so many shards.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self((0..shards).map(|_| Page::default()).collect()))
    }

    /// The shard with the least to do, counting what is on its way there: for a connection that
    /// is sent there by a thread that is no shard.
    pub(crate) fn take_least(&self) -> usize {
        let least = (0..self.0.len()).min_by_key(|shard| self.load(*shard)).unwrap_or_default();
        if let Some(page) = self.0.get(least) {
            page.coming.fetch_add(1, Ordering::Relaxed);
        }
        least
    }

    fn load(&self, shard: usize) -> u32 {
        self.0.get(shard).map_or(u32::MAX, |page| {
            page.open.load(Ordering::Relaxed).saturating_add(page.coming.load(Ordering::Relaxed))
        })
    }
}

/// A shard's view of the loads.
pub(crate) struct Balance {
    loads: Arc<Loads>,
    own: usize,
    open: Cell<u32>,
}

/// One connection's part of its shard's load; dropping it takes it off.
pub(crate) struct Share {
    balance: Rc<Balance>,
    weight: Cell<u32>,
    /// Its place among those that may be open.
    _place: Option<Place>,
}

impl Balance {
    /// For the shard at this position.
    pub(crate) fn new(loads: Arc<Loads>, own: usize) -> Rc<Self> {
        Rc::new(Self { loads, own, open: Cell::new(0) })
    }

    /// The shard that should take the next connection, if it is another one.
    ///
    /// Small differences are left alone, for moving a connection costs a wake-up: a shard may have
    /// a quarter more than the least loaded. `exact`: it may not have more at all.
    pub(crate) fn elsewhere(&self, exact: bool) -> Option<usize> {
        let count = self.loads.0.len();
        let own = self.loads.load(self.own);
        if count < 2 || own == 0 {
            return None;
        }
        // Beginning behind oneself, so that not all shards prefer the first among equals.
        let others = (1..count).map(|step| (self.own + step) % count);
        let (least, shard) =
            others.map(|shard| (self.loads.load(shard), shard)).min_by_key(|x| x.0)?;
        let slack = if exact { 0 } else { least / 4 };
        (own > least.saturating_add(slack)).then_some(shard)
    }

    /// A connection is on its way to `shard`.
    pub(crate) fn sent(&self, shard: usize) {
        if let Some(page) = self.loads.0.get(shard) {
            page.coming.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It does not go there after all.
    pub(crate) fn not_sent(&self, shard: usize) {
        if let Some(page) = self.loads.0.get(shard) {
            page.coming.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection another shard has sent is here.
    pub(crate) fn arrived(&self) {
        self.not_sent(self.own);
    }

    /// Counts one more connection on this shard; `place` is its own among those that may be open.
    pub(crate) fn share(self: &Rc<Self>, place: Option<Place>) -> Share {
        self.set(self.open.get().saturating_add(1));
        Share { balance: Rc::clone(self), weight: Cell::new(1), _place: place }
    }

    fn set(&self, open: u32) {
        self.open.set(open);
        if let Some(page) = self.loads.0.get(self.own) {
            page.open.store(open, Ordering::Relaxed);
        }
    }
}

impl Share {
    /// Counts the connection as so many: one that carries many requests at once, or for long, is
    /// more than one that is gone in a moment.
    pub(crate) fn weigh(&self, weight: u32) {
        let balance = &self.balance;
        let before = self.weight.replace(weight);
        balance.set(balance.open.get().saturating_sub(before).saturating_add(weight));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.balance.set(self.balance.open.get().saturating_sub(self.weight.get()));
    }
}

#[cfg(test)]
mod tests;
