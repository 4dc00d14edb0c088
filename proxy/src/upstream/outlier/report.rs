//! The shard's side of outlier detection: how requests end, counted per host.
//!
//! Counts of consecutive failures are shared by all shards, but only failures write them, and the
//! first success after one. What success-rate rules need is counted on the shard's own page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::message::EjectReason;
use crate::plan::Host;
use crate::plan::cluster::Outlier;
use crate::plan::host_page::HostPage;
use crate::upstream::cluster::Shared;
use crate::upstream::host::ShardHost;

/// How a request on a host ended, in the terms of Envoy's outlier detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host answered with this status (for gRPC: the HTTP status that stands for its code).
    Status(u16),
    /// No connection, or it was reset before the response was complete (local origin; counts as
    /// a 503 where origins are not split).
    Failure,
    /// The request or a try of it timed out (local origin; counts as a 504 otherwise).
    Timeout,
}

/// Counts an outcome; sends an ejection request when it completes a row of failures.
pub(in crate::upstream) fn report(shared: &Shared, host: &ShardHost, outcome: Outcome) {
    if outcome == Outcome::Timeout {
        host.page().rq_timeout.inc();
    }
    let Some(rules) = &shared.plan.outlier else { return };
    let status = match (outcome, rules.split_local_origin) {
        (Outcome::Status(status), _) => status,
        (Outcome::Failure, false) => 503,
        (Outcome::Timeout, false) => 504,
        (Outcome::Failure | Outcome::Timeout, true) => {
            host.page().local_total.inc();
            let row = &host.plan().state.consecutive_local_origin;
            if fails(row, rules.consecutive_local_origin) {
                let reason = EjectReason::ConsecutiveLocalOriginFailure;
                shared.shard.outbox.eject(shared.plan.id, host.plan(), reason);
            }
            return;
        }
    };
    external(shared, rules, host, status);
}

/// A request got a connection: where origins are split, a success of local origin.
#[inline]
pub(in crate::upstream) fn connected(shared: &Shared, page: &HostPage, host: &Host) {
    if shared.plan.outlier.as_ref().is_some_and(|rules| rules.split_local_origin) {
        page.local_total.inc();
        page.local_success.inc();
        succeeds(&host.state.consecutive_local_origin);
    }
}

fn external(shared: &Shared, rules: &Outlier, host: &ShardHost, status: u16) {
    let (page, state) = (host.page(), &host.plan().state);
    page.external_total.inc();
    if status / 100 != 5 {
        page.external_success.inc();
        succeeds(&state.consecutive_5xx);
        succeeds(&state.consecutive_gateway);
        return;
    }
    let eject = |reason| shared.shard.outbox.eject(shared.plan.id, host.plan(), reason);
    if matches!(status, 502..=504) {
        if fails(&state.consecutive_gateway, rules.consecutive_gateway) {
            eject(EjectReason::ConsecutiveGatewayFailure);
        }
    } else {
        succeeds(&state.consecutive_gateway);
    }
    if fails(&state.consecutive_5xx, rules.consecutive_5xx) {
        eject(EjectReason::Consecutive5xx);
    }
}

/// One more in a row; true for the one that reaches the threshold.
fn fails(row: &AtomicU32, threshold: u32) -> bool {
    row.fetch_add(1, Ordering::Relaxed).wrapping_add(1) == threshold
}

/// Ends a row. Reads first: hosts that work are not written.
#[inline]
fn succeeds(row: &AtomicU32) {
    if row.load(Ordering::Relaxed) != 0 {
        row.store(0, Ordering::Relaxed);
    }
}

/// Forgets the rows that may have led to an ejection.
pub(super) fn reset_rows(host: &Arc<Host>) {
    succeeds(&host.state.consecutive_5xx);
    succeeds(&host.state.consecutive_gateway);
    succeeds(&host.state.consecutive_local_origin);
}
