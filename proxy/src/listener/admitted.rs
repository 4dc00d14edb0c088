//! A connection that a filter chain has taken.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use ringway_runtime::Instant;

use super::{ActiveChain, ActiveListener, ChainVersion, Meta};
use crate::istio::Peer;
use crate::network;
use crate::shard::Shard;
use crate::shard::balance::Share;

/// A connection counted as open on its listener. Dropping it counts the end.
pub(crate) struct Admitted {
    pub shard: Rc<Shard>,
    pub listener: Rc<ActiveListener>,
    /// The chain that serves it.
    pub chain: Rc<ActiveChain>,
    /// As it was configured when the connection came.
    pub version: Rc<ChainVersion>,
    pub meta: Rc<Meta>,
    /// When it was accepted.
    pub opened: Instant,
    /// Its part of the shard's load.
    pub load: Share,
    /// Who the client is in the mesh, once a filter has asked; `None` if it does not say.
    pub peer: OnceCell<Option<Rc<Peer>>>,
    /// How many of the chain's network filters, from the first, have let it pass.
    pub passed: Cell<usize>,
    /// The listener's access logs have their lines.
    pub(super) logged: Cell<bool>,
    /// Another process goes on with it: it does not end here.
    given_away: Cell<bool>,
}

impl Admitted {
    /// Counts a connection in.
    pub(crate) fn new(
        shard: Rc<Shard>,
        listener: Rc<ActiveListener>,
        chain: Rc<ActiveChain>,
        meta: Rc<Meta>,
        load: Share,
        opened: Instant,
    ) -> Self {
        let (stats, plan) = (&shard.stats, &listener.plan);
        // The process that accepted it has counted it.
        let once = u64::from(meta.resumption().is_none());
        stats.add(plan.stats.downstream_cx_total(), once);
        stats.gauge_add(plan.stats.downstream_cx_active(), 1);
        if let Some(worker) = plan.workers.get(shard.index) {
            stats.add(worker.downstream_cx_total(), once);
            stats.gauge_add(worker.downstream_cx_active(), 1);
        }
        chain.enter();
        Self {
            opened,
            shard,
            listener,
            version: chain.version(),
            chain,
            meta,
            load,
            peer: OnceCell::new(),
            passed: Cell::new(0),
            logged: Cell::new(false),
            given_away: Cell::new(false),
        }
    }

    /// Another process goes on with the connection, and counts and logs its end.
    pub(crate) fn give_away(&self) {
        self.given_away.set(true);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        network::left(self);
        self.chain.leave();
        let (stats, plan) = (&self.shard.stats, &self.listener.plan);
        if !self.given_away.get() {
            self.log(|_| {});
            let age = self.opened.elapsed().as_millis() as u64;
            stats.inc(plan.stats.downstream_cx_destroy());
            stats.record(plan.stats.downstream_cx_length_ms(), age);
        }
        stats.gauge_sub(plan.stats.downstream_cx_active(), 1);
        if let Some(worker) = plan.workers.get(self.shard.index) {
            stats.gauge_sub(worker.downstream_cx_active(), 1);
        }
    }
}
