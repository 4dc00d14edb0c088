//! Sets of scopes that SRDS brings.

use super::SECOND;
use super::bench::{Bench, run, run_with};
use super::runtime::{HOSTS, LAYER, put_share};
use crate::control::xds::{Kind, Stage};
use crate::plan::demand::Demand;
use crate::plan::route::ScopeTable;

/// A listener whose route tables are chosen by a header.
const LISTENER: &str = r#"
name: l
bind_to_port: false
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": "type.googleapis.com/envoy.extensions.filters.network.\
        http_connection_manager.v3.HttpConnectionManager"
      stat_prefix: p
      scoped_routes:
        name: scopes
        scope_key_builder:
          fragments: [{header_value_extractor: {name: X-Key, element: {key: k, separator: '='}}}]
        rds_config_source: {ads: {}, resource_api_version: V3}
        scoped_rds: {scoped_rds_config_source: {ads: {}, resource_api_version: V3}}
      http_filters:
      - name: router
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#;

fn scope(name: &str, key: &str) -> String {
    format!(
        "{{name: {name}, key: {{fragments: [{{string_key: '{key}'}}]}}, \
         route_configuration: {{name: of-{name}, virtual_hosts: {HOSTS}}}}}"
    )
}

fn put_scope(bench: &Bench, name: &str, key: &str) {
    bench.put(Kind::Scope, name, &scope(name, key));
}

async fn live(bench: &mut Bench) {
    bench.put(Kind::Listener, "l", LISTENER);
    bench.xds.begin();
    bench.until("live", |xds, _| xds.stage() == Stage::Live).await;
    bench.pass(SECOND).await;
}

/// Keys of the one set, with the name of the scope each leads to.
fn scopes(bench: &Bench) -> Vec<String> {
    let plan = bench.out.plan.borrow();
    let set = plan.scopes.iter().flatten().next().expect("a set");
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let each = set.scopes.iter();
    let mut all: Vec<String> =
        each.map(|(key, scope)| format!("{} {}", text(&key[0]), scope.name)).collect();
    all.sort();
    all
}

#[test]
fn a_scope_that_brings_its_table_follows_the_runtime() {
    run_with(LAYER, async |mut bench| {
        put_share(&bench, 50);
        put_scope(&bench, "a", "x");
        live(&mut bench).await;
        put_share(&bench, 60);
        bench.pass(SECOND).await;
        let set = format!("{:?}", bench.out.plan.borrow().scopes);
        assert!(set.contains("Fraction { numerator: 60,"), "{set}");
    });
}

fn refused(bench: &Bench) -> Vec<String> {
    let dump = bench.xds.dump();
    let all = dump.kind(Kind::Scope).into_iter().flat_map(|kind| &kind.resources);
    all.filter(|dumped| dumped.refused.is_some()).map(|dumped| dumped.name.to_string()).collect()
}

#[test]
fn a_key_moves_to_another_scope_in_one_response() {
    run(async |mut bench| {
        put_scope(&bench, "b", "x");
        put_scope(&bench, "c", "y");
        live(&mut bench).await;
        assert_eq!(scopes(&bench), ["x b", "y c"]);
        bench.remove(Kind::Scope, "b");
        put_scope(&bench, "a", "x");
        bench.pass(SECOND).await;
        assert_eq!(scopes(&bench), ["x a", "y c"]);
        assert!(refused(&bench).is_empty());
    });
}

#[test]
fn two_scopes_change_keys_in_one_response() {
    run(async |mut bench| {
        put_scope(&bench, "a", "x");
        put_scope(&bench, "b", "y");
        live(&mut bench).await;
        put_scope(&bench, "a", "y");
        put_scope(&bench, "b", "x");
        bench.pass(SECOND).await;
        assert_eq!(scopes(&bench), ["x b", "y a"]);
        assert!(refused(&bench).is_empty());
    });
}

#[test]
fn a_scope_with_the_key_of_another_is_refused_and_the_other_stays() {
    run(async |mut bench| {
        put_scope(&bench, "a", "x");
        put_scope(&bench, "b", "y");
        live(&mut bench).await;
        put_scope(&bench, "b", "x");
        bench.pass(SECOND).await;
        assert_eq!(scopes(&bench), ["x a", "y b"]);
        assert_eq!(refused(&bench), ["b"]);
        put_scope(&bench, "b", "y");
        bench.pass(SECOND).await;
        assert!(refused(&bench).is_empty());
    });
}

#[test]
fn a_table_on_demand_is_fetched_with_the_first_request_and_then_stays() {
    run(async |mut bench| {
        let scope = "{name: a, on_demand: true, route_configuration_name: t, \
                     key: {fragments: [{string_key: x}]}}";
        bench.put(Kind::Routes, "t", &format!("{{name: t, virtual_hosts: {HOSTS}}}"));
        bench.put(Kind::Scope, "a", scope);
        live(&mut bench).await;
        bench.pass(SECOND).await;
        let tables = |bench: &Bench| bench.out.plan.borrow().routes.iter().flatten().count();
        assert_eq!((scopes(&bench), tables(&bench)), (vec!["x a".to_owned()], 0));
        let slot = {
            let plan = bench.out.plan.borrow();
            let set = plan.scopes.iter().flatten().next().expect("a set");
            match &set.scopes.values().next().expect("a scope").table {
                ScopeTable::Rds(name) => name.slot,
                ScopeTable::Inline(_) => panic!("the table comes by RDS"),
            }
        };
        bench.xds.demand(0, Demand::Routes(slot), None);
        bench.xds.demand(1, Demand::Routes(slot), None);
        bench.until("answers", |_, out| out.supplied.borrow().len() == 2).await;
        assert_eq!(tables(&bench), 1);
        // Another version of the scope has it, too.
        bench.put(Kind::Scope, "a", &scope.replace("{string_key: x}", "{string_key: z}"));
        bench.pass(5 * SECOND).await;
        assert_eq!((scopes(&bench), tables(&bench)), (vec!["z a".to_owned()], 1));
        bench.remove(Kind::Scope, "a");
        bench.until("no table", |xds, _| xds.tables.by_slot.is_empty()).await;
        bench.out.supplied.take();
        bench.xds.demand(0, Demand::Routes(slot), None);
        assert_eq!(bench.out.supplied.take(), [(0, Demand::Routes(slot))]);
    });
}
