//! A host as one shard sees it: the shared [`Host`], this shard's counts of it, and its pools.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::cluster::Shared;
use super::limits::Priority;
use super::pool::Pool;
use super::tcp::Watchers;
use crate::plan::Host;
use crate::plan::host_page::HostPage;

/// One host of a cluster on one shard. It stays the same object for as long as the shared host
/// stays in the cluster, so pointers can be compared (`previous_hosts`).
pub struct ShardHost {
    host: Arc<Host>,
    page: Arc<HostPage>,
    cluster: Rc<Shared>,
    /// Made when first used, by routing priority.
    pools: [OnceCell<Rc<Pool>>; 2],
    /// TCP connections that end when it fails.
    watchers: Watchers,
}

impl ShardHost {
    pub(super) fn new(host: Arc<Host>, cluster: Rc<Shared>) -> Self {
        let page = host.pages.of_shard(cluster.shard.index);
        Self { host, page, cluster, pools: Default::default(), watchers: Watchers::default() }
    }

    /// The host of the plan: address, names, health.
    pub fn plan(&self) -> &Arc<Host> {
        &self.host
    }

    /// This shard's counts of the host, as `/clusters` shows them.
    pub fn page(&self) -> &Arc<HostPage> {
        &self.page
    }

    /// Priority of its locality; what the plan cannot have (above 128) counts as 128.
    pub fn priority(&self) -> u32 {
        self.host.info.priority.min(128)
    }

    /// Load balancing weight.
    pub fn weight(&self) -> u32 {
        self.host.info.weight
    }

    /// Requests this shard has open on it.
    #[inline]
    pub fn active(&self) -> u64 {
        self.page.rq_active.get()
    }

    pub(super) fn pool(&self, priority: Priority) -> Option<&Rc<Pool>> {
        let [default, high] = &self.pools;
        if priority == 0 { default.get() } else { high.get() }
    }

    pub(super) fn pool_or_init(
        &self,
        priority: Priority,
        init: impl FnOnce(&Rc<Shared>) -> Rc<Pool>,
    ) -> &Rc<Pool> {
        let [default, high] = &self.pools;
        let cell = if priority == 0 { default } else { high };
        cell.get_or_init(|| init(&self.cluster))
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &Rc<Pool>> {
        self.pools.iter().filter_map(OnceCell::get)
    }
}

impl fmt::Debug for ShardHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHost")
            .field("address", &self.host.address)
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}
