//! Statistics whose names are met only at run time, such as methods of gRPC services.
//!
//! Slots belong to the control thread, so a shard asks for one when it first has something to count
//! under a name, and keeps count itself until the answer is here: nothing is lost.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::outbox::MeshOutbox;
use crate::control::message::{Message, NameStat, Named, StatKind};
use crate::observe::stats::ShardStats;

/// Names a shard takes up at the most: clients choose them, and a slot is for good.
const NAMES_MAX: usize = 20_000;

/// Values of a histogram that wait for its slot at the most.
const WAITING_MAX: usize = 1024;

/// A counter that may not have a slot yet.
#[derive(Debug, Default)]
pub(crate) struct LateCounter {
    named: OnceCell<Named>,
    waiting: Cell<u64>,
}

/// A histogram that may not have a slot yet.
#[derive(Debug, Default)]
pub(crate) struct LateHistogram {
    named: OnceCell<Named>,
    waiting: RefCell<Vec<u64>>,
}

/// Every name this shard has taken up.
pub(crate) struct LateStats {
    index: usize,
    stats: Rc<ShardStats>,
    outbox: Rc<MeshOutbox>,
    counters: RefCell<HashMap<Box<str>, Rc<LateCounter>, RandomState>>,
    histograms: RefCell<HashMap<Box<str>, Rc<LateHistogram>, RandomState>>,
}

impl LateStats {
    pub(super) fn new(index: usize, stats: Rc<ShardStats>, outbox: Rc<MeshOutbox>) -> Self {
        let (counters, histograms) = Default::default();
        Self { index, stats, outbox, counters, histograms }
    }

    /// The counter of a name; `None` where there are too many names already.
    pub(crate) fn counter(&self, name: &str) -> Option<Rc<LateCounter>> {
        let mut known = self.counters.borrow_mut();
        if let Some(counter) = known.get(name) {
            return Some(Rc::clone(counter));
        }
        if known.len() >= NAMES_MAX {
            return None;
        }
        let counter = Rc::default();
        known.insert(name.into(), Rc::clone(&counter));
        self.ask(name, StatKind::Counter);
        Some(counter)
    }

    /// As [`Self::counter`], a histogram.
    pub(crate) fn histogram(&self, name: &str) -> Option<Rc<LateHistogram>> {
        let mut known = self.histograms.borrow_mut();
        if let Some(histogram) = known.get(name) {
            return Some(Rc::clone(histogram));
        }
        if known.len() >= NAMES_MAX {
            return None;
        }
        let histogram = Rc::default();
        known.insert(name.into(), Rc::clone(&histogram));
        self.ask(name, StatKind::Histogram);
        Some(histogram)
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, counter: &LateCounter, n: u64) {
        match counter.named.get() {
            Some(Named::Counter(_, slot)) => self.stats.add(*slot, n),
            _ => counter.waiting.set(counter.waiting.get().saturating_add(n)),
        }
    }

    /// Records a value.
    pub(crate) fn record(&self, histogram: &LateHistogram, value: u64) {
        match histogram.named.get() {
            Some(Named::Histogram(_, slot)) => self.stats.record(*slot, value),
            _ => {
                let mut waiting = histogram.waiting.borrow_mut();
                if waiting.len() < WAITING_MAX {
                    waiting.push(value);
                }
            }
        }
    }

    /// The control thread has answered.
    pub(super) fn named(&self, name: &str, named: Named) {
        match &named {
            Named::Counter(_, slot) => {
                let counter = self.counters.borrow().get(name).map(Rc::clone);
                let Some(counter) = counter else { return };
                self.stats.add(*slot, counter.waiting.take());
                let _ = counter.named.set(named);
            }
            Named::Histogram(_, slot) => {
                let histogram = self.histograms.borrow().get(name).map(Rc::clone);
                let Some(histogram) = histogram else { return };
                for value in histogram.waiting.take() {
                    self.stats.record(*slot, value);
                }
                let _ = histogram.named.set(named);
            }
        }
    }

    fn ask(&self, name: &str, kind: StatKind) {
        self.outbox.send(Message::NameStat(NameStat {
            shard: self.index,
            name: name.into(),
            kind,
        }));
    }
}
