//! Active health checks. One shard per cluster runs them; what they find is written into the
//! hosts' shared bits and told to the control thread, which tells every shard.
//!
//! A host is unhealthy until its first pass ([`Host::new`] sets the bit); the first check's
//! result counts at once, later ones by the thresholds ([`verdict`]). Intervals, jitter and the
//! slower pace of clusters without traffic are Envoy's.

mod attempt;
mod http;
mod http2;
mod session;
mod tcp;
mod verdict;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime as runtime;

use super::cluster::Shared;
use crate::observe::stats::Gauge;
use crate::plan::Host;
use crate::plan::cluster::{HostShared, HostState};

/// The checks of one cluster.
pub(super) struct HealthChecker {
    cluster: Rc<Shared>,
    sessions: RefCell<Sessions>,
}

type Sessions = hashbrown::HashMap<*const HostShared, Running, foldhash::fast::RandomState>;

/// A session at work; dropping it ends it and takes the host out of the gauges.
struct Running {
    cluster: Rc<Shared>,
    host: Arc<Host>,
    task: runtime::Join<()>,
}

impl HealthChecker {
    /// `None` if the cluster has no health checks or another shard runs them.
    pub(super) fn for_cluster(cluster: &Rc<Shared>) -> Option<Self> {
        let wanted = cluster.shard.owns(cluster.plan.id) && !cluster.plan.health_checks.is_empty();
        wanted.then(|| Self { cluster: cluster.clone(), sessions: RefCell::default() })
    }

    /// Checks these hosts from now on, and no others.
    pub(super) fn set_hosts(&self, hosts: &[Arc<Host>]) {
        let mut old = std::mem::take(&mut *self.sessions.borrow_mut());
        let mut new = Sessions::default();
        for host in hosts {
            // Envoy checks a host of several health checks by the first; the compiler allows one.
            let key = host.identity();
            if host.info.no_active_check || new.contains_key(&key) {
                continue;
            }
            let running = old.remove(&key).unwrap_or_else(|| Running::new(&self.cluster, host));
            new.insert(key, running);
        }
        *self.sessions.borrow_mut() = new;
    }
}

impl Running {
    fn new(cluster: &Rc<Shared>, host: &Arc<Host>) -> Self {
        let gauges = counted_in(cluster, host);
        gauges.into_iter().flatten().for_each(|g| cluster.shard.stats.gauge_add(g, 1));
        let task = runtime::spawn(session::run(cluster.clone(), host.clone()));
        Self { cluster: cluster.clone(), host: host.clone(), task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        let gauges = counted_in(&self.cluster, &self.host);
        gauges.into_iter().flatten().for_each(|g| self.cluster.shard.stats.gauge_sub(g, 1));
    }
}

/// The gauges a checked host is part of: `healthy`, `degraded`.
fn counted_in(cluster: &Shared, host: &Host) -> [Option<Gauge>; 2] {
    let Some(names) = &cluster.plan.health_stats else { return [None, None] };
    let flags = host.state.flags();
    [
        (flags & HostState::FAILED_ACTIVE_HC == 0).then(|| names.healthy()),
        (flags & HostState::DEGRADED_ACTIVE_HC != 0).then(|| names.degraded()),
    ]
}
