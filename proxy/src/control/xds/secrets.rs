//! Secrets that SDS brings. Who uses them is the business of their slots: here is only who asks
//! whom for which.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::precise_now;
use ringway_xds::client::Resource;

use super::Xds;
use super::counts::{Count, Counts};
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;
use crate::plan::ConfigSource;
use crate::plan::tls::SecretSlot;

/// Secrets by feed and name.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_name: HashMap<(FeedId, Arc<str>), Entry, RandomState>,
}

/// One secret.
#[derive(Debug)]
struct Entry {
    raw: Option<Arc<Raw>>,
    /// How many want it, for each way its source is written.
    users: Vec<(ConfigSource, usize)>,
    counts: Counts,
}

impl Xds {
    /// A version of a cluster or listener needs these.
    pub(super) fn want_secrets(&mut self, slots: &[Arc<SecretSlot>]) {
        for slot in slots {
            let key = &slot.key;
            let Some(source) = key.source.as_ref() else { continue };
            let Some(feed) = self.secret_feed(source, &key.name) else { continue };
            self.want_secret(feed, source, &key.name);
        }
    }

    fn want_secret(&mut self, feed: FeedId, source: &ConfigSource, name: &Arc<str>) {
        let key = (feed, name.clone());
        if !self.secrets.by_name.contains_key(&key) {
            let prefix = format!("sds.{name}.");
            let counts = Counts::new(self.compiler.registry(), &prefix, false);
            self.begin_count(feed, counts.slots());
            let entry = Entry { raw: None, users: Vec::new(), counts };
            self.secrets.by_name.insert(key.clone(), entry);
            self.feeds.subscribe(feed, Kind::Secret, name);
        }
        let Some(entry) = self.secrets.by_name.get_mut(&key) else { return };
        if let Some((_, count)) = entry.users.iter_mut().find(|(have, _)| have == source) {
            *count += 1;
            return;
        }
        entry.users.push((source.clone(), 1));
        if let Some(raw) = entry.raw.clone()
            && let Err(text) = self.take_secret(source, name, &raw.body)
        {
            log!(Warning, Secret, "secret '{name}' does not fit: {text}");
        }
    }

    /// A version of a cluster or listener does not need these any more.
    pub(super) fn release_secrets(&mut self, slots: &[Arc<SecretSlot>]) {
        for slot in slots {
            let key = &slot.key;
            let Some(source) = key.source.as_ref() else { continue };
            let Some(feed) = self.secret_feed(source, &key.name) else { continue };
            let at = (feed, key.name.clone());
            let Some(entry) = self.secrets.by_name.get_mut(&at) else { continue };
            if let Some((_, count)) = entry.users.iter_mut().find(|(have, _)| have == source) {
                *count -= 1;
            }
            entry.users.retain(|(_, count)| *count > 0);
            if entry.users.is_empty()
                && let Some(entry) = self.secrets.by_name.remove(&at)
            {
                self.feeds.unsubscribe(feed, Kind::Secret, &key.name);
                self.refusals.forget(Kind::Secret, feed, &key.name);
                entry.counts.end(self.compiler.registry());
            }
        }
    }

    /// The feed of a source of secrets.
    fn secret_feed(&mut self, source: &ConfigSource, name: &str) -> Option<FeedId> {
        let prefix = format!("sds.{name}.");
        let wanted = Wanted { origin: &source.origin, kind: Kind::Secret, prefix: &prefix };
        match self.open_feed(wanted) {
            Ok(feed) => Some(feed),
            Err(text) => {
                log!(Warning, Secret, "sds: no secret '{name}': {text}");
                None
            }
        }
    }

    /// A resource of SDS.
    pub(super) fn apply_secret(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        let key = (feed, resource.name.clone());
        let Some(entry) = self.secrets.by_name.get(&key) else { return Ok(()) };
        let sources: Vec<ConfigSource> = entry.users.iter().map(|(s, _)| s.clone()).collect();
        let began = precise_now();
        let mut result = Ok(());
        for source in &sources {
            result = self.take_secret(source, &resource.name, &resource.body);
            if result.is_err() {
                break;
            }
        }
        let took = precise_now() - began;
        let Some(entry) = self.secrets.by_name.get_mut(&key) else { return Ok(()) };
        match &result {
            Ok(()) => {
                entry.raw = Some(Raw::of(resource));
                let registry = self.compiler.registry();
                entry.counts.took(&self.stats, registry, &resource.version, took, true);
                self.clusters_with_secrets();
                self.listeners_may_be_warm();
            }
            Err(_) => entry.counts.slots().refused(&self.stats),
        }
        result
    }

    /// A secret has come as it was: as in Envoy, a dump has the version it was taken with.
    pub(super) fn renew_secret(&mut self, feed: FeedId, name: &Arc<str>, version: &Arc<str>) {
        let Some(entry) = self.secrets.by_name.get(&(feed, name.clone())) else { return };
        let registry = self.compiler.registry();
        entry.counts.took(&self.stats, registry, version, Duration::ZERO, false);
    }

    /// The feed has no connection.
    pub(super) fn count_lost_secrets(&self, feed: FeedId, count: Count) {
        let of_feed = self.secrets.by_name.iter().filter(|((of, _), _)| *of == feed);
        of_feed.for_each(|(_, entry)| count(entry.counts.slots(), &self.stats));
    }

    /// For `/config_dump`.
    pub(super) fn dump_secrets(&self, out: &mut Vec<Dumped>) {
        for ((_, name), entry) in &self.secrets.by_name {
            let raw = entry.raw.iter().map(|raw| (raw.clone(), ResourceState::Active));
            Dumped::versions(name, raw, out);
            if entry.raw.is_none() {
                // A secret that has not come is listed as warming.
                let name = name.clone();
                out.push(Dumped { name, state: ResourceState::Warming, raw: None, refused: None });
            }
        }
    }
}
