//! Network filters that pass a connection on, compiled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::observe::stats::ConnectionLimitStats;

/// `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`
#[derive(Debug)]
pub struct ConnectionLimit {
    /// `max_connections`, over all shards.
    pub max: u64,
    /// `delay`: how long a connection above the limit is kept before it is closed.
    pub delay: Duration,
    /// `runtime_enabled`, default true.
    pub enabled: bool,
    /// `connection_limit.<stat_prefix>.*`
    pub stats: ConnectionLimitStats,
    /// How many there are.
    pub active: Active,
}

/// A count all shards change: once for each connection, so it is on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Active(AtomicU64);

impl Active {
    /// Counts one in, unless there are `max` already.
    pub fn enter(&self, max: u64) -> bool {
        let more = |count: u64| (count < max).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts one out.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
