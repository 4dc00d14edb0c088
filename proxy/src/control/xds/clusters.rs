//! Clusters: those of the bootstrap and those CDS brings, the version of each that is used and the
//! one that is still warming.
//!
//! LIFECYCLE of a version: put → warming (its endpoints, secrets, addresses or first health checks
//! are awaited) → active, in place of the one before → replaced, or leaving (CDS has removed it but
//! a route still names it) → gone.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use ringway_xds::client::Resource;

use super::Xds;
use super::compile::Made;
use super::due::Due;
use super::feeds::FeedId;
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;
use crate::observe::stats::{EdsStats, TextReadout};
use crate::plan::cluster::Discovery;
use crate::plan::tls::SecretSlot;
use crate::plan::{Cluster, ClusterId, ClusterName, ConfigSource};

/// How long a cluster that is gone is kept for routes that name it.
pub(super) const LEAVING_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// All clusters.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) by_name: HashMap<Arc<str>, Entry, RandomState>,
    /// How many active route tables and listeners name a cluster, by id.
    named: HashMap<ClusterId, u32, RandomState>,
    /// How many are warming.
    pub(super) warming: usize,
    /// How many are active.
    pub(super) active: usize,
    /// Active ones whose hosts have not all been checked once: the start waits for them.
    pub(super) unchecked: HashSet<ClusterId, RandomState>,
}

/// One cluster.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The bootstrap has it: CDS cannot change it.
    pub(super) fixed: bool,
    pub(super) active: Option<Version>,
    pub(super) warming: Option<Version>,
    /// CDS has removed it.
    pub(super) leaving: bool,
    /// What the subscription for its endpoints counts.
    pub(super) eds: Option<Box<(EdsStats, TextReadout)>>,
}

/// A version of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) raw: Option<Arc<Raw>>,
    pub(super) cluster: Arc<Cluster>,
    /// Where its endpoints come from.
    pub(super) feed: Option<FeedId>,
    /// It does not wait any longer for secrets.
    patient: bool,
    /// It has to be compiled again when values of the runtime change.
    pub(super) reads_runtime: bool,
}

impl Clusters {
    /// Whether requests to this cluster find it.
    pub(super) fn is_active(&self, name: &ClusterName) -> bool {
        let entry = self.by_name.get(&name.name).and_then(|entry| entry.active.as_ref());
        entry.is_some_and(|version| version.cluster.id == name.id)
    }

    /// Something that is in use names these.
    pub(super) fn hold(&mut self, names: &[Arc<ClusterName>]) {
        names.iter().for_each(|name| *self.named.entry(name.id).or_default() += 1);
    }

    /// It is in use no more; answers those that nobody names now and that are leaving.
    pub(super) fn release(&mut self, names: &[Arc<ClusterName>]) -> Vec<Arc<str>> {
        let mut free = Vec::new();
        for name in names {
            let Some(count) = self.named.get_mut(&name.id) else { continue };
            *count = count.saturating_sub(1);
            if *count > 0 {
                continue;
            }
            self.named.remove(&name.id);
            if self.by_name.get(&name.name).is_some_and(|entry| entry.leaving) {
                free.push(name.name.clone());
            }
        }
        free
    }

    /// Whether all there are have what they wait for.
    pub(super) fn are_settled(&self) -> bool {
        self.warming == 0 && self.unchecked.is_empty()
    }

    /// How many are named by something in use.
    #[cfg(test)]
    pub(super) fn count_named(&self) -> usize {
        self.named.len()
    }

    fn is_named(&self, id: ClusterId) -> bool {
        self.named.contains_key(&id)
    }
}

impl Xds {
    /// Whether a route that names this cluster need not wait for it: it is there, or it is fetched
    /// when a request wants it.
    pub(super) fn is_at_hand(&self, name: &ClusterName) -> bool {
        let warms = || self.clusters.by_name.get(&name.name).is_some_and(|e| e.warming.is_some());
        self.clusters.is_active(name) || self.compiler.fetches_clusters() && !warms()
    }

    /// A cluster of the bootstrap.
    pub(super) fn put_static_cluster(&mut self, cluster: Arc<Cluster>) {
        let name = cluster.name.clone();
        self.clusters.by_name.entry(name).or_default().fixed = true;
        self.stats.inc(self.names.clusters.cluster_added());
        let reads_runtime = false;
        self.put_cluster(Made { value: cluster, reads_runtime }, None);
    }

    /// A cluster of CDS.
    pub(super) fn apply_cluster(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<(), String> {
        let entry = self.clusters.by_name.get(&resource.name);
        if entry.is_some_and(|entry| entry.fixed) {
            log!(Debug, Upstream, "cds: '{}' is the bootstrap's and stays", resource.name);
            return Ok(());
        }
        let known = entry.and_then(|entry| entry.warming.as_ref().or(entry.active.as_ref()));
        let same = known.and_then(|known| known.raw.as_ref()).map(|raw| raw.hash);
        if same == Some(resource.hash) && entry.is_some_and(|entry| !entry.leaving) {
            return Ok(());
        }
        let is_new = known.is_none();
        let cluster = self.compile_cluster(source, &resource.name, &resource.body)?;
        let counts = &self.names.clusters;
        let count = if is_new { counts.cluster_added() } else { counts.cluster_modified() };
        self.stats.inc(count);
        self.put_cluster(cluster, Some(Raw::of(resource)));
        Ok(())
    }

    /// Begins to warm a version.
    pub(super) fn put_cluster(&mut self, made: Made<Arc<Cluster>>, raw: Option<Arc<Raw>>) {
        let Made { value: cluster, reads_runtime } = made;
        let name = cluster.name.clone();
        let feed = self.subscribe_endpoints(&cluster);
        let entry = self.clusters.by_name.entry(name.clone()).or_default();
        entry.leaving = false;
        let version =
            Version { raw, cluster: cluster.clone(), feed, patient: false, reads_runtime };
        let before = entry.warming.replace(version);
        match before {
            Some(before) => self.release_version(&before),
            None => self.clusters.warming += 1,
        }
        self.want_secrets(secrets_of(&cluster));
        self.control.warm(&cluster);
        if let (Discovery::Eds(eds), Some(feed)) = (&cluster.discovery, feed) {
            self.assign_stored(feed, &eds.name, &cluster);
        }
        if !self.activate_if_warm(&name) {
            let wait = fetch_timeout(&cluster);
            if !wait.is_zero() {
                self.due.after(wait, Due::Cluster(name));
            }
        }
    }

    /// The version that is warming takes over if it has all it needs. Answers whether none warms.
    pub(super) fn activate_if_warm(&mut self, name: &Arc<str>) -> bool {
        let entry = self.clusters.by_name.get(name);
        let Some(version) = entry.and_then(|entry| entry.warming.as_ref()) else { return true };
        let has_secrets = || secrets_of(&version.cluster).iter().all(|slot| slot.is_ready());
        if !self.control.is_resolved(version.cluster.id) || !(version.patient || has_secrets()) {
            return false;
        }
        self.activate_cluster(name);
        true
    }

    fn activate_cluster(&mut self, name: &Arc<str>) {
        let Some(entry) = self.clusters.by_name.get_mut(name) else { return };
        let Some(version) = entry.warming.take() else { return };
        let cluster = version.cluster.clone();
        let before = entry.active.replace(version);
        self.clusters.warming = self.clusters.warming.saturating_sub(1);
        match before {
            Some(before) => self.release_version(&before),
            None => self.clusters.active += 1,
        }
        self.change.clusters.push((cluster.id, Some(cluster.clone())));
        if let Some(hosts) = self.control.activate(cluster.id) {
            self.desk.hosts.borrow_mut().push((cluster.id, hosts));
        }
        if !self.control.is_initialized(cluster.id) {
            self.clusters.unchecked.insert(cluster.id);
        }
        log!(Debug, Upstream, "cluster {name} is active");
        self.cluster_came(&cluster.name);
        self.retry_held_routes();
    }

    /// A version is not needed any more.
    fn release_version(&mut self, version: &Version) {
        self.release_secrets(secrets_of(&version.cluster));
        if let (Discovery::Eds(eds), Some(feed)) = (&version.cluster.discovery, version.feed) {
            self.unsubscribe_endpoints(feed, &eds.name, &version.cluster.name);
        }
    }

    /// CDS has no such cluster any more.
    pub(super) fn remove_cluster(&mut self, name: &Arc<str>) {
        let Some(entry) = self.clusters.by_name.get_mut(name) else { return };
        if entry.fixed || entry.leaving {
            return;
        }
        entry.leaving = true;
        if let Some(version) = entry.warming.take() {
            self.clusters.warming = self.clusters.warming.saturating_sub(1);
            self.control.forget_warming(version.cluster.id);
            self.release_version(&version);
        }
        let entry = self.clusters.by_name.get(name);
        let active = entry.and_then(|entry| entry.active.as_ref());
        if active.is_some_and(|version| self.clusters.is_named(version.cluster.id)) {
            log!(Debug, Upstream, "cds: '{name}' is still named and stays for a while");
            self.due.after(LEAVING_MAX, Due::Leaving(name.clone()));
        } else {
            self.drop_cluster(name);
        }
        self.stats.inc(self.names.clusters.cluster_removed());
    }

    /// Ends a cluster that is leaving.
    pub(super) fn drop_cluster(&mut self, name: &Arc<str>) {
        if !self.clusters.by_name.get(name).is_some_and(|entry| entry.leaving) {
            return;
        }
        let Some(entry) = self.clusters.by_name.remove(name) else { return };
        self.end_demanded_cluster(name);
        if let Some((_, text)) = entry.eds.as_deref() {
            self.compiler.registry().remove_text(*text);
        }
        if let Some(version) = &entry.active {
            self.clusters.active = self.clusters.active.saturating_sub(1);
            self.release_version(version);
            self.control.remove(version.cluster.id);
            self.clusters.unchecked.remove(&version.cluster.id);
            self.change.clusters.push((version.cluster.id, None));
            self.compiler.cluster_gone(version.cluster.id);
        }
        self.sweep_soon();
    }

    /// A cluster has waited long enough.
    pub(super) fn cluster_due(&mut self, name: &Arc<str>) {
        let Some(entry) = self.clusters.by_name.get_mut(name) else { return };
        let Some(version) = entry.warming.as_mut() else { return };
        version.patient = true;
        let cluster = version.cluster.clone();
        if matches!(cluster.discovery, Discovery::Eds(_)) && self.control.give_up(cluster.id) {
            log!(
                Warning,
                Config,
                "gRPC config: initial fetch timed out for {} (cluster '{name}')",
                Kind::Endpoints.type_url()
            );
            self.count_endpoints(name, |slots, stats| slots.timed_out(stats));
        }
        self.activate_if_warm(name);
    }

    /// Every secret may be there now that some cluster waits for.
    pub(super) fn clusters_with_secrets(&mut self) {
        if self.clusters.warming == 0 {
            return;
        }
        let waiting = self.clusters.by_name.iter().filter(|(_, entry)| {
            let warming = entry.warming.as_ref();
            warming.is_some_and(|version| !secrets_of(&version.cluster).is_empty())
        });
        let waiting: Vec<Arc<str>> = waiting.map(|(name, _)| name.clone()).collect();
        for name in &waiting {
            self.activate_if_warm(name);
        }
    }

    /// For `/config_dump`.
    pub(super) fn dump_clusters(&self, out: &mut Vec<Dumped>) {
        for (name, entry) in self.clusters.by_name.iter().filter(|(_, entry)| !entry.fixed) {
            let versions = [
                (entry.active.as_ref(), ResourceState::Active),
                (entry.warming.as_ref(), ResourceState::Warming),
            ];
            let versions =
                versions.into_iter().filter_map(|(v, state)| Some((v?.raw.clone()?, state)));
            Dumped::versions(name, versions, out);
        }
    }
}

/// Slots of secrets a cluster needs.
fn secrets_of(cluster: &Cluster) -> &[Arc<SecretSlot>] {
    cluster.needs.as_deref().map_or(&[], |needs| &needs.secrets)
}

/// How long a cluster waits for what is fetched.
fn fetch_timeout(cluster: &Cluster) -> std::time::Duration {
    let endpoints = match &cluster.discovery {
        Discovery::Eds(eds) => Some(&eds.source),
        _ => None,
    };
    let secrets = secrets_of(cluster).iter().filter_map(|slot| slot.key.source.as_ref());
    let waits = secrets.chain(endpoints).map(|source| source.initial_fetch_timeout);
    waits.max().unwrap_or_default()
}
