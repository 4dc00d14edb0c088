//! A host as one shard sees it: the shared [`Host`], this shard's counts of it, and its pools.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use super::cluster::Shared;
use super::limits::Priority;
use super::pool::Pool;
use super::server_name::PoolKey;
use super::tcp::Watchers;
use crate::plan::Host;
use crate::plan::host_page::HostPage;

/// One host of a cluster on one shard. Where the configuration tells something else of the same
/// host it becomes another object with the same [`Own`]; [`ShardHost::is_same`] compares.
pub struct ShardHost {
    host: Arc<Host>,
    own: Rc<Own>,
}

/// What a shard has of a host for as long as it is in the cluster.
struct Own {
    page: Arc<HostPage>,
    cluster: Rc<Shared>,
    /// Made when first used; see [`PoolPlace`].
    pools: [OnceCell<Rc<Pool>>; 4],
    /// Pools whose connections are for somebody.
    keyed: RefCell<Option<Box<Keyed>>>,
    /// TCP connections that end when it fails.
    watchers: Watchers,
}

/// Which of a host's pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolPlace {
    /// Routing priority.
    pub(super) priority: Priority,
    /// Of HTTP/2 only: a cluster that speaks what its clients speak has both kinds.
    pub(super) http2: bool,
}

impl ShardHost {
    pub(super) fn new(host: Arc<Host>, cluster: Rc<Shared>) -> Self {
        let page = host.pages.of_shard(cluster.shard.index);
        let own = Own {
            page,
            cluster,
            pools: Default::default(),
            keyed: RefCell::default(),
            watchers: Watchers::default(),
        };
        Self { host, own: Rc::new(own) }
    }

    /// The same host with what is told of it now: pools, counts and watchers go on.
    pub(super) fn renewed(&self, host: Arc<Host>) -> Self {
        self.pools().iter().for_each(|pool| pool.set_host(&host));
        Self { host, own: Rc::clone(&self.own) }
    }

    /// Whether it is the same host, whatever else is told of it now.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.own, &other.own)
    }

    /// The host of the plan: address, names, health.
    pub fn plan(&self) -> &Arc<Host> {
        &self.host
    }

    /// This shard's counts of the host, as `/clusters` shows them.
    pub fn page(&self) -> &Arc<HostPage> {
        &self.own.page
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
        self.own.page.rq_active.get()
    }

    /// The pool of a place and, where connections are for somebody, of who that is.
    pub(super) fn pool(&self, place: PoolPlace, key: &PoolKey) -> Option<Rc<Pool>> {
        if !key.is_empty() {
            let keyed = self.own.keyed.borrow();
            return keyed.as_ref()?.pools.get(&(place, key.clone())).cloned();
        }
        self.cell(place).get().cloned()
    }

    fn cell(&self, place: PoolPlace) -> &OnceCell<Rc<Pool>> {
        let [default, high, default_http2, high_http2] = &self.own.pools;
        match (place.priority, place.http2) {
            (0, false) => default,
            (0, true) => default_http2,
            (_, false) => high,
            (_, true) => high_http2,
        }
    }

    /// Makes the pool that [`ShardHost::pool`] has not found.
    pub(super) fn make_pool(
        &self,
        place: PoolPlace,
        key: PoolKey,
        init: impl FnOnce(&Rc<Shared>) -> Rc<Pool>,
    ) -> Rc<Pool> {
        let pool = init(&self.own.cluster);
        if !key.is_empty() {
            let mut keyed = self.own.keyed.borrow_mut();
            keyed.get_or_insert_default().insert((place, key), pool.clone());
            return pool;
        }
        self.cell(place).get_or_init(|| pool).clone()
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.own.watchers
    }

    /// All its pools.
    pub(super) fn pools(&self) -> SmallVec<[Rc<Pool>; 2]> {
        let keyed = self.own.keyed.borrow();
        let keyed = keyed.iter().flat_map(|keyed| keyed.pools.values());
        self.own.pools.iter().filter_map(OnceCell::get).chain(keyed).cloned().collect()
    }
}

/// Pools by PROXY header and server name: as many as there are clients. Those that are empty go
/// when their number has doubled.
#[derive(Default)]
struct Keyed {
    pools: hashbrown::HashMap<(PoolPlace, PoolKey), Rc<Pool>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Keyed {
    fn insert(&mut self, key: (PoolPlace, PoolKey), pool: Rc<Pool>) {
        if self.pools.len() >= self.sweep_at {
            self.pools.retain(|_, pool| !pool.is_empty());
            self.sweep_at = (2 * self.pools.len()).max(16);
        }
        self.pools.insert(key, pool);
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
