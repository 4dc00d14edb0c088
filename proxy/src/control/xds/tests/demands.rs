//! What requests wait for.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::client::Protocol;

use super::bench::{Bench, NO_CDS, run, run_with};
use super::{SECOND, put_cluster, put_endpoint, put_listener, put_listener_with, put_routes};
use crate::control::xds::{Kind, Stage};
use crate::plan::demand::{Demand, OnDemandClusters};
use crate::plan::{ConfigSource, RouteSlot};

fn from_ads() -> Arc<OnDemandClusters> {
    Arc::new(OnDemandClusters { source: ConfigSource::ads(), timeout: 5 * SECOND })
}

fn cluster(name: &str) -> Demand {
    Demand::Cluster(name.into())
}

fn supplied(bench: &Bench) -> Vec<(usize, Demand)> {
    bench.out.supplied.take()
}

/// Until somebody is answered.
async fn answers(bench: &mut Bench) -> Vec<(usize, Demand)> {
    bench.until("an answer", |_, out| !out.supplied.borrow().is_empty()).await;
    supplied(bench)
}

async fn begin(bench: &mut Bench) {
    bench.xds.begin();
    bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
}

#[test]
fn a_cluster_is_asked_for_once_and_all_shards_hear_when_it_is_warm() {
    run_with(NO_CDS, async |mut bench| {
        put_cluster(&bench, "a");
        begin(&mut bench).await;
        bench.pass(SECOND).await;
        assert_eq!(bench.clusters(), ["xds"]);
        bench.xds.demand(0, cluster("a"), Some(&from_ads()));
        bench.xds.demand(1, cluster("a"), Some(&from_ads()));
        bench.xds.demand(1, cluster("a"), Some(&from_ads()));
        if bench.protocol == Protocol::Sotw {
            // Envoy has no such thing in the other protocol either.
            let told = supplied(&bench);
            assert_eq!(told.len(), 3, "{told:?}");
            return assert_eq!(bench.clusters(), ["xds"]);
        }
        let mut told = answers(&mut bench).await;
        told.sort_by_key(|(shard, _)| *shard);
        assert_eq!(told, [(0, cluster("a")), (1, cluster("a"))]);
        assert_eq!(bench.clusters(), ["a", "xds"]);
        // Its endpoints go on coming.
        put_endpoint(&bench, "a", 7);
        bench.pass(SECOND).await;
        assert_eq!(super::ports(&bench, "a"), ["10.0.0.1:7"]);
        // What is there is not waited for.
        bench.xds.demand(0, cluster("a"), Some(&from_ads()));
        assert_eq!(supplied(&bench), [(0, cluster("a"))]);
    });
}

#[test]
fn a_cluster_that_the_server_does_not_have_is_not_waited_for() {
    run_with(NO_CDS, async |mut bench| {
        begin(&mut bench).await;
        if bench.protocol == Protocol::Sotw {
            return;
        }
        let before = ringway_runtime::now();
        bench.xds.demand(0, cluster("none"), Some(&from_ads()));
        assert_eq!(answers(&mut bench).await, [(0, cluster("none"))]);
        assert!(ringway_runtime::now() - before < SECOND);
        // It is not kept: one that comes later is not taken before somebody asks again.
        put_cluster(&bench, "none");
        bench.pass(SECOND).await;
        assert_eq!(bench.clusters(), ["xds"]);
        bench.xds.demand(0, cluster("none"), Some(&from_ads()));
        assert_eq!(answers(&mut bench).await, [(0, cluster("none"))]);
        assert_eq!(bench.clusters(), ["none", "xds"]);
    });
}

#[test]
fn a_cluster_that_goes_is_asked_for_again() {
    run_with(NO_CDS, async |mut bench| {
        put_cluster(&bench, "a");
        begin(&mut bench).await;
        if bench.protocol == Protocol::Sotw {
            return;
        }
        for _ in 0..2 {
            bench.xds.demand(0, cluster("a"), Some(&from_ads()));
            assert_eq!(answers(&mut bench).await, [(0, cluster("a"))]);
            assert_eq!(bench.clusters(), ["a", "xds"]);
            bench.remove(Kind::Cluster, "a");
            bench.pass(SECOND).await;
            assert_eq!(bench.clusters(), ["xds"]);
            put_cluster(&bench, "a");
            bench.pass(SECOND).await;
            assert_eq!(bench.clusters(), ["xds"]);
        }
    });
}

#[test]
fn a_server_that_is_silent_is_waited_for_as_long_as_is_said() {
    run_with(NO_CDS, async |mut bench| {
        begin(&mut bench).await;
        if bench.protocol == Protocol::Sotw {
            return;
        }
        bench.lose_server();
        bench.pass(SECOND).await;
        let before = ringway_runtime::now();
        bench.xds.demand(0, cluster("a"), Some(&from_ads()));
        bench.pass(2 * SECOND).await;
        // Who comes later waits as long as the first.
        bench.xds.demand(1, cluster("a"), Some(&from_ads()));
        assert_eq!(answers(&mut bench).await.len(), 2);
        let took = ringway_runtime::now() - before;
        assert!((5 * SECOND..6 * SECOND).contains(&took), "{took:?}");
    });
}

#[test]
fn clients_cannot_have_everything_asked_for() {
    run_with(NO_CDS, async |mut bench| {
        put_cluster(&bench, "a");
        begin(&mut bench).await;
        let long = "x".repeat(Demand::NAME_MAX + 1);
        for name in ["*", "", "xdstp://x/envoy.config.cluster.v3.Cluster/*", &long] {
            bench.xds.demand(0, cluster(name), Some(&from_ads()));
            assert_eq!(supplied(&bench), [(0, cluster(name))]);
        }
        bench.pass(SECOND).await;
        assert_eq!(bench.clusters(), ["xds"]);
        // Nor too much at once.
        bench.lose_server();
        bench.pass(SECOND).await;
        for number in 0..2000 {
            bench.xds.demand(0, cluster(&format!("c{number}")), Some(&from_ads()));
        }
        let answered = supplied(&bench).len();
        let expected = if bench.protocol == Protocol::Sotw { 2000 } else { 2000 - 1024 };
        assert_eq!(answered, expected);
    });
}

const HOST: &str = "routes: [{match: {prefix: /}, direct_response: {status: 200}}]";

/// Puts a route table with virtual hosts by VHDS, and has it used.
async fn with_vhds(bench: &mut Bench) -> RouteSlot {
    let vhds = "vhds: {config_source: {ads: {}, resource_api_version: V3}}";
    bench.put(Kind::Routes, "r", &format!("{{name: r, {vhds}}}"));
    put_listener(bench, "l");
    begin(bench).await;
    bench.pass(SECOND).await;
    *bench.xds.tables.by_slot.keys().next().expect("a table")
}

fn finds(bench: &Bench, domain: &str) -> bool {
    let plan = bench.out.plan.borrow();
    let table = plan.routes.iter().flatten().next().expect("a route table");
    table.find_host(Some(domain.as_bytes())).is_some()
}

#[test]
fn a_virtual_host_is_asked_for_and_a_missing_one_is_not_waited_for() {
    run(async |mut bench| {
        let slot = with_vhds(&mut bench).await;
        if bench.protocol == Protocol::Sotw {
            return;
        }
        let missing = Demand::Host(slot, "no.example".into());
        bench.xds.demand(1, missing.clone(), None);
        assert_eq!(answers(&mut bench).await, [(1, missing)]);
        assert!(!finds(&bench, "no.example"));
        let host = format!("{{name: r/a.example, domains: [a.example], {HOST}}}");
        let wanted = Demand::Host(slot, "a.example".into());
        bench.put(Kind::VirtualHost, "r/a.example", &host);
        bench.xds.demand(0, wanted.clone(), None);
        assert_eq!(answers(&mut bench).await, [(0, wanted.clone())]);
        assert!(finds(&bench, "a.example"));
        // There: answered at once, whatever route the request lacks.
        bench.xds.demand(0, wanted.clone(), None);
        assert_eq!(supplied(&bench), [(0, wanted)]);
    });
}

#[test]
fn who_waits_for_a_host_of_a_table_that_goes_is_told() {
    run(async |mut bench| {
        let slot = with_vhds(&mut bench).await;
        bench.lose_server();
        bench.pass(SECOND).await;
        let wanted = Demand::Host(slot, "a.example".into());
        bench.xds.demand(0, wanted.clone(), None);
        bench.pass(Duration::from_secs(10)).await;
        assert_eq!(supplied(&bench), []);
        bench.xds.want_hosts(slot, None);
        bench.xds.demand(1, wanted.clone(), None);
        assert_eq!(supplied(&bench), [(0, wanted.clone()), (1, wanted)]);
    });
}

#[test]
fn a_table_does_not_wait_for_clusters_that_come_on_demand() {
    run_with(NO_CDS, async |mut bench| {
        let filter = "- {name: d, typed_config: {'@type': type.googleapis.com/envoy.extensions.\
                      filters.http.on_demand.v3.OnDemand, odcds: {source: {ads: {}}}}}";
        put_routes(&bench, "one");
        put_listener_with(&bench, "l", "15s", filter);
        begin(&mut bench).await;
        put_routes(&bench, "two");
        bench.pass(SECOND).await;
        let plan = bench.out.plan.borrow();
        let table = plan.routes.iter().flatten().next().expect("a table");
        assert_eq!(&*table.clusters[0].name, "two");
    });
}
