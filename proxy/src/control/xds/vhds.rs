//! Virtual hosts that VHDS adds to route tables of RDS.
//!
//! All there are is asked for, as by Envoy; the name of each begins with the name of its route
//! table and a slash. What a request lacks is asked for besides, by the name of its table and its
//! domain; the server may have it under another name, of which this is an alias then.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_xds::api::envoy::config::route::v3::VirtualHost;
use ringway_xds::client::Resource;

use super::Xds;
use super::demands::KEPT_MAX;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::routes::Table;
use crate::control::log::log;
use crate::plan::{ConfigSource, RouteSlot};

/// Virtual hosts by feed.
pub(super) type VirtualHosts = HashMap<FeedId, OfFeed, RandomState>;

/// What came by one feed.
#[derive(Debug, Default)]
pub(super) struct OfFeed {
    /// By name.
    all: BTreeMap<Arc<str>, VirtualHost>,
    /// An answer has come.
    answered: bool,
    /// Tables whose virtual hosts are others than they were made with.
    changed: Vec<Arc<str>>,
    /// Aliases by which requests have asked, which are subscribed to, and what has come by each.
    asked: HashMap<Arc<str>, Option<Arc<str>>, RandomState>,
    /// Aliases and names that the response at work has brought.
    came: Vec<(Arc<str>, Arc<str>)>,
}

/// Where a route table has virtual hosts from.
#[derive(Debug)]
pub(super) struct HostSource {
    pub(super) feed: FeedId,
    source: ConfigSource,
    /// An answer has come.
    pub(super) answered: bool,
}

impl OfFeed {
    fn of_table<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a VirtualHost> {
        let of_table = self.all.iter().filter(move |(name, _)| table_of(name) == table);
        of_table.map(|(_, host)| host)
    }
}

/// The table a virtual host belongs to.
pub(super) fn table_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(table, _)| table)
}

impl Xds {
    /// A route table says where further virtual hosts of it come from, or that there are none.
    /// Answers whether it has to be made again with those that are there.
    pub(super) fn want_hosts(&mut self, slot: RouteSlot, source: Option<&ConfigSource>) -> bool {
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return false };
        if table.hosts.as_ref().map(|hosts| &hosts.source) == source {
            return false;
        }
        let name = table.lease.name.clone();
        let before = table.hosts.take();
        // The new subscription comes before the end of the old one: where both are of one feed,
        // what it has brought stays.
        let has_any = source.is_some_and(|source| self.begin_hosts(slot, &name, source.clone()));
        if let Some(before) = before {
            self.end_hosts(before.feed, &name);
        }
        has_any
    }

    /// Asks for the virtual hosts of a table; answers whether there are some already.
    fn begin_hosts(&mut self, slot: RouteSlot, name: &str, source: ConfigSource) -> bool {
        let prefix = format!("vhds.{name}.");
        let origin = &source.origin;
        match self.open_feed(Wanted { origin, kind: Kind::VirtualHost, prefix: &prefix }) {
            Ok(feed) => {
                self.feeds.subscribe_all(feed, Kind::VirtualHost);
                let known = self.hosts.entry(feed).or_default();
                let (answered, has_any) = (known.answered, known.of_table(name).next().is_some());
                if let Some(table) = self.tables.by_slot.get_mut(&slot) {
                    table.hosts = Some(Box::new(HostSource { feed, source, answered }));
                }
                has_any
            }
            Err(text) => {
                log!(Warning, Config, "vhds: no virtual hosts for '{name}': {text}");
                false
            }
        }
    }

    /// A table has no virtual hosts of a feed any more. What the feed has brought goes with its
    /// last table: whoever asks later gets it anew.
    fn end_hosts(&mut self, feed: FeedId, name: &str) {
        self.feeds.unsubscribe_all(feed, Kind::VirtualHost);
        let of_feed = |table: &Table| table.hosts.as_ref().is_some_and(|h| h.feed == feed);
        let others = || self.tables.by_slot.values().filter(|table| of_feed(table));
        let (none, named) = (others().next().is_none(), others().any(|t| *t.lease.name == *name));
        if !named {
            self.end_demanded_hosts(feed, name);
            let Some(known) = self.hosts.get_mut(&feed) else { return };
            let ended = known.asked.extract_if(|alias, _| table_of(alias) == name);
            for (alias, _) in ended {
                self.feeds.unsubscribe(feed, Kind::VirtualHost, &alias);
            }
        }
        if none {
            self.hosts.remove(&feed);
            self.refusals.forget_all(Kind::VirtualHost, feed);
        }
    }

    /// Virtual hosts of a table.
    pub(super) fn hosts_of(&self, slot: RouteSlot) -> Vec<VirtualHost> {
        let table = self.tables.by_slot.get(&slot);
        let Some((table, hosts)) = table.and_then(|t| Some((t, t.hosts.as_ref()?))) else {
            return Vec::new();
        };
        let known = self.hosts.get(&hosts.feed);
        known.map_or_else(Vec::new, |k| k.of_table(&table.lease.name).cloned().collect())
    }

    /// A resource of VHDS.
    pub(super) fn apply_host(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        if !self.hosts.contains_key(&feed) {
            // Nobody wants what was asked for any more.
            return Ok(());
        }
        let host = self.compile_host(&ConfigSource::ads(), resource)?;
        let Some(known) = self.hosts.get_mut(&feed) else { return Ok(()) };
        let names = resource.aliases.iter().chain([&resource.name]);
        known.came.extend(names.map(|alias| (alias.clone(), resource.name.clone())));
        known.all.insert(resource.name.clone(), host);
        known.changed.push(table_of(&resource.name).into());
        Ok(())
    }

    /// VHDS has no such virtual host any more.
    pub(super) fn remove_host(&mut self, feed: FeedId, name: &Arc<str>) {
        let Some(known) = self.hosts.get_mut(&feed) else { return };
        if known.all.remove(name).is_some() {
            known.changed.push(table_of(name).into());
        }
        // The next request that lacks it asks anew.
        let gone = known.asked.extract_if(|_, found| found.as_ref() == Some(name));
        for (alias, _) in gone {
            self.feeds.unsubscribe(feed, Kind::VirtualHost, &alias);
        }
    }

    /// Asks for a virtual host that a request lacks; false if it is here already, or there are too
    /// many.
    pub(super) fn subscribe_host(&mut self, feed: FeedId, alias: &Arc<str>) -> bool {
        let Some(known) = self.hosts.get_mut(&feed) else { return false };
        let is_here = known.all.contains_key(alias) || known.asked.contains_key(alias);
        if is_here || known.asked.len() >= KEPT_MAX {
            return false;
        }
        known.asked.insert(alias.clone(), None);
        self.feeds.subscribe(feed, Kind::VirtualHost, alias);
        true
    }

    /// Asks for it no longer.
    pub(super) fn unsubscribe_host(&mut self, feed: FeedId, alias: &Arc<str>) {
        let Some(known) = self.hosts.get_mut(&feed) else { return };
        if known.asked.remove(alias).is_some() {
            self.feeds.unsubscribe(feed, Kind::VirtualHost, alias);
        }
    }

    /// A response of VHDS has been applied: tables are made again with what it brought.
    /// `aliased` are those that came as they were, by another name.
    pub(super) fn hosts_applied(&mut self, feed: FeedId, aliased: Vec<(Arc<str>, Arc<str>)>) {
        let Some(known) = self.hosts.get_mut(&feed) else { return };
        known.answered = true;
        let mut came = std::mem::take(&mut known.came);
        came.extend(aliased);
        came.retain(|(alias, name)| match known.asked.get_mut(alias) {
            Some(found) => {
                *found = Some(name.clone());
                true
            }
            None => false,
        });
        let changed = std::mem::take(&mut known.changed);
        let mut again = Vec::new();
        for (slot, table) in &mut self.tables.by_slot {
            let hosts = table.hosts.as_mut().filter(|hosts| hosts.feed == feed);
            let Some(hosts) = hosts else { continue };
            let first = !std::mem::replace(&mut hosts.answered, true);
            if first || changed.contains(&table.lease.name) {
                again.push(*slot);
            }
        }
        again.into_iter().for_each(|slot| self.make_again(slot, "vhds"));
        came.iter().for_each(|(alias, _)| self.host_came(feed, alias));
    }

    /// Makes a table again, of what it came as and the virtual hosts there are now; `why` is for
    /// the log.
    pub(super) fn make_again(&mut self, slot: RouteSlot, why: &str) {
        let Some(table) = self.tables.by_slot.get(&slot) else { return };
        let (Some(raw), lease) = (table.raw.clone(), table.lease.clone()) else { return };
        match self.compile_table(slot, &lease.source, &raw.name, &raw.body) {
            Ok(made) => self.use_routes(slot, raw, made),
            Err(text) => {
                log!(Warning, Config, "{why}: '{}' stays as it was: {text}", lease.name);
            }
        }
    }
}
