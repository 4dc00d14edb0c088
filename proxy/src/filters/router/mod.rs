//! The router filter: picks a cluster and a host, sends the request, retries, times out, and hands
//! the response back.
//!
//! LIFECYCLE of a forwarded request: `choose` a cluster → `prepare` the head (header rules,
//! rewrites, timeouts) → [`attempt`]: pick a host, get a connection, pump → on a retriable failure
//! before the response began: back off, another attempt → done, or a local reply.

pub(crate) mod attempt;
pub(crate) mod direct;
pub(crate) mod fail;
pub(crate) mod headers;
pub(crate) mod pump;
pub(crate) mod redirect;
pub(crate) mod retry;
pub(crate) mod rewrite;
mod strict;
pub(crate) mod timeouts;
mod up;

use std::rc::Rc;

use ringway_wire::{Name, RequestHead};

use crate::http::conn::{Conn, Work};
use crate::http::manager::Codec;
use crate::http::reply::LocalReply;
use crate::http::stream::{Matched, Stop};
use crate::observe::format::ResponseFlag;
use crate::observe::stats::ShardStats;
use crate::plan::route::{ClusterChoice, Forward, WeightedClusters, WeightedTarget};
use crate::upstream::ShardCluster;

use retry::Retry;
use timeouts::Timeouts;

/// What stays the same over all attempts of one request.
pub(crate) struct Exchange<'p> {
    pub cluster: Rc<ShardCluster>,
    pub matched: Matched<'p>,
    pub forward: &'p Forward,
    pub timeouts: Timeouts,
    /// How its upstream speaks HTTP/1.
    pub codec: Codec,
    pub stats: Rc<ShardStats>,
    /// `:scheme` tells what the upstream's connection is.
    pub scheme_matches_upstream: bool,
    /// Bytes of the request body that may be kept for another attempt.
    pub replay_limit: u64,
}

/// Forwards the request in `work` and relays the response.
pub(crate) async fn forward(
    conn: &mut Conn,
    work: &mut Work,
    matched: &Matched<'_>,
    forward: &Forward,
) -> Result<(), Stop> {
    let cluster = choose(conn, work, forward)?;
    work.info.cluster = Some(Rc::clone(&cluster));
    strict::check(&work.request, &conn.manager.plan.router.strict_check_headers)?;
    if let Some(dropped) = cluster.drops() {
        return Err(fail::dropped(dropped, conn.manager.plan.router.suppress_envoy_headers).into());
    }
    let timeouts = Timeouts::new(conn, work, forward);
    let mut retry = Retry::new(conn, work, forward);
    let envoy_headers = !conn.manager.plan.router.suppress_envoy_headers;
    timeouts.announce(&mut work.request, &retry, envoy_headers);
    prepare(conn, work, matched, forward);
    let buffer_limit = u64::from(conn.link.listener.plan.buffer_limit);
    let exchange = Exchange {
        codec: Codec::upstream(&cluster.plan().http),
        stats: Rc::clone(&conn.shard.stats),
        scheme_matches_upstream: conn.manager.plan.scheme_matches_upstream,
        cluster,
        matched: *matched,
        forward,
        replay_limit: matched.route.extra().retry_buffer_limit.unwrap_or(buffer_limit),
        timeouts,
    };
    attempt::run(conn, work, &exchange, &mut retry).await
}

/// Header rules, then rewrites: Envoy's order.
fn prepare(conn: &Conn, work: &mut Work, matched: &Matched<'_>, forward: &Forward) {
    headers::finish_request(conn, work, matched);
    let literal = match &forward.cluster {
        ClusterChoice::Weighted(weighted) => work
            .weighted
            .and_then(|at| weighted.clusters.get(at))
            .and_then(|cluster| cluster.host_rewrite.as_deref()),
        _ => None,
    };
    let insert_original = !conn.manager.plan.router.suppress_envoy_headers;
    rewrite::rewrite(work, matched, forward, literal, insert_original);
}

fn choose(conn: &Conn, work: &Work, forward: &Forward) -> Result<Rc<ShardCluster>, Stop> {
    work.info.route_cluster.clone().ok_or_else(|| {
        conn.shard.stats.inc(conn.manager.plan.stats.router.no_cluster());
        let status = forward.cluster_not_found_status;
        LocalReply::new(status, "", "cluster_not_found").flag(ResponseFlag::NoClusterFound).into()
    })
}

/// The cluster a request goes to, if there is one.
pub(crate) fn cluster_of(conn: &Conn, work: &Work, forward: &Forward) -> Option<Rc<ShardCluster>> {
    let upstreams = &conn.shard.upstreams;
    match &forward.cluster {
        ClusterChoice::One(id) => upstreams.get(*id),
        ClusterChoice::Header(name) => by_header(conn, work, name),
        ClusterChoice::Weighted(weighted) => {
            let picked = work.weighted.and_then(|at| weighted.clusters.get(at));
            match picked.map(|cluster| &cluster.cluster) {
                Some(WeightedTarget::Cluster(id)) => upstreams.get(*id),
                Some(WeightedTarget::Header(name)) => by_header(conn, work, name),
                None => None,
            }
        }
    }
}

fn by_header(conn: &Conn, work: &Work, name: &str) -> Option<Rc<ShardCluster>> {
    let cluster = work.request.headers.get(Name::from(name))?;
    conn.shard.upstreams.by_name(cluster)
}

/// Position of the chosen cluster; `header_name` may bring the random number.
pub(crate) fn weighted_pick(head: &RequestHead, weighted: &WeightedClusters, random: u64) -> usize {
    let told = weighted.header_name.as_deref().and_then(|name| {
        let value = head.headers.get(Name::from(name))?;
        std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok()
    });
    weighted.pick(told.unwrap_or(random))
}
