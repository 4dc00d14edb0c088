//! How many connections clients may have open, over all listeners and shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::stats::{ResourceMonitorStats, ShardStats};

/// The limit, and how many there are. Shared by all listeners; written when a connection comes and
/// when it goes, so it has a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Ceiling {
    open: AtomicU64,
    limit: AtomicU64,
    /// Of `envoy.resource_monitors.global_downstream_max_connections`. Without it the limit is the
    /// runtime's (`overload.global_downstream_max_connections`), for which connections of exempt
    /// listeners count as well: they are let in, and take the place of others.
    monitor: Option<ResourceMonitorStats>,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { open: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX), monitor: None }
    }
}

/// One connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place(Option<Arc<Ceiling>>);

impl Ceiling {
    /// A limit that a resource monitor sets.
    pub fn monitored(limit: u64, stats: ResourceMonitorStats) -> Self {
        Self { limit: AtomicU64::new(limit), monitor: Some(stats), ..Self::default() }
    }

    /// Whether a resource monitor sets the limit.
    pub fn is_monitored(&self) -> bool {
        self.monitor.is_some()
    }

    /// The runtime's limit, which counts where no monitor sets one.
    pub fn set_runtime(&self, limit: u64) {
        if self.monitor.is_none() {
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// A place for a connection; `None` if all are taken. `exempt`: it is let in all the same.
    pub fn enter(self: &Arc<Self>, exempt: bool, stats: &ShardStats) -> Option<Place> {
        if exempt && self.monitor.is_some() {
            return Some(Place(None));
        }
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if exempt || before < self.limit.load(Ordering::Relaxed) {
            return Some(Place(Some(Arc::clone(self))));
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(monitor) = &self.monitor {
            stats.inc(monitor.failed_updates());
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ceiling) = &self.0 {
            ceiling.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
