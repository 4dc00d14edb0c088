//! Virtual hosts that VHDS adds to route tables of RDS.
//!
//! Their names begin with the name of the route table and a slash; a subscription to the table's
//! name is one to all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3::VirtualHost;
use ringway_xds::client::Resource;

use super::Xds;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::Raw;
use crate::control::log::log;
use crate::plan::{ConfigSource, RouteSlot};

/// Virtual hosts of a route table.
#[derive(Debug)]
pub(super) struct Hosts {
    feed: FeedId,
    source: ConfigSource,
    /// Name of the table, which is what is asked for.
    table: Arc<str>,
    /// By name, with what they came as.
    pub(super) all: BTreeMap<Arc<str>, (Arc<Raw>, VirtualHost)>,
    /// An answer has come.
    pub(super) answered: bool,
    changed: bool,
}

impl Hosts {
    /// Whether a virtual host of `table` that came by `feed` is one of these.
    pub(super) fn belongs(&self, feed: FeedId, table: &str) -> bool {
        self.feed == feed && *self.table == *table
    }
}

impl Xds {
    /// A route table says where further virtual hosts of it come from, or that there are none.
    pub(super) fn want_hosts(&mut self, slot: RouteSlot, source: Option<&ConfigSource>) {
        let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
        let same = table.hosts.as_ref().map(|hosts| &hosts.source) == source;
        if same {
            return;
        }
        let name = table.lease.name.clone();
        if let Some(before) = table.hosts.take() {
            self.feeds.unsubscribe(before.feed, Kind::VirtualHost, &before.table);
        }
        let Some(source) = source.cloned() else { return };
        let prefix = format!("vhds.{name}.");
        let origin = &source.origin;
        match self.open_feed(Wanted { origin, kind: Kind::VirtualHost, prefix: &prefix }) {
            Ok(feed) => {
                self.feeds.subscribe(feed, Kind::VirtualHost, &name);
                let Some(table) = self.tables.by_slot.get_mut(&slot) else { return };
                let all = BTreeMap::new();
                let (answered, changed) = (false, false);
                let hosts = Hosts { feed, source, table: name, all, answered, changed };
                table.hosts = Some(Box::new(hosts));
            }
            Err(text) => log!(Warning, Config, "vhds: no virtual hosts for '{name}': {text}"),
        }
    }

    /// A resource of VHDS.
    pub(super) fn apply_host(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        let first = self.tables.hosts_of(feed, &resource.name).next();
        let Some(source) = first.map(|hosts| hosts.source.clone()) else { return Ok(()) };
        let host = self.compile_host(&source, resource)?;
        let raw = Raw::of(resource);
        for hosts in self.tables.hosts_of(feed, &resource.name) {
            hosts.all.insert(resource.name.clone(), (raw.clone(), host.clone()));
            hosts.changed = true;
        }
        Ok(())
    }

    /// VHDS has no such virtual host any more.
    pub(super) fn remove_host(&mut self, feed: FeedId, name: &Arc<str>) {
        for hosts in self.tables.hosts_of(feed, name) {
            hosts.changed |= hosts.all.remove(name).is_some();
        }
    }

    /// A response of VHDS has been applied: tables are made again with what it brought.
    pub(super) fn hosts_applied(&mut self, feed: FeedId) {
        let mut again = Vec::new();
        for (slot, table) in &mut self.tables.by_slot {
            let Some(hosts) = table.hosts.as_mut().filter(|hosts| hosts.feed == feed) else {
                continue;
            };
            let first = !std::mem::replace(&mut hosts.answered, true);
            if std::mem::take(&mut hosts.changed) || first {
                again.extend(table.raw.clone().map(|raw| (*slot, table.lease.clone(), raw)));
            }
        }
        for (slot, lease, raw) in again {
            match self.compile_table(slot, &lease.source, &raw.name, &raw.body) {
                Ok(made) => self.use_routes(slot, raw, made),
                Err(text) => {
                    let name = &lease.name;
                    log!(Warning, Config, "vhds: '{name}' stays as it was: {text}");
                }
            }
        }
    }
}
