//! Statistics of the process that the control thread writes: `server.*`, `listener_manager.*`,
//! watchdogs, `runtime.*`, `filesystem.*`.

use std::rc::Rc;

use super::admin::info;
use super::message::StopListening;
use super::state::{Server, State};
use super::xds::StatNames;
use crate::observe::stats::{
    BlockHandle, ClusterManagerStats, FilesystemStats, Gauge, Http1CodecStats,
    ListenerExtensionStats, ListenerManagerStats, OverloadActionStats, OverloadStats, Registry,
    RouterStats, RuntimeStats, ServerStats, ShardStats, ThreadLocalClusterStats, WatchdogStats,
};
use crate::plan::Plan;
use crate::plan::listener::Direction;

/// Names that belong to no resource. They are made before the plan's, which share some of them,
/// and kept as long as the process runs.
#[derive(Debug)]
pub struct Names {
    server: ServerStats,
    listeners: ListenerManagerStats,
    clusters: ClusterManagerStats,
    runtime: RuntimeStats,
    generation: (BlockHandle, Gauge),
    /// Listed, and never changed by the control thread.
    listed: Listed,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held so that their names stay listed")]
struct Listed {
    watchdogs: Vec<WatchdogStats>,
    inflated: Vec<ThreadLocalClusterStats>,
    filesystem: FilesystemStats,
    overload: OverloadStats,
    actions: OverloadActionStats,
    /// Of the connections of all listeners; plans hold slots of it.
    codec: Http1CodecStats,
    async_client: RouterStats,
}

impl Names {
    /// Names everything, for this many shards.
    pub fn new(registry: &mut Registry, shards: usize) -> Self {
        let workers = || (0..shards).map(|shard| format!("worker_{shard}"));
        let mut owners = vec!["main_thread".to_owned(), "workers".to_owned()];
        owners.push("server.main_thread".to_owned());
        owners.extend(workers().map(|worker| format!("server.{worker}")));
        let threads: Vec<String> =
            std::iter::once("main_thread".to_owned()).chain(workers()).collect();
        Self {
            server: ServerStats::new(registry),
            listeners: ListenerManagerStats::new(registry),
            clusters: ClusterManagerStats::new(registry),
            runtime: RuntimeStats::new(registry),
            generation: registry.gauge("server.hot_restart_generation"),
            listed: Listed {
                watchdogs: owners.iter().map(|o| WatchdogStats::new(registry, o)).collect(),
                inflated: threads
                    .iter()
                    .map(|thread| ThreadLocalClusterStats::new(registry, thread))
                    .collect(),
                filesystem: FilesystemStats::new(registry),
                overload: OverloadStats::new(registry),
                actions: OverloadActionStats::new(registry),
                codec: Http1CodecStats::new(registry),
                async_client: RouterStats::new(registry, "async-client"),
            },
        }
    }
}

impl Names {
    /// Those that tell of clusters and listeners.
    pub(super) fn of_configuration(&self) -> StatNames {
        StatNames {
            clusters: self.clusters.clone(),
            listeners: self.listeners.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

/// The names and the control thread's page.
pub(super) struct Gauges {
    stats: Rc<ShardStats>,
    names: Names,
    /// Of listeners that could have filters by ECDS, which none has.
    _extensions: Vec<ListenerExtensionStats>,
}

impl Gauges {
    pub(super) fn new(
        registry: &mut Registry,
        names: Names,
        stats: Rc<ShardStats>,
        plan: &Plan,
        shards: usize,
    ) -> Self {
        let clusters = plan.clusters.iter().flatten().count() as u64;
        stats.gauge_set(names.server.concurrency(), shards as u64);
        stats.gauge_set(names.server.version(), info::revision_number());
        stats.gauge_set(names.server.days_until_first_cert_expiring(), u64::from(u32::MAX));
        for thread in &names.listed.inflated {
            stats.gauge_set(thread.clusters_inflated(), clusters);
        }
        let extensions = plan
            .listeners
            .iter()
            .map(|listener| ListenerExtensionStats::new(registry, &listener.stat_prefix))
            .collect();
        Self { stats, names, _extensions: extensions }
    }

    /// Which process of a chain of hot restarts this is.
    pub(super) fn restarted(&self, epoch: u32, generation: u64) {
        self.stats.gauge_set(self.names.server.hot_restart_epoch(), epoch.into());
        self.stats.gauge_set(self.names.generation.1, generation);
    }

    /// Connections of the process that this one replaces.
    pub(super) fn parent_connections(&self, count: u64) {
        self.stats.gauge_set(self.names.server.parent_connections(), count);
    }

    /// The state has changed.
    pub(super) fn live(&self, server: &Server) {
        let state = server.state();
        self.stats.gauge_set(self.names.server.live(), u64::from(state == State::Live));
        self.stats.gauge_set(self.names.server.state(), state as u64);
        if state == State::Live {
            self.stats.gauge_set(self.names.listeners.workers_started(), 1);
        }
    }

    /// What changes all the time, once per flush interval.
    pub(super) fn update(&self, server: &Server) {
        let memory = info::process_memory();
        self.stats.gauge_set(self.names.server.uptime(), server.uptime().as_secs());
        self.stats.gauge_set(self.names.server.memory_allocated(), memory.anonymous);
        self.stats.gauge_set(self.names.server.memory_heap_size(), memory.data);
        self.stats.gauge_set(self.names.server.memory_physical_size(), memory.resident);
    }

    /// Time from the start of the process until all shards were ready.
    pub(super) fn initialized(&self, server: &Server) {
        let took = u64::try_from(server.uptime().as_millis()).unwrap_or(u64::MAX);
        self.stats.record(self.names.server.initialization_time_ms(), took);
    }

    /// Listening sockets were closed.
    pub(super) fn listeners_stopped(&self, plan: &Plan, which: StopListening) {
        let closed = plan.listeners.iter().filter(|listener| match which {
            StopListening::All => true,
            StopListening::Inbound => listener.direction == Direction::Inbound,
        });
        self.stats.add(self.names.listeners.listener_stopped(), closed.count() as u64);
    }
}
