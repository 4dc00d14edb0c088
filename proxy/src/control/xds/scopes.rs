//! Sets of scopes that SRDS brings.
//!
//! LIFECYCLE of a set: wanted by a listener → asked for → every response makes a new set, which
//! waits for the route tables it names → used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_xds::client::Resource;

use super::Xds;
use super::compile::Made;
use super::counts::{Count, Counts};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;
use crate::observe::stats::{BlockHandle, Gauge};
use crate::plan::route::{Scope, ScopeKey, ScopeSet, ScopeTable};
use crate::plan::{ClusterName, RouteName, RouteSlot, ScopeName, ScopeSlot};

/// All sets.
#[derive(Debug, Default)]
pub(super) struct ScopeSets {
    by_slot: HashMap<ScopeSlot, Entry, RandomState>,
}

/// One set.
#[derive(Debug)]
struct Entry {
    lease: Arc<ScopeName>,
    feed: Option<FeedId>,
    users: usize,
    /// `http.<this>.` of whoever named it first.
    stat_prefix: Arc<str>,
    scopes: BTreeMap<Arc<str>, Stored>,
    /// Which scope has a key. While a response is applied those that it changes have none.
    keys: HashMap<ScopeKey, Arc<str>, RandomState>,
    /// A response is being applied: what there is of it is no set yet.
    applying: bool,
    /// Scopes have changed since the set was last published.
    changed: bool,
    /// Nobody waits for the first one any more.
    settled: bool,
    counts: Counts,
    gauges: [(BlockHandle, Gauge); 2],
}

/// A scope.
#[derive(Debug)]
struct Stored {
    raw: Arc<Raw>,
    key: ScopeKey,
    scope: Scope,
    /// It has to be compiled again when values of the runtime change.
    reads_runtime: bool,
    /// Its route table is asked for: from the start, or since a request has wanted it.
    asks: bool,
}

impl Stored {
    fn new(raw: Arc<Raw>, made: Made<(ScopeKey, Scope)>) -> Self {
        let Made { value: (key, scope), reads_runtime } = made;
        let asks = !scope.on_demand;
        Self { raw, key, scope, reads_runtime, asks }
    }

    /// The route table it asks for.
    fn routes(&self) -> Option<&Arc<RouteName>> {
        self.named_routes().filter(|_| self.asks)
    }

    fn named_routes(&self) -> Option<&Arc<RouteName>> {
        match &self.scope.table {
            ScopeTable::Rds(name) => Some(name),
            ScopeTable::Inline(_) => None,
        }
    }

    fn clusters(&self) -> &[Arc<ClusterName>] {
        match &self.scope.table {
            ScopeTable::Inline(table) => &table.clusters,
            ScopeTable::Rds(_) => &[],
        }
    }
}

impl Entry {
    fn owns(&self, name: &str, key: &ScopeKey) -> bool {
        self.keys.get(key).is_some_and(|owner| **owner == *name)
    }

    /// The key a scope has is free.
    fn free_key(&mut self, name: &str) {
        if let Some(stored) = self.scopes.get(name)
            && self.owns(name, &stored.key)
        {
            self.keys.remove(&stored.key);
        }
    }

    /// A scope that stays as it was has its key again, if that is still free.
    fn reclaim_key(&mut self, name: &Arc<str>) {
        if let Some(stored) = self.scopes.get(name) {
            self.keys.entry(stored.key.clone()).or_insert_with(|| name.clone());
        }
    }
}

impl Xds {
    /// A version of a listener needs these.
    pub(super) fn want_scopes(&mut self, names: &[Arc<ScopeName>], stat_prefix: &Arc<str>) {
        for name in names {
            if let Some(entry) = self.scopes.by_slot.get_mut(&name.slot) {
                entry.users += 1;
                continue;
            }
            let prefix = format!("http.{stat_prefix}.scoped_rds.{}.", name.name);
            let wanted = Wanted { origin: &name.source.origin, kind: Kind::Scope, prefix: &prefix };
            let feed = self.open_feed(wanted);
            let feed = feed.map_err(|text| log!(Warning, Config, "srds: {text}")).ok();
            let registry = self.compiler.registry();
            let counts = Counts::new(registry, &prefix, true);
            let gauges = ["all_scopes", "active_scopes"]
                .map(|gauge| registry.gauge(&format!("{prefix}{gauge}")));
            if let Some(feed) = feed {
                self.begin_count(feed, counts.slots());
            }
            let entry = Entry {
                lease: name.clone(),
                feed,
                users: 1,
                stat_prefix: stat_prefix.clone(),
                scopes: BTreeMap::new(),
                keys: HashMap::default(),
                applying: false,
                changed: false,
                settled: feed.is_none(),
                counts,
                gauges,
            };
            self.scopes.by_slot.insert(name.slot, entry);
            if let Some(feed) = feed {
                self.feeds.subscribe_all(feed, Kind::Scope);
            }
            let wait = name.source.initial_fetch_timeout;
            if !wait.is_zero() {
                self.due.after(wait, Due::FirstScopes(name.slot));
            }
        }
    }

    /// A version of a listener does not need these any more; its connections may.
    pub(super) fn release_scopes(&mut self, names: &[Arc<ScopeName>]) {
        for name in names {
            if let Some(entry) = self.scopes.by_slot.get_mut(&name.slot) {
                entry.users = entry.users.saturating_sub(1);
                self.sweep_soon();
            }
        }
    }

    /// A response of SRDS begins: scopes that it changes let go of their keys, so that one may
    /// take what another has had.
    pub(super) fn begin_scopes(&mut self, feed: FeedId, changed: &[Resource]) {
        for slot in self.scopes.of_feed(feed) {
            let Some(entry) = self.scopes.by_slot.get_mut(&slot) else { continue };
            entry.applying = true;
            for resource in changed {
                entry.free_key(&resource.name);
            }
        }
    }

    /// A resource of SRDS.
    pub(super) fn apply_scope(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        let raw = Raw::of(resource);
        let mut result = Ok(());
        for slot in self.scopes.of_feed(feed) {
            let Some(entry) = self.scopes.by_slot.get(&slot) else { continue };
            let lease = entry.lease.clone();
            let made = self.compile_scope(&lease, &resource.name, &resource.body);
            let stored = made.and_then(|made| {
                let stored = Stored::new(raw.clone(), made);
                self.scopes.claim_key(slot, &resource.name, &stored)?;
                Ok(stored)
            });
            match stored {
                Ok(stored) => self.put_scope(slot, &resource.name, Some(stored)),
                Err(text) => {
                    let Some(entry) = self.scopes.by_slot.get_mut(&slot) else { continue };
                    entry.reclaim_key(&resource.name);
                    result = Err(text);
                }
            }
        }
        result
    }

    /// Values of the runtime have changed: scopes that bring their route table are made again.
    pub(super) fn recompile_scopes(&mut self) {
        for (slot, raw) in self.scopes.that_read_runtime() {
            let Some(entry) = self.scopes.by_slot.get(&slot) else { continue };
            let lease = entry.lease.clone();
            match self.compile_scope(&lease, &raw.name, &raw.body) {
                Ok(made) => {
                    let name = raw.name.clone();
                    self.put_scope(slot, &name, Some(Stored::new(raw, made)));
                }
                Err(text) => {
                    log!(Warning, Runtime, "rtds: scope '{}' stays as it was: {text}", raw.name);
                }
            }
        }
        self.publish_scopes();
    }

    /// SRDS has no such scope any more.
    pub(super) fn remove_scope(&mut self, feed: FeedId, name: &Arc<str>) {
        for slot in self.scopes.of_feed(feed) {
            self.put_scope(slot, name, None);
        }
    }

    fn put_scope(&mut self, slot: ScopeSlot, name: &Arc<str>, stored: Option<Stored>) {
        let Some(entry) = self.scopes.by_slot.get_mut(&slot) else { return };
        let mut stored = stored;
        if let (Some(new), Some(old)) = (&mut stored, entry.scopes.get(name)) {
            // A table that was fetched on demand stays.
            new.asks |= old.asks && old.named_routes() == new.named_routes();
        }
        let (prefix, wanted) =
            (entry.stat_prefix.clone(), stored.as_ref().and_then(Stored::routes).cloned());
        entry.changed = true;
        match &stored {
            Some(stored) => self.clusters.hold(stored.clusters()),
            None => entry.free_key(name),
        }
        let before = match stored {
            Some(stored) => entry.scopes.insert(name.clone(), stored),
            None => entry.scopes.remove(name),
        };
        if let Some(wanted) = wanted {
            self.want_routes(&wanted, &prefix);
        }
        if let Some(before) = before {
            if let Some(routes) = before.routes() {
                self.release_routes(routes);
            }
            self.release_clusters(before.clusters());
        }
    }

    /// A request wants a route table that scopes have on demand; false if no scope has it.
    pub(super) fn want_scope_routes(&mut self, wanted: RouteSlot) -> bool {
        let mut asking = Vec::new();
        for entry in self.scopes.by_slot.values_mut() {
            for stored in entry.scopes.values_mut() {
                let name = stored.named_routes().filter(|name| name.slot == wanted).cloned();
                if let Some(name) = name
                    && !std::mem::replace(&mut stored.asks, true)
                {
                    asking.push((name, entry.stat_prefix.clone()));
                }
            }
        }
        asking.iter().for_each(|(name, prefix)| self.want_routes(name, prefix));
        !asking.is_empty()
    }

    /// A response of SRDS has been applied, which took so long; `None` where it was refused.
    pub(super) fn scopes_applied(
        &mut self,
        feed: FeedId,
        version: &Arc<str>,
        took: Option<Duration>,
    ) {
        for slot in self.scopes.of_feed(feed) {
            let Some(entry) = self.scopes.by_slot.get_mut(&slot) else { continue };
            match took {
                Some(took) => {
                    let registry = self.compiler.registry();
                    entry.counts.took(&self.stats, registry, version, took, entry.changed);
                }
                None => entry.counts.slots().refused(&self.stats),
            }
            entry.applying = false;
            // An empty answer is an answer, too.
            entry.changed |= !entry.settled;
        }
        self.publish_scopes();
    }

    /// Publishes sets that have changed and whose route tables are there.
    pub(super) fn publish_scopes(&mut self) {
        let mut published = false;
        let due = |entry: &Entry| entry.changed && !entry.applying;
        for (slot, entry) in self.scopes.by_slot.iter_mut().filter(|(_, entry)| due(entry)) {
            // Nobody waits for what is fetched on demand but the request that wants it.
            let awaited = entry.scopes.values().filter(|stored| !stored.scope.on_demand);
            let mut tables = awaited.filter_map(Stored::routes);
            if !tables.all(|name| self.tables.is_settled(name.slot)) {
                continue;
            }
            let mut set = ScopeSet::default();
            // A scope whose new version was refused is the old one still, unless another has its
            // key by now.
            let (owners, others): (Vec<_>, Vec<_>) =
                entry.scopes.iter().partition(|(name, stored)| entry.owns(name, &stored.key));
            for (_, stored) in owners.into_iter().chain(others) {
                if let Err(conflict) = set.insert(stored.key.clone(), stored.scope.clone()) {
                    log!(Warning, Config, "srds: {conflict}");
                }
            }
            (entry.changed, entry.settled) = (false, true);
            for (_, gauge) in &entry.gauges {
                self.stats.gauge_set(*gauge, entry.scopes.len() as u64);
            }
            self.change.scopes.push((*slot, Some(Arc::new(set))));
            published = true;
        }
        if published {
            self.listeners_may_be_warm();
        }
    }

    /// The first answer has not come in time.
    pub(super) fn first_scopes_due(&mut self, slot: ScopeSlot) {
        let Some(entry) = self.scopes.by_slot.get_mut(&slot) else { return };
        if !entry.settled {
            entry.settled = true;
            entry.counts.slots().timed_out(&self.stats);
            let url = Kind::Scope.type_url();
            log!(Warning, Config, "gRPC config: initial fetch timed out for {url}");
            self.listeners_may_be_warm();
        }
    }

    /// Lets go of sets that no listener and no connection can ask for any more.
    pub(super) fn sweep_scopes(&mut self) {
        /// The one here, and the compiler's.
        const OURS: usize = 2;
        let unused = self.scopes.by_slot.iter().filter(|(_, entry)| entry.users == 0);
        let free = unused.filter(|(_, entry)| Arc::strong_count(&entry.lease) <= OURS);
        let free: Vec<ScopeSlot> = free.map(|(slot, _)| *slot).collect();
        for slot in free {
            let Some(entry) = self.scopes.by_slot.remove(&slot) else { continue };
            if let Some(feed) = entry.feed {
                self.feeds.unsubscribe_all(feed, Kind::Scope);
                if self.scopes.of_feed(feed).is_empty() {
                    self.refusals.forget_all(Kind::Scope, feed);
                }
            }
            for stored in entry.scopes.values() {
                if let Some(routes) = stored.routes() {
                    self.release_routes(routes);
                }
                self.release_clusters(stored.clusters());
            }
            self.change.scopes.push((slot, None));
            entry.counts.end(self.compiler.registry());
        }
        if self.scopes.by_slot.values().any(|entry| entry.users == 0) {
            self.sweep_soon();
        }
    }

    /// The feed has no connection.
    pub(super) fn count_lost_scopes(&self, feed: FeedId, count: Count) {
        let of_feed = self.scopes.by_slot.values().filter(|entry| entry.feed == Some(feed));
        of_feed.for_each(|entry| count(entry.counts.slots(), &self.stats));
    }

    /// For `/config_dump`.
    pub(super) fn dump_scopes(&self, out: &mut Vec<Dumped>) {
        for entry in self.scopes.by_slot.values() {
            for (name, stored) in &entry.scopes {
                let raw = std::iter::once((stored.raw.clone(), ResourceState::Active));
                Dumped::versions(name, raw, out);
            }
        }
    }
}

impl ScopeSets {
    fn of_feed(&self, feed: FeedId) -> Vec<ScopeSlot> {
        let of_feed = self.by_slot.iter().filter(|(_, entry)| entry.feed == Some(feed));
        of_feed.map(|(slot, _)| *slot).collect()
    }

    fn that_read_runtime(&self) -> Vec<(ScopeSlot, Arc<Raw>)> {
        let each = |(slot, entry): (&ScopeSlot, &'_ Entry)| -> Vec<(ScopeSlot, Arc<Raw>)> {
            let scopes = entry.scopes.values().filter(|stored| stored.reads_runtime);
            scopes.map(|stored| (*slot, stored.raw.clone())).collect()
        };
        self.by_slot.iter().flat_map(each).collect()
    }

    /// Whether no listener has to wait for this set.
    pub(super) fn is_settled(&self, slot: ScopeSlot) -> bool {
        self.by_slot.get(&slot).is_none_or(|entry| entry.settled)
    }

    /// A scope takes its key: two must not have the same.
    fn claim_key(&mut self, slot: ScopeSlot, name: &Arc<str>, new: &Stored) -> Result<(), String> {
        let Some(entry) = self.by_slot.get_mut(&slot) else { return Ok(()) };
        let owner = entry.keys.entry(new.key.clone()).or_insert_with(|| name.clone());
        if owner == name {
            return Ok(());
        }
        Err(format!("scope key conflict found, first scope is '{owner}', second scope is '{name}'"))
    }
}
