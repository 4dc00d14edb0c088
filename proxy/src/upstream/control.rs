//! The control thread's side of clusters: their current hosts, DNS, outlier ejection, membership
//! statistics, and when a cluster is ready for use.

mod lookups;
mod on_demand;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime as runtime;

use super::dns::Resolver;
use super::outlier::{Detector, Observer};
use super::slots::Slots;
use crate::control::log::log;
use crate::control::message::EjectReason;
use crate::observe::stats::ShardStats;
use crate::plan::cluster::{Discovery, HostShared, HostState};
use crate::plan::{Change, Cluster, ClusterId, Host, HostSet};

/// Look-ups under way at once: each has a socket.
const LOOKUPS_MAX: u32 = 128;

/// How long a cluster counts as not ready for want of an answer from DNS.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the control thread does with the news of a cluster. Called from tasks of the control
/// thread and from within [`ClusterControl`]'s methods; must not call back into it.
pub trait ClusterEvents {
    /// The cluster has other hosts: every shard (and the admin thread) is to be told, in order.
    fn hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>);
    /// Health bits of a host changed: every shard is to build its tables again.
    fn health_changed(&self, cluster: ClusterId);
    /// The cluster is ready: it has its first answer (or failure) from DNS, and each of its hosts
    /// was checked once where there are health checks. Once per cluster of a plan.
    fn initialized(&self, cluster: ClusterId);
}

/// All clusters of a plan.
pub struct ClusterControl {
    shared: Rc<ControlCx>,
    clusters: RefCell<Vec<Option<Rc<Managed>>>>,
}

struct ControlCx {
    stats: Rc<ShardStats>,
    events: Rc<dyn ClusterEvents>,
    resolver: Resolver,
    lookups: Rc<Slots>,
}

/// One cluster.
///
/// LIFECYCLE: made with its plan → waiting for DNS (or not) → waiting for the first check of each
/// host (or not) → initialized; gone with the plan that no longer has it, and its tasks with it.
struct Managed {
    cx: Rc<ControlCx>,
    plan: Arc<Cluster>,
    hosts: RefCell<Arc<HostSet>>,
    detector: RefCell<Option<Detector>>,
    /// Names that have no result yet.
    unresolved: Cell<usize>,
    /// Hosts whose first check is awaited.
    unchecked: RefCell<Vec<Arc<Host>>>,
    initialized: Cell<bool>,
    /// Hosts of an ORIGINAL_DST cluster that are not in `hosts` yet.
    coming: RefCell<Vec<Arc<Host>>>,
    tasks: RefCell<Vec<runtime::Join<()>>>,
}

impl ClusterControl {
    /// Without clusters. `stats` is the control thread's page.
    pub fn new(stats: Rc<ShardStats>, events: Rc<dyn ClusterEvents>, resolver: Resolver) -> Self {
        let lookups = Slots::new(LOOKUPS_MAX);
        let shared = Rc::new(ControlCx { stats, events, resolver, lookups });
        Self { shared, clusters: RefCell::default() }
    }

    /// Takes over a change, after the shards were sent it. Clusters whose `Arc` is the same go on.
    pub fn install(&self, change: &Change) {
        let mut started = Vec::new();
        for (id, wanted) in &change.clusters {
            let mut clusters = self.clusters.borrow_mut();
            let at = id.0 as usize;
            if at >= clusters.len() {
                clusters.resize(at + 1, None);
            }
            let Some(slot) = clusters.get_mut(at) else { continue };
            let wanted = wanted.as_ref();
            let same = |have: &Rc<Managed>| wanted.is_some_and(|w| Arc::ptr_eq(&have.plan, w));
            if slot.as_ref().is_some_and(same) {
                continue;
            }
            if let Some(old) = slot.take() {
                old.stop();
            }
            *slot = wanted.map(|plan| Managed::new(&self.shared, plan));
            started.extend(slot.clone());
        }
        started.iter().for_each(|cluster| cluster.start());
    }

    /// The hosts a cluster has now.
    pub fn hosts(&self, cluster: ClusterId) -> Option<Arc<HostSet>> {
        self.get(cluster).map(|managed| managed.hosts.borrow().clone())
    }

    /// Whether every cluster is initialized.
    pub fn all_initialized(&self) -> bool {
        self.clusters.borrow().iter().flatten().all(|managed| managed.initialized.get())
    }

    /// A shard saw a host break a rule ([`super::Outbox::eject`]).
    pub fn eject(&self, cluster: ClusterId, host: &Arc<Host>, reason: EjectReason) {
        if let Some(managed) = self.get(cluster) {
            managed.detect(|detector, observer| detector.eject(host, reason, observer));
        }
    }

    /// A shard has made a host ([`super::Outbox::host_added`]).
    pub fn host_added(&self, cluster: ClusterId, host: Arc<Host>) {
        if let Some(managed) = self.get(cluster) {
            on_demand::add(&managed, host);
        }
    }

    /// A host was checked ([`super::Outbox::health_verdict`]); its bits are set.
    pub fn health_verdict(&self, cluster: ClusterId, host: &Arc<Host>, healthy: bool) {
        let Some(managed) = self.get(cluster) else { return };
        if healthy {
            managed.detect(|detector, observer| detector.health_check_passed(host, observer));
        }
        managed.health_changed();
        managed.unchecked.borrow_mut().retain(|waiting| !waiting.is_same(host));
        managed.check_initialized();
    }

    fn get(&self, cluster: ClusterId) -> Option<Rc<Managed>> {
        self.clusters.borrow().get(cluster.0 as usize)?.clone()
    }
}

impl Drop for ClusterControl {
    fn drop(&mut self) {
        self.clusters.borrow().iter().flatten().for_each(|managed| managed.stop());
    }
}

impl fmt::Debug for ClusterControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterControl")
            .field("clusters", &self.clusters.borrow().iter().flatten().count())
            .finish_non_exhaustive()
    }
}

impl Managed {
    fn new(cx: &Rc<ControlCx>, plan: &Arc<Cluster>) -> Rc<Self> {
        let names = match &plan.discovery {
            Discovery::Static | Discovery::OriginalDst(_) | Discovery::Eds(_) => 0,
            Discovery::StrictDns(dns) | Discovery::LogicalDns(dns) => dns.targets.len(),
        };
        Rc::new(Self {
            cx: cx.clone(),
            plan: plan.clone(),
            hosts: RefCell::new(Arc::default()),
            detector: RefCell::new(plan.outlier.clone().map(Detector::new)),
            unresolved: Cell::new(names),
            unchecked: RefCell::default(),
            initialized: Cell::new(false),
            coming: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    fn start(self: &Rc<Self>) {
        let (stats, names) = (&self.cx.stats, &self.plan.stats);
        stats.gauge_set(names.warming_state(), 1);
        // Each host's transport socket is matched when it is made; there is one for all.
        stats.add(names.default_total_match_count(), self.plan.hosts.hosts.len() as u64);
        self.adopt(self.plan.hosts.clone());
        let mut tasks = lookups::start(self);
        tasks.extend(on_demand::start(self));
        if self.plan.outlier.is_some() {
            tasks.push(runtime::spawn(sweep(Rc::downgrade(self))));
        }
        if self.unresolved.get() > 0 {
            tasks.push(runtime::spawn(give_up(Rc::downgrade(self))));
        }
        self.tasks.borrow_mut().append(&mut tasks);
        self.check_initialized();
    }

    /// Ends its tasks and takes what it counts out of the gauges.
    fn stop(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
        self.detect(|detector, observer| {
            detector.set_hosts(&[], observer);
            false
        });
    }

    /// These are the hosts from now on, and all shards are told.
    fn publish(&self, hosts: Vec<Arc<Host>>) {
        let before = self.hosts.borrow().clone();
        let set = Arc::new(HostSet {
            version: before.version + 1,
            hosts,
            overprovisioning_percent: before.overprovisioning_percent,
        });
        self.adopt(set.clone());
        self.cx.events.hosts(self.plan.id, set);
    }

    /// These are the hosts from now on. The shards have them already, or are told by the caller.
    fn adopt(&self, set: Arc<HostSet>) {
        let old = self.hosts.replace(set.clone());
        set.hosts.iter().for_each(|host| _ = host.apply_eds_health());
        let (new, gone) = (not_in(&set, &old), not_in(&old, &set));
        // Each priority changes by itself.
        let mut levels: Vec<u32> = new.iter().chain(&gone).map(|h| h.info.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        for _ in levels {
            self.cx.stats.inc(self.plan.stats.membership_change());
        }
        if !self.plan.health_checks.is_empty() && !self.initialized.get() {
            let mut unchecked = self.unchecked.borrow_mut();
            unchecked.retain(|w| set.hosts.iter().any(|host| w.is_same(host)));
            unchecked.extend(new.into_iter().filter(|host| !host.info.no_active_check));
        }
        self.detect(|detector, observer| {
            detector.set_hosts(&set.hosts, observer);
            false
        });
        self.count_members();
    }

    fn health_changed(&self) {
        self.count_members();
        self.cx.events.health_changed(self.plan.id);
    }

    /// Runs outlier detection; what it changed is told.
    fn detect(&self, run: impl FnOnce(&mut Detector, &mut Observer<'_>) -> bool) {
        let mut detector = self.detector.borrow_mut();
        let (Some(detector), Some(names)) = (&mut *detector, &self.plan.outlier_stats) else {
            return;
        };
        let mut observer = Observer {
            stats: &self.cx.stats,
            names,
            random_below: &mut runtime::rand_below,
            now: runtime::now(),
        };
        if run(detector, &mut observer) {
            self.health_changed();
        }
    }

    fn count_members(&self) {
        let (stats, names) = (&self.cx.stats, &self.plan.stats);
        let hosts = self.hosts.borrow();
        let with = |test: fn(u32) -> bool| {
            hosts.hosts.iter().filter(|host| test(host.state.flags())).count() as u64
        };
        stats.gauge_set(names.membership_total(), hosts.hosts.len() as u64);
        let healthy = |f| f & (HostState::UNHEALTHY | HostState::DEGRADED) == 0;
        stats.gauge_set(names.membership_healthy(), with(healthy));
        let degraded = |f| f & HostState::UNHEALTHY == 0 && f & HostState::DEGRADED != 0;
        stats.gauge_set(names.membership_degraded(), with(degraded));
        stats.gauge_set(names.membership_excluded(), with(|f| f & HostState::EXCLUDED != 0));
        if matches!(self.plan.discovery, Discovery::StrictDns(_)) {
            let heaviest = hosts.hosts.iter().map(|host| host.info.weight).max().unwrap_or(1);
            stats.gauge_set(names.max_host_weight(), u64::from(heaviest));
        }
    }

    fn check_initialized(&self) {
        let ready = self.unresolved.get() == 0 && self.unchecked.borrow().is_empty();
        if ready && !self.initialized.replace(true) {
            self.cx.stats.gauge_set(self.plan.stats.warming_state(), 0);
            self.cx.events.initialized(self.plan.id);
        }
    }
}

/// The hosts of a set that another does not have.
fn not_in(set: &HostSet, other: &HostSet) -> Vec<Arc<Host>> {
    let known: hashbrown::HashSet<*const HostShared, foldhash::fast::RandomState> =
        other.hosts.iter().map(|host| host.identity()).collect();
    set.hosts.iter().filter(|host| !known.contains(&host.identity())).cloned().collect()
}

/// Ends the wait for DNS: a server that does not answer must not keep traffic waiting that needs
/// nothing of it. The look-up goes on.
async fn give_up(managed: Weak<Managed>) {
    runtime::sleep(FIRST_ANSWER_MAX).await;
    let Some(managed) = managed.upgrade() else { return };
    if managed.unresolved.replace(0) > 0 {
        let (name, seconds) = (&managed.plan.name, FIRST_ANSWER_MAX.as_secs());
        log!(
            Warning,
            Upstream,
            "cluster {name}: no answer from DNS after {seconds} s, not waiting"
        );
        managed.check_initialized();
    }
}

/// Outlier detection's regular part.
async fn sweep(managed: Weak<Managed>) {
    loop {
        let interval = match managed.upgrade() {
            Some(managed) => managed.plan.outlier.as_ref().map(|rules| rules.interval),
            None => None,
        };
        let Some(interval) = interval else { return };
        runtime::sleep(interval).await;
        let Some(managed) = managed.upgrade() else { return };
        managed.detect(Detector::sweep);
    }
}
