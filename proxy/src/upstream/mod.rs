//! The upstream side of a shard: clusters, load balancing, connection pools, circuit breakers,
//! health checks; and what the control thread does for clusters: outlier ejection and DNS.
//!
//! - A shard has one [`Upstreams`]. A request takes its [`ShardCluster`], calls
//!   [`pick`](ShardCluster::pick), [`acquire`](ShardCluster::acquire) and in the end
//!   [`report`](ShardCluster::report), [`charge`](ShardCluster::charge) and
//!   [`PooledConn::release`] (or drops the connection to close it).
//! - The control thread has one [`control::ClusterControl`].
//! - What a shard has to tell the control thread goes through its [`Outbox`].
//!
//! `pool/LIFECYCLE.md` has the states of connections and of requests that wait for one.

pub mod cluster;
pub mod control;
pub mod dns;
mod exchange;
pub(crate) mod fetch;
#[allow(dead_code, reason = "xDS and gRPC filters, its callers, are the next step")]
pub(crate) mod grpc;
pub mod health;
pub mod host;
pub(crate) mod internal;
pub mod lb;
pub mod limits;
mod original_dst;
pub mod outlier;
pub mod pool;
pub(crate) mod proxy_header;
mod server_name;
mod slots;
mod table;
pub(crate) mod tcp;
mod tunnel;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

pub use cluster::{Dropped, RetryPermit, ShardCluster};
pub use host::ShardHost;
pub use lb::LbContext;
pub use limits::{Overflow, Priority};
pub use outlier::Outcome;
pub use pool::{Acquire, AcquireError, AcquireOptions, Leased, PooledConn, PooledStream};

use crate::control::message::EjectReason;
use crate::http2::Heads;
use crate::observe::stats::ShardStats;
use crate::plan::{Change, Cluster, ClusterId, Host, HostSet};
use table::{Clusters, Slot};

/// How a shard's upstream side reaches the control thread. Called from within the shard's tasks;
/// must not call back.
pub trait Outbox {
    /// A host broke a rule of outlier detection on this shard
    /// ([`control::ClusterControl::eject`]).
    fn eject(&self, cluster: ClusterId, host: &Arc<Host>, reason: EjectReason);
    /// Active health checking changed the bits of a host, or checked it for the first time, or
    /// passed a host that is ejected ([`control::ClusterControl::health_verdict`]).
    fn health_verdict(&self, cluster: ClusterId, host: &Arc<Host>, healthy: bool);
    /// An ORIGINAL_DST cluster has made a host on this shard
    /// ([`control::ClusterControl::host_added`]).
    fn host_added(&self, cluster: ClusterId, host: &Arc<Host>);
}

/// Health checks a shard has under way at once.
const CHECKS_MAX: u32 = 512;

/// Which shard this is, and what its upstream side writes to.
pub(in crate::upstream) struct ShardCx {
    pub(in crate::upstream) index: u32,
    pub(in crate::upstream) shards: u32,
    pub(in crate::upstream) stats: Rc<ShardStats>,
    pub(in crate::upstream) outbox: Rc<dyn Outbox>,
    /// Health checks under way on this shard.
    pub(in crate::upstream) checks: Rc<slots::Slots>,
    /// Turns of TLS handshakes on this shard.
    pub(in crate::upstream) gate: crate::transport::tls::Gate,
    /// Spare heads of HTTP/2 streams.
    pub(in crate::upstream) heads: Rc<Heads>,
    /// How internal listeners of this shard are reached.
    pub(in crate::upstream) internal: RefCell<Option<Rc<internal::TakeIn>>>,
}

impl ShardCx {
    /// Each cluster has one shard that does what must be done once: its health checks.
    pub(in crate::upstream) fn owns(&self, cluster: ClusterId) -> bool {
        cluster.0 % self.shards.max(1) == self.index
    }
}

/// All clusters of one shard.
pub struct Upstreams {
    shard: Rc<ShardCx>,
    clusters: RefCell<Clusters>,
}

impl Upstreams {
    /// Without clusters, for shard `index` of `shards`.
    pub fn new(index: u32, shards: u32, stats: Rc<ShardStats>, outbox: Rc<dyn Outbox>) -> Self {
        let shard = Rc::new(ShardCx {
            index,
            shards: shards.max(1),
            stats,
            outbox,
            checks: slots::Slots::new(CHECKS_MAX),
            gate: Default::default(),
            heads: Rc::default(),
            internal: RefCell::default(),
        });
        Self { shard, clusters: RefCell::default() }
    }

    /// Turns of TLS handshakes on this shard, for those with clients as well.
    pub(crate) fn gate(&self) -> &crate::transport::tls::Gate {
        &self.shard.gate
    }

    /// Takes a whole step: [`Upstreams::set_clusters`] and [`Upstreams::remove_clusters`].
    pub fn install(&self, change: &Change) {
        self.set_clusters(change);
        self.remove_clusters(change);
    }

    /// Takes over the clusters that come or change, and hosts of others.
    pub fn set_clusters(&self, change: &Change) {
        change.set_clusters().for_each(|cluster| self.set(cluster.id, Some(cluster)));
        for (cluster, hosts) in &change.hosts {
            self.set_hosts(*cluster, hosts.clone());
        }
    }

    /// Retires the clusters that go.
    pub fn remove_clusters(&self, change: &Change) {
        change.removed_clusters().for_each(|id| self.set(id, None));
    }

    /// This is the cluster of a slot from now on; `None`: there is none. The same `Arc` as before
    /// changes nothing. What is replaced is retired: requests it has, and those that wait, end on
    /// it. Costs the same however many other clusters there are.
    pub fn set(&self, id: ClusterId, wanted: Option<&Arc<Cluster>>) {
        let same = match (self.clusters.borrow().plan(id), wanted) {
            (Some(have), Some(wanted)) => Arc::ptr_eq(have, wanted),
            (have, wanted) => have.is_none() && wanted.is_none(),
        };
        if same {
            return;
        }
        let made = wanted.filter(|plan| self.is_made_at_once(plan));
        let made = made.map(|plan| ShardCluster::new(plan.clone(), self.shard.clone()));
        let old = match (made, wanted) {
            (Some(made), _) => self.clusters.borrow_mut().set(id, Slot::Made(made)),
            (None, Some(plan)) => self.clusters.borrow_mut().set(id, Slot::known(plan)),
            (None, None) => self.clusters.borrow_mut().set(id, Slot::Empty),
        };
        if let Slot::Made(old) = old {
            old.retire();
        }
    }

    /// A cluster that this shard does something for without being asked: its health checks, and
    /// the part of `remaining_*` that is there once.
    fn is_made_at_once(&self, plan: &Cluster) -> bool {
        let busy = !plan.health_checks.is_empty() || plan.remaining.iter().any(Option::is_some);
        busy && self.shard.owns(plan.id)
    }

    /// Other hosts for a cluster (DNS or EDS answered). Ignored if the cluster is gone by now.
    pub fn set_hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>) {
        let made = match self.clusters.borrow_mut().slot(cluster) {
            Some(Slot::Made(made)) => Rc::clone(made),
            Some(Slot::Known { hosts: had, .. }) => return *had = hosts,
            Some(Slot::Empty) | None => return,
        };
        made.set_hosts(hosts);
    }

    /// Health bits of a host of this cluster changed.
    pub fn health_changed(&self, cluster: ClusterId) {
        let made = match self.clusters.borrow_mut().slot(cluster) {
            Some(Slot::Made(made)) => Rc::clone(made),
            // It sees the bits when it is made.
            _ => return,
        };
        made.health_changed();
    }

    /// A cluster by its id; made when somebody asks for it first.
    #[inline]
    pub fn get(&self, cluster: ClusterId) -> Option<Rc<ShardCluster>> {
        match self.clusters.borrow().slots.get(cluster.0 as usize)? {
            Slot::Made(made) => return Some(Rc::clone(made)),
            Slot::Empty => return None,
            Slot::Known { .. } => {}
        }
        self.make(cluster)
    }

    #[cold]
    fn make(&self, cluster: ClusterId) -> Option<Rc<ShardCluster>> {
        let mut clusters = self.clusters.borrow_mut();
        let slot = clusters.slot(cluster)?;
        let Slot::Known { plan, hosts } = slot else { return None };
        let made = ShardCluster::with_hosts(plan.clone(), hosts.clone(), self.shard.clone());
        *slot = Slot::Made(Rc::clone(&made));
        Some(made)
    }

    /// A cluster by its name (`cluster_header`).
    pub fn by_name(&self, name: &[u8]) -> Option<Rc<ShardCluster>> {
        let name = std::str::from_utf8(name).ok()?;
        let id = self.clusters.borrow().by_name(name)?;
        self.get(id)
    }

    /// Closes all idle connections and keeps none from now on; requests in flight finish.
    pub fn drain(&self) {
        self.clusters.borrow().made().for_each(|cluster| cluster.retire());
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        self.clusters.borrow().made().for_each(|cluster| cluster.close_idle());
    }

    /// Whether all pools are consistent; with `at_rest` (no request anywhere) also whether no
    /// connection is lent out, nobody waits and nothing is being connected.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check_invariants(&self, at_rest: bool) -> Result<(), String> {
        self.clusters.borrow().made().try_for_each(|c| c.check_invariants(at_rest))
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams")
            .field("shard", &self.shard.index)
            .field("clusters_in_use", &self.clusters.borrow().made().count())
            .finish_non_exhaustive()
    }
}
