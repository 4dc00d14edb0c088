//! Circuit breakers: how much of a cluster all shards together may use at once.
//!
//! [`Limits`] belongs to the plan's cluster and is shared by every shard; [`ShardLimits`] is one
//! shard's hand on it. Connections, pending requests, retries and pools are counted one by one.
//! Requests are too while `max_requests` is small; where it is far above the number of shards a
//! shard takes permits in blocks and keeps a few, so that a request costs no shared cache line.
//! A shard can then be refused while others hold unused permits: at most 1/16 of the limit.
//!
//! The `*_open` gauges are exact sums over shards: whoever takes the last permit adds one to its
//! share, whoever gives the first one back takes one away.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::plan::cluster::Thresholds;

/// Index of a routing priority: 0 default, 1 high.
pub type Priority = u8;

/// A permit was refused: the limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `max_connections`
    Connections,
    /// `max_pending_requests`
    Pending,
    /// `max_requests`
    Requests,
    /// `max_retries` or `retry_budget`
    Retries,
    /// `max_connection_pools`
    Pools,
}

/// What taking or giving back a permit did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Nothing.
    None,
    /// The limit is reached now.
    Opened,
    /// The limit is no longer reached.
    Closed,
}

/// The limits of one cluster by priority, and how much of each is taken.
#[derive(Debug)]
pub struct Limits {
    by_priority: [PriorityLimits; 2],
    /// Whether any shard has ever opened a connection.
    traffic: AtomicBool,
}

#[derive(Debug)]
#[repr(align(64))]
struct PriorityLimits {
    requests: Counted,
    others: Others,
}

/// Rarely written, so they may share a line; requests have one of their own.
#[derive(Debug)]
#[repr(align(64))]
struct Others {
    connections: Counted,
    pending: Counted,
    retries: Counted,
    pools: Counted,
    /// Share of active and pending requests, and the least, both as in `retry_budget`.
    budget: Option<(f64, u32)>,
}

#[derive(Debug)]
struct Counted {
    taken: AtomicU32,
    max: u32,
}

impl Limits {
    /// Nothing taken, with the thresholds of the default and the high priority.
    pub fn new(thresholds: &[Thresholds; 2]) -> Self {
        Self { by_priority: thresholds.map(PriorityLimits::new), traffic: AtomicBool::new(false) }
    }

    /// How many permits are taken (for requests: taken by shards, used or kept).
    pub fn taken(&self, priority: Priority, resource: Resource) -> u32 {
        self.counted(priority, resource).taken.load(Ordering::Relaxed)
    }

    /// The limit at this moment.
    pub fn max(&self, priority: Priority, resource: Resource) -> u32 {
        let limits = self.of(priority);
        match (resource, limits.others.budget) {
            (Resource::Retries, Some(budget)) => limits.budget(budget),
            _ => self.counted(priority, resource).max,
        }
    }

    /// Whether any shard has ever opened a connection: health checks are slower until then.
    pub fn had_traffic(&self) -> bool {
        self.traffic.load(Ordering::Relaxed)
    }

    /// A connection is opened.
    pub(super) fn note_traffic(&self) {
        if !self.had_traffic() {
            self.traffic.store(true, Ordering::Relaxed);
        }
    }

    fn of(&self, priority: Priority) -> &PriorityLimits {
        let [default, high] = &self.by_priority;
        if priority == 0 { default } else { high }
    }

    fn counted(&self, priority: Priority, resource: Resource) -> &Counted {
        let limits = self.of(priority);
        match resource {
            Resource::Connections => &limits.others.connections,
            Resource::Pending => &limits.others.pending,
            Resource::Requests => &limits.requests,
            Resource::Retries => &limits.others.retries,
            Resource::Pools => &limits.others.pools,
        }
    }
}

impl PriorityLimits {
    fn new(thresholds: Thresholds) -> Self {
        Self {
            requests: Counted::new(thresholds.max_requests),
            others: Others {
                connections: Counted::new(thresholds.max_connections),
                pending: Counted::new(thresholds.max_pending),
                retries: Counted::new(thresholds.max_retries),
                pools: Counted::new(thresholds.max_pools.unwrap_or(u32::MAX)),
                budget: thresholds.retry_budget,
            },
        }
    }

    /// `retry_budget`: a share of what is active and pending, but at least the minimum.
    fn budget(&self, (percent, least): (f64, u32)) -> u32 {
        let active = self.requests.taken.load(Ordering::Relaxed);
        let pending = self.others.pending.taken.load(Ordering::Relaxed);
        let share = percent / 100.0 * (f64::from(active) + f64::from(pending));
        (share as u32).max(least)
    }
}

impl Counted {
    fn new(max: u32) -> Self {
        Self { taken: AtomicU32::new(0), max }
    }

    /// Takes `n` if that stays within `max`.
    fn take_up_to(&self, n: u32, max: u32) -> Result<Edge, Overflow> {
        let add = |taken: u32| taken.checked_add(n).filter(|&sum| sum <= max);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(before) => Ok(self.edge_up(before, n)),
            Err(_) => Err(Overflow),
        }
    }

    /// Takes `n` whatever the limit says.
    fn take_anyway(&self, n: u32) -> Edge {
        self.edge_up(self.taken.fetch_add(n, Ordering::Relaxed), n)
    }

    fn give(&self, n: u32) -> Edge {
        let before = self.taken.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "more permits given back than were taken");
        if before >= self.limit() && before.saturating_sub(n) < self.limit() {
            Edge::Closed
        } else {
            Edge::None
        }
    }

    /// A limit of 0 can only be exceeded: it counts as open while anything is taken.
    fn limit(&self) -> u32 {
        self.max.max(1)
    }

    fn edge_up(&self, before: u32, n: u32) -> Edge {
        if before < self.limit() && before.saturating_add(n) >= self.limit() {
            Edge::Opened
        } else {
            Edge::None
        }
    }
}

/// One shard's side of a cluster's [`Limits`].
#[derive(Debug)]
pub struct ShardLimits {
    limits: Arc<Limits>,
    leases: [Lease; 2],
}

/// Request permits of one priority that a shard took ahead.
#[derive(Debug)]
struct Lease {
    /// Taken from [`Limits`], used by nobody.
    free: Cell<u32>,
    /// Permits taken at a time; 1 means nothing is kept.
    block: u32,
}

/// Leases start where each shard's share of the limit is this large.
const LEASE_FROM: u32 = 64;
/// Both a block and twice a block per shard stay below 1/16 of the limit.
const LEASE_SHARE: u32 = 32;
const BLOCK_MAX: u32 = 32;

impl ShardLimits {
    /// For one of `shards` shards.
    pub fn new(limits: Arc<Limits>, shards: u32) -> Self {
        let lease = |priority| {
            let max = limits.max(priority, Resource::Requests);
            let share = max / shards.max(1);
            // A retry budget is a share of active requests, so they are counted exactly then.
            let exact =
                shards < 2 || share < LEASE_FROM || limits.of(priority).others.budget.is_some();
            let block = if exact { 1 } else { (share / LEASE_SHARE).clamp(1, BLOCK_MAX) };
            Lease { free: Cell::new(0), block }
        };
        let leases = [lease(0), lease(1)];
        Self { limits, leases }
    }

    /// The shared side.
    pub fn shared(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Takes one permit if the limit allows it.
    pub fn take(&self, priority: Priority, resource: Resource) -> Result<Edge, Overflow> {
        if resource == Resource::Requests {
            return self.take_request(priority);
        }
        let max = self.limits.max(priority, resource);
        self.limits.counted(priority, resource).take_up_to(1, max)
    }

    /// Takes one permit even above the limit (a pool without a connection may open one).
    pub fn take_anyway(&self, priority: Priority, resource: Resource) -> Edge {
        self.limits.counted(priority, resource).take_anyway(1)
    }

    /// Gives one permit back.
    pub fn give(&self, priority: Priority, resource: Resource) -> Edge {
        let counted = self.limits.counted(priority, resource);
        if resource != Resource::Requests {
            return counted.give(1);
        }
        let lease = self.lease(priority);
        if lease.block == 1 {
            return counted.give(1);
        }
        let free = lease.free.get() + 1;
        if free < 2 * lease.block {
            lease.free.set(free);
            return Edge::None;
        }
        lease.free.set(free - lease.block);
        counted.give(lease.block)
    }

    /// Gives every kept permit back, before the shard forgets the cluster.
    pub fn give_leases(&self, mut edge: impl FnMut(Priority, Edge)) {
        for priority in [0, 1] {
            let free = self.lease(priority).free.take();
            if free > 0 {
                edge(priority, self.limits.counted(priority, Resource::Requests).give(free));
            }
        }
    }

    fn take_request(&self, priority: Priority) -> Result<Edge, Overflow> {
        let lease = self.lease(priority);
        let free = lease.free.get();
        if free > 0 {
            lease.free.set(free - 1);
            return Ok(Edge::None);
        }
        let counted = self.limits.counted(priority, Resource::Requests);
        if lease.block > 1
            && let Ok(edge) = counted.take_up_to(lease.block, counted.max)
        {
            lease.free.set(lease.block - 1);
            return Ok(edge);
        }
        counted.take_up_to(1, counted.max)
    }

    fn lease(&self, priority: Priority) -> &Lease {
        let [default, high] = &self.leases;
        if priority == 0 { default } else { high }
    }
}

#[cfg(test)]
mod tests;
