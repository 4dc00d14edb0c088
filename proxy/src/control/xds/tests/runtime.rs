//! What values of the runtime do to what is compiled from them.

use super::bench::{Bench, run_with};
use super::{SECOND, put_cluster, put_endpoint, put_listener, put_listener_with};
use crate::control::xds::{Kind, Stage};

/// A layer that comes by RTDS.
pub(super) const LAYER: &str = r#"
layered_runtime:
  layers:
  - name: l
    rtds_layer: {name: values, rtds_config: {ads: {}, resource_api_version: V3}}
"#;

/// Virtual hosts whose only route is for so many of a hundred requests as the runtime says.
pub(super) const HOSTS: &str = "[{name: v, domains: ['*'], \
                     routes: [{match: {prefix: /, runtime_fraction: \
                     {default_value: {numerator: 1}, runtime_key: share}}, \
                     direct_response: {status: 200}}]}]";

pub(super) fn put_share(bench: &Bench, share: u32) {
    let yaml = format!("{{name: values, layer: {{share: {share}}}}}");
    bench.put(Kind::Runtime, "values", &yaml);
}

/// Whether the share is so much in the one route table of RDS.
fn has_share(bench: &Bench, share: u32) -> bool {
    let plan = bench.out.plan.borrow();
    let table = plan.routes.iter().flatten().next().expect("a route table");
    format!("{table:?}").contains(&format!("Fraction {{ numerator: {share},"))
}

#[test]
fn a_table_is_made_again_with_its_virtual_hosts() {
    run_with(LAYER, async |mut bench| {
        put_share(&bench, 50);
        put_cluster(&bench, "a");
        put_endpoint(&bench, "a", 1);
        let vhds = "vhds: {config_source: {ads: {}, resource_api_version: V3}}";
        let table = format!("{{name: r, virtual_hosts: {HOSTS}, {vhds}}}");
        bench.put(Kind::Routes, "r", &table);
        let host = "{name: r/more, domains: [more.example], routes: [{match: {prefix: /}, \
                    route: {cluster: a}}]}";
        bench.put(Kind::VirtualHost, "r/more", host);
        put_listener(&bench, "l");
        bench.xds.begin();
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        bench.pass(SECOND).await;
        let has_more = |bench: &Bench| {
            let plan = bench.out.plan.borrow();
            let table = plan.routes.iter().flatten().next().expect("a route table");
            table.find_host(Some(b"more.example")) == Some(1)
        };
        assert!(has_more(&bench) && has_share(&bench, 50));
        put_share(&bench, 60);
        bench.pass(SECOND).await;
        assert!(has_share(&bench, 60));
        assert!(has_more(&bench));
    });
}

#[test]
fn a_table_that_another_listener_names_with_another_wait_is_made_again_for_both() {
    run_with(LAYER, async |mut bench| {
        put_share(&bench, 50);
        put_cluster(&bench, "a");
        put_endpoint(&bench, "a", 1);
        bench.put(Kind::Routes, "r", &format!("{{name: r, virtual_hosts: {HOSTS}}}"));
        put_listener(&bench, "l");
        bench.xds.begin();
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        put_listener_with(&bench, "m", "7s", "");
        bench.pass(SECOND).await;
        assert_eq!(bench.xds.tables.by_slot.len(), 2);
        put_share(&bench, 60);
        bench.pass(SECOND).await;
        let plan = bench.out.plan.borrow();
        for table in plan.routes.iter().flatten() {
            let text = format!("{table:?}");
            assert!(text.contains("Fraction { numerator: 60,"), "{text}");
        }
    });
}

/// A listener of the bootstrap whose own routes ask for the share.
fn with_listener() -> String {
    let manager = "envoy.extensions.filters.network.http_connection_manager.v3";
    let router = "envoy.extensions.filters.http.router.v3.Router";
    format!(
        r#"
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/{manager}.HttpConnectionManager
          stat_prefix: p
          route_config: {{name: own, virtual_hosts: {HOSTS}}}
          http_filters:
          - {{name: router, typed_config: {{"@type": type.googleapis.com/{router}}}}}
{LAYER}"#
    )
}

#[test]
fn a_listener_that_is_made_again_while_it_waits_keeps_its_sockets() {
    run_with(&with_listener(), async |mut bench| {
        put_share(&bench, 50);
        bench.xds.begin();
        bench.xds.hold_start(true);
        bench.until("it waits", |xds, _| xds.waits_for_release()).await;
        put_share(&bench, 60);
        bench.pass(SECOND).await;
        bench.xds.hold_start(false);
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        let listeners = format!("{:?}", bench.out.plan.borrow().listeners);
        assert!(listeners.contains("Fraction { numerator: 60,"), "{listeners}");
        assert_eq!(bench.out.sockets.get(), 1);
    });
}

#[test]
fn the_first_values_reach_the_listeners_of_the_bootstrap() {
    run_with(&with_listener(), async |mut bench| {
        put_share(&bench, 50);
        bench.xds.begin();
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        let listeners = format!("{:?}", bench.out.plan.borrow().listeners);
        assert!(listeners.contains("Fraction { numerator: 50,"), "{listeners}");
    });
}

#[test]
fn the_first_values_reach_the_clusters_of_the_bootstrap_that_wait_for_eds() {
    let cluster = r#"
  - name: late
    type: EDS
    eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}
"#;
    run_with(&format!("{cluster}{LAYER}"), async |mut bench| {
        let key = "circuit_breakers.late.default.max_requests";
        bench.put(Kind::Runtime, "values", &format!("{{name: values, layer: {{{key}: 77}}}}"));
        put_endpoint(&bench, "late", 1);
        bench.xds.begin();
        bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
        let clusters = format!("{:?}", bench.out.plan.borrow().clusters);
        assert!(clusters.contains("max_requests: 77,"), "{clusters}");
    });
}
