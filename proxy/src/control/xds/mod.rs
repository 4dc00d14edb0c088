//! Configuration as it comes and changes: resources of the bootstrap and of xDS, on their way to
//! the shards.
//!
//! [`Xds`] belongs to the control loop, which tells it the news and lets it [work](Xds::work); what
//! comes of it goes out through [`Outlet`], as one [`Change`] for all that happened in a turn.
//!
//! | Module | Holds |
//! |---|---|
//! | `feeds`, `grpc`, `rest`, `files`, `pace` | where resources come from, and how fast |
//! | `work` | responses that are being applied |
//! | `clusters`, `endpoints`, `listeners`, `routes`, `secrets` | what there is, what it waits for |
//! | `demands` | what requests wait for |
//! | `load` | reports of load |
//! | `init` | the order in which a proxy begins |
//! | `raw`, `refusals` | resources as they came, and what is wrong with them, for `/config_dump` |

mod clusters;
mod compile;
mod counts;
mod demands;
mod due;
mod endpoints;
mod extensions;
mod feeds;
mod files;
mod grpc;
mod init;
mod kind;
mod layers;
mod listeners;
mod load;
mod pace;
mod publish;
mod raw;
mod recompile;
mod refusals;
mod rest;
mod routes;
mod scopes;
mod secrets;
#[cfg(test)]
mod tests;
mod vhds;
mod work;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use ringway_runtime::Instant;
use ringway_runtime::file::AppendOptions;

use self::clusters::Clusters;
use self::counts::{Count, Counts, Slots};
use self::demands::Demands;
use self::due::{Deadlines, Due};
use self::endpoints::Endpoints;
use self::extensions::Extensions;
use self::feeds::{FeedCx, Feeds};
use self::init::Init;
use self::layers::Layers;
use self::listeners::Listeners;
use self::refusals::Refusals;
use self::routes::Tables;
use self::scopes::ScopeSets;
use self::secrets::Secrets;
use self::vhds::VirtualHosts;
use self::work::{Whole, Work};
use super::log::log;
use super::message::{EjectReason, ListenSocket};
use super::restart::Inherited;
use crate::config::compile::{Compiler, Dynamic};
use crate::observe::stats::{ClusterManagerStats, ListenerManagerStats, RuntimeStats, ShardStats};
use crate::plan::cluster::Discovery;
use crate::plan::{Change, Cluster, ClusterId, Host, Listener, Plan};
use crate::upstream::control::ClusterControl;
use crate::upstream::dns::Resolver;
use crate::upstream::outlier::EventLog;
use crate::upstream::{Outbox, Upstreams};

pub(crate) use self::feeds::{Identity, News};
pub(crate) use self::init::Stage;
pub use self::kind::Kind;
pub use self::publish::Desk;
pub(crate) use self::publish::Outlet;
pub use self::raw::{DumpSnapshot, Dumped, DumpedKind, Raw, Refused, ResourceState, Unready};
#[cfg(test)]
pub(crate) use self::tests::bench;

/// Statistics of all clusters and all listeners.
#[derive(Debug, Clone)]
pub(crate) struct StatNames {
    pub(crate) clusters: ClusterManagerStats,
    pub(crate) listeners: ListenerManagerStats,
    pub(crate) runtime: RuntimeStats,
}

/// What the configuration begins with.
pub(crate) struct Start {
    pub(crate) compiler: Compiler,
    /// Clusters and listeners of the bootstrap.
    pub(crate) plan: Plan,
    pub(crate) dynamic: Dynamic,
    pub(crate) identity: Identity,
    pub(crate) names: StatNames,
    pub(crate) stats: Rc<ShardStats>,
    pub(crate) shards: usize,
    /// For every shard the sockets of the bootstrap's listeners.
    pub(crate) sockets: Vec<Vec<ListenSocket>>,
    /// Where they are bound.
    pub(crate) bound: Vec<super::bind::Bound>,
    /// Sockets of the process that this one replaces.
    pub(crate) inherited: Rc<RefCell<Inherited>>,
    pub(crate) outlet: Rc<dyn Outlet>,
    /// The bootstrap, encoded, where the runtime may change what its resources come to.
    pub(crate) bootstrap: Option<Box<[u8]>>,
    /// How log files are written.
    pub(crate) logs: AppendOptions,
}

/// All configuration.
pub(crate) struct Xds {
    compiler: Compiler,
    stats: Rc<ShardStats>,
    names: StatNames,
    shards: usize,
    outlet: Rc<dyn Outlet>,
    desk: Rc<Desk>,
    control: ClusterControl,
    /// Clusters of management servers, on this thread.
    upstreams: Rc<Upstreams>,
    own: HashSet<Arc<str>, RandomState>,
    feeds: Feeds,
    /// Reports load to a service, once that has begun.
    reporter: Option<Rc<load::Reporter>>,
    dynamic: Dynamic,
    clusters: Clusters,
    endpoints: Endpoints,
    listeners: Listeners,
    tables: Tables,
    secrets: Secrets,
    extensions: Extensions,
    scopes: ScopeSets,
    hosts: VirtualHosts,
    demands: Demands,
    layers: Layers,
    layer_counts: Option<Counts>,
    /// Encoded, where the runtime may change what its resources come to.
    bootstrap: Option<Box<[u8]>>,
    whole: HashMap<Kind, Whole, RandomState>,
    refusals: Refusals,
    /// Versions of the last responses of kinds that are asked for by name.
    versions: HashMap<Kind, Arc<str>, RandomState>,
    work: Work,
    due: Deadlines,
    sweep_is_due: bool,
    names_are_due: bool,
    init: Init,
    /// Clusters of the bootstrap whose turn has not come: before [`Xds::begin`] all of them, then
    /// those that have to wait for others.
    secondary: Vec<Arc<Cluster>>,
    /// Listeners of the bootstrap, until it is their turn.
    first_listeners: Vec<(Arc<Listener>, Vec<Vec<ListenSocket>>)>,
    inherited: Rc<RefCell<Inherited>>,
    /// What has not been sent yet.
    change: Change,
    plan: Plan,
}

impl Xds {
    /// Opens log files again.
    pub(crate) fn reopen_logs(&self) {
        self.control.reopen_logs();
    }

    /// Nothing runs before [`Xds::begin`].
    pub(crate) fn new(start: Start) -> Self {
        let outlet = start.outlet;
        let desk = Rc::new(Desk::new(outlet.clone()));
        let control = ClusterControl::new(start.stats.clone(), desk.clone(), Resolver::default());
        if let Some(path) = &start.dynamic.outlier_log {
            match EventLog::open(path.clone(), start.logs) {
                Ok(log) => control.log_ejections(log),
                Err(error) => {
                    let path = path.display();
                    log!(Error, File, "outlier event log {path}: {error}; nothing is logged there");
                }
            }
        }
        let index = u32::try_from(start.shards).unwrap_or(u32::MAX);
        let outbox: Rc<dyn Outbox> = desk.clone();
        let upstreams = Rc::new(Upstreams::new(index, index, start.stats.clone(), outbox));
        let sink = outlet.clone();
        let tell = Box::new(move |news| sink.news(news));
        let cx = FeedCx::new(upstreams.clone(), start.stats.clone(), tell);
        let feeds = Feeds::new(cx, start.dynamic.ads.clone(), start.identity);
        let Plan { clusters, listeners, version, .. } = start.plan;
        let mut xds = Self {
            compiler: start.compiler,
            stats: start.stats,
            names: start.names,
            shards: start.shards,
            outlet,
            desk,
            control,
            upstreams,
            own: HashSet::default(),
            feeds,
            reporter: None,
            dynamic: start.dynamic,
            clusters: Clusters::default(),
            endpoints: Endpoints::default(),
            listeners: Listeners::default(),
            tables: Tables::default(),
            secrets: Secrets::default(),
            extensions: Extensions::default(),
            scopes: ScopeSets::default(),
            hosts: VirtualHosts::default(),
            demands: Demands::default(),
            layers: Layers::default(),
            layer_counts: None,
            bootstrap: start.bootstrap,
            whole: HashMap::default(),
            refusals: Refusals::default(),
            versions: HashMap::default(),
            work: Work::default(),
            due: Deadlines::default(),
            sweep_is_due: false,
            names_are_due: false,
            init: Init::new(),
            secondary: clusters.into_iter().flatten().collect(),
            first_listeners: Vec::new(),
            inherited: start.inherited,
            change: Change::default(),
            plan: Plan { version, ..Plan::default() },
        };
        xds.listeners.bound = start.bound;
        xds.sort_sockets(listeners, start.sockets);
        xds
    }

    /// Gives each listener of the bootstrap its sockets.
    fn sort_sockets(&mut self, listeners: Vec<Arc<Listener>>, sockets: Vec<Vec<ListenSocket>>) {
        let mut sockets = sockets;
        for listener in listeners {
            let mut own = Vec::with_capacity(sockets.len());
            for shard in &mut sockets {
                let (mine, rest) =
                    std::mem::take(shard).into_iter().partition(|s| s.listener == listener.name);
                *shard = rest;
                own.push(mine);
            }
            self.first_listeners.push((listener, own));
        }
    }

    /// Begins with the clusters of the bootstrap.
    pub(crate) fn begin(&mut self) {
        let all = std::mem::take(&mut self.secondary);
        let is_secondary = |cluster: &Arc<Cluster>| matches!(cluster.discovery, Discovery::Eds(_));
        let (secondary, primary): (Vec<_>, Vec<_>) = all.into_iter().partition(is_secondary);
        self.secondary = secondary;
        primary.into_iter().for_each(|cluster| self.put_static_cluster(cluster));
        self.settle();
    }

    /// Something has happened.
    pub(crate) fn news(&mut self, news: News) {
        match news {
            News::Update { feed, update, used } => self.queue_update(feed, *update, used),
            News::Unread(feed, kind, why) => self.file_failed(feed, kind, why),
            News::Expired(feed, expired) => {
                for expired in expired {
                    self.queue_expired(feed, expired);
                }
            }
            News::Clusters => {}
            News::Lost(feed) => self.count_lost(feed, Slots::failed),
            News::LoadReport { begin } => self.report_load(begin),
        }
        self.settle();
    }

    /// A feed has no connection, or brings nothing that can be taken.
    fn count_lost(&mut self, feed: feeds::FeedId, count: Count) {
        for whole in self.whole.values().filter(|whole| whole.feed == feed) {
            count(whole.counts.slots(), &self.stats);
        }
        self.count_lost_endpoints(feed, count);
        self.count_lost_routes(feed, count);
        self.count_lost_secrets(feed, count);
        self.count_lost_extensions(feed, count);
        self.count_lost_scopes(feed, count);
        self.count_lost_layers(feed, count);
        self.count_lost_demands(feed, count);
    }

    /// A subscription begins. A file is not asked: each time it is read is an attempt.
    fn begin_count(&self, feed: feeds::FeedId, slots: Slots) {
        if !self.feeds.is_file(feed) {
            slots.began(&self.stats);
        }
    }

    /// When [`Xds::deadlines`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Does what is due.
    pub(crate) fn deadlines(&mut self) {
        while let Some(due) = self.due.take() {
            match due {
                Due::Cluster(name) => self.cluster_due(&name),
                Due::Leaving(name) => self.drop_cluster(&name),
                Due::Listener(name) => self.listener_due(&name),
                Due::HeldListener(name) => self.held_listener_due(&name),
                Due::Routes(slot) => self.held_routes_due(slot),
                Due::FirstRoutes(slot) => self.first_routes_due(slot),
                Due::First(feed, kind) => self.first_due(feed, kind),
                Due::FirstScopes(slot) => self.first_scopes_due(slot),
                Due::Extension(feed, name) => self.default_extension(feed, &name, true),
                Due::Stale(feed, name) => self.stale_due(feed, &name),
                Due::Layer(name) => self.layer_due(&name),
                Due::Demand(feed, kind, name, number) => {
                    self.demand_due(feed, kind, &name, number);
                }
                Due::Sweep => self.sweep(),
                Due::Names => {
                    self.names_are_due = false;
                    self.compiler.registry().publish();
                }
            }
        }
        self.settle();
    }

    /// Looks soon for names that nobody holds any more.
    fn sweep_soon(&mut self) {
        const WAIT: Duration = Duration::from_secs(1);
        if !std::mem::replace(&mut self.sweep_is_due, true) {
            self.due.after(WAIT, Due::Sweep);
        }
    }

    /// Shows readers soon which statistics there are: not for each of many changes.
    fn publish_names_soon(&mut self) {
        const WAIT: Duration = Duration::from_millis(50);
        if !std::mem::replace(&mut self.names_are_due, true) {
            self.due.after(WAIT, Due::Names);
        }
    }

    fn sweep(&mut self) {
        self.sweep_is_due = false;
        self.sweep_scopes();
        self.sweep_routes();
        self.compiler.sweep();
        self.compiler.registry().sweep();
        self.compiler.registry().publish();
    }

    /// Whether secrets are in files.
    pub(crate) fn watches_secrets(&mut self) -> bool {
        self.compiler.secrets().watches_files()
    }

    /// Takes what has changed in the files of secrets.
    pub(crate) fn look_at_secrets(&mut self) {
        crate::control::secrets::look(&mut self.compiler, &self.stats);
    }

    /// Where the start is.
    pub(crate) fn stage(&self) -> Stage {
        self.init.stage
    }

    /// What is published, as a whole.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Names of statistics that a shard asks for late.
    pub(crate) fn registry(&mut self) -> &mut crate::observe::stats::Registry {
        self.compiler.registry()
    }

    /// A shard saw a host break a rule.
    pub(crate) fn eject(&mut self, cluster: ClusterId, host: &Arc<Host>, reason: EjectReason) {
        self.control.eject(cluster, host, reason);
        self.settle();
    }

    /// A shard has made a host.
    pub(crate) fn host_added(&mut self, cluster: ClusterId, host: Arc<Host>) {
        self.control.host_added(cluster, host);
        self.settle();
    }

    /// A host was checked.
    pub(crate) fn health_verdict(&mut self, cluster: ClusterId, host: &Arc<Host>, healthy: bool) {
        self.control.health_verdict(cluster, host, healthy);
        self.settle();
    }

    /// For `/config_dump` and `/init_dump`.
    pub(crate) fn dump(&self) -> DumpSnapshot {
        let mut kinds = Vec::new();
        type Fill = fn(&Xds, &mut Vec<Dumped>);
        let fills: [(Kind, Fill); 8] = [
            (Kind::Cluster, Self::dump_clusters),
            (Kind::Endpoints, Self::dump_endpoints),
            (Kind::Listener, Self::dump_listeners),
            (Kind::Routes, Self::dump_routes),
            (Kind::Secret, Self::dump_secrets),
            (Kind::Extension, Self::dump_extensions),
            (Kind::Scope, Self::dump_scopes),
            (Kind::Runtime, Self::dump_layers),
        ];
        for (kind, fill) in fills {
            let mut resources = Vec::new();
            fill(self, &mut resources);
            resources.sort_by(|a, b| a.name.cmp(&b.name));
            self.refusals.dump(kind, &mut resources);
            let whole = self.whole.get(&kind).map(|whole| &whole.version);
            let version = whole.or_else(|| self.versions.get(&kind)).cloned();
            let version = version.unwrap_or_else(|| "".into());
            if !resources.is_empty() || whole.is_some() {
                kinds.push(DumpedKind { kind, version, resources });
            }
        }
        DumpSnapshot { kinds, unready: self.unready() }
    }
}

impl fmt::Debug for Xds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xds")
            .field("stage", &self.init.stage)
            .field("clusters", &self.clusters.active)
            .field("version", &self.plan.version)
            .finish_non_exhaustive()
    }
}
