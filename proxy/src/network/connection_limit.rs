//! `envoy.filters.network.connection_limit`: at most so many connections of a filter chain at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use ringway_runtime::{Stream, sleep};

use crate::observe::stats::ShardStats;
use crate::plan::network::ConnectionLimit;

/// Counts a connection in; false where there are too many.
pub(super) fn pass(stats: &ShardStats, plan: &ConnectionLimit) -> bool {
    if !plan.enabled {
        return true;
    }
    if plan.active.enter(plan.max) {
        stats.gauge_add(plan.stats.active_connections(), 1);
        return true;
    }
    stats.inc(plan.stats.limited_connections());
    false
}

/// A connection that passed is gone.
pub(super) fn left(stats: &ShardStats, plan: &ConnectionLimit) {
    if plan.enabled {
        plan.active.leave();
        stats.gauge_sub(plan.stats.active_connections(), 1);
    }
}

/// Keeps a connection too many for the configured time, so that its client does not come back at
/// once. It is let go of earlier if the client goes.
pub(super) async fn dismiss(plan: &ConnectionLimit, stream: &Stream) {
    if plan.delay.is_zero() {
        return;
    }
    let mut over = sleep(plan.delay);
    let mut heard = false;
    poll_fn(|cx| {
        // What the client sends is not read; one look tells whether it is gone.
        if !heard && stream.poll_closed_or_readable(cx).is_ready() {
            heard = true;
        }
        if stream.readable_closed() {
            return Poll::Ready(());
        }
        Pin::new(&mut over).poll(cx)
    })
    .await;
}
