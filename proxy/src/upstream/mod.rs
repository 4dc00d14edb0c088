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
#[allow(dead_code, reason = "xDS and gRPC filters, its callers, are the next step")]
pub(crate) mod grpc;
pub mod health;
pub mod host;
pub mod lb;
pub mod limits;
mod original_dst;
pub mod outlier;
pub mod pool;
pub(crate) mod proxy_header;
mod server_name;
mod slots;
pub(crate) mod tcp;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

pub use cluster::{RetryPermit, ShardCluster};
pub use host::ShardHost;
pub use lb::LbContext;
pub use limits::{Overflow, Priority};
pub use outlier::Outcome;
pub use pool::{Acquire, AcquireError, AcquireOptions, Leased, PooledConn, PooledStream};

use crate::control::message::EjectReason;
use crate::http2::Heads;
use crate::observe::stats::ShardStats;
use crate::plan::{Change, Cluster, ClusterId, Host, HostSet};

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
    clusters: RefCell<Vec<Option<Rc<ShardCluster>>>>,
    names: RefCell<Names>,
}

type Names = hashbrown::HashMap<Arc<str>, ClusterId, foldhash::fast::RandomState>;

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
        });
        Self { shard, clusters: RefCell::default(), names: RefCell::default() }
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

    /// Takes over the clusters that come or change: those whose `Arc` is the same go on untouched,
    /// others are made new, and what a new one replaces is retired.
    pub fn set_clusters(&self, change: &Change) {
        change.set_clusters().for_each(|cluster| self.put(cluster.id, Some(cluster)));
    }

    /// Retires the clusters that go.
    pub fn remove_clusters(&self, change: &Change) {
        change.removed_clusters().for_each(|id| self.put(id, None));
    }

    fn put(&self, id: ClusterId, wanted: Option<&Arc<Cluster>>) {
        let mut clusters = self.clusters.borrow_mut();
        let at = id.0 as usize;
        if at >= clusters.len() {
            clusters.resize(at + 1, None);
        }
        if let Some(slot) = clusters.get_mut(at) {
            self.install_one(slot, wanted, &mut self.names.borrow_mut());
        }
    }

    fn install_one(
        &self,
        slot: &mut Option<Rc<ShardCluster>>,
        wanted: Option<&Arc<Cluster>>,
        names: &mut Names,
    ) {
        if let (Some(have), Some(wanted)) = (&slot, wanted)
            && Arc::ptr_eq(have.plan(), wanted)
        {
            return;
        }
        if let Some(old) = slot.take() {
            if names.get(&old.plan().name) == Some(&old.plan().id) {
                names.remove(&old.plan().name);
            }
            old.retire();
        }
        *slot = wanted.map(|plan| {
            names.insert(plan.name.clone(), plan.id);
            ShardCluster::new(plan.clone(), self.shard.clone())
        });
    }

    /// Other hosts for a cluster (DNS or EDS answered). Ignored if the cluster is gone by now.
    pub fn set_hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>) {
        if let Some(cluster) = self.get(cluster) {
            cluster.set_hosts(hosts);
        }
    }

    /// Health bits of a host of this cluster changed.
    pub fn health_changed(&self, cluster: ClusterId) {
        if let Some(cluster) = self.get(cluster) {
            cluster.health_changed();
        }
    }

    /// A cluster by its id.
    pub fn get(&self, cluster: ClusterId) -> Option<Rc<ShardCluster>> {
        self.clusters.borrow().get(cluster.0 as usize)?.clone()
    }

    /// A cluster by its name (`cluster_header`).
    pub fn by_name(&self, name: &[u8]) -> Option<Rc<ShardCluster>> {
        let name = std::str::from_utf8(name).ok()?;
        let id = *self.names.borrow().get(name)?;
        self.get(id)
    }

    /// Closes all idle connections and keeps none from now on; requests in flight finish.
    pub fn drain(&self) {
        self.clusters.borrow().iter().flatten().for_each(|cluster| cluster.retire());
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        self.clusters.borrow().iter().flatten().for_each(|cluster| cluster.close_idle());
    }

    /// Whether all pools are consistent; with `at_rest` (no request anywhere) also whether no
    /// connection is lent out, nobody waits and nothing is being connected.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check_invariants(&self, at_rest: bool) -> Result<(), String> {
        self.clusters.borrow().iter().flatten().try_for_each(|c| c.check_invariants(at_rest))
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams")
            .field("shard", &self.shard.index)
            .field("clusters", &self.clusters.borrow().iter().flatten().count())
            .finish_non_exhaustive()
    }
}
