//! The standard metrics on a shard: which statistics a set of labels has, found once.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::labels::{Facts, Group, Label};
use crate::observe::stats::tags;
use crate::plan::istio::{METRICS, StatsOptions};
use crate::shard::late::{LateCounter, LateHistogram, LateStats};

/// Sets of labels a shard keeps apart at the most: clients choose some of them. What comes after
/// that is counted without those, and of these there may be [`MORE`].
const SERIES_MAX: usize = 3000;
const MORE: usize = 300;

/// Every set of labels met so far.
#[derive(Default)]
pub(crate) struct Metrics {
    known: RefCell<HashMap<Box<[u8]>, Rc<Series>, RandomState>>,
    key: RefCell<Vec<u8>>,
}

/// The statistics of one set of labels; `None` in the place of one that is dropped, or for which
/// there is no room.
#[derive(Debug)]
pub(crate) enum Series {
    /// Of requests.
    Http(Http),
    /// Of messages of gRPC calls: from the client, to the client.
    Messages([Option<Rc<LateCounter>>; 2]),
    /// Of connections.
    Tcp(Tcp),
}

/// `istio_requests_total` and what goes with it.
#[derive(Debug, Default)]
pub(crate) struct Http {
    total: Option<Rc<LateCounter>>,
    duration: Option<Rc<LateHistogram>>,
    request: Option<Rc<LateHistogram>>,
    response: Option<Rc<LateHistogram>>,
}

/// `istio_tcp_*`
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    opened: Option<Rc<LateCounter>>,
    closed: Option<Rc<LateCounter>>,
    sent: Option<Rc<LateCounter>>,
    received: Option<Rc<LateCounter>>,
}

impl Metrics {
    /// The statistics for these facts; `None` where there are too many.
    pub(crate) fn of(&self, late: &LateStats, facts: &Facts<'_>) -> Option<Rc<Series>> {
        let mut key = self.key.borrow_mut();
        facts.key(&mut key);
        let mut known = self.known.borrow_mut();
        if let Some(series) = known.get(key.as_slice()) {
            return Some(Rc::clone(series));
        }
        let mut facts = *facts;
        if known.len() >= SERIES_MAX {
            facts = facts.anonymous();
            facts.key(&mut key);
            if let Some(series) = known.get(key.as_slice()) {
                return Some(Rc::clone(series));
            }
            if known.len() >= SERIES_MAX + MORE {
                return None;
            }
        }
        let series = Rc::new(Series::new(late, &facts));
        known.insert(key.as_slice().into(), Rc::clone(&series));
        Some(series)
    }
}

impl Series {
    fn new(late: &LateStats, facts: &Facts<'_>) -> Self {
        let labels = facts.labels();
        let counter = |at| late.counter(&name(facts.options, at, &labels)?);
        let histogram = |at| late.histogram(&name(facts.options, at, &labels)?);
        match facts.group {
            Group::Http { .. } => Self::Http(Http {
                total: counter(0),
                duration: histogram(1),
                request: histogram(2),
                response: histogram(3),
            }),
            Group::Messages => Self::Messages([counter(4), counter(5)]),
            Group::Tcp => Self::Tcp(Tcp {
                opened: counter(6),
                closed: counter(7),
                sent: counter(8),
                received: counter(9),
            }),
        }
    }
}

impl Http {
    /// A request is over.
    pub(crate) fn record(&self, late: &LateStats, ms: u64, received: u64, sent: u64) {
        add(late, self.total.as_deref(), 1);
        for (histogram, value) in
            [(&self.duration, ms), (&self.request, received), (&self.response, sent)]
        {
            if let Some(histogram) = histogram {
                late.record(histogram, value);
            }
        }
    }
}

impl Tcp {
    /// A connection is known.
    pub(crate) fn opened(&self, late: &LateStats) {
        add(late, self.opened.as_deref(), 1);
    }

    /// It is gone.
    pub(crate) fn closed(&self, late: &LateStats) {
        add(late, self.closed.as_deref(), 1);
    }

    /// Bytes went over it: to the client, and from it.
    pub(crate) fn moved(&self, late: &LateStats, sent: u64, received: u64) {
        add(late, self.sent.as_deref(), sent);
        add(late, self.received.as_deref(), received);
    }
}

/// Adds to a counter, if there is one.
pub(crate) fn add(late: &LateStats, counter: Option<&LateCounter>, n: u64) {
    if let Some(counter) = counter {
        late.add(counter, n);
    }
}

/// The full name of a metric with its labels; `None` where it is dropped.
fn name(options: &StatsOptions, metric: usize, labels: &[Label<'_>]) -> Option<String> {
    let (metric, rules) = (METRICS.get(metric)?, options.metrics.get(metric)?);
    if rules.dropped {
        return None;
    }
    let mut out = format!("{}istio_{metric}", tags::LABELLED);
    for (key, value) in labels {
        if !rules.without.iter().any(|without| **without == **key) {
            tags::label_into(key, value, &mut out);
        }
    }
    Some(out)
}
