//! A connection that a filter chain has taken.

use std::rc::Rc;

use ringway_runtime::Instant;

use super::{ActiveChain, ActiveListener, Meta};
use crate::shard::Shard;

/// A connection counted as open on its listener. Dropping it counts the end.
pub(crate) struct Admitted {
    pub shard: Rc<Shard>,
    pub listener: Rc<ActiveListener>,
    /// The chain that serves it.
    pub chain: Rc<ActiveChain>,
    pub meta: Rc<Meta>,
    /// When it was let in.
    pub opened: Instant,
}

impl Admitted {
    /// Counts a connection in.
    pub(crate) fn new(
        shard: Rc<Shard>,
        listener: Rc<ActiveListener>,
        chain: Rc<ActiveChain>,
        meta: Rc<Meta>,
    ) -> Self {
        let (stats, plan) = (&shard.stats, &listener.plan);
        stats.inc(plan.stats.downstream_cx_total());
        stats.gauge_add(plan.stats.downstream_cx_active(), 1);
        if let Some(worker) = plan.workers.get(shard.index) {
            stats.inc(worker.downstream_cx_total());
            stats.gauge_add(worker.downstream_cx_active(), 1);
        }
        Self { opened: ringway_runtime::now(), shard, listener, chain, meta }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let (stats, plan) = (&self.shard.stats, &self.listener.plan);
        let age = self.opened.elapsed().as_millis() as u64;
        stats.inc(plan.stats.downstream_cx_destroy());
        stats.gauge_sub(plan.stats.downstream_cx_active(), 1);
        stats.record(plan.stats.downstream_cx_length_ms(), age);
        if let Some(worker) = plan.workers.get(self.shard.index) {
            stats.gauge_sub(worker.downstream_cx_active(), 1);
        }
    }
}
