//! The checks of one host, one after the other.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime as runtime;

use super::attempt::{Attempt, Kept};
use super::verdict::{Checked, History, Transition, interval, with_jitter};
use crate::observe::stats::Counter;
use crate::observe::stats::blocks::HealthCheckStats;
use crate::plan::Host;
use crate::plan::cluster::{HealthCheck, HostState};
use crate::transport::Stream;
use crate::upstream::cluster::Shared;

/// Checks the host until the task is aborted.
pub(super) async fn run(cluster: Rc<Shared>, host: Arc<Host>) {
    let plan = cluster.plan.clone();
    let Some(check) = plan.health_checks.first() else { return };
    let mut session = Session { attempt: Attempt::new(&cluster, &host), cluster, host };
    session.run(check).await;
}

struct Session {
    cluster: Rc<Shared>,
    host: Arc<Host>,
    attempt: Attempt,
}

impl Session {
    async fn run(&mut self, check: &HealthCheck) {
        let mut history = History::new();
        let mut kept = None;
        if !check.initial_jitter.is_zero() {
            let below = |range| runtime::rand_below(range);
            let delay = with_jitter(Duration::ZERO, 0, check.initial_jitter, below);
            runtime::sleep(delay).await;
        }
        loop {
            let checked = self.check_once(check, &mut kept).await;
            let pause = self.conclude(check, &mut history, checked);
            self.pause(check, &mut history, &mut kept, pause).await;
        }
    }

    /// Waits for the next check. A kept connection that ends meanwhile is dropped; to a TCP check
    /// that is a failure, and the wait begins anew.
    async fn pause(
        &self,
        check: &HealthCheck,
        history: &mut History,
        kept: &mut Option<Kept>,
        pause: Duration,
    ) {
        let mut timer = runtime::sleep(pause);
        loop {
            let stirred = poll_fn(|cx| {
                if let Some(stream) = kept.as_ref().and_then(Kept::stream)
                    && stream.poll_closed_or_readable(cx).is_ready()
                {
                    return Poll::Ready(true);
                }
                Pin::new(&mut timer).poll(cx).map(|()| false)
            });
            if !stirred.await {
                return;
            }
            let came = kept.as_ref().and_then(Kept::stream).and_then(Stream::try_recv);
            let ended = match came {
                Some(Ok(Some(_))) => !self.attempt.tolerates_unasked_data(),
                _ => true,
            };
            if ended {
                kept.take();
                if self.attempt.fails_with_its_connection() {
                    let pause = self.conclude(check, history, Checked::Network);
                    timer.reset(runtime::now() + pause);
                }
            }
        }
    }

    /// One check, within its time limit.
    async fn check_once(&mut self, check: &HealthCheck, kept: &mut Option<Kept>) -> Checked {
        let slot = self.cluster.shard.checks.take().await;
        self.count(|names| names.attempt());
        let result = runtime::timeout(check.timeout, self.attempt.run(kept.take())).await;
        drop(slot);
        match result {
            Ok((checked, connection)) => {
                *kept = connection.filter(|_| check.reuse_connection);
                checked
            }
            Err(_) => Checked::Timeout,
        }
    }

    /// Applies and counts a result, tells about it; how long to wait for the next check.
    fn conclude(&self, check: &HealthCheck, history: &mut History, checked: Checked) -> Duration {
        let state = &self.host.state;
        let (first, before) = (history.is_first(), state.flags());
        let transition = history.apply(check, state, checked);
        self.count(|names| if checked.passed() { names.success() } else { names.failure() });
        if checked.is_network() {
            self.count(|names| names.network_failure());
        }
        self.count_change(before, state.flags());
        let ejected = state.flags() & HostState::FAILED_OUTLIER != 0;
        if transition == Transition::Changed || first || (checked.passed() && ejected) {
            let healthy = state.flags() & HostState::FAILED_ACTIVE_HC == 0;
            let outbox = &self.cluster.shard.outbox;
            outbox.health_verdict(self.cluster.plan.id, &self.host, healthy && checked.passed());
        }
        let traffic = self.cluster.plan.limits.had_traffic();
        let base = interval(check, checked.passed(), transition, traffic);
        let below = |range| runtime::rand_below(range);
        with_jitter(base, check.interval_jitter_percent, check.interval_jitter, below)
    }

    fn count(&self, name: impl FnOnce(&HealthCheckStats) -> Counter) {
        if let Some(names) = &self.cluster.plan.health_stats {
            self.cluster.shard.stats.inc(name(names));
        }
    }

    fn count_change(&self, before: u32, after: u32) {
        let Some(names) = &self.cluster.plan.health_stats else { return };
        let stats = &self.cluster.shard.stats;
        let gauges = [
            (names.healthy(), HostState::FAILED_ACTIVE_HC, true),
            (names.degraded(), HostState::DEGRADED_ACTIVE_HC, false),
        ];
        for (gauge, bit, counts_without) in gauges {
            let counted = |flags: u32| (flags & bit == 0) == counts_without;
            match (counted(before), counted(after)) {
                (false, true) => stats.gauge_add(gauge, 1),
                (true, false) => stats.gauge_sub(gauge, 1),
                _ => {}
            }
        }
    }
}
