//! What a subscription counts, under Envoy's names.

use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::unix_now;
use xxhash_rust::xxh64::xxh64;

use crate::observe::stats::{
    ClusterStats, Counter, EdsStats, Gauge, Histogram, Registry, ReloadStats, ShardStats,
    SubscriptionStats, TextReadout,
};

/// The slots of a subscription, wherever they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    attempt: Counter,
    success: Counter,
    failure: Counter,
    rejected: Counter,
    timeout: Counter,
    time: Gauge,
    version: Gauge,
    duration: Histogram,
}

/// Counts one outcome.
pub(super) type Count = fn(Slots, &ShardStats);

impl Slots {
    /// Those of a cluster's endpoints.
    pub(super) fn of_cluster(cluster: &ClusterStats, eds: &EdsStats) -> Self {
        Self {
            attempt: cluster.update_attempt(),
            success: cluster.update_success(),
            failure: cluster.update_failure(),
            rejected: eds.update_rejected(),
            timeout: eds.init_fetch_timeout(),
            time: eds.update_time(),
            version: cluster.version(),
            duration: eds.update_duration(),
        }
    }

    fn of(stats: &SubscriptionStats) -> Self {
        Self {
            attempt: stats.update_attempt(),
            success: stats.update_success(),
            failure: stats.update_failure(),
            rejected: stats.update_rejected(),
            timeout: stats.init_fetch_timeout(),
            time: stats.update_time(),
            version: stats.version(),
            duration: stats.update_duration(),
        }
    }

    /// It begins to ask.
    pub(super) fn began(self, stats: &ShardStats) {
        stats.inc(self.attempt);
    }

    /// What came was taken.
    pub(super) fn took(self, stats: &ShardStats, version: &str, took: Duration) {
        stats.inc(self.success);
        stats.inc(self.attempt);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        stats.gauge_set(self.time, millis(unix_now()));
        stats.gauge_set(self.version, xxh64(version.as_bytes(), 0));
        stats.record(self.duration, millis(took));
    }

    /// What came was refused.
    pub(super) fn refused(self, stats: &ShardStats) {
        stats.inc(self.rejected);
        stats.inc(self.attempt);
    }

    /// There was no connection.
    pub(super) fn failed(self, stats: &ShardStats) {
        stats.inc(self.failure);
        stats.inc(self.attempt);
    }

    /// Nothing came in time.
    pub(super) fn timed_out(self, stats: &ShardStats) {
        stats.inc(self.timeout);
        stats.inc(self.attempt);
    }
}

/// The statistics of a subscription of its own: CDS, LDS, a route table, a secret.
#[derive(Debug)]
pub(super) struct Counts {
    block: SubscriptionStats,
    reload: Option<ReloadStats>,
    version: TextReadout,
}

impl Counts {
    /// Under a prefix, which brings its dot; with `config_reload`, where `reload` is set.
    pub(super) fn new(registry: &mut Registry, prefix: &str, reload: bool) -> Self {
        Self {
            block: SubscriptionStats::new(registry, prefix),
            reload: reload.then(|| ReloadStats::new(registry, prefix)),
            version: registry.text_readout(&format!("{prefix}version_text")),
        }
    }

    pub(super) fn slots(&self) -> Slots {
        Slots::of(&self.block)
    }

    /// What came was taken; `changed`: it was not what is there already.
    pub(super) fn took(
        &self,
        stats: &ShardStats,
        registry: &mut Registry,
        version: &Arc<str>,
        took: Duration,
        changed: bool,
    ) {
        self.slots().took(stats, version, took);
        registry.set_text(self.version, version);
        if let Some(reload) = self.reload.as_ref().filter(|_| changed) {
            stats.inc(reload.config_reload());
            let now = u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX);
            stats.gauge_set(reload.config_reload_time_ms(), now);
        }
    }

    /// The subscription has ended.
    pub(super) fn end(self, registry: &mut Registry) {
        registry.remove_text(self.version);
    }
}
