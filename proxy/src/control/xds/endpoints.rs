//! Endpoints: what EDS says of the hosts of clusters.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message;
use ringway_runtime::{Instant, now, precise_now};
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::client::Resource;
use smallvec::SmallVec;

use super::Xds;
use super::counts::{Count, Slots};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::config::compile::Assignment;
use crate::control::log::log;
use crate::observe::stats::blocks::ClusterStats;
use crate::observe::stats::{Counter, EdsStats, ShardStats};
use crate::plan::cluster::Discovery;
use crate::plan::{Cluster, HostSet};

/// Assignments by feed and name.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    by_name: HashMap<(FeedId, Arc<str>), Record, RandomState>,
}

/// One assignment, and whose hosts it says.
#[derive(Debug, Default)]
struct Record {
    raw: Option<Arc<Raw>>,
    /// Names of the clusters, once for each of their versions.
    users: SmallVec<[Arc<str>; 1]>,
    /// When it is over unless it comes again (`endpoint_stale_after`).
    stale_at: Option<Instant>,
    /// [`Due::Stale`] will come.
    armed: bool,
    /// That time has come: nobody has these endpoints any more.
    stale: bool,
}

impl Record {
    /// Names of the clusters, each once.
    fn users(&self) -> SmallVec<[Arc<str>; 1]> {
        let mut users = self.users.clone();
        users.sort_unstable();
        users.dedup();
        users
    }
}

impl Endpoints {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.by_name.len()
    }
}

impl Xds {
    /// Asks for the endpoints of a version of a cluster.
    pub(super) fn subscribe_endpoints(&mut self, cluster: &Arc<Cluster>) -> Option<FeedId> {
        let Discovery::Eds(eds) = &cluster.discovery else { return None };
        let prefix = format!("cluster.{}.", cluster.stat_name);
        let wanted = Wanted { origin: &eds.source.origin, kind: Kind::Endpoints, prefix: &prefix };
        let feed = match self.open_feed(wanted) {
            Ok(feed) => feed,
            Err(text) => {
                log!(Warning, Upstream, "cluster {}: no endpoints: {text}", cluster.name);
                return None;
            }
        };
        let registry = self.compiler.registry();
        let entry = self.clusters.by_name.entry(cluster.name.clone()).or_default();
        if entry.eds.is_none() {
            let stats = EdsStats::new(registry, &cluster.stat_name);
            let text = registry.text_readout(&format!("{prefix}version_text"));
            entry.eds = Some(Box::new((stats, text)));
        }
        let key = (feed, eds.name.clone());
        let assignment = self.endpoints.by_name.entry(key).or_default();
        assignment.users.push(cluster.name.clone());
        self.feeds.subscribe(feed, Kind::Endpoints, &eds.name);
        if let Some(slots) = slots(cluster, entry.eds.as_deref().map(|(stats, _)| stats)) {
            self.begin_count(feed, slots);
        }
        Some(feed)
    }

    /// A version of a cluster does not want its endpoints any more.
    pub(super) fn unsubscribe_endpoints(
        &mut self,
        feed: FeedId,
        name: &Arc<str>,
        cluster: &Arc<str>,
    ) {
        let key = (feed, name.clone());
        let Some(assignment) = self.endpoints.by_name.get_mut(&key) else { return };
        if let Some(at) = assignment.users.iter().position(|user| user == cluster) {
            assignment.users.swap_remove(at);
            self.feeds.unsubscribe(feed, Kind::Endpoints, name);
        }
        if assignment.users.is_empty() {
            self.endpoints.by_name.remove(&key);
            self.refusals.forget(Kind::Endpoints, feed, name);
        }
    }

    /// What is known of a cluster's endpoints already counts at once.
    pub(super) fn assign_stored(&mut self, feed: FeedId, name: &Arc<str>, cluster: &Arc<Cluster>) {
        let stored = self.endpoints.by_name.get(&(feed, name.clone()));
        let stored = stored.filter(|stored| !stored.stale);
        let Some(raw) = stored.and_then(|stored| stored.raw.clone()) else { return };
        let Ok(decoded) = ClusterLoadAssignment::decode(&*raw.body) else { return };
        if let Err(text) = self.assign(cluster, &decoded) {
            log!(Warning, Upstream, "cluster {}: its endpoints do not fit: {text}", cluster.name);
        }
    }

    /// A resource of EDS.
    pub(super) fn apply_endpoints(
        &mut self,
        feed: FeedId,
        resource: &Resource,
    ) -> Result<(), String> {
        let key = (feed, resource.name.clone());
        let Some(assignment) = self.endpoints.by_name.get(&key) else {
            return Ok(());
        };
        let users = assignment.users();
        let began = precise_now();
        let result = self.assign_to_all(&users, resource);
        let took = precise_now() - began;
        let raw = Raw::of(resource);
        let Some(assignment) = self.endpoints.by_name.get_mut(&key) else { return Ok(()) };
        if result.is_ok() {
            assignment.raw = Some(raw);
        }
        for user in &users {
            self.count_assignment(user, &resource.version, took, result.is_ok());
        }
        self.expect_renewal(key, &users, result?);
        Ok(())
    }

    /// What was assigned is assigned for so long, if that is limited.
    fn expect_renewal(
        &mut self,
        key: (FeedId, Arc<str>),
        users: &[Arc<str>],
        stale_after: Option<Duration>,
    ) {
        let Some(assignment) = self.endpoints.by_name.get_mut(&key) else { return };
        let was_limited = assignment.stale_at.is_some() || assignment.stale;
        assignment.stale = false;
        assignment.stale_at = stale_after.map(|after| now() + after);
        let Some(after) = stale_after else {
            if was_limited {
                self.feeds.watch(key.0, Kind::Endpoints, &key.1, false);
            }
            return;
        };
        if !std::mem::replace(&mut assignment.armed, true) {
            self.due.after(after, Due::Stale(key.0, key.1.clone()));
        }
        self.feeds.watch(key.0, Kind::Endpoints, &key.1, true);
        self.count_staleness(users, ClusterStats::assignment_timeout_received);
    }

    /// An assignment has come as it was, which matters to its time.
    pub(super) fn renew_endpoints(&mut self, feed: FeedId, name: &Arc<str>, version: &Arc<str>) {
        let assignment = self.endpoints.by_name.get(&(feed, name.clone()));
        let Some(raw) = assignment.and_then(|assignment| assignment.raw.clone()) else { return };
        let resource = Resource {
            name: name.clone(),
            version: version.clone(),
            hash: raw.hash,
            body: raw.body.clone(),
            ttl: None,
            aliases: Box::default(),
        };
        if let Err(text) = self.apply_endpoints(feed, &resource) {
            log!(Warning, Upstream, "{name}: what was taken before is no longer: {text}");
        }
    }

    /// An assignment may be over.
    pub(super) fn stale_due(&mut self, feed: FeedId, name: &Arc<str>) {
        let key = (feed, name.clone());
        let Some(assignment) = self.endpoints.by_name.get_mut(&key) else { return };
        assignment.armed = false;
        let Some(at) = assignment.stale_at else { return };
        if at > now() {
            // It was renewed.
            assignment.armed = true;
            self.due.after(at - now(), Due::Stale(feed, name.clone()));
            return;
        }
        assignment.stale_at = None;
        assignment.stale = true;
        let users = assignment.users();
        log!(Warning, Upstream, "the endpoints '{name}' are too old and go: no update came");
        for cluster in self.versions_with(&users, name) {
            let old = self.control.known_hosts(&cluster);
            let none = HostSet { version: old.version + 1, ..HostSet::default() };
            self.control.set_hosts(&cluster, Arc::new(none));
        }
        self.count_staleness(&users, ClusterStats::assignment_stale);
    }

    fn count_staleness(&self, users: &[Arc<str>], counter: impl Fn(&ClusterStats) -> Counter) {
        for user in users {
            let Some(entry) = self.clusters.by_name.get(user) else { continue };
            if let Some(version) = entry.active.as_ref().or(entry.warming.as_ref()) {
                self.stats.inc(counter(&version.cluster.stats));
            }
        }
    }

    /// The versions of these clusters whose hosts an assignment says.
    fn versions_with(&self, users: &[Arc<str>], name: &str) -> SmallVec<[Arc<Cluster>; 2]> {
        let entries = users.iter().filter_map(|user| self.clusters.by_name.get(user));
        let versions = entries.flat_map(|entry| [&entry.active, &entry.warming]).flatten();
        let named = |cluster: &Cluster| match &cluster.discovery {
            Discovery::Eds(eds) => *eds.name == *name,
            _ => false,
        };
        versions.map(|version| version.cluster.clone()).filter(|cluster| named(cluster)).collect()
    }

    /// Answers for how long it is assigned, if that is limited.
    fn assign_to_all(
        &mut self,
        users: &[Arc<str>],
        resource: &Resource,
    ) -> Result<Option<Duration>, String> {
        let decoded = self.decode_endpoints(resource)?;
        let mut stale_after = None;
        for user in users {
            for cluster in self.versions_with(std::slice::from_ref(user), &resource.name) {
                stale_after = self.assign(&cluster, &decoded)?;
            }
            self.activate_if_warm(user);
        }
        Ok(stale_after)
    }

    /// These are the endpoints of a version of a cluster.
    fn assign(
        &mut self,
        cluster: &Arc<Cluster>,
        assignment: &ClusterLoadAssignment,
    ) -> Result<Option<Duration>, String> {
        let old = self.control.known_hosts(cluster);
        let Assignment { hosts, stale_after } =
            self.compile_endpoints(cluster, assignment, &old)?;
        if Arc::ptr_eq(&hosts, &old) {
            self.stats.inc(cluster.stats.update_no_rebuild());
        }
        if hosts.hosts.is_empty() {
            self.stats.inc(cluster.stats.update_empty());
        }
        self.control.set_hosts(cluster, hosts);
        Ok(stale_after)
    }

    /// EDS says that there is no such assignment. What was assigned stays, as in Envoy.
    pub(super) fn remove_endpoints(&mut self, feed: FeedId, name: &Arc<str>) {
        let Some(assignment) = self.endpoints.by_name.get_mut(&(feed, name.clone())) else {
            return;
        };
        let users = assignment.users();
        for user in users {
            let Some(entry) = self.clusters.by_name.get(&user) else { continue };
            if let Some(version) = &entry.warming {
                let id = version.cluster.id;
                self.control.give_up(id);
            }
            self.activate_if_warm(&user);
        }
    }

    fn count_assignment(
        &mut self,
        cluster: &Arc<str>,
        version: &Arc<str>,
        took: Duration,
        ok: bool,
    ) {
        self.count_endpoints(cluster, |slots, stats| {
            if ok { slots.took(stats, version, took) } else { slots.refused(stats) }
        });
        let entry = self.clusters.by_name.get(cluster).and_then(|entry| entry.eds.as_deref());
        if let Some((_, text)) = entry.filter(|_| ok) {
            self.compiler.registry().set_text(*text, version);
        }
    }

    /// Counts for the subscription of a cluster.
    pub(super) fn count_endpoints(&self, name: &str, count: impl FnOnce(Slots, &ShardStats)) {
        let Some(entry) = self.clusters.by_name.get(name) else { return };
        let Some(version) = entry.active.as_ref().or(entry.warming.as_ref()) else { return };
        let eds = entry.eds.as_deref().map(|(stats, _)| stats);
        if let Some(slots) = slots(&version.cluster, eds) {
            count(slots, &self.stats);
        }
    }

    /// The feed has no connection.
    pub(super) fn count_lost_endpoints(&self, feed: FeedId, count: Count) {
        for (_, assignment) in self.endpoints.by_name.iter().filter(|((of, _), _)| *of == feed) {
            for user in &assignment.users {
                self.count_endpoints(user, count);
            }
        }
    }

    /// A file of endpoints cannot be taken: who waits for it does so no longer.
    pub(super) fn endpoints_fail(&mut self, feed: FeedId) {
        let names =
            self.endpoints.by_name.iter().filter(|((of, _), a)| *of == feed && a.raw.is_none());
        let names: Vec<Arc<str>> = names.map(|((_, name), _)| name.clone()).collect();
        names.iter().for_each(|name| self.remove_endpoints(feed, name));
    }

    /// For `/config_dump?include_eds`.
    pub(super) fn dump_endpoints(&self, out: &mut Vec<Dumped>) {
        for ((_, name), assignment) in &self.endpoints.by_name {
            let raw = assignment.raw.iter().map(|raw| (raw.clone(), ResourceState::Active));
            Dumped::versions(name, raw, out);
        }
    }
}

fn slots(cluster: &Cluster, eds: Option<&EdsStats>) -> Option<Slots> {
    eds.map(|eds| Slots::of_cluster(&cluster.stats, eds))
}
