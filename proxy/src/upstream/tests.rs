//! Clusters and hosts that change while they are in use.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{self as runtime, Chunk};

use super::internal::Passed;
use super::testing::{Bench, Server, cluster, host, host_set, host_with, run, until};
use super::{AcquireOptions, LbContext, PooledConn, ShardCluster, ShardHost, Upstreams};
use crate::observe::stats::Registry;
use crate::observe::stats::blocks::ClusterStats;
use crate::plan::cluster::{EdsHealth, HostState, HostTemplate};
use crate::plan::istio::InternalFacts;
use crate::plan::transport::Internal;
use crate::plan::{Cluster, ClusterId, Host};

fn pick(cluster: &ShardCluster) -> Rc<ShardHost> {
    cluster.pick(&LbContext::default()).expect("a host")
}

async fn get(cluster: &Rc<ShardCluster>) -> PooledConn {
    let host = pick(cluster);
    cluster.acquire(&host, 0, AcquireOptions::default()).await.expect("a connection").http1()
}

async fn exchange(conn: &PooledConn) {
    conn.stream().write(Chunk::from_static(b"ping"));
    let answer = conn.stream().recv().await.expect("alive").expect("an answer");
    assert_eq!(&*answer, b"ping");
}

fn renewed(host: &Arc<Host>, change: impl FnOnce(&mut HostTemplate)) -> Arc<Host> {
    let mut info = host.info.clone();
    change(&mut info);
    Arc::new(host.renewed(info))
}

#[test]
fn a_host_told_of_otherwise_keeps_its_connections_and_counts() {
    run(async {
        let server = Server::echo();
        let before = host(server.address);
        let bench = Bench::new(vec![before.clone()], |_| {});
        let cluster = bench.cluster();
        let (kept, lent) = (get(&cluster).await, get(&cluster).await);
        kept.release();
        before.state.set(HostState::FAILED_OUTLIER);
        let after = renewed(&before, |info| {
            info.weight = 7;
            info.priority = 2;
        });
        bench.upstreams.set_hosts(ClusterId(0), host_set(vec![after.clone()]));
        let now = pick(&cluster);
        assert!(now.is_same(lent.host()) && Arc::ptr_eq(now.plan(), &after));
        assert_eq!((now.weight(), now.priority(), now.active()), (7, 2, 1));
        assert_eq!(now.plan().state.flags(), HostState::FAILED_OUTLIER);
        lent.release();
        let again = get(&cluster).await;
        exchange(&again).await;
        assert!(again.reused());
        again.release();
        assert_eq!((server.accepted.get(), after.pages.totals().cx_total), (2, 2));
        bench.upstreams.check_invariants(true).expect("consistent");
        // A host of the same address that is another one takes nothing over.
        bench.upstreams.set_hosts(ClusterId(0), host_set(vec![host(server.address)]));
        assert!(!pick(&cluster).is_same(&now));
        assert_eq!(after.pages.totals().cx_active, 0);
    });
}

#[test]
fn eds_health_changes_its_own_bits_only() {
    let host = host_with(([127, 0, 0, 1], 1).into(), |info| info.eds_health = EdsHealth::Unhealthy);
    assert_eq!(host.state.flags(), HostState::FAILED_EDS);
    host.state.set(HostState::FAILED_OUTLIER);
    let drains = renewed(&host, |info| info.eds_health = EdsHealth::Draining);
    assert_eq!(host.state.flags(), HostState::FAILED_OUTLIER | HostState::FAILED_EDS);
    assert!(drains.apply_eds_health() && !drains.apply_eds_health());
    assert_eq!(host.state.flags(), HostState::FAILED_OUTLIER | HostState::EDS_DRAINING);
    let well = renewed(&drains, |info| info.eds_health = EdsHealth::Healthy);
    assert!(well.apply_eds_health());
    assert_eq!(host.state.flags(), HostState::FAILED_OUTLIER);
}

fn clusters(registry: &mut Registry, names: &[&str]) -> Vec<Arc<Cluster>> {
    let named = |(id, name): (usize, &&str)| {
        cluster(registry, vec![host(([127, 0, 0, 1], 80).into())], |cluster| {
            cluster.id = ClusterId(id as u32);
            cluster.name = Arc::from(*name);
        })
    };
    names.iter().enumerate().map(named).collect()
}

#[test]
fn what_nobody_uses_is_not_made() {
    run(async {
        let mut registry = Registry::new(1);
        let stats = Rc::new(registry.writer(0).expect("the first writer of page 0"));
        let told: Rc<super::testing::Told> = Rc::default();
        let upstreams = Upstreams::new(0, 1, stats, told);
        let plans = clusters(&mut registry, &["a", "b", "c"]);
        plans.iter().for_each(|plan| upstreams.set(plan.id, Some(plan)));
        let made = || upstreams.clusters.borrow().made().count();
        let hosts = host_set(vec![host(([127, 0, 0, 2], 80).into())]);
        upstreams.set_hosts(ClusterId(1), hosts.clone());
        upstreams.health_changed(ClusterId(1));
        assert_eq!(made(), 0);
        let b = upstreams.by_name(b"b").expect("known");
        assert!(Arc::ptr_eq(&b.host_set(), &hosts) && b.plan().id == ClusterId(1));
        assert_eq!((made(), upstreams.by_name(b"d").is_none()), (1, true));
        // The same again changes nothing; another one is made when it is used.
        upstreams.set(ClusterId(1), Some(&plans[1]));
        assert!(Rc::ptr_eq(&b, &upstreams.get(ClusterId(1)).expect("there")));
        let other = clusters(&mut registry, &["x", "b"]);
        upstreams.set(ClusterId(1), Some(&other[1]));
        assert_eq!(made(), 0);
        assert!(!Rc::ptr_eq(&b, &upstreams.by_name(b"b").expect("another")));
        upstreams.set(ClusterId(1), None);
        assert!(upstreams.by_name(b"b").is_none() && upstreams.get(ClusterId(1)).is_none());
        assert!(upstreams.by_name(b"a").is_some() && upstreams.by_name(b"c").is_some());
        // A slot whose name is free may get another.
        upstreams.set(ClusterId(1), Some(&clusters(&mut registry, &["", "y"])[1]));
        assert!(upstreams.by_name(b"y").is_some());
    });
}

#[test]
fn requests_end_on_the_cluster_they_began_with() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |cluster| {
            cluster.circuit_breakers[0].max_connections = 1;
        });
        let old = bench.cluster();
        let lent = get(&old).await;
        let waits = {
            let old = old.clone();
            runtime::spawn(async move {
                let conn = get(&old).await;
                exchange(&conn).await;
                conn.release();
            })
        };
        runtime::yield_now().await;
        let mut registry = Registry::new(1);
        let new = cluster(&mut registry, vec![host(server.address)], |_| {});
        bench.upstreams.set(ClusterId(0), Some(&new));
        assert!(!Rc::ptr_eq(&old, &bench.cluster()));
        exchange(&lent).await;
        lent.release();
        waits.await;
        let gauge = |name: fn(&ClusterStats) -> _| bench.stats.gauge_value(name(&bench.plan.stats));
        until("nothing is kept", || gauge(ClusterStats::upstream_cx_active) == 0).await;
        assert_eq!(gauge(ClusterStats::upstream_rq_active), 0);
        assert_eq!(bench.plan.limits.taken(0, super::limits::Resource::Connections), 0);
    });
}

#[test]
fn internal_listeners_are_told_what_the_socket_passes() {
    run(async {
        let told = InternalFacts {
            destination: Some(([10, 0, 0, 1], 80).into()),
            waypoint: Some(([10, 0, 0, 2], 15008).into()),
        };
        let host =
            host_with(([127, 0, 0, 1], 1).into(), |host| host.internal = Some(Box::new(told)));
        let bench = Bench::new(vec![host.clone()], |_| {});
        let seen: Rc<RefCell<Vec<(Passed, usize)>>> = Rc::default();
        let out = seen.clone();
        bench.upstreams.set_internal(Rc::new(move |name, stream, passed| {
            let fd = stream.take_fd().unwrap();
            let size = rustix::net::sockopt::socket_send_buffer_size(&fd).unwrap();
            out.borrow_mut().push((passed, size));
            name == "l"
        }));
        let connect = |listener: &str, options| {
            let connection = Passed { source: Some(([9, 9, 9, 9], 9).into()), ..Passed::default() };
            bench.upstreams.shard.connect_internal(listener, &host, options, connection)
        };
        assert!(connect("l", Internal::default()).is_ok());
        let options = Internal { passes_destination: true, buffer: Some(64 << 10) };
        assert!(connect("l", options).is_ok());
        assert!(connect("other", options).is_err());
        let seen = seen.borrow();
        let (first, second) = (seen[0], seen[1]);
        assert_eq!((first.0.destination, first.0.waypoint), (None, None));
        assert_eq!(second.0.destination, told.destination);
        assert_eq!((second.0.waypoint, second.0.source), (told.waypoint, first.0.source));
        // The kernel counts its own overhead as well.
        assert_eq!(second.1, 128 << 10);
    });
}
