//! Listener filters: they look at the first bytes of a connection before its chain is chosen.
//!
//! LIFECYCLE of a connection here: each filter in turn looks at what has come → it is done (next
//! filter), or refuses the connection (it is closed), or needs more (wait, look again) → after the
//! last one the chain is chosen. `listener_filters_timeout` bounds it all.

mod http_inspector;
mod original_dst;
mod proxy_protocol;
mod tls_inspector;

#[cfg(test)]
mod tests;

use ringway_runtime::Instant;

use super::candidate::{Candidate, Filled};
use crate::observe::stats::ShardStats;
use crate::plan::Listener;
use crate::plan::listener_filter::FilterKind;

/// What a filter says to what has come so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has seen all it wants to.
    Done,
    /// It cannot tell yet.
    More,
    /// The connection is not served; the filter has counted why.
    Refuse,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// Its chain can be chosen.
    Yes,
    /// It is to be closed.
    No,
}

/// Whether the filters want to see this listener's connections at all.
pub(super) fn any(listener: &Listener) -> bool {
    !listener.filters.is_empty()
}

/// Runs the filters of a listener over a connection.
pub(super) async fn run(
    stats: &ShardStats,
    listener: &Listener,
    candidate: &mut Candidate,
) -> Passed {
    let limit = listener.filters_timeout;
    let deadline = (!limit.is_zero()).then(|| ringway_runtime::now() + limit);
    for filter in &listener.filters {
        let port = candidate.meta.local().as_inet().map(|local| local.port());
        if filter.disabled.as_ref().is_some_and(|rule| rule.holds(port)) {
            continue;
        }
        let held;
        let kind = match &filter.kind {
            FilterKind::Discovered(slot, counters) => {
                held = slot.current();
                let Some(kind) = held.as_ref().and_then(|held| held.listener()) else {
                    stats.inc(counters.extension_config_missing());
                    return Passed::No;
                };
                kind
            }
            kind => kind,
        };
        match run_one(stats, listener, kind, candidate, deadline).await {
            Ran::Done => {}
            Ran::Refused => return Passed::No,
            // What the filters after it would have found out stays unknown.
            Ran::Late if listener.continue_on_filters_timeout => return Passed::Yes,
            Ran::Late => return Passed::No,
        }
    }
    Passed::Yes
}

enum Ran {
    Done,
    Refused,
    Late,
}

async fn run_one(
    stats: &ShardStats,
    listener: &Listener,
    filter: &FilterKind,
    candidate: &mut Candidate,
    deadline: Option<Instant>,
) -> Ran {
    loop {
        match look(stats, listener, filter, candidate) {
            Verdict::Done => return Ran::Done,
            Verdict::Refuse => return Ran::Refused,
            Verdict::More => {}
        }
        match candidate.fill(deadline).await {
            Filled::More => {}
            Filled::Closed => {
                stats.inc(listener.stats.downstream_listener_filter_remote_close());
                return Ran::Refused;
            }
            Filled::Failed => {
                stats.inc(listener.stats.downstream_listener_filter_error());
                return Ran::Refused;
            }
            Filled::Late => {
                stats.inc(listener.stats.downstream_pre_cx_timeout());
                return Ran::Late;
            }
        }
    }
}

fn look(
    stats: &ShardStats,
    listener: &Listener,
    filter: &FilterKind,
    candidate: &mut Candidate,
) -> Verdict {
    match filter {
        FilterKind::OriginalDst => original_dst::look(listener.transparent, candidate),
        FilterKind::ProxyProtocol(plan) => proxy_protocol::look(stats, plan, candidate),
        FilterKind::TlsInspector(plan) => tls_inspector::look(stats, plan, candidate),
        FilterKind::HttpInspector(counters) => http_inspector::look(stats, counters, candidate),
        // What it leads to is never another one.
        FilterKind::Discovered(..) => Verdict::Refuse,
    }
}
