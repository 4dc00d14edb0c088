//! Endpoints: what EDS says of the hosts of clusters.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message;
use ringway_runtime::precise_now;
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::client::Resource;
use smallvec::SmallVec;

use super::Xds;
use super::counts::Slots;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;
use crate::observe::stats::{EdsStats, ShardStats};
use crate::plan::Cluster;
use crate::plan::cluster::Discovery;

/// Assignments by feed and name.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    by_name: HashMap<(FeedId, Arc<str>), Assignment, RandomState>,
}

/// One assignment, and whose hosts it says.
#[derive(Debug, Default)]
struct Assignment {
    raw: Option<Arc<Raw>>,
    /// Names of the clusters, once for each of their versions.
    users: SmallVec<[Arc<str>; 1]>,
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
            slots.began(&self.stats);
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
        let mut users = assignment.users.clone();
        users.sort_unstable();
        users.dedup();
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
        result
    }

    fn assign_to_all(&mut self, users: &[Arc<str>], resource: &Resource) -> Result<(), String> {
        let decoded = self.decode_endpoints(resource)?;
        for user in users {
            let Some(entry) = self.clusters.by_name.get(user) else { continue };
            let versions = [&entry.active, &entry.warming];
            let clusters: SmallVec<[Arc<Cluster>; 2]> =
                versions.into_iter().flatten().map(|version| version.cluster.clone()).collect();
            for cluster in clusters {
                let of_this = |eds: &crate::plan::cluster::Eds| eds.name == resource.name;
                if matches!(&cluster.discovery, Discovery::Eds(eds) if of_this(eds)) {
                    self.assign(&cluster, &decoded)?;
                }
            }
            self.activate_if_warm(user);
        }
        Ok(())
    }

    /// These are the endpoints of a version of a cluster.
    fn assign(
        &mut self,
        cluster: &Arc<Cluster>,
        assignment: &ClusterLoadAssignment,
    ) -> Result<(), String> {
        let old = self.control.known_hosts(cluster);
        let hosts = self.compile_endpoints(cluster, assignment, &old)?.hosts;
        if Arc::ptr_eq(&hosts, &old) {
            self.stats.inc(cluster.stats.update_no_rebuild());
        }
        if hosts.hosts.is_empty() {
            self.stats.inc(cluster.stats.update_empty());
        }
        self.control.set_hosts(cluster, hosts);
        Ok(())
    }

    /// EDS says that there is no such assignment. What was assigned stays, as in Envoy.
    pub(super) fn remove_endpoints(&mut self, feed: FeedId, name: &Arc<str>) {
        let Some(assignment) = self.endpoints.by_name.get_mut(&(feed, name.clone())) else {
            return;
        };
        let mut users = assignment.users.clone();
        users.sort_unstable();
        users.dedup();
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
    pub(super) fn count_lost_endpoints(&self, feed: FeedId) {
        for (_, assignment) in self.endpoints.by_name.iter().filter(|((of, _), _)| *of == feed) {
            for user in &assignment.users {
                self.count_endpoints(user, |slots, stats| slots.failed(stats));
            }
        }
    }

    /// A file of endpoints cannot be read: who waits for it does so no longer.
    pub(super) fn endpoints_fail(&mut self, feed: FeedId) {
        self.count_lost_endpoints(feed);
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
