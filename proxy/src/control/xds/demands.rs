//! What requests wait for: clusters, virtual hosts and route tables that are fetched when somebody
//! asks for them. Each is asked for once, however many shards want it.
//!
//! LIFECYCLE of a demand: a shard asks → it is there already: answered at once → else subscribed
//! to, and others that want it join → it has come and can be used, or the server says that there
//! is none, or its time is over → every shard that asked is answered, behind the change that
//! brings it.
//!
//! Clients choose the names, so all is bounded: how many are awaited ([`AWAITED_MAX`]), how many
//! are kept because the server has something for them ([`KEPT_MAX`]); of a name for which nothing
//! comes nothing is kept, the subscription least of all. (Envoy stays subscribed to whatever it was
//! ever asked for.)

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Xds;
use super::counts::{Count, Counts};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use crate::control::log::log;
use crate::plan::demand::{Demand, OnDemandClusters, Supply};
use crate::plan::source::Origin;
use crate::plan::{ConfigSource, RouteSlot};

/// Names that are awaited at once, of clusters and of virtual hosts each.
const AWAITED_MAX: usize = 1024;

/// Names that are kept, of clusters and of the virtual hosts of a feed each.
pub(super) const KEPT_MAX: usize = 10_000;

/// How long a virtual host is awaited. Envoy waits for ever, its requests as long as their stream
/// may be idle: that long by default.
const HOST_WAIT: Duration = Duration::from_secs(300);

/// All that is waited for.
#[derive(Debug, Default)]
pub(super) struct Demands {
    clusters: HashMap<Arc<str>, Awaited, RandomState>,
    /// Names of clusters that are subscribed to: awaited, or there.
    subscribed: HashMap<Arc<str>, FeedId, RandomState>,
    /// Where clusters come from on demand.
    sources: HashMap<FeedId, ConfigSource, RandomState>,
    counts: Option<Counts>,
    hosts: HashMap<(FeedId, Arc<str>), Awaited, RandomState>,
    routes: HashMap<RouteSlot, Shards, RandomState>,
    /// What is answered when a table of this slot is used.
    held: Vec<(RouteSlot, usize, Demand)>,
    /// Answers, for after the next change.
    answers: Vec<(usize, Demand, Supply)>,
    /// To tell an old timer from the current one.
    count: u64,
}

/// Mesh indices.
type Shards = SmallVec<[usize; 8]>;

/// Something that has been asked for.
#[derive(Debug)]
struct Awaited {
    number: u64,
    /// Who waits, and for what it is to them.
    by: SmallVec<[(usize, Demand); 4]>,
}

impl Awaited {
    fn answers(self, supply: Supply) -> impl Iterator<Item = (usize, Demand, Supply)> {
        self.by.into_iter().map(move |(shard, what)| (shard, what, supply))
    }

    fn join(&mut self, shard: usize, what: Demand) {
        if !self.by.iter().any(|(have, same)| *have == shard && *same == what) {
            self.by.push((shard, what));
        }
    }
}

impl Demands {
    fn begin(&mut self, shard: usize, what: Demand) -> Awaited {
        self.count += 1;
        Awaited { number: self.count, by: SmallVec::from_iter([(shard, what)]) }
    }

    /// Where clusters of a feed come from, if it brings some on demand.
    pub(super) fn source(&self, feed: FeedId) -> Option<&ConfigSource> {
        self.sources.get(&feed)
    }
}

impl Xds {
    /// Requests of a shard wait for something.
    pub(crate) fn demand(
        &mut self,
        shard: usize,
        what: Demand,
        from: Option<&Arc<OnDemandClusters>>,
    ) {
        match &what {
            Demand::Cluster(name) => self.demand_cluster(shard, &name.clone(), from),
            Demand::Host(slot, host) => self.demand_host(shard, *slot, &host.clone()),
            Demand::Routes(slot) => self.demand_routes(shard, *slot),
        }
        self.settle();
    }

    /// Tells the shards, who have taken every change by then.
    pub(super) fn answer_demands(&mut self) {
        for (shard, what, supply) in std::mem::take(&mut self.demands.answers) {
            self.outlet.supplied(shard, what, supply);
        }
    }

    /// Time is over for a name.
    pub(super) fn demand_due(&mut self, feed: FeedId, kind: Kind, name: &Arc<str>, number: u64) {
        let current = |awaited: Option<&Awaited>| awaited.is_some_and(|a| a.number == number);
        if kind == Kind::Cluster && current(self.demands.clusters.get(name)) {
            self.cluster_missing(name, Supply::TimedOut);
        }
        if kind == Kind::VirtualHost && current(self.demands.hosts.get(&(feed, name.clone()))) {
            self.host_missing(feed, name, Supply::TimedOut);
        }
    }

    /// The server has said that it has nothing for these names.
    pub(super) fn demands_missing(&mut self, kind: Kind, feed: FeedId, names: &[Arc<str>]) {
        for name in names {
            match kind {
                Kind::Cluster if self.demands.subscribed.get(name) == Some(&feed) => {
                    self.cluster_missing(name, Supply::Missing);
                }
                Kind::VirtualHost => self.host_missing(feed, name, Supply::Missing),
                _ => {}
            }
        }
    }

    fn demand_cluster(
        &mut self,
        shard: usize,
        name: &Arc<str>,
        from: Option<&Arc<OnDemandClusters>>,
    ) {
        let what = Demand::Cluster(name.clone());
        if let Some(awaited) = self.demands.clusters.get_mut(name) {
            return awaited.join(shard, what);
        }
        let there = self.clusters.by_name.get(name).is_some_and(|entry| entry.active.is_some());
        let asked = match from {
            Some(from) if !there => self.ask_for_cluster(name, from),
            _ => false,
        };
        if !asked {
            let supply = if there { Supply::Here } else { Supply::Missing };
            self.demands.answers.push((shard, what, supply));
            return;
        }
        let awaited = self.demands.begin(shard, what);
        self.demands.clusters.insert(name.clone(), awaited);
    }

    /// Subscribes to a cluster; false if that cannot be.
    fn ask_for_cluster(&mut self, name: &Arc<str>, from: &OnDemandClusters) -> bool {
        const PREFIX: &str = "cluster_manager.odcds.";
        let full =
            self.demands.clusters.len() >= AWAITED_MAX || self.demands.subscribed.len() >= KEPT_MAX;
        if full || !Demand::may_be_asked(name) {
            log!(Debug, Upstream, "odcds: '{name}' is not asked for: too many are, or its name");
            return false;
        }
        if !self.is_incremental(&from.source) {
            log!(Warning, Upstream, "odcds: clusters come on demand by incremental xDS only");
            return false;
        }
        let origin = &from.source.origin;
        let feed = match self.open_feed(Wanted { origin, kind: Kind::Cluster, prefix: PREFIX }) {
            Ok(feed) => feed,
            Err(text) => {
                log!(Warning, Upstream, "odcds: {text}");
                return false;
            }
        };
        self.demands.sources.entry(feed).or_insert_with(|| from.source.clone());
        if self.demands.counts.is_none() {
            let counts = Counts::new(self.compiler.registry(), PREFIX, false);
            self.demands.counts = Some(counts);
            self.publish_names_soon();
        }
        if !self.demands.subscribed.contains_key(name) {
            log!(Debug, Upstream, "odcds: cluster '{name}' is asked for");
            self.demands.subscribed.insert(name.clone(), feed);
            self.feeds.subscribe(feed, Kind::Cluster, name);
            if let Some(counts) = &self.demands.counts {
                self.begin_count(feed, counts.slots());
            }
        }
        let number = self.demands.count + 1;
        self.due.after(from.timeout, Due::Demand(feed, Kind::Cluster, name.clone(), number));
        true
    }

    fn is_incremental(&self, source: &ConfigSource) -> bool {
        match &source.origin {
            Origin::Ads => self.dynamic.ads.as_ref().is_some_and(|ads| ads.delta),
            Origin::Grpc(source) => source.delta,
            Origin::Path { .. } | Origin::Rest(_) => false,
        }
    }

    /// A cluster can be used.
    pub(super) fn cluster_came(&mut self, name: &str) {
        if let Some(awaited) = self.demands.clusters.remove(name) {
            self.demands.answers.extend(awaited.answers(Supply::Here));
        }
    }

    /// A cluster has not come. One that is here but not ready goes on warming.
    fn cluster_missing(&mut self, name: &Arc<str>, supply: Supply) {
        if let Some(awaited) = self.demands.clusters.remove(name) {
            self.demands.answers.extend(awaited.answers(supply));
        }
        if self.clusters.by_name.get(name).is_none_or(|entry| entry.leaving) {
            self.end_demanded_cluster(name);
        }
    }

    /// A cluster is no more, or never was: nobody is subscribed to it by name.
    pub(super) fn end_demanded_cluster(&mut self, name: &Arc<str>) {
        if let Some(feed) = self.demands.subscribed.remove(name) {
            self.feeds.unsubscribe(feed, Kind::Cluster, name);
        }
    }

    /// A response with clusters has been worked on; it took so long, or was refused.
    pub(super) fn count_demands(
        &mut self,
        feed: FeedId,
        version: &Arc<str>,
        took: Option<Duration>,
    ) {
        let Some(counts) = self.demands.counts.as_ref() else { return };
        if !self.demands.sources.contains_key(&feed) {
            return;
        }
        match took {
            Some(took) => {
                let registry = self.compiler.registry();
                counts.took(&self.stats, registry, version, took, false);
            }
            None => counts.slots().refused(&self.stats),
        }
    }

    /// The feed has no connection.
    pub(super) fn count_lost_demands(&self, feed: FeedId, count: Count) {
        if let Some(counts) = &self.demands.counts
            && self.demands.sources.contains_key(&feed)
        {
            count(counts.slots(), &self.stats);
        }
    }

    fn demand_host(&mut self, shard: usize, slot: RouteSlot, host: &Arc<str>) {
        let what = Demand::Host(slot, host.clone());
        let table = self.tables.by_slot.get(&slot);
        let source = table.and_then(|t| Some((t.hosts.as_ref()?.feed, t.lease.name.clone())));
        let Some((feed, table)) = source else {
            self.demands.answers.push((shard, what, Supply::Missing));
            return;
        };
        let alias: Arc<str> = format!("{table}/{host}").into();
        if let Some(awaited) = self.demands.hosts.get_mut(&(feed, alias.clone())) {
            return awaited.join(shard, what);
        }
        if self.demands.hosts.len() >= AWAITED_MAX || !self.subscribe_host(feed, &alias) {
            // It is there, or cannot be asked for. There, it may wait for its clusters.
            self.answer_host(shard, what);
            return;
        }
        let awaited = self.demands.begin(shard, what);
        let number = awaited.number;
        self.due.after(HOST_WAIT, Due::Demand(feed, Kind::VirtualHost, alias.clone(), number));
        self.demands.hosts.insert((feed, alias), awaited);
    }

    /// Answers as soon as the newest table is in use.
    fn answer_host(&mut self, shard: usize, what: Demand) {
        let slot = match &what {
            Demand::Host(slot, _) => Some(*slot),
            _ => None,
        };
        match slot.filter(|slot| self.tables.is_held(*slot)) {
            Some(slot) => self.demands.held.push((slot, shard, what)),
            None => self.demands.answers.push((shard, what, Supply::Here)),
        }
    }

    /// A virtual host has come, and the tables it is part of were made again.
    pub(super) fn host_came(&mut self, feed: FeedId, alias: &Arc<str>) {
        if let Some(awaited) = self.demands.hosts.remove(&(feed, alias.clone())) {
            awaited.by.into_iter().for_each(|(shard, what)| self.answer_host(shard, what));
        }
    }

    /// There is none of that name: nobody is subscribed to it.
    fn host_missing(&mut self, feed: FeedId, alias: &Arc<str>, supply: Supply) {
        if let Some(awaited) = self.demands.hosts.remove(&(feed, alias.clone())) {
            self.unsubscribe_host(feed, alias);
            self.demands.answers.extend(awaited.answers(supply));
        }
    }

    /// Virtual hosts of a table are not wanted any more.
    pub(super) fn end_demanded_hosts(&mut self, feed: FeedId, table: &str) {
        let of_table = |name: &str| super::vhds::table_of(name) == table;
        let ended = self.demands.hosts.extract_if(|(f, name), _| *f == feed && of_table(name));
        let ended: Vec<_> = ended.collect();
        for ((_, alias), awaited) in ended {
            self.feeds.unsubscribe(feed, Kind::VirtualHost, &alias);
            self.demands.answers.extend(awaited.answers(Supply::Missing));
        }
    }

    fn demand_routes(&mut self, shard: usize, slot: RouteSlot) {
        if self.tables.by_slot.contains_key(&slot) || self.want_scope_routes(slot) {
            let shards = self.demands.routes.entry(slot).or_default();
            if !shards.contains(&shard) {
                shards.push(shard);
            }
            self.routes_settled(slot);
        } else {
            self.demands.answers.push((shard, Demand::Routes(slot), Supply::Missing));
        }
    }

    /// Perhaps the first table of a slot is there, or nobody waits for it any longer.
    pub(super) fn routes_settled(&mut self, slot: RouteSlot) {
        if !self.tables.is_settled(slot) {
            return;
        }
        if let Some(shards) = self.demands.routes.remove(&slot) {
            let answers =
                shards.into_iter().map(|shard| (shard, Demand::Routes(slot), Supply::Here));
            self.demands.answers.extend(answers);
        }
    }

    /// A table of this slot is in use.
    pub(super) fn routes_in_use(&mut self, slot: RouteSlot) {
        self.routes_settled(slot);
        let held = self.demands.held.extract_if(.., |(held, ..)| *held == slot);
        let answers: Vec<_> = held.map(|(_, shard, what)| (shard, what, Supply::Here)).collect();
        self.demands.answers.extend(answers);
    }
}
