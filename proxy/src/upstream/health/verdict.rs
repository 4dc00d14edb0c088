//! What a check's result means for a host. No clock and no I/O: bits in, bits out.

use std::time::Duration;

use crate::plan::cluster::{HealthCheck, HostState};

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// As expected; with `x-envoy-degraded` the host is degraded.
    Passed { degraded: bool },
    /// It answered, but not as expected. `retriable`: by `retriable_statuses`, so that it takes
    /// `unhealthy_threshold` of them; others make the host unhealthy at once.
    Failed { retriable: bool },
    /// No answer: connect failed, connection closed.
    Network,
    /// No answer within `timeout`.
    Timeout,
}

impl Checked {
    pub(super) fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }

    pub(super) fn passed(self) -> bool {
        matches!(self, Self::Passed { .. })
    }
}

/// What a result did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// Nothing.
    Unchanged,
    /// It takes more results like this.
    Pending,
    /// The host's bits are others now.
    Changed,
}

/// The checks of one host so far.
///
/// LIFECYCLE: no result yet → the first one decides at once (a pass always; a failure too unless
/// it is of the network or retriable, which it hardly matters: the host began as failed) → then
/// `healthy_threshold` passes in a row bring it back, and it takes one failed answer, or
/// `unhealthy_threshold` network failures, timeouts or retriable answers in a row to fail it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History {
    first: bool,
    healthy: u32,
    unhealthy: u32,
}

impl History {
    pub(super) fn new() -> Self {
        Self { first: true, healthy: 0, unhealthy: 0 }
    }

    /// Whether there was no result yet.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// Counts a result and sets the host's bits.
    pub(super) fn apply(
        &mut self,
        check: &HealthCheck,
        state: &HostState,
        checked: Checked,
    ) -> Transition {
        let mut transition = match checked {
            Checked::Passed { .. } => self.pass(check, state),
            _ => self.fail(check, state, checked),
        };
        // A host that waited for its first check counts from now on, whatever the result.
        if state.flags() & HostState::PENDING_ACTIVE_HC != 0 {
            state.clear(HostState::PENDING_ACTIVE_HC);
            transition = Transition::Changed;
        }
        if let Checked::Passed { degraded } = checked {
            transition = set_degraded(state, degraded, transition);
        }
        self.first = false;
        transition
    }

    fn pass(&mut self, check: &HealthCheck, state: &HostState) -> Transition {
        self.unhealthy = 0;
        if state.flags() & HostState::FAILED_ACTIVE_HC == 0 {
            return Transition::Unchanged;
        }
        self.healthy += 1;
        if !self.first && self.healthy != check.healthy_threshold {
            return Transition::Pending;
        }
        state.clear(
            HostState::ACTIVE_HC_TIMEOUT
                | HostState::EXCLUDED_IMMEDIATE
                | HostState::FAILED_ACTIVE_HC,
        );
        Transition::Changed
    }

    fn fail(&mut self, check: &HealthCheck, state: &HostState, checked: Checked) -> Transition {
        self.healthy = 0;
        let mut transition = Transition::Unchanged;
        if state.flags() & HostState::FAILED_ACTIVE_HC == 0 {
            let at_once = checked == Checked::Failed { retriable: false };
            self.unhealthy += u32::from(!at_once);
            if at_once || self.unhealthy == check.unhealthy_threshold {
                state.set(HostState::FAILED_ACTIVE_HC);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        let failed = state.flags() & HostState::FAILED_ACTIVE_HC != 0;
        if failed && checked == Checked::Timeout {
            state.set(HostState::ACTIVE_HC_TIMEOUT);
        } else {
            state.clear(HostState::ACTIVE_HC_TIMEOUT);
        }
        transition
    }
}

fn set_degraded(state: &HostState, degraded: bool, before: Transition) -> Transition {
    if degraded == (state.flags() & HostState::DEGRADED_ACTIVE_HC != 0) {
        return before;
    }
    if degraded {
        state.set(HostState::DEGRADED_ACTIVE_HC);
    } else {
        state.clear(HostState::DEGRADED_ACTIVE_HC);
    }
    // A change that still takes more passes stays pending.
    if before == Transition::Unchanged { Transition::Changed } else { before }
}

/// Time to the next check, before jitter: by the last result and what it did; slower while the
/// cluster has never had a connection (`traffic` is false).
pub(super) fn interval(
    check: &HealthCheck,
    passed: bool,
    transition: Transition,
    traffic: bool,
) -> Duration {
    let pending = transition == Transition::Pending;
    match (traffic, passed, pending) {
        (false, true, false) => check.no_traffic_healthy_interval,
        (false, _, _) => check.no_traffic_interval,
        (true, true, true) => check.healthy_edge_interval,
        (true, true, false) => check.interval,
        (true, false, true) => check.unhealthy_edge_interval,
        (true, false, false) => check.unhealthy_interval,
    }
}

/// Adds jitter to an interval; never zero, so that nothing spins. `below` draws a number.
pub(super) fn with_jitter(
    base: Duration,
    percent: u32,
    jitter: Duration,
    mut below: impl FnMut(u64) -> u64,
) -> Duration {
    let mut ms = base.as_millis() as u64;
    for range in [u64::from(percent) * ms / 100, jitter.as_millis() as u64] {
        if range > 0 {
            ms += below(range);
        }
    }
    Duration::from_millis(ms.max(1))
}
