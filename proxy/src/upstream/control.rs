//! The control thread's side of clusters: their current hosts, DNS, outlier ejection, membership
//! statistics, and when a cluster is ready for use.

mod lookups;
mod on_demand;

#[cfg(test)]
mod tests;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime as runtime;

use super::dns::Resolver;
use super::outlier::{Detector, EventLog, Observer};
use super::slots::Slots;
use crate::control::log::log;
use crate::control::message::EjectReason;
use crate::observe::stats::ShardStats;
use crate::plan::cluster::{Discovery, HostShared, HostState};
use crate::plan::{Address, Change, Cluster, ClusterId, Host, HostSet};

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
    /// A version of the cluster has got further: it has its first answer (or failure) from DNS or
    /// EDS ([`ClusterControl::is_resolved`]), or, besides, each of its hosts was checked once where
    /// there are health checks ([`ClusterControl::is_initialized`]).
    fn progressed(&self, cluster: ClusterId);
}

/// All clusters.
pub struct ClusterControl {
    shared: Rc<ControlCx>,
    /// Those the shards have, by id.
    clusters: RefCell<Vec<Option<Rc<Managed>>>>,
    /// Versions that will take the place of one of those.
    warming: RefCell<Warming>,
}

type Warming = hashbrown::HashMap<ClusterId, Rc<Managed>, foldhash::fast::RandomState>;

struct ControlCx {
    stats: Rc<ShardStats>,
    events: Rc<dyn ClusterEvents>,
    resolver: Resolver,
    lookups: Rc<Slots>,
    /// Where ejections are logged.
    event_log: OnceCell<EventLog>,
}

/// One cluster.
///
/// LIFECYCLE: made with its plan → waiting for DNS or EDS (or not) → waiting for the first check of
/// each host (or not) → initialized; gone with the plan that no longer has it, and its tasks with
/// it. Meanwhile: warming (only this thread knows it) → visible (the shards have it, and hear of
/// every change of its hosts).
struct Managed {
    cx: Rc<ControlCx>,
    plan: Arc<Cluster>,
    hosts: RefCell<Arc<HostSet>>,
    detector: RefCell<Option<Detector>>,
    /// The shards have it.
    visible: Cell<bool>,
    /// Names that have no result yet; 1 where EDS has said nothing yet.
    unresolved: Cell<usize>,
    /// Hosts whose first check is awaited.
    unchecked: RefCell<Vec<Arc<Host>>>,
    resolved: Cell<bool>,
    initialized: Cell<bool>,
    /// Hosts of an ORIGINAL_DST cluster that are not in `hosts` yet.
    coming: RefCell<Vec<Arc<Host>>>,
    tasks: RefCell<Vec<runtime::Join<()>>>,
}

impl ClusterControl {
    /// Without clusters. `stats` is the control thread's page.
    pub fn new(stats: Rc<ShardStats>, events: Rc<dyn ClusterEvents>, resolver: Resolver) -> Self {
        let lookups = Slots::new(LOOKUPS_MAX);
        let event_log = OnceCell::new();
        let shared = Rc::new(ControlCx { stats, events, resolver, lookups, event_log });
        Self { shared, clusters: RefCell::default(), warming: RefCell::default() }
    }

    /// Ejections are logged there from now on. Called once.
    pub fn log_ejections(&self, log: EventLog) {
        let _second_call = self.shared.event_log.set(log);
    }

    /// Opens log files again.
    pub fn reopen_logs(&self) {
        self.shared.event_log.get().into_iter().for_each(EventLog::reopen);
    }

    /// Takes over a change that the shards were sent, without warming.
    pub fn install(&self, change: &Change) {
        for cluster in change.set_clusters() {
            if self.get(cluster.id).is_some_and(|have| Arc::ptr_eq(&have.plan, cluster)) {
                continue;
            }
            self.warm(cluster);
            self.activate(cluster.id);
        }
        change.removed_clusters().for_each(|id| self.remove(id));
    }

    /// Looks for the hosts of a version of a cluster that is to take the place of the one with its
    /// id, if there is one.
    pub fn warm(&self, cluster: &Arc<Cluster>) {
        let managed = Managed::new(&self.shared, cluster);
        let before = self.warming.borrow_mut().insert(cluster.id, managed.clone());
        if let Some(before) = before {
            before.stop();
        }
        managed.start();
    }

    /// The version that is warming under this id.
    pub fn warming(&self, cluster: ClusterId) -> Option<Arc<Cluster>> {
        self.warming.borrow().get(&cluster).map(|managed| managed.plan.clone())
    }

    /// Whether the version that is warming knows its hosts. Their first health checks need the
    /// shards, and come afterwards.
    pub fn is_resolved(&self, cluster: ClusterId) -> bool {
        self.warming.borrow().get(&cluster).is_some_and(|managed| managed.unresolved.get() == 0)
    }

    /// Whether the version that the shards have is initialized.
    pub fn is_initialized(&self, cluster: ClusterId) -> bool {
        self.get(cluster).is_some_and(|managed| managed.initialized.get())
    }

    /// The version that is warming takes over: the shards are sent it, and told of its hosts from
    /// now on. Answers the hosts it has, if they are others than those it was compiled with.
    pub fn activate(&self, cluster: ClusterId) -> Option<Arc<HostSet>> {
        let managed = self.warming.borrow_mut().remove(&cluster)?;
        let before = {
            let mut clusters = self.clusters.borrow_mut();
            let at = cluster.0 as usize;
            if at >= clusters.len() {
                clusters.resize(at + 1, None);
            }
            clusters.get_mut(at)?.replace(managed.clone())
        };
        if let Some(before) = before {
            managed.inherit(&before);
            before.stop();
        }
        managed.visible.set(true);
        managed.count_members();
        managed.check_initialized();
        let hosts = managed.hosts.borrow().clone();
        (!Arc::ptr_eq(&hosts, &managed.plan.hosts)).then_some(hosts)
    }

    /// The version that is warming is not wanted any more.
    pub fn forget_warming(&self, cluster: ClusterId) {
        let managed = self.warming.borrow_mut().remove(&cluster);
        if let Some(managed) = managed {
            managed.stop();
        }
    }

    /// The shards do not have it any more.
    pub fn remove(&self, cluster: ClusterId) {
        let managed = self.clusters.borrow_mut().get_mut(cluster.0 as usize).and_then(Option::take);
        if let Some(managed) = managed {
            managed.stop();
        }
    }

    /// The hosts to compare an assignment with: those of this version of the cluster, or of the one
    /// it will take the place of.
    pub fn known_hosts(&self, cluster: &Arc<Cluster>) -> Arc<HostSet> {
        let own = self.version(cluster);
        let has_any = |managed: &Rc<Managed>| managed.unresolved.get() == 0;
        let own = own.filter(has_any).or_else(|| self.get(cluster.id));
        own.map(|managed| managed.hosts.borrow().clone()).unwrap_or_default()
    }

    /// EDS says that these are the hosts of this version of a cluster.
    pub fn set_hosts(&self, cluster: &Arc<Cluster>, hosts: Arc<HostSet>) {
        if let Some(managed) = self.version(cluster) {
            managed.assign(hosts);
        }
    }

    /// The version that is warming does not wait any longer for EDS. Answers whether it did.
    pub fn give_up(&self, cluster: ClusterId) -> bool {
        let managed = self.warming.borrow().get(&cluster).cloned();
        let Some(managed) = managed else { return false };
        let waited = managed.unresolved.replace(0) > 0;
        managed.check_initialized();
        waited
    }

    /// This very version, warming or not.
    fn version(&self, cluster: &Arc<Cluster>) -> Option<Rc<Managed>> {
        let same = |managed: &Rc<Managed>| Arc::ptr_eq(&managed.plan, cluster);
        let warming = self.warming.borrow().get(&cluster.id).cloned().filter(same);
        warming.or_else(|| self.get(cluster.id).filter(same))
    }

    /// Whether every cluster is initialized.
    pub fn all_initialized(&self) -> bool {
        self.clusters.borrow().iter().flatten().all(|managed| managed.initialized.get())
    }

    /// The hosts a cluster has now.
    pub fn hosts(&self, cluster: ClusterId) -> Option<Arc<HostSet>> {
        self.get(cluster).map(|managed| managed.hosts.borrow().clone())
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
        self.warming.borrow().values().for_each(|managed| managed.stop());
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
            Discovery::Static | Discovery::OriginalDst(_) => 0,
            Discovery::Eds(_) => 1,
            Discovery::StrictDns(dns) | Discovery::LogicalDns(dns) => dns.targets.len(),
        };
        Rc::new(Self {
            cx: cx.clone(),
            plan: plan.clone(),
            hosts: RefCell::new(Arc::default()),
            detector: RefCell::new(plan.outlier.clone().map(Detector::new)),
            visible: Cell::new(false),
            unresolved: Cell::new(names),
            unchecked: RefCell::default(),
            resolved: Cell::new(false),
            initialized: Cell::new(false),
            coming: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    fn start(self: &Rc<Self>) {
        let (stats, names) = (&self.cx.stats, &self.plan.stats);
        stats.gauge_set(names.warming_state(), 1);
        // Each host's transport socket is matched when it is made.
        for host in &self.plan.hosts.hosts {
            stats.inc(self.plan.matched(host.info.socket));
        }
        self.adopt(self.plan.hosts.clone());
        let mut tasks = lookups::start(self);
        tasks.extend(on_demand::start(self));
        if self.plan.outlier.is_some() {
            tasks.push(runtime::spawn(sweep(Rc::downgrade(self))));
        }
        let has_names = !matches!(self.plan.discovery, Discovery::Eds(_));
        if has_names && self.unresolved.get() > 0 {
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
            localities: before.localities.clone(),
            drop: before.drop.clone(),
        });
        self.tell(set);
    }

    /// EDS says that these are the hosts.
    fn assign(&self, set: Arc<HostSet>) {
        let same = Arc::ptr_eq(&self.hosts.borrow(), &set);
        if !same {
            self.tell(set);
        }
        self.unresolved.set(0);
        self.check_initialized();
    }

    fn tell(&self, set: Arc<HostSet>) {
        self.adopt(set.clone());
        if self.visible.get() {
            self.cx.events.hosts(self.plan.id, set);
        }
    }

    /// What active checks found out about hosts of the version before holds for hosts at the same
    /// addresses: a change of the cluster is no reason to send them nothing until they are checked
    /// again.
    fn inherit(&self, before: &Self) {
        if self.plan.health_checks.is_empty() || before.plan.health_checks.is_empty() {
            return;
        }
        let old = before.hosts.borrow();
        let healthy = |host: &&Arc<Host>| host.state.flags() & HostState::FAILED_ACTIVE_HC == 0;
        let passed: hashbrown::HashSet<&Address, foldhash::fast::RandomState> =
            old.hosts.iter().filter(healthy).map(|host| &host.address).collect();
        let new = self.hosts.borrow();
        for host in new.hosts.iter().filter(|host| passed.contains(&host.address)) {
            host.state.clear(HostState::FAILED_ACTIVE_HC);
        }
        self.unchecked.borrow_mut().retain(|host| !passed.contains(&host.address));
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
        if self.visible.get() {
            self.cx.events.health_changed(self.plan.id);
        }
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
            cluster: &self.plan.name,
            log: self.cx.event_log.get(),
        };
        if run(detector, &mut observer) {
            self.health_changed();
        }
    }

    fn count_members(&self) {
        if !self.visible.get() {
            return;
        }
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
        if self.unresolved.get() > 0 {
            return;
        }
        let mut news = !self.resolved.replace(true);
        if self.unchecked.borrow().is_empty() && !self.initialized.replace(true) {
            self.cx.stats.gauge_set(self.plan.stats.warming_state(), 0);
            news = true;
        }
        if news {
            self.cx.events.progressed(self.plan.id);
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
