//! One cluster on one shard: its hosts, its load balancer, its part of the limits.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime as runtime;

use super::ShardCx;
use super::health::HealthChecker;
use super::host::ShardHost;
use super::lb::{LbContext, LoadBalancer, Picked, Rules};
use super::limits::{Edge, Overflow, Priority, Resource, ShardLimits};
use super::original_dst::OnDemand;
use super::outlier::{Outcome, report};
use super::pool::{Acquire, AcquireOptions, Connects, Reaper};
use crate::observe::stats::{Gauge, Variant};
use crate::plan::cluster::{HostShared, HostState, Lb};
use crate::plan::{Cluster, Host, HostSet};

/// A cluster of the plan with the state this shard keeps for it.
///
/// LIFECYCLE: made on first use → hosts and health change in place → the configuration has another
/// `Arc` of the cluster, or none: this one is retired (idle connections closed, none kept any more,
/// who waits is served) and goes when the last request on it does.
pub struct ShardCluster {
    shared: Rc<Shared>,
    hosts: RefCell<Hosts>,
    lb: RefCell<LoadBalancer>,
    health: RefCell<Option<HealthChecker>>,
    /// Hosts of an ORIGINAL_DST cluster.
    on_demand: OnDemand,
    /// Share of requests that are to be refused (`drop_overloads`); 0 as a rule.
    drop_ratio: Cell<f32>,
}

/// A request that `drop_overloads` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// As some are.
    Some,
    /// As every request is.
    All,
}

/// Hosts by their identity.
type Known = hashbrown::HashMap<*const HostShared, Rc<ShardHost>, foldhash::fast::RandomState>;

struct Hosts {
    set: Arc<HostSet>,
    list: Vec<Rc<ShardHost>>,
}

/// What hosts and pools of a cluster have in common.
pub(super) struct Shared {
    pub(super) plan: Arc<Cluster>,
    pub(super) shard: Rc<ShardCx>,
    pub(super) limits: ShardLimits,
    pub(super) connect: Connects,
    pub(super) reaper: Reaper,
    /// The name that the last request was for, where the cluster's TLS follows requests.
    pub(super) last_server_name: RefCell<Option<Rc<str>>>,
    /// No connection is kept any more.
    pub(super) retired: Cell<bool>,
    /// Breakers whose gauges are listed as used, a bit each.
    marked: Cell<u16>,
}

impl ShardCluster {
    /// With the hosts of the plan.
    pub(super) fn new(plan: Arc<Cluster>, shard: Rc<ShardCx>) -> Rc<Self> {
        let hosts = plan.hosts.clone();
        Self::with_hosts(plan, hosts, shard)
    }

    /// With the hosts it has by now.
    pub(super) fn with_hosts(
        plan: Arc<Cluster>,
        set: Arc<HostSet>,
        shard: Rc<ShardCx>,
    ) -> Rc<Self> {
        let limits = ShardLimits::new(plan.limits.clone(), shard.shards);
        let lb = LoadBalancer::new(plan.lb, runtime::rand_u64());
        let shared = Rc::new(Shared {
            connect: Connects::new(&plan),
            limits,
            shard,
            reaper: Reaper::default(),
            last_server_name: RefCell::default(),
            retired: Cell::new(false),
            marked: Cell::new(0),
            plan,
        });
        shared.count_remaining(true);
        let empty = Arc::new(HostSet::default());
        let cluster = Rc::new(Self {
            hosts: RefCell::new(Hosts { set: empty, list: Vec::new() }),
            lb: RefCell::new(lb),
            health: RefCell::new(HealthChecker::for_cluster(&shared)),
            on_demand: OnDemand::default(),
            drop_ratio: Cell::new(0.0),
            shared,
        });
        cluster.set_hosts(set);
        cluster
    }

    /// The cluster of the plan.
    pub fn plan(&self) -> &Arc<Cluster> {
        &self.shared.plan
    }

    /// The hosts it has at the moment.
    pub fn host_set(&self) -> Arc<HostSet> {
        self.hosts.borrow().set.clone()
    }

    /// Healthy, degraded and all hosts, as load balancing sees them.
    pub fn host_counts(&self) -> (usize, usize, usize) {
        self.lb.borrow().sizes()
    }

    /// Chooses a host by health, priority, panic and the cluster's policy. `None` (no host can be
    /// used) counts as `upstream_cx_none_healthy`.
    pub fn pick(&self, cx: &LbContext<'_>) -> Option<Rc<ShardHost>> {
        let picked = match self.shared.plan.lb {
            Lb::ClusterProvided => Picked { host: self.pick_original(cx.destination), panics: 0 },
            _ => self.lb.borrow().pick(cx),
        };
        let stats = &self.shared.shard.stats;
        if picked.panics > 0 {
            stats.add(self.shared.plan.stats.lb_healthy_panic(), u64::from(picked.panics));
        }
        if picked.host.is_none() {
            stats.inc(self.shared.plan.stats.upstream_cx_none_healthy());
        }
        picked.host
    }

    /// Whether this request is to be refused here, because the management server says that the
    /// upstream has too much to do (`drop_overloads`). One that is counts.
    #[inline]
    pub fn drops(&self) -> Option<Dropped> {
        let ratio = self.drop_ratio.get();
        if ratio == 0.0 { None } else { self.drops_at(ratio) }
    }

    #[cold]
    fn drops_at(&self, ratio: f32) -> Option<Dropped> {
        let dropped = match ratio >= 1.0 {
            true => Dropped::All,
            false if runtime::rand_f64() < f64::from(ratio) => Dropped::Some,
            false => return None,
        };
        self.shared.plan.dropped.of_shard(self.shared.shard.index).overload.inc();
        Some(dropped)
    }

    /// A circuit breaker has ended a request, for load reports.
    pub fn count_overflow(&self) {
        self.shared.plan.dropped.of_shard(self.shared.shard.index).overflow.inc();
    }

    /// Gets a connection to `host`: an idle one, one that is set up for this, or one that another
    /// request frees. Dropping the future leaves the queue.
    pub fn acquire(
        self: &Rc<Self>,
        host: &Rc<ShardHost>,
        priority: Priority,
        options: AcquireOptions,
    ) -> Acquire {
        Acquire::start(&self.shared, host, priority, options)
    }

    /// Permission for one more retry (`max_retries` or `retry_budget`), given back on drop.
    /// A refusal counts as `upstream_rq_retry_overflow`.
    pub fn retry_permit(&self, priority: Priority) -> Result<RetryPermit, Overflow> {
        match self.shared.take(priority, Resource::Retries) {
            Ok(()) => Ok(RetryPermit { shared: self.shared.clone(), priority }),
            Err(overflow) => {
                let stats = &self.shared.plan.stats;
                self.shared.shard.stats.inc(stats.upstream_rq_retry_overflow());
                Err(overflow)
            }
        }
    }

    /// Tells outlier detection how a request on `host` ended, and counts the host's `rq_timeout`.
    /// Once per request and host.
    pub fn report(&self, host: &ShardHost, outcome: Outcome) {
        report(&self.shared, host, outcome);
    }

    /// Counts a response code: the cluster's `upstream_rq_<code>`, `_<class>`, `_completed` with
    /// their variant, and the host's `rq_success` or `rq_error`. Local replies count too.
    pub fn charge(&self, host: Option<&ShardHost>, code: u16, variant: Variant) {
        let stats = &self.shared.shard.stats;
        let codes = self.shared.plan.stats.upstream_rq_codes();
        stats.response(codes, code, variant);
        let Some(host) = host else { return };
        if host.plan().info.canary {
            stats.response(codes, code, Variant::Canary);
        }
        if code / 100 == 5 {
            host.page().rq_error.inc();
        } else {
            host.page().rq_success.inc();
        }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub(super) fn on_demand(&self) -> &OnDemand {
        &self.on_demand
    }

    pub(super) fn limits(&self) -> &super::limits::Limits {
        self.shared.limits.shared()
    }

    /// Takes over another set of hosts. Hosts that stay keep their connections; those of hosts
    /// that left are closed as soon as they are idle.
    pub(super) fn set_hosts(&self, set: Arc<HostSet>) {
        let mut hosts = self.hosts.borrow_mut();
        let old = std::mem::take(&mut hosts.list);
        let on_demand = self.on_demand.hosts();
        let mut known: Known =
            old.into_iter().chain(on_demand).map(|h| (h.plan().identity(), h)).collect();
        let take = |host: &Arc<Host>| match known.remove(&host.identity()) {
            Some(same) if Arc::ptr_eq(same.plan(), host) => same,
            Some(before) => Rc::new(before.renewed(host.clone())),
            None => Rc::new(ShardHost::new(host.clone(), self.shared.clone())),
        };
        hosts.list = set.hosts.iter().map(take).collect();
        self.drop_ratio.set(set.drop.as_ref().map_or(0.0, |drop| drop.ratio));
        hosts.set = set;
        self.rebuild(&hosts);
        let mut gone: Vec<_> = known.into_values().collect();
        if self.shared.plan.lb == Lb::ClusterProvided {
            gone = self.on_demand.adopt(&hosts.list, gone.into_iter());
        }
        for gone in gone {
            gone.pools().iter().for_each(|pool| pool.retire());
        }
        if let Some(health) = &*self.health.borrow() {
            health.set_hosts(&hosts.set.hosts);
        }
    }

    /// Health bits changed: the tables are built again, and hosts that now fail lose their idle
    /// connections (as Envoy drains them), busy ones after their request.
    pub(super) fn health_changed(&self) {
        let hosts = self.hosts.borrow();
        self.rebuild(&hosts);
        for host in &hosts.list {
            let failed = HostState::FAILED_ACTIVE_HC | HostState::FAILED_OUTLIER;
            let failed = host.plan().state.flags() & failed != 0;
            host.watchers().host_is(failed);
            if failed {
                host.pools().iter().for_each(|pool| pool.drain_existing());
            }
        }
    }

    /// Closes idle connections and keeps none from now on.
    pub(super) fn retire(&self) {
        self.shared.retired.set(true);
        self.health.borrow_mut().take();
        for host in self.hosts.borrow().list.iter().chain(&self.on_demand.hosts()) {
            host.pools().iter().for_each(|pool| pool.retire());
        }
        self.shared.reaper.stop();
    }

    /// Closes idle connections; the pools go on.
    pub(super) fn close_idle(&self) {
        for host in &self.hosts.borrow().list {
            host.pools().iter().for_each(|pool| pool.drain_existing());
        }
    }

    /// Whether all pools are consistent; with `at_rest`, also whether nothing is in use.
    pub(super) fn check_invariants(&self, at_rest: bool) -> Result<(), String> {
        let name = &self.shared.plan.name;
        for host in &self.hosts.borrow().list {
            for pool in host.pools() {
                pool.check_invariants(at_rest).map_err(|e| format!("cluster {name}: {e}"))?;
            }
            if at_rest && host.active() != 0 {
                let active = host.active();
                return Err(format!("cluster {name}: host has {active} requests at rest"));
            }
        }
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        let gauges = [
            ("upstream_rq_active", names.upstream_rq_active()),
            ("upstream_rq_pending_active", names.upstream_rq_pending_active()),
        ];
        for (gauge, slot) in gauges {
            let value = stats.gauge_value(slot);
            if at_rest && value != 0 {
                return Err(format!("cluster {name}: this shard's {gauge} is {value} at rest"));
            }
        }
        Ok(())
    }

    fn rebuild(&self, hosts: &Hosts) {
        if self.shared.plan.lb == Lb::ClusterProvided {
            return;
        }
        let plan = &self.shared.plan;
        let rules = Rules {
            factor: hosts.set.overprovisioning_percent,
            panic_threshold: plan.panic_threshold_percent,
            localities: hosts.set.localities.as_deref().filter(|_| plan.locality_weighted),
        };
        self.lb.borrow_mut().rebuild(&hosts.list, rules);
    }
}

impl Drop for ShardCluster {
    fn drop(&mut self) {
        self.retire();
    }
}

impl fmt::Debug for ShardCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardCluster").field("name", &self.shared.plan.name).finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes a permit and keeps the breaker's gauges.
    #[inline]
    pub(super) fn take(&self, priority: Priority, resource: Resource) -> Result<(), Overflow> {
        let edge = self.limits.take(priority, resource)?;
        self.breaker(priority, resource, edge);
        self.remaining(priority, resource, false);
        Ok(())
    }

    /// Takes a permit even above the limit.
    pub(super) fn take_anyway(&self, priority: Priority, resource: Resource) {
        let edge = self.limits.take_anyway(priority, resource);
        self.breaker(priority, resource, edge);
        self.remaining(priority, resource, false);
    }

    /// Gives a permit back.
    #[inline]
    pub(super) fn give(&self, priority: Priority, resource: Resource) {
        let edge = self.limits.give(priority, resource);
        self.breaker(priority, resource, edge);
        self.remaining(priority, resource, true);
    }

    /// A gauge that was 0 all the time is used all the same (`usedonly`), from the first permit
    /// on. A pool's makes those of both priorities known, as in Envoy.
    #[cold]
    fn mark(&self, priority: Priority, resource: Resource) {
        self.marked.set(self.marked.get() | bit(priority, resource));
        self.shard.stats.gauge_add(self.open_gauge(priority, resource), 0);
    }

    /// The first pool is made.
    pub(super) fn mark_pools(&self) {
        self.mark(0, Resource::Pools);
        self.mark(1, Resource::Pools);
    }

    #[inline]
    fn breaker(&self, priority: Priority, resource: Resource, edge: Edge) {
        if self.marked.get() & bit(priority, resource) == 0 {
            self.mark(priority, resource);
        }
        if edge != Edge::None {
            let gauge = self.open_gauge(priority, resource);
            match edge {
                Edge::Opened => self.shard.stats.gauge_add(gauge, 1),
                _ => self.shard.stats.gauge_sub(gauge, 1),
            }
        }
    }

    #[cold]
    fn open_gauge(&self, priority: Priority, resource: Resource) -> Gauge {
        let stats = &self.plan.stats;
        match (priority, resource) {
            (0, Resource::Connections) => stats.circuit_breakers_default_cx_open(),
            (0, Resource::Pending) => stats.circuit_breakers_default_rq_pending_open(),
            (0, Resource::Requests) => stats.circuit_breakers_default_rq_open(),
            (0, Resource::Retries) => stats.circuit_breakers_default_rq_retry_open(),
            (0, Resource::Pools) => stats.circuit_breakers_default_cx_pool_open(),
            (_, Resource::Connections) => stats.circuit_breakers_high_cx_open(),
            (_, Resource::Pending) => stats.circuit_breakers_high_rq_pending_open(),
            (_, Resource::Requests) => stats.circuit_breakers_high_rq_open(),
            (_, Resource::Retries) => stats.circuit_breakers_high_rq_retry_open(),
            (_, Resource::Pools) => stats.circuit_breakers_high_cx_pool_open(),
        }
    }

    /// `remaining_*` with `track_remaining`: each shard adds and subtracts what it gives and takes.
    #[inline]
    fn remaining(&self, priority: Priority, resource: Resource, more: bool) {
        let Some(gauge) = self.remaining_gauge(priority, resource) else { return };
        if more {
            self.shard.stats.gauge_add(gauge, 1);
        } else {
            self.shard.stats.gauge_sub(gauge, 1);
        }
    }

    #[inline]
    fn remaining_gauge(&self, priority: Priority, resource: Resource) -> Option<Gauge> {
        let [default, high] = &self.plan.remaining;
        let stats = if priority == 0 { default } else { high }.as_ref()?;
        let budget = self.plan.circuit_breakers.get(usize::from(priority))?.retry_budget;
        match resource {
            Resource::Connections => Some(stats.remaining_cx()),
            Resource::Pending => Some(stats.remaining_pending()),
            Resource::Requests => Some(stats.remaining_rq()),
            // With a budget there is no fixed number to count down from: Envoy shows 0.
            Resource::Retries => budget.is_none().then(|| stats.remaining_retries()),
            Resource::Pools => Some(stats.remaining_cx_pools()),
        }
    }

    /// The limits themselves are part of the sum once: the shard that owns the cluster adds them
    /// when it gets it and takes them away when it goes.
    fn count_remaining(&self, coming: bool) {
        if !self.shard.owns(self.plan.id) {
            return;
        }
        const ALL: [Resource; 5] = [
            Resource::Connections,
            Resource::Pending,
            Resource::Requests,
            Resource::Retries,
            Resource::Pools,
        ];
        for priority in [0, 1] {
            for resource in ALL {
                let Some(gauge) = self.remaining_gauge(priority, resource) else { continue };
                let max = match self.limits.shared().max(priority, resource) {
                    // As Envoy shows what has no limit.
                    u32::MAX => u64::MAX,
                    max => u64::from(max),
                };
                if coming {
                    self.shard.stats.gauge_add(gauge, max);
                } else {
                    self.shard.stats.gauge_sub(gauge, max);
                }
            }
        }
    }
}

/// The bit of a breaker in [`Shared::marked`].
#[inline]
fn bit(priority: Priority, resource: Resource) -> u16 {
    1 << (resource as u16 * 2 + u16::from(priority != 0))
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.count_remaining(false);
        self.limits.give_leases(|priority, edge| self.breaker(priority, Resource::Requests, edge));
    }
}

/// Permission for one retry in flight.
pub struct RetryPermit {
    shared: Rc<Shared>,
    priority: Priority,
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.shared.give(self.priority, Resource::Retries);
    }
}

impl fmt::Debug for RetryPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPermit").field("priority", &self.priority).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl ShardCluster {
    /// Its hosts, in the order of the set.
    pub(super) fn hosts_for_tests(&self) -> Vec<Rc<ShardHost>> {
        self.hosts.borrow().list.clone()
    }
}
