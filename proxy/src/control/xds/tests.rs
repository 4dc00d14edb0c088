//! A configuration follows a management server: what comes up, what changes, and in which order.

pub(crate) mod bench;
mod demands;
mod rest;
mod runtime;
mod scopes;

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::client::Protocol;

use self::bench::{Bench, run};
use super::feeds::FeedId;
use super::{Kind, ResourceState, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn put_cluster(bench: &Bench, name: &str) {
    let eds = "{eds_config: {ads: {}, resource_api_version: V3}}";
    let yaml = format!("{{name: {name}, type: EDS, eds_cluster_config: {eds}}}");
    bench.put(Kind::Cluster, name, &yaml);
}

fn put_endpoint(bench: &Bench, name: &str, port: u16) {
    let address = format!("{{socket_address: {{address: 10.0.0.1, port_value: {port}}}}}");
    let endpoint = format!("{{endpoint: {{address: {address}}}}}");
    let endpoints = format!("[{{lb_endpoints: [{endpoint}]}}]");
    let yaml = format!("{{cluster_name: {name}, endpoints: {endpoints}}}");
    bench.put(Kind::Endpoints, name, &yaml);
}

fn put_routes(bench: &Bench, cluster: &str) {
    let yaml = format!(
        "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: \
         [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}]}}"
    );
    bench.put(Kind::Routes, "r", &yaml);
}

fn put_listener(bench: &Bench, name: &str) {
    put_listener_with(bench, name, "15s", "");
}

/// A listener that waits so long for its route table, with one more HTTP filter.
fn put_listener_with(bench: &Bench, name: &str, wait: &str, filter: &str) {
    let source = format!("{{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: {wait}}}");
    let yaml = format!(
        r#"
name: {name}
bind_to_port: false
address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": "type.googleapis.com/envoy.extensions.filters.network.\
        http_connection_manager.v3.HttpConnectionManager"
      stat_prefix: p
      rds: {{route_config_name: r, config_source: {source}}}
      http_filters:
      {filter}
      - name: router
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#
    );
    bench.put(Kind::Listener, name, &yaml);
}

/// One of everything, and live.
async fn live(bench: &mut Bench) {
    put_cluster(bench, "a");
    put_endpoint(bench, "a", 1);
    put_routes(bench, "a");
    put_listener(bench, "l");
    bench.xds.begin();
    bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
    assert_eq!(bench.clusters(), ["a", "xds"]);
}

/// Ports of the endpoints of a cluster, as they went out.
fn ports(bench: &Bench, name: &str) -> Vec<String> {
    let dump = bench.xds.control.hosts(bench.out.plan.borrow().cluster_ids[name]);
    dump.iter().flat_map(|set| &set.hosts).map(|host| host.address.to_string()).collect()
}

#[test]
fn a_configuration_comes_up_and_changes() {
    run(async |mut bench| {
        live(&mut bench).await;
        {
            let plan = bench.out.plan.borrow();
            assert_eq!((plan.listeners.len(), plan.routes.iter().flatten().count()), (1, 1));
        }
        assert_eq!(ports(&bench, "a"), ["10.0.0.1:1"]);
        put_endpoint(&bench, "a", 2);
        bench.pass(SECOND).await;
        assert_eq!(ports(&bench, "a"), ["10.0.0.1:2"]);
        bench.remove(Kind::Listener, "l");
        bench.until("no listener", |_, out| out.plan.borrow().listeners.is_empty()).await;
    });
}

#[test]
fn a_route_waits_for_the_cluster_it_names() {
    run(async |mut bench| {
        live(&mut bench).await;
        put_routes(&bench, "b");
        bench.pass(SECOND).await;
        put_cluster(&bench, "b");
        bench.pass(SECOND).await;
        // Its endpoints have not come: it is not there yet, and the route still leads to the old.
        // In the incremental protocol the server has said that there are none, and that will do.
        if bench.protocol == Protocol::Sotw {
            assert_eq!(bench.clusters(), ["a", "xds"]);
        }
        put_endpoint(&bench, "b", 2);
        bench
            .until("the route leads to b", |_, out| {
                let plan = out.plan.borrow();
                let table = plan.routes.iter().flatten().next();
                table.is_some_and(|table| &*table.clusters[0].name == "b")
            })
            .await;
        assert_eq!(bench.clusters(), ["a", "b", "xds"]);
    });
}

#[test]
fn a_cluster_stays_while_a_route_names_it() {
    run(async |mut bench| {
        live(&mut bench).await;
        put_cluster(&bench, "b");
        put_endpoint(&bench, "b", 2);
        bench.until("b", |xds, _| xds.clusters.active == 3).await;
        bench.remove(Kind::Cluster, "a");
        bench.pass(SECOND).await;
        assert_eq!(bench.clusters(), ["a", "b", "xds"]);
        put_routes(&bench, "b");
        bench.pass(SECOND).await;
        assert_eq!(bench.clusters(), ["b", "xds"]);
    });
}

#[test]
fn what_is_wrong_is_refused_and_the_rest_is_taken() {
    run(async |mut bench| {
        live(&mut bench).await;
        put_cluster(&bench, "b");
        put_endpoint(&bench, "b", 2);
        let eds = "{eds_config: {ads: {}, resource_api_version: V3}}";
        let bad = format!("{{name: bad, type: STATIC, eds_cluster_config: {eds}}}");
        bench.put(Kind::Cluster, "bad", &bad);
        bench.until("b", |xds, _| xds.clusters.active == 3).await;
        bench.pass(SECOND).await;
        let dump = bench.xds.dump();
        let clusters = &dump.kind(Kind::Cluster).expect("clusters").resources;
        let bad = clusters.iter().find(|dumped| &*dumped.name == "bad").expect("it is listed");
        let why = &bad.refused.as_ref().expect("it is refused").details;
        assert!(why.contains("eds_cluster_config"), "{why}");
        let good = clusters.iter().find(|dumped| &*dumped.name == "b").expect("it is listed");
        assert_eq!(good.state, ResourceState::Active);
    });
}

#[test]
fn without_its_server_all_stays_and_nothing_is_sent() {
    run(async |mut bench| {
        live(&mut bench).await;
        bench.pass(SECOND).await;
        let before = bench.out.changes.get();
        bench.lose_server();
        bench.pass(120 * SECOND).await;
        assert_eq!(bench.out.changes.get(), before);
        assert_eq!(bench.clusters(), ["a", "xds"]);
    });
}

#[test]
fn virtual_hosts_of_vhds_go_with_the_last_table_and_come_anew() {
    run(async |mut bench| {
        let host = |domain: &str| {
            let route = "routes: [{match: {prefix: /}, direct_response: {status: 200}}]";
            format!("{{name: r/v, domains: [{domain}], {route}}}")
        };
        let finds = |bench: &Bench, domain: &str| {
            let plan = bench.out.plan.borrow();
            let table = plan.routes.iter().flatten().next().expect("a route table");
            table.find_host(Some(domain.as_bytes())).is_some()
        };
        let vhds = "vhds: {config_source: {ads: {}, resource_api_version: V3}}";
        bench.put(Kind::Routes, "r", &format!("{{name: r, {vhds}}}"));
        bench.put(Kind::VirtualHost, "r/v", &host("one.example"));
        put_listener(&bench, "l");
        bench.xds.begin();
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        bench.pass(SECOND).await;
        assert!(finds(&bench, "one.example"));
        bench.remove(Kind::Listener, "l");
        let old = bench.out.plan.borrow().listeners[0].clone();
        bench.until("no listener", |_, out| out.plan.borrow().listeners.is_empty()).await;
        bench.xds.listener_drained(&old);
        drop(old);
        bench.until("no table", |xds, _| xds.tables.by_slot.is_empty()).await;
        assert!(bench.xds.hosts.is_empty());
        bench.put(Kind::VirtualHost, "r/v", &host("two.example"));
        bench.pass(SECOND).await;
        assert!(bench.xds.hosts.is_empty());
        put_listener(&bench, "l");
        bench.until("a listener", |_, out| !out.plan.borrow().listeners.is_empty()).await;
        assert!(finds(&bench, "two.example") && !finds(&bench, "one.example"));
    });
}

#[test]
fn endpoints_that_were_refused_are_not_when_they_are_as_before() {
    run(async |mut bench| {
        live(&mut bench).await;
        let refused = |bench: &Bench| {
            let dump = bench.xds.dump();
            let endpoints = &dump.kind(Kind::Endpoints).expect("endpoints").resources;
            let [one] = endpoints.as_slice() else { panic!("{endpoints:?}") };
            assert!(one.raw.is_some());
            one.refused.is_some()
        };
        let wrong = "{cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: \
                     {socket_address: {address: no-address, port_value: 1}}}}]}]}";
        bench.put(Kind::Endpoints, "a", wrong);
        bench.pass(SECOND).await;
        assert!(refused(&bench));
        put_endpoint(&bench, "a", 1);
        bench.pass(SECOND).await;
        assert!(!refused(&bench));
    });
}

#[test]
fn endpoints_that_are_too_old_go_and_come_back_with_the_next_response() {
    run(async |mut bench| {
        live(&mut bench).await;
        let endpoint = "{endpoint: {address: {socket_address: {address: 10.0.0.1, \
                        port_value: 7}}}}";
        let stale = "policy: {endpoint_stale_after: 10s}";
        let text =
            format!("{{cluster_name: a, endpoints: [{{lb_endpoints: [{endpoint}]}}], {stale}}}");
        bench.put(Kind::Endpoints, "a", &text);
        bench.pass(6 * SECOND).await;
        let (feed, name) = (FeedId(0), Arc::from("a"));
        bench.xds.renew_endpoints(feed, &name, &"9".into());
        bench.pass(6 * SECOND).await;
        assert_eq!(ports(&bench, "a"), ["10.0.0.1:7"]);
        put_cluster(&bench, "b");
        put_endpoint(&bench, "b", 2);
        bench.pass(6 * SECOND).await;
        assert!(ports(&bench, "a").is_empty());
        assert_eq!(ports(&bench, "b"), ["10.0.0.1:2"]);
        bench.xds.renew_endpoints(feed, &name, &"9".into());
        bench.pass(SECOND).await;
        assert_eq!(ports(&bench, "a"), ["10.0.0.1:7"]);
        put_endpoint(&bench, "a", 8);
        bench.pass(60 * SECOND).await;
        assert_eq!(ports(&bench, "a"), ["10.0.0.1:8"]);
    });
}

#[test]
fn options_that_do_not_fit_a_later_listener_do_not_hold_it_up() {
    run(async |mut bench| {
        live(&mut bench).await;
        let filter = |kind: &str| {
            format!(
                "- {{name: f, config_discovery: {{config_source: {{ads: {{}}, \
                 resource_api_version: V3}}, type_urls: [type.googleapis.com/\
                 envoy.extensions.filters.http.{kind}]}}}}"
            )
        };
        let cors = "{name: f, typed_config: {'@type': type.googleapis.com/\
                    envoy.extensions.filters.http.cors.v3.Cors}}";
        bench.put(Kind::Extension, "f", cors);
        put_listener_with(&bench, "m", "15s", &filter("cors.v3.Cors"));
        bench.until("m", |_, out| out.plan.borrow().listeners.len() == 2).await;
        put_listener_with(&bench, "k", "15s", &filter("grpc_web.v3.GrpcWeb"));
        bench.until("k", |_, out| out.plan.borrow().listeners.len() == 3).await;
    });
}
