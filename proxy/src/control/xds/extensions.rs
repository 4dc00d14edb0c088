//! Options of filters that ECDS brings. They go into slots that the filters look into, so nothing
//! is published when they change.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::precise_now;
use ringway_xds::client::Resource;

use super::Xds;
use super::counts::{Count, Counts};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;
use crate::observe::stats::{BlockHandle, Counter};
use crate::plan::extension::ExtensionSlot;

/// Options by feed and name.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    by_name: HashMap<(FeedId, Arc<str>), Entry, RandomState>,
}

/// Options of one name.
#[derive(Debug)]
struct Entry {
    raw: Option<Arc<Raw>>,
    /// The slots, and how many versions of listeners want each.
    users: Vec<(Arc<ExtensionSlot>, usize)>,
    counts: Counts,
    fail: (BlockHandle, Counter),
}

impl Xds {
    /// A version of a listener needs these.
    pub(super) fn want_extensions(&mut self, slots: &[Arc<ExtensionSlot>]) {
        for slot in slots {
            let Some(feed) = self.extension_feed(slot) else {
                // Nothing will come: the default has to do.
                slot.set(None);
                continue;
            };
            let key = (feed, slot.name.clone());
            if !self.extensions.by_name.contains_key(&key) {
                self.begin_extension(&key, slot);
            }
            let Some(entry) = self.extensions.by_name.get_mut(&key) else { continue };
            if let Some((_, count)) = entry.users.iter_mut().find(|(s, _)| Arc::ptr_eq(s, slot)) {
                *count += 1;
                continue;
            }
            entry.users.push((slot.clone(), 1));
            if let Some(raw) = entry.raw.clone() {
                if let Err(text) = self.fill_extension(slot, &raw) {
                    log!(Warning, Filter, "ecds: '{}' does not fit: {text}", slot.name);
                    // Nothing else may ever come: the default has to do.
                    slot.set(None);
                }
            } else if !slot.source.initial_fetch_timeout.is_zero() {
                let due = Due::Extension(feed, slot.name.clone());
                self.due.after(slot.source.initial_fetch_timeout, due);
            }
        }
    }

    fn begin_extension(&mut self, key: &(FeedId, Arc<str>), slot: &ExtensionSlot) {
        let prefix = prefix(slot);
        let registry = self.compiler.registry();
        let counts = Counts::new(registry, &prefix, true);
        let fail = registry.counter(&format!("{prefix}config_fail"));
        self.begin_count(key.0, counts.slots());
        let entry = Entry { raw: None, users: Vec::new(), counts, fail };
        self.extensions.by_name.insert(key.clone(), entry);
        self.feeds.subscribe(key.0, Kind::Extension, &key.1);
    }

    fn extension_feed(&mut self, slot: &ExtensionSlot) -> Option<FeedId> {
        let prefix = prefix(slot);
        let origin = &slot.source.origin;
        match self.open_feed(Wanted { origin, kind: Kind::Extension, prefix: &prefix }) {
            Ok(feed) => Some(feed),
            Err(text) => {
                log!(Warning, Filter, "ecds: no options '{}': {text}", slot.name);
                None
            }
        }
    }

    /// A version of a listener does not need these any more.
    pub(super) fn release_extensions(&mut self, slots: &[Arc<ExtensionSlot>]) {
        for slot in slots {
            let Some(feed) = self.extension_feed(slot) else { continue };
            let key = (feed, slot.name.clone());
            let Some(entry) = self.extensions.by_name.get_mut(&key) else { continue };
            if let Some((_, count)) = entry.users.iter_mut().find(|(s, _)| Arc::ptr_eq(s, slot)) {
                *count -= 1;
            }
            entry.users.retain(|(_, count)| *count > 0);
            if entry.users.is_empty()
                && let Some(entry) = self.extensions.by_name.remove(&key)
            {
                self.feeds.unsubscribe(feed, Kind::Extension, &slot.name);
                self.refusals.forget(Kind::Extension, feed, &slot.name);
                entry.counts.end(self.compiler.registry());
            }
        }
    }

    fn fill_extension(&mut self, slot: &ExtensionSlot, raw: &Raw) -> Result<(), String> {
        let extension = self.compile_extension(slot, &raw.name, &raw.body)?;
        slot.set(Some(extension));
        Ok(())
    }

    /// A resource of ECDS: it fits into every slot of its name, or into none.
    pub(super) fn apply_extension(
        &mut self,
        feed: FeedId,
        resource: &Resource,
    ) -> Result<(), String> {
        let key = (feed, resource.name.clone());
        let Some(entry) = self.extensions.by_name.get(&key) else { return Ok(()) };
        let slots: Vec<Arc<ExtensionSlot>> = entry.users.iter().map(|(s, _)| s.clone()).collect();
        let began = precise_now();
        let compiled: Result<Vec<_>, String> = slots
            .iter()
            .map(|slot| self.compile_extension(slot, &resource.name, &resource.body))
            .collect();
        let took = precise_now() - began;
        let Some(entry) = self.extensions.by_name.get_mut(&key) else { return Ok(()) };
        match compiled {
            Ok(compiled) => {
                slots.iter().zip(compiled).for_each(|(slot, found)| slot.set(Some(found)));
                entry.raw = Some(Raw::of(resource));
                let registry = self.compiler.registry();
                entry.counts.took(&self.stats, registry, &resource.version, took, true);
                self.listeners_may_be_warm();
                Ok(())
            }
            Err(text) => {
                entry.counts.slots().refused(&self.stats);
                self.stats.inc(entry.fail.1);
                Err(text)
            }
        }
    }

    /// ECDS has no such options any more, or they have not come in time: the default counts.
    pub(super) fn default_extension(&mut self, feed: FeedId, name: &Arc<str>, late: bool) {
        let Some(entry) = self.extensions.by_name.get_mut(&(feed, name.clone())) else { return };
        if late {
            if entry.users.iter().all(|(slot, _)| slot.version() > 0) {
                return;
            }
            entry.counts.slots().timed_out(&self.stats);
            let url = Kind::Extension.type_url();
            log!(Warning, Config, "gRPC config: initial fetch timed out for {url} ('{name}')");
        }
        entry.raw = None;
        let waiting = entry.users.iter().filter(|(slot, _)| !late || slot.version() == 0);
        waiting.for_each(|(slot, _)| slot.set(None));
        self.listeners_may_be_warm();
    }

    /// The feed has no connection.
    pub(super) fn count_lost_extensions(&self, feed: FeedId, count: Count) {
        let of_feed = self.extensions.by_name.iter().filter(|((of, _), _)| *of == feed);
        of_feed.for_each(|(_, entry)| count(entry.counts.slots(), &self.stats));
    }

    /// For `/config_dump`.
    pub(super) fn dump_extensions(&self, out: &mut Vec<Dumped>) {
        for ((_, name), entry) in &self.extensions.by_name {
            let raw = entry.raw.iter().map(|raw| (raw.clone(), ResourceState::Active));
            Dumped::versions(name, raw, out);
        }
    }
}

fn prefix(slot: &ExtensionSlot) -> String {
    format!("extension_config_discovery.{}.{}.", slot.kind.word(), slot.name)
}
