//! What goes out: changes for the shards and the admin thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::Xds;
use super::feeds::{FeedId, News, Wanted};
use super::init::Stage;
use crate::control::bind::Bound;
use crate::control::message::{EjectReason, ListenSocket};
use crate::plan::demand::{Demand, Supply};
use crate::plan::{Change, ClusterId, Host, HostSet, ListenerChange};
use crate::upstream::Outbox;
use crate::upstream::control::ClusterEvents;

/// Where [`Xds`] sends what it has done. Must not call back into it.
pub(crate) trait Outlet {
    /// A step, for every shard and the admin thread.
    fn change(&self, change: Arc<Change>);
    /// Sockets of a listener that comes with the next change.
    fn sockets(&self, shard: usize, sockets: Vec<ListenSocket>);
    /// Where listeners are bound, for the admin thread.
    fn bound(&self, bound: Vec<Bound>);
    /// Health bits of a host of this cluster changed.
    fn health_changed(&self, cluster: ClusterId);
    /// A shard's requests wait no longer for this; every change sent before has brought it.
    fn supplied(&self, shard: usize, what: Demand, supply: Supply);
    /// To be given to [`Xds::news`], in order.
    fn news(&self, news: News);
}

/// Where clusters put their news: what happens within one turn becomes one change.
pub struct Desk {
    outlet: Rc<dyn Outlet>,
    pub(super) hosts: RefCell<Vec<(ClusterId, Arc<HostSet>)>>,
    pub(super) ready: RefCell<Vec<ClusterId>>,
    /// The control loop knows that there is something.
    told: Cell<bool>,
}

impl Desk {
    pub(super) fn new(outlet: Rc<dyn Outlet>) -> Self {
        Self {
            outlet,
            hosts: RefCell::default(),
            ready: RefCell::default(),
            told: Cell::new(false),
        }
    }

    fn tell(&self) {
        if !self.told.replace(true) {
            self.outlet.news(News::Clusters);
        }
    }

    fn take_ready(&self) -> Vec<ClusterId> {
        self.told.set(false);
        self.ready.take()
    }
}

impl ClusterEvents for Desk {
    fn hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>) {
        self.hosts.borrow_mut().push((cluster, hosts));
        self.tell();
    }

    fn health_changed(&self, cluster: ClusterId) {
        self.outlet.health_changed(cluster);
    }

    fn progressed(&self, cluster: ClusterId) {
        self.ready.borrow_mut().push(cluster);
        self.tell();
    }
}

/// Connections to management servers are judged by nobody: a server that fails is called again.
impl Outbox for Desk {
    fn eject(&self, _: ClusterId, _: &Arc<Host>, _: EjectReason) {}
    fn health_verdict(&self, _: ClusterId, _: &Arc<Host>, _: bool) {}
    fn host_added(&self, _: ClusterId, _: &Arc<Host>) {}
}

impl Xds {
    /// Draws the consequences of what has just happened, and sends what comes of it.
    pub(super) fn settle(&mut self) {
        loop {
            let ready = self.desk.take_ready();
            if ready.is_empty() {
                break;
            }
            for id in ready {
                if let Some(cluster) = self.control.warming(id) {
                    self.activate_if_warm(&cluster.name.clone());
                }
                if self.control.is_initialized(id) {
                    self.clusters.unchecked.remove(&id);
                }
            }
        }
        if self.layers.changed {
            self.recompile();
        }
        self.advance();
        self.flush(false);
        self.answer_demands();
    }

    /// Sends what has changed; answers the version that is out now.
    pub(super) fn flush(&mut self, even_if_nothing: bool) -> u64 {
        let hosts = latest(self.desk.hosts.take(), |(id, _)| *id);
        let mut change = std::mem::take(&mut self.change);
        let Change { clusters, routes, scopes, listeners, .. } = &change;
        let nothing = clusters.is_empty() && routes.is_empty() && scopes.is_empty();
        if nothing && listeners.is_empty() && hosts.is_empty() && !even_if_nothing {
            return self.plan.version;
        }
        change.version = self.plan.version + 1;
        change.unanswered = self.stage() == Stage::Live;
        change.clusters = latest(change.clusters, |(id, _)| *id);
        change.routes = latest(change.routes, |(slot, _)| *slot);
        change.scopes = latest(change.scopes, |(slot, _)| *slot);
        change.listeners = latest(change.listeners, |listener| match listener {
            ListenerChange::Set(listener) => listener.name.clone(),
            ListenerChange::Remove(name) => name.clone(),
        });
        change.hosts = hosts;
        self.plan.apply(&change);
        self.keep_own(&change);
        self.count();
        if !change.listeners.is_empty() {
            self.outlet.bound(self.listeners.bound.clone());
        }
        if !change.listeners.is_empty() || !change.clusters.is_empty() {
            self.publish_names_soon();
            self.compiler.secrets().write_gauges(&self.stats);
        }
        self.outlet.change(Arc::new(change));
        self.plan.version
    }

    /// The clusters of management servers are on this thread, too.
    fn keep_own(&self, change: &Change) {
        if self.own.is_empty() {
            return;
        }
        let clusters = change.clusters.iter().filter(|(id, cluster)| match cluster {
            Some(cluster) => self.own.contains(&cluster.name),
            None => self.upstreams.get(*id).is_some(),
        });
        let clusters: Vec<_> = clusters.cloned().collect();
        if !clusters.is_empty() {
            self.upstreams.install(&Change { clusters, ..Change::default() });
        }
        for (id, hosts) in &change.hosts {
            if self.upstreams.get(*id).is_some() {
                self.upstreams.set_hosts(*id, hosts.clone());
            }
        }
    }

    /// The feed of an origin; its clusters are needed on this thread from now on.
    pub(super) fn open_feed(&mut self, wanted: Wanted<'_>) -> Result<FeedId, String> {
        let feed = self.feeds.open(wanted, self.compiler.registry())?;
        if let Some(name) = self.feeds.cluster(feed).cloned() {
            self.keep_here(&name);
        }
        Ok(feed)
    }

    /// A cluster is needed on this thread from now on.
    pub(super) fn keep_here(&mut self, name: &Arc<str>) {
        if !self.own.insert(name.clone()) {
            return;
        }
        let entry = self.clusters.by_name.get(name);
        let Some(version) = entry.and_then(|entry| entry.active.as_ref()) else { return };
        let cluster = version.cluster.clone();
        let (id, hosts) = (cluster.id, self.control.hosts(cluster.id));
        let clusters = vec![(id, Some(cluster))];
        self.upstreams.install(&Change { clusters, ..Change::default() });
        if let Some(hosts) = hosts {
            self.upstreams.set_hosts(id, hosts);
        }
    }

    pub(super) fn count(&self) {
        let draining = &self.listeners.draining;
        let whole = draining.iter().filter(|one| one.chains.is_none()).count();
        let chains = draining.iter().filter_map(|one| one.chains).sum();
        let (clusters, listeners) = (&self.names.clusters, &self.names.listeners);
        for (gauge, value) in [
            (clusters.active_clusters(), self.clusters.active),
            (clusters.warming_clusters(), self.clusters.warming),
            (listeners.total_listeners_active(), self.listeners.active()),
            (listeners.total_listeners_warming(), self.listeners.warming),
            (listeners.total_listeners_draining(), whole),
            (listeners.total_filter_chains_draining(), chains),
        ] {
            self.stats.gauge_set(gauge, value as u64);
        }
    }
}

/// Of several entries with one key the last.
fn latest<T, K: Eq + std::hash::Hash>(list: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    if list.len() < 2 {
        return list;
    }
    let mut last: HashMap<K, usize, RandomState> = HashMap::default();
    for (at, item) in list.iter().enumerate() {
        last.insert(key(item), at);
    }
    if last.len() == list.len() {
        return list;
    }
    let keep: HashSet<usize, RandomState> = last.into_values().collect();
    let numbered = list.into_iter().enumerate();
    numbered.filter(|(at, _)| keep.contains(at)).map(|(_, item)| item).collect()
}
