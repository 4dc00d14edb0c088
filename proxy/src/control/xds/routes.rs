//! Route tables that come by RDS.
//!
//! LIFECYCLE of a slot: wanted by a listener → asked for → its first table is used at once (the
//! listener waits for it) → a later one waits, for a while, for the clusters it names → used → no
//! listener and no connection holds the name any more → gone.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::precise_now;
use ringway_xds::client::Resource;
use smallvec::SmallVec;

use super::Xds;
use super::compile::Made;
use super::counts::{Count, Counts};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use super::vhds::HostSource;
use crate::control::log::log;
use crate::plan::route::RouteTable;
use crate::plan::{RouteName, RouteSlot};

/// How long a route table, or a listener, waits for the clusters it names.
pub(super) const HELD_MAX: Duration = Duration::from_secs(5);

/// All route tables that come by RDS.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) by_slot: HashMap<RouteSlot, Table, RandomState>,
    /// Slots of a resource: one for each way its source is written.
    slots: HashMap<(FeedId, Arc<str>), SmallVec<[RouteSlot; 1]>, RandomState>,
    /// Slots whose table waits for clusters.
    held: Vec<RouteSlot>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) lease: Arc<RouteName>,
    feed: Option<FeedId>,
    /// How many versions of listeners want it.
    users: usize,
    pub(super) raw: Option<Arc<Raw>>,
    pub(super) active: Option<Arc<RouteTable>>,
    /// What waits for clusters.
    held: Option<Arc<RouteTable>>,
    /// Where virtual hosts come from by VHDS.
    pub(super) hosts: Option<Box<HostSource>>,
    reads_runtime: bool,
    /// Nobody waits for the first one any more: it is there, or will not come soon.
    pub(super) settled: bool,
    counts: Counts,
}

impl Xds {
    /// A version of a listener needs this table.
    pub(super) fn want_routes(&mut self, name: &Arc<RouteName>, stat_prefix: &str) {
        if let Some(table) = self.tables.by_slot.get_mut(&name.slot) {
            table.users += 1;
            return;
        }
        let prefix = format!("http.{stat_prefix}.rds.{}.", name.name);
        let counts = Counts::new(self.compiler.registry(), &prefix, true);
        let wanted = Wanted { origin: &name.source.origin, kind: Kind::Routes, prefix: &prefix };
        let feed = match self.open_feed(wanted) {
            Ok(feed) => Some(feed),
            Err(text) => {
                log!(Warning, Config, "rds: no route configuration '{}': {text}", name.name);
                None
            }
        };
        let table = Table {
            lease: name.clone(),
            feed,
            users: 1,
            raw: None,
            active: None,
            held: None,
            hosts: None,
            reads_runtime: false,
            settled: feed.is_none(),
            counts,
        };
        let Some(feed) = feed else {
            self.tables.by_slot.insert(name.slot, table);
            return;
        };
        self.begin_count(feed, table.counts.slots());
        let stored = self.tables.stored(feed, &name.name);
        self.tables.by_slot.insert(name.slot, table);
        self.tables.slots.entry((feed, name.name.clone())).or_default().push(name.slot);
        self.feeds.subscribe(feed, Kind::Routes, &name.name);
        if let Some((raw, made)) = stored {
            self.use_routes(name.slot, raw, made);
        }
        let wait = name.source.initial_fetch_timeout;
        if !wait.is_zero() {
            self.due.after(wait, Due::FirstRoutes(name.slot));
        }
    }

    /// A version of a listener does not need it any more; its connections may.
    pub(super) fn release_routes(&mut self, name: &RouteName) {
        if let Some(table) = self.tables.by_slot.get_mut(&name.slot) {
            table.users = table.users.saturating_sub(1);
            if table.users == 0 {
                self.sweep_soon();
            }
        }
    }

    /// A resource of RDS.
    pub(super) fn apply_routes(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        let key = (feed, resource.name.clone());
        let Some(slots) = self.tables.slots.get(&key).cloned() else { return Ok(()) };
        let began = precise_now();
        let raw = Raw::of(resource);
        let lease = slots.first().and_then(|slot| self.tables.by_slot.get(slot));
        let Some(lease) = lease.map(|table| table.lease.clone()) else { return Ok(()) };
        let (name, body) = (&resource.name, &resource.body);
        let compiled = self.compile_table(lease.slot, &lease.source, name, body);
        let took = precise_now() - began;
        for slot in slots {
            match &compiled {
                Ok(routes) => {
                    self.use_routes(slot, raw.clone(), routes.clone());
                    let Some(table) = self.tables.by_slot.get(&slot) else { continue };
                    let registry = self.compiler.registry();
                    table.counts.took(&self.stats, registry, &resource.version, took, true);
                }
                Err(_) => {
                    let Some(table) = self.tables.by_slot.get(&slot) else { continue };
                    table.counts.slots().refused(&self.stats);
                }
            }
        }
        compiled.map(drop)
    }

    /// Uses a table, or holds it back until the clusters it names are there.
    pub(super) fn use_routes(
        &mut self,
        slot: RouteSlot,
        raw: Arc<Raw>,
        made: Made<Arc<RouteTable>>,
    ) {
        let Made { value: routes, reads_runtime } = made;
        if self.want_hosts(slot, routes.vhds.as_ref()) {
            // Others of this name have brought virtual hosts of it already.
            if let Some(table) = self.tables.by_slot.get_mut(&slot) {
                table.raw = Some(raw);
            }
            return self.make_again(slot, "vhds");
        }
        let complete = routes.clusters.iter().all(|name| self.is_at_hand(name));
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
        (table.raw, table.reads_runtime) = (Some(raw), reads_runtime);
        if table.active.is_none() || complete {
            table.held = None;
            self.activate_routes(slot, routes);
            return;
        }
        // A table that takes the place of one that waits does not wait any longer than that.
        if table.held.replace(routes).is_none() {
            log!(Debug, Config, "rds: '{}' waits for its clusters", table.lease.name);
            self.tables.held.push(slot);
            self.due.after(HELD_MAX, Due::Routes(slot));
        }
    }

    fn activate_routes(&mut self, slot: RouteSlot, routes: Arc<RouteTable>) {
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
        self.clusters.hold(&routes.clusters);
        // A first table is complete with its virtual hosts.
        table.settled |= table.hosts.as_ref().is_none_or(|hosts| hosts.answered);
        let before = table.active.replace(routes.clone());
        self.change.routes.push((slot, Some(routes)));
        self.publish_scopes();
        if let Some(before) = before {
            self.release_clusters(&before.clusters);
        }
        self.listeners_may_be_warm();
        self.routes_in_use(slot);
    }

    /// A cluster has become active: perhaps it is the one a table waits for.
    pub(super) fn retry_held_routes(&mut self) {
        for slot in std::mem::take(&mut self.tables.held) {
            let held = self.tables.by_slot.get(&slot).and_then(|table| table.held.clone());
            let Some(routes) = held else { continue };
            if !routes.clusters.iter().all(|name| self.is_at_hand(name)) {
                self.tables.held.push(slot);
                continue;
            }
            if let Some(table) = self.tables.by_slot.get_mut(&slot) {
                table.held = None;
            }
            self.activate_routes(slot, routes);
        }
        self.listeners_may_be_warm();
    }

    /// A table has waited long enough for its clusters.
    pub(super) fn held_routes_due(&mut self, slot: RouteSlot) {
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
        if let Some(routes) = table.held.take() {
            let missing = routes.clusters.iter().filter(|name| !self.clusters.is_active(name));
            let missing: Vec<&str> = missing.map(|name| &*name.name).take(10).collect();
            let name = &table.lease.name;
            log!(Debug, Config, "rds: '{name}' is used without {}", missing.join(", "));
            self.tables.held.retain(|held| *held != slot);
            self.activate_routes(slot, routes);
        }
    }

    /// The first table has not come in time.
    pub(super) fn first_routes_due(&mut self, slot: RouteSlot) {
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
        if table.settled {
            return;
        }
        table.settled = true;
        table.counts.slots().timed_out(&self.stats);
        let url = Kind::Routes.type_url();
        log!(
            Warning,
            Config,
            "gRPC config: initial fetch timed out for {url} ('{}')",
            table.lease.name
        );
        self.listeners_may_be_warm();
        self.routes_settled(slot);
    }

    /// RDS says that there is no such table: whoever waits for it does so no longer. A table that
    /// is used stays, as in Envoy.
    pub(super) fn remove_routes(&mut self, feed: FeedId, name: &Arc<str>) {
        let slots = self.tables.slots.get(&(feed, name.clone())).cloned().unwrap_or_default();
        for slot in slots {
            if let Some(table) = self.tables.by_slot.get_mut(&slot) {
                table.settled = true;
            }
            self.routes_settled(slot);
        }
        self.listeners_may_be_warm();
    }

    /// A file of route tables cannot be read: who waits for it does so no longer.
    pub(super) fn routes_fail(&mut self, feed: FeedId) {
        for table in self.tables.by_slot.values_mut().filter(|table| table.feed == Some(feed)) {
            table.settled = true;
        }
        self.listeners_may_be_warm();
    }

    /// Lets go of tables that no listener and no connection can ask for any more.
    pub(super) fn sweep_routes(&mut self) {
        /// The one here, and the compiler's.
        const OURS: usize = 2;
        let unused = self.tables.by_slot.iter().filter(|(_, table)| table.users == 0);
        let free = unused.filter(|(_, table)| Arc::strong_count(&table.lease) <= OURS);
        let free: Vec<RouteSlot> = free.map(|(slot, _)| *slot).collect();
        for slot in free {
            self.want_hosts(slot, None);
            let Some(table) = self.tables.by_slot.remove(&slot) else { continue };
            if let Some(feed) = table.feed {
                let key = (feed, table.lease.name.clone());
                if let Some(slots) = self.tables.slots.get_mut(&key) {
                    slots.retain(|have| *have != slot);
                    if slots.is_empty() {
                        self.tables.slots.remove(&key);
                        self.refusals.forget(Kind::Routes, feed, &table.lease.name);
                    }
                }
                self.feeds.unsubscribe(feed, Kind::Routes, &table.lease.name);
            }
            if let Some(routes) = &table.active {
                self.change.routes.push((slot, None));
                self.release_clusters(&routes.clusters);
            }
            table.counts.end(self.compiler.registry());
        }
        if self.tables.by_slot.values().any(|table| table.users == 0) {
            self.sweep_soon();
        }
    }

    /// The feed has no connection.
    pub(super) fn count_lost_routes(&self, feed: FeedId, count: Count) {
        let of_feed = self.tables.by_slot.values().filter(|table| table.feed == Some(feed));
        of_feed.for_each(|table| count(table.counts.slots(), &self.stats));
    }

    /// For `/config_dump`.
    pub(super) fn dump_routes(&self, out: &mut Vec<Dumped>) {
        for table in self.tables.by_slot.values() {
            let raw = table.raw.iter().map(|raw| (raw.clone(), ResourceState::Active));
            Dumped::versions(&table.lease.name, raw, out);
        }
    }
}

impl Tables {
    /// Slots whose tables are to be made again when values of the runtime change.
    pub(super) fn that_read_runtime(&self) -> Vec<RouteSlot> {
        let tables = self.by_slot.iter().filter(|(_, table)| table.reads_runtime);
        tables.map(|(slot, _)| *slot).collect()
    }

    /// What is known of a resource already.
    fn stored(&self, feed: FeedId, name: &Arc<str>) -> Option<(Arc<Raw>, Made<Arc<RouteTable>>)> {
        let slots = self.slots.get(&(feed, name.clone()))?;
        let table = slots.iter().find_map(|slot| self.by_slot.get(slot))?;
        let value = table.held.as_ref().or(table.active.as_ref())?.clone();
        Some((table.raw.clone()?, Made { value, reads_runtime: table.reads_runtime }))
    }

    /// Whether a table of this slot waits for clusters.
    pub(super) fn is_held(&self, slot: RouteSlot) -> bool {
        self.by_slot.get(&slot).is_some_and(|table| table.held.is_some())
    }

    /// How many resources have slots, or wait for clusters.
    #[cfg(test)]
    pub(super) fn count_slots(&self) -> usize {
        self.slots.len() + self.held.len()
    }

    /// Whether nobody waits for the first table of a slot (any more).
    pub(super) fn is_settled(&self, slot: RouteSlot) -> bool {
        self.by_slot.get(&slot).is_none_or(|table| table.settled)
    }
}
