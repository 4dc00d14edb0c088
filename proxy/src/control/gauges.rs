//! Statistics of the process that the control thread writes: `server.*`, `listener_manager.*`,
//! watchdogs, `runtime.*`, `filesystem.*`.

use super::admin::info;
use super::message::StopListening;
use super::state::{Server, State};
use crate::observe::stats::blocks::{
    ClusterManagerStats, FilesystemStats, ListenerManagerStats, OverloadActionStats, OverloadStats,
    RuntimeStats, ServerStats, WatchdogStats,
};
use crate::observe::stats::{Registry, ShardStats};
use crate::plan::Plan;

/// `traffic_direction: INBOUND`
const INBOUND: i32 = 1;

/// The blocks and the control thread's page.
pub(super) struct Gauges {
    stats: ShardStats,
    server: ServerStats,
    listeners: ListenerManagerStats,
    /// Blocks that are listed and never change here: their handles keep them.
    _listed: Listed,
}

#[expect(dead_code, reason = "held so that their names stay listed")]
struct Listed {
    watchdogs: Vec<WatchdogStats>,
    runtime: RuntimeStats,
    filesystem: FilesystemStats,
    overload: OverloadStats,
    actions: OverloadActionStats,
}

impl Gauges {
    pub(super) fn new(
        registry: &mut Registry,
        stats: ShardStats,
        plan: &Plan,
        shards: usize,
    ) -> Self {
        let mut owners = vec!["main_thread".to_owned(), "workers".to_owned()];
        owners.push("server.main_thread".to_owned());
        owners.extend((0..shards).map(|shard| format!("server.worker_{shard}")));
        let server = ServerStats::new(registry);
        let listeners = ListenerManagerStats::new(registry);
        let clusters = ClusterManagerStats::new(registry);
        let listed = Listed {
            watchdogs: owners.iter().map(|owner| WatchdogStats::new(registry, owner)).collect(),
            runtime: RuntimeStats::new(registry),
            filesystem: FilesystemStats::new(registry),
            overload: OverloadStats::new(registry),
            actions: OverloadActionStats::new(registry),
        };
        let count = plan.listeners.len() as u64;
        stats.gauge_set(server.concurrency(), shards as u64);
        stats.gauge_set(server.version(), info::revision_number());
        stats.gauge_set(server.days_until_first_cert_expiring(), u64::from(u32::MAX));
        stats.add(listeners.listener_added(), count);
        stats.add(listeners.listener_create_success(), count * shards as u64);
        stats.gauge_set(listeners.total_listeners_active(), count);
        let defined = plan.clusters.iter().flatten().count() as u64;
        stats.add(clusters.cluster_added(), defined);
        stats.gauge_set(clusters.active_clusters(), defined);
        Self { stats, server, listeners, _listed: listed }
    }

    /// The state has changed.
    pub(super) fn live(&self, server: &Server) {
        let state = server.state();
        self.stats.gauge_set(self.server.live(), u64::from(state == State::Live));
        self.stats.gauge_set(self.server.state(), state as u64);
        if state == State::Live {
            self.stats.gauge_set(self.listeners.workers_started(), 1);
        }
    }

    /// What changes all the time, once per flush interval.
    pub(super) fn update(&self, server: &Server) {
        let memory = info::process_memory();
        self.stats.gauge_set(self.server.uptime(), server.uptime().as_secs());
        self.stats.gauge_set(self.server.memory_allocated(), memory.anonymous);
        self.stats.gauge_set(self.server.memory_heap_size(), memory.data);
        self.stats.gauge_set(self.server.memory_physical_size(), memory.resident);
    }

    /// Time from the start of the process until all shards were ready.
    pub(super) fn initialized(&self, server: &Server) {
        let took = u64::try_from(server.uptime().as_millis()).unwrap_or(u64::MAX);
        self.stats.record(self.server.initialization_time_ms(), took);
    }

    /// Listening sockets were closed.
    pub(super) fn listeners_stopped(&self, plan: &Plan, which: StopListening) {
        let closed = plan.listeners.iter().filter(|listener| match which {
            StopListening::All => true,
            StopListening::Inbound => listener.direction == INBOUND,
        });
        self.stats.add(self.listeners.listener_stopped(), closed.count() as u64);
    }
}
