//! Seeded runs of a pool over the simulated network: connections that are slow, split, refused and
//! reset; requests that come, wait, change their mind, end well or badly; hosts that fail and come
//! back. In the end everything must have been given back.

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{self as runtime, Backend, Chunk, Config, Runtime, Stream};

use super::*;
use crate::observe::stats::blocks::ClusterStats;
use crate::plan::cluster::HostState;
use crate::upstream::testing::{Bench, Server, host};
use crate::upstream::{LbContext, ShardCluster};

const SEEDS: u64 = 48;
const TASKS: u64 = 24;
const REQUESTS: u64 = 40;

fn chance(percent: u64) -> bool {
    runtime::rand_below(100) < percent
}

async fn pause(max_ms: u64) {
    runtime::sleep(Duration::from_millis(runtime::rand_below(max_ms + 1))).await;
}

/// Answers one byte with one byte, sometimes late, sometimes not at all.
async fn serve(stream: Stream) {
    while let Ok(Some(data)) = stream.recv().await {
        if chance(5) {
            return;
        }
        if chance(20) {
            pause(30).await;
        }
        for _ in 0..data.len() {
            stream.write(Chunk::from_static(b"y"));
        }
    }
}

/// One request; what becomes of it is drawn.
async fn request(cluster: &Rc<ShardCluster>) {
    let Some(host) = cluster.pick(&LbContext::default()) else { return };
    let priority = runtime::rand_below(2) as u8;
    let acquire = cluster.acquire(
        &host,
        priority,
        AcquireOptions { fresh: chance(5), ..AcquireOptions::default() },
    );
    let limit = Duration::from_millis(if chance(20) { runtime::rand_below(20) } else { 10_000 });
    let Ok(Ok(conn)) = runtime::timeout(limit, acquire).await else { return };
    let mut conn = conn.http1();
    assert!(conn.stream().try_recv().is_none(), "something was left on a connection");
    conn.stream().write(Chunk::from_static(b"x"));
    let answer = runtime::timeout(Duration::from_millis(40), conn.stream().recv()).await;
    match answer {
        Ok(Ok(Some(data))) if data.len() == 1 && !chance(5) => {
            conn.response_complete();
            conn.release();
        }
        // A late answer or none: the connection cannot be used again.
        _ => drop(conn),
    }
}

async fn scenario() {
    let servers = [Server::start(serve), Server::start(serve)];
    let hosts = servers.iter().map(|server| host(server.address)).collect();
    let bench = Bench::new(hosts, |cluster| {
        let limits = &mut cluster.circuit_breakers[0];
        (limits.max_connections, limits.max_pending, limits.max_requests) = (5, 12, 7);
        cluster.connect_timeout = Duration::from_millis(25);
        cluster.http.idle_timeout = Duration::from_millis(50);
        cluster.http.max_connection_duration = Duration::from_millis(400);
        cluster.max_requests_per_connection = 6;
    });
    let cluster = bench.cluster();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let cluster = cluster.clone();
            runtime::spawn(async move {
                for _ in 0..REQUESTS {
                    request(&cluster).await;
                    pause(15).await;
                }
            })
        })
        .collect();
    for _ in 0..20 {
        pause(40).await;
        let bad = cluster.host_set();
        let bad = &bad.hosts[runtime::rand_below(2) as usize];
        bad.state.set(HostState::FAILED_OUTLIER);
        bench.upstreams.health_changed(bench.plan.id);
        bench.upstreams.check_invariants(false).expect("consistent at any time");
        pause(40).await;
        bad.state.clear(HostState::FAILED_OUTLIER);
        bench.upstreams.health_changed(bench.plan.id);
    }
    for task in tasks {
        if chance(20) {
            task.abort();
        } else {
            task.await;
        }
    }
    // Connects under way end within their timeout, idle connections within theirs.
    runtime::sleep(Duration::from_millis(100)).await;
    check_rest(&bench);
}

fn check_rest(bench: &Bench) {
    bench.upstreams.check_invariants(true).expect("at rest");
    let count = |name: fn(&ClusterStats) -> _| bench.stats.counter_value(name(&bench.plan.stats));
    let gauge = |name: fn(&ClusterStats) -> _| bench.stats.gauge_value(name(&bench.plan.stats));
    assert_eq!(gauge(ClusterStats::upstream_cx_active), 0, "idle connections have timed out");
    assert_eq!(gauge(ClusterStats::upstream_rq_active), 0);
    assert_eq!(gauge(ClusterStats::upstream_rq_pending_active), 0);
    for open in [
        ClusterStats::circuit_breakers_default_cx_open,
        ClusterStats::circuit_breakers_default_rq_open,
        ClusterStats::circuit_breakers_default_rq_pending_open,
        ClusterStats::circuit_breakers_high_cx_open,
    ] {
        assert_eq!(gauge(open), 0);
    }
    let ends = count(ClusterStats::upstream_cx_destroy);
    assert_eq!(count(ClusterStats::upstream_cx_total), ends);
    let by = count(ClusterStats::upstream_cx_destroy_local)
        + count(ClusterStats::upstream_cx_destroy_remote);
    assert_eq!(by, ends);
    assert!(count(ClusterStats::upstream_rq_total) > 100, "the run did something");
    for priority in [0, 1] {
        for resource in [Resource::Connections, Resource::Pending, Resource::Requests] {
            assert_eq!(bench.plan.limits.taken(priority, resource), 0, "{resource:?}");
        }
    }
    for host in &bench.plan.hosts.hosts {
        let totals = host.pages.totals();
        assert_eq!((totals.cx_active, totals.rq_active, totals.rq_pending_active), (0, 0, 0));
    }
}

#[test]
fn everything_is_given_back() {
    for seed in 0..SEEDS {
        let faults = Faults { refuse: 0.05, reset: 0.01, ..Faults::default() };
        let net = Network::new(seed, faults);
        let config =
            Config { backend: Backend::Sim(net.clone()), seed: seed + 1, ..Config::default() };
        let mut runtime = Runtime::new(config).expect("a simulated runtime");
        println!("seed {seed}");
        runtime.block_on(scenario());
    }
}
