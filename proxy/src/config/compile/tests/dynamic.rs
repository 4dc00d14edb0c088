//! Resources as management servers send them.

use std::sync::Arc;
use std::time::Duration;

use prost::{Message, Name};
use ringway_xds::api::envoy::config::cluster::v3::Cluster as ClusterMessage;
use ringway_xds::api::envoy::config::core::v3::TypedExtensionConfig;
use ringway_xds::api::envoy::config::listener::v3::Listener as ListenerMessage;
use ringway_xds::api::envoy::config::route::v3::{
    RouteConfiguration, ScopedRouteConfiguration, VirtualHost,
};
use ringway_xds::{Document, Format};

use crate::config::compile::{Compiler, Invalid, reasons};
use crate::config::{Loaded, load_text};
use crate::observe::stats::Registry;
use crate::plan::cluster::{Discovery, Eds};
use crate::plan::http::{HttpManager, Routes};
use crate::plan::listener::Terminal;
use crate::plan::route::{Action, ClusterChoice, ScopeSet, ScopeTable};
use crate::plan::source::{ConfigSource, GrpcSource, Origin};
use crate::plan::{Cluster, ClusterId, Listener, RouteSlot};

/// The bytes of a message as people write it.
fn bytes<M: Name>(yaml: &str) -> Vec<u8> {
    let document = Document::parse(yaml, "r.yaml", Format::Yaml).unwrap();
    document.encode(&M::full_name()).unwrap_or_else(|found| panic!("{found:?}")).0
}

pub(super) fn message<M: Message + Name + Default>(yaml: &str) -> M {
    M::decode(bytes::<M>(yaml).as_slice()).unwrap()
}

/// A bootstrap with a cluster that configuration may come from, and what is put in its place.
pub(super) fn bootstrap(more: &str) -> Loaded {
    let text = format!(
        "{more}
static_resources:
  clusters:
  - name: xds
  - {{name: later, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}
"
    );
    let mut registry = Registry::new(4);
    let mut loaded = match load_text(&text, "t.yaml", Format::Yaml, 2, &mut registry) {
        Ok(loaded) => loaded,
        Err(found) => panic!("{found}"),
    };
    loaded.compiler.own(registry);
    loaded
}

pub(super) fn compiler() -> Compiler {
    bootstrap("").compiler
}

fn texts(found: &[Invalid]) -> Vec<String> {
    found.iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
}

pub(super) fn cluster(compiler: &mut Compiler, yaml: &str) -> Result<Arc<Cluster>, String> {
    let config = message::<ClusterMessage>(yaml);
    let taken = compiler.cluster(&config, &ConfigSource::ads());
    taken.map(|taken| taken.value).map_err(|found| reasons(&found))
}

/// An EDS cluster whose source is this.
fn source(config: &str) -> Result<ConfigSource, String> {
    let yaml = format!("{{name: e, type: EDS, eds_cluster_config: {{eds_config: {config}}}}}");
    let cluster = cluster(&mut compiler(), &yaml)?;
    let Discovery::Eds(Eds { source, name }) = &cluster.discovery else { panic!("{cluster:?}") };
    assert_eq!(&**name, "e");
    Ok(source.clone())
}

fn grpc(fields: &str) -> Result<Arc<GrpcSource>, String> {
    let source = source(&format!("{{api_config_source: {{{fields}}}}}"))?;
    match source.origin {
        Origin::Grpc(source) => Ok(source),
        other => panic!("{other:?}"),
    }
}

const SERVICE: &str = "transport_api_version: V3, \
                       grpc_services: [{envoy_grpc: {cluster_name: xds}}]";

#[test]
fn sources_of_every_form() {
    assert_eq!(source("{ads: {}}").unwrap(), ConfigSource::ads());
    assert_eq!(source("{self: {}}").unwrap(), ConfigSource::ads());
    let short = source("{ads: {}, initial_fetch_timeout: 2s}").unwrap();
    assert_eq!(short.initial_fetch_timeout, Duration::from_secs(2));
    for form in ["{path: /}", "{path_config_source: {path: /}}"] {
        let Origin::Path { path, watched_directory } = source(form).unwrap().origin else {
            panic!("{form}");
        };
        assert_eq!((path.to_str(), watched_directory), (Some("/"), None));
    }
    let watched = "{path_config_source: {path: /, watched_directory: {path: /tmp}}}";
    let Origin::Path { watched_directory, .. } = source(watched).unwrap().origin else {
        panic!("{watched}");
    };
    assert_eq!(watched_directory.unwrap().to_str(), Some("/tmp"));
    // Nothing is v3, too.
    let unsaid = "api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]";
    let stream = grpc(&format!("api_type: GRPC, {SERVICE}")).unwrap();
    assert_eq!(grpc(unsaid).unwrap(), stream);
    assert!(!stream.delta && !stream.aggregated && !stream.node_on_first_only);
    assert_eq!(&*stream.service.cluster, "xds");
    let backoff = (Duration::from_millis(500), Duration::from_secs(30));
    assert_eq!(stream.service.backoff, backoff);
    let limited = format!(
        "api_type: DELTA_GRPC, set_node_on_first_message_only: true, {SERVICE}, \
         rate_limit_settings: {{fill_rate: 0.5}}"
    );
    let stream = grpc(&limited).unwrap();
    assert!(stream.delta && stream.node_on_first_only);
    assert_eq!(stream.rate_limit, Some((100, 500)));
    let rest = "{api_config_source: {api_type: REST, transport_api_version: V3, \
                cluster_names: [xds], refresh_delay: 3s}}";
    let Origin::Rest(rest) = source(rest).unwrap().origin else { panic!("{rest}") };
    assert_eq!(rest.refresh_delay, Duration::from_secs(3));
    assert_eq!(rest.request_timeout, Duration::from_secs(1));
}

#[test]
fn what_a_stream_is_opened_with() {
    let service = "api_type: GRPC, transport_api_version: V3, grpc_services: [{timeout: 3s, \
                   initial_metadata: [{key: X-Token, value: 100%%}], envoy_grpc: {cluster_name: \
                   xds, authority: a.example, max_receive_message_length: 9, \
                   retry_policy: {retry_back_off: {base_interval: 1s, \
                   max_interval: 4s}}}}]";
    let stream = grpc(service).unwrap();
    let service = &stream.service;
    assert_eq!((&*service.authority, service.receive_bytes_max), ("a.example", 9));
    assert_eq!(service.metadata, [(Arc::from("x-token"), Arc::from("100%"))]);
    assert_eq!(service.backoff, (Duration::from_secs(1), Duration::from_secs(4)));
}

#[test]
fn sources_that_are_none() {
    let api = |fields: &str| format!("{{api_config_source: {{{fields}}}}}");
    let at = "eds_cluster_config.eds_config";
    for (form, wanted) in [
        (
            "{path_config_source: {path: /, watched_directory: {path: /nowhere}}}".to_owned(),
            "unable to add filesystem watch for '/nowhere'",
        ),
        ("{path: /nowhere}".to_owned(), "paths must refer to an existing path in the system"),
        (api("api_type: GRPC, transport_api_version: V3"), "must have either a gRPC service"),
        (
            api("api_type: GRPC, transport_api_version: V3, cluster_names: [xds]"),
            "must not have a cluster name specified",
        ),
        (
            api("api_type: GRPC, transport_api_version: V3, \
                 grpc_services: [{envoy_grpc: {cluster_name: x}}]"),
            "must have a statically defined non-EDS cluster: 'x' does not exist",
        ),
        (
            api("api_type: GRPC, transport_api_version: V3, \
                 grpc_services: [{envoy_grpc: {cluster_name: later}}]"),
            "'later' does not exist, was added via api, or is an EDS cluster",
        ),
        (
            api("api_type: GRPC, transport_api_version: V3, \
                 grpc_services: [{google_grpc: {target_uri: x, stat_prefix: x}}]"),
            "google_grpc is not supported yet",
        ),
        (api(&format!("api_type: AGGREGATED_GRPC, {SERVICE}")), "Unsupported config source"),
        (
            api("api_type: REST, transport_api_version: V3, cluster_names: [xds]"),
            "refresh_delay is required",
        ),
        (
            api("api_type: REST, transport_api_version: V3, refresh_delay: 1s"),
            "must have a singleton cluster name specified",
        ),
    ] {
        let error = source(&form).expect_err(&form);
        assert!(error.starts_with(at) && error.contains(wanted), "{form}: {error}");
    }
}

#[test]
fn what_comes_later() {
    let ads = "{api_type: GRPC, transport_api_version: V3, \
               grpc_services: [{envoy_grpc: {cluster_name: xds}}]}";
    let loaded = bootstrap(&format!(
        "dynamic_resources: {{ads_config: {ads}, cds_config: {{ads: {{}}}}, \
         lds_config: {{ads: {{}}, initial_fetch_timeout: 0s}}}}
layered_runtime: {{layers: [{{name: a, static_layer: {{k: 1}}}}, \
         {{name: b, rtds_layer: {{name: r, rtds_config: {{ads: {{}}}}}}}}]}}"
    ));
    let dynamic = &loaded.dynamic;
    assert!(!dynamic.ads.as_ref().unwrap().delta);
    assert_eq!(dynamic.cds, Some(ConfigSource::ads()));
    assert_eq!(dynamic.lds.as_ref().unwrap().initial_fetch_timeout, Duration::ZERO);
    let layer = &dynamic.layers[0];
    assert_eq!((&*layer.layer, &*layer.name, &layer.source), ("b", "r", &ConfigSource::ads()));
}

#[test]
fn eds_clusters_in_both_forms() {
    let mut compiler = compiler();
    let config = "eds_cluster_config: {service_name: s, eds_config: {ads: {}}}";
    for kind in ["type: EDS", "cluster_type: {name: envoy.cluster.eds}"] {
        let cluster = cluster(&mut compiler, &format!("{{name: c, {kind}, {config}}}")).unwrap();
        let Discovery::Eds(eds) = &cluster.discovery else { panic!("{kind}") };
        assert_eq!((&*eds.name, cluster.hosts.version), ("s", 0));
        assert!(cluster.needs.is_none());
    }
    // A file that a resource comes from is what it means by itself.
    let origin = Origin::Path { path: "/c.yaml".into(), watched_directory: None };
    let from = ConfigSource { origin, ..ConfigSource::ads() };
    let own = "{name: c, type: EDS, eds_cluster_config: {eds_config: {self: {}}}}";
    let taken = compiler.cluster(&message(own), &from).unwrap();
    let Discovery::Eds(eds) = &taken.value.discovery else { panic!("{taken:?}") };
    assert_eq!(eds.source, from);
}

#[test]
fn a_rejection_names_every_field() {
    let wrong = "{name: c, type: LOGICAL_DNS, outlier_detection: {base_ejection_time: 4s, \
                 max_ejection_time: 3s}}";
    let error = cluster(&mut compiler(), wrong).unwrap_err();
    assert!(error.contains("load_assignment.endpoints: LOGICAL_DNS clusters must have"), "{error}");
    assert!(error.contains("; outlier_detection.max_ejection_time: "), "{error}");
}

#[test]
fn field_rules_and_unknown_fields() {
    let mut lenient = compiler();
    let mut strict = Compiler::new(1, true);
    let mut cluster = bytes::<ClusterMessage>("{name: c, connect_timeout: 1s}");
    assert!(lenient.decode::<ClusterMessage>(&cluster).is_ok());
    // Field 1000, a varint.
    cluster.extend([0xc0, 0x3e, 1]);
    assert!(lenient.decode::<ClusterMessage>(&cluster).is_ok());
    let found = strict.decode::<ClusterMessage>(&cluster).unwrap_err();
    assert!(reasons(&found).contains("no field number 1000"), "{found:?}");
    let nameless = ClusterMessage::default().encode_to_vec();
    let found = lenient.decode::<ClusterMessage>(&nameless).unwrap_err();
    assert_eq!(reasons(&found), "name: value length must be at least 1 characters");
    assert!(lenient.decode::<ClusterMessage>(&[0xff]).is_err());
}

/// A listener with a connection manager that has these fields.
fn listener(compiler: &mut Compiler, fields: &str) -> Result<Arc<Listener>, String> {
    const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions.filters";
    let yaml = format!(
        "
name: l
address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
filter_chains:
- filters:
  - name: hcm
    typed_config:
      '@type': {EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
{}",
        fields.lines().map(|line| format!("      {line}\n")).collect::<String>()
    );
    let config = message::<ListenerMessage>(&yaml);
    let taken = compiler.listener(&config, &ConfigSource::ads());
    taken.map(|taken| taken.value).map_err(|found| reasons(&found))
}

fn routed(compiler: &mut Compiler, fields: &str) -> Result<Arc<Listener>, String> {
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let router = format!("http_filters: [{{name: r, typed_config: {{'@type': {ROUTER}}}}}]");
    listener(compiler, &format!("{router}\n{fields}"))
}

fn manager(listener: &Listener) -> &HttpManager {
    match &listener.chains[0].terminal {
        Terminal::Http(manager, _) => manager,
        other => panic!("{other:?}"),
    }
}

fn slot(listener: &Listener) -> RouteSlot {
    match &manager(listener).routes {
        Routes::Rds(name) => name.slot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_waits_for_its_routes() {
    let mut compiler = compiler();
    let rds = "rds: {route_config_name: r, config_source: {ads: {}}}";
    let one = routed(&mut compiler, rds).unwrap();
    let two = routed(&mut compiler, rds).unwrap();
    assert_eq!(one.needs.routes.len(), 1);
    assert_eq!((&*one.needs.routes[0].name, slot(&one)), ("r", slot(&two)));
    let other = "rds: {route_config_name: r, config_source: {path: /}}";
    let other = routed(&mut compiler, other).unwrap();
    assert_ne!(slot(&other), slot(&one));
    // The slot goes to nobody else while a listener holds it.
    drop(two);
    compiler.sweep();
    let fresh = "rds: {route_config_name: fresh, config_source: {ads: {}}}";
    let held = slot(&one);
    let fresh = routed(&mut compiler, fresh).unwrap();
    assert_ne!(slot(&fresh), held);
    drop(one);
    compiler.sweep();
    let more = "rds: {route_config_name: more, config_source: {ads: {}}}";
    assert_eq!(slot(&routed(&mut compiler, more).unwrap()), held);
}

const TABLE: &str = "{name: r, virtual_hosts: [{name: v, domains: ['*'], \
                     routes: [{match: {prefix: /}, route: {cluster: unheard-of}}]}]}";

#[test]
fn tables_by_rds_may_name_clusters_to_come() {
    let mut compiler = compiler();
    let ads = ConfigSource::ads();
    let config = message::<RouteConfiguration>(TABLE);
    let table = compiler.routes(&config, &[], &ads).unwrap().value;
    assert_eq!(table.clusters.len(), 1);
    assert_eq!(&*table.clusters[0].name, "unheard-of");
    let strict = RouteConfiguration { validate_clusters: Some(true), ..config.clone() };
    let found = compiler.routes(&strict, &[], &ads).unwrap_err();
    let wanted = "virtual_hosts[0].routes[0].route.cluster: route: unknown cluster 'unheard-of'";
    assert_eq!(texts(&found), [wanted]);
    let inline = format!("route_config: {TABLE}");
    let error = routed(&mut compiler, &inline).unwrap_err();
    assert!(error.ends_with("route.cluster: route: unknown cluster 'unheard-of'"), "{error}");
    let eds = "{name: unheard-of, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}";
    let id = cluster(&mut compiler, eds).unwrap().id;
    assert!(compiler.routes(&strict, &[], &ads).is_ok());
    assert!(routed(&mut compiler, &inline).is_ok());
    compiler.cluster_gone(id);
    assert!(compiler.routes(&strict, &[], &ads).is_err());
}

#[test]
fn an_id_stays_while_a_table_names_it() {
    let mut compiler = compiler();
    let config = message::<RouteConfiguration>(TABLE);
    let table = compiler.routes(&config, &[], &ConfigSource::ads()).unwrap().value;
    let Action::Forward(forward) = &table.hosts()[0].routes()[0].action else {
        panic!("{table:?}")
    };
    let ClusterChoice::One(named) = forward.cluster else { panic!("{forward:?}") };
    let make = |compiler: &mut Compiler, name: &str| -> ClusterId {
        let eds = "type: EDS, eds_cluster_config: {eds_config: {ads: {}}}";
        cluster(compiler, &format!("{{name: {name}, {eds}}}")).unwrap().id
    };
    let gone = make(&mut compiler, "gone");
    compiler.sweep();
    // What nobody holds is given away, what the table names is not.
    let fresh = [make(&mut compiler, "a"), make(&mut compiler, "b")];
    assert!(fresh.contains(&gone) && !fresh.contains(&named), "{fresh:?}");
    assert_eq!(make(&mut compiler, "unheard-of"), named);
    drop(table);
    compiler.sweep();
    let ids: Vec<_> = ["c", "d", "e"].map(|name| make(&mut compiler, name)).into();
    assert!(ids.contains(&named), "{ids:?}");
}

#[test]
fn virtual_hosts_come_by_vhds() {
    let mut compiler = compiler();
    let ads = ConfigSource::ads();
    let table = "{name: r, vhds: {config_source: {ads: {}}}}";
    let host = |name: &str, domain: &str| {
        message::<VirtualHost>(&format!(
            "{{name: {name}, domains: [{domain}], routes: [{{match: {{prefix: /}}, \
             route: {{cluster: c}}}}]}}"
        ))
    };
    let config = message::<RouteConfiguration>(table);
    let (a, b) = (host("a", "a.example"), host("b", "b.example"));
    compiler.virtual_host(&a, &ads).unwrap();
    let compiled = compiler.routes(&config, &[a.clone(), b], &ads).unwrap().value;
    assert_eq!(compiled.vhds, Some(ads.clone()));
    assert_eq!(compiled.find_host(Some(b"b.example")), Some(1));
    let twice = compiler.routes(&config, &[a.clone(), host("c", "a.example")], &ads).unwrap_err();
    assert!(texts(&twice)[0].starts_with("[\"c\"].domains[0]: "), "{twice:?}");
    let wrong = VirtualHost { per_request_buffer_limit_bytes: Some(1), ..a };
    let wrong = VirtualHost { request_body_buffer_limit: Some(1), ..wrong };
    assert!(compiler.virtual_host(&wrong, &ads).is_err());
    let sotw = "{name: r, vhds: {config_source: {path: /}}}";
    let found = compiler.routes(&message(sotw), &[], &ads).unwrap_err();
    assert!(reasons(&found).contains("only 'DELTA_GRPC' is supported"), "{found:?}");
}

const BUILDER: &str = "scope_key_builder: {fragments: [{header_value_extractor: {name: X-Key, \
                       element_separator: ';', element: {key: k, separator: '='}}}]}";

#[test]
fn scopes_in_the_listener() {
    let mut compiler = compiler();
    let scope = |name: &str, key: &str, table: &str| {
        format!("{{name: {name}, {table}, key: {{fragments: [{{string_key: {key}}}]}}}}")
    };
    let list = |scopes: &[String]| {
        format!(
            "scoped_routes: {{name: set, {BUILDER}, rds_config_source: {{ads: {{}}}}, \
             scoped_route_configurations_list: {{scoped_route_configurations: [{}]}}}}",
            scopes.join(", ")
        )
    };
    let (named, other) = (
        scope("a", "x", "route_configuration_name: r"),
        scope("b", "z", "route_configuration_name: s"),
    );
    let listener = routed(&mut compiler, &list(&[named.clone(), other])).unwrap();
    assert_eq!(listener.needs.routes.len(), 2);
    let Routes::Scoped(scoped) = &manager(&listener).routes else { panic!("no scopes") };
    let key =
        |value: &'static str| scoped.key(|name| (name == "x-key").then_some(value.as_bytes()));
    let crate::plan::route::Scopes::Inline(set) = &scoped.scopes else { panic!("{scoped:?}") };
    let found = |value| key(value).and_then(|key| set.scopes.get(&key)).map(|scope| &*scope.name);
    assert_eq!(found("a=1;k=x"), Some("a"));
    assert_eq!(found("k=z;k=x"), Some("b"));
    assert_eq!((found("k=w"), key("a=1").is_none()), (None, true));
    let clash = scope("c", "x", "route_configuration_name: t");
    let error = routed(&mut compiler, &list(&[named, clash])).unwrap_err();
    let wanted = "scope key conflict found, first scope is 'a', second scope is 'c'";
    assert!(error.contains(wanted), "{error}");
}

#[test]
fn scopes_by_srds() {
    let mut compiler = compiler();
    let fields = format!(
        "scoped_routes: {{name: set, {BUILDER}, rds_config_source: {{ads: {{}}}}, \
         scoped_rds: {{scoped_rds_config_source: {{ads: {{}}}}}}}}"
    );
    let listener = routed(&mut compiler, &fields).unwrap();
    let name = Arc::clone(&listener.needs.scopes[0]);
    assert!(listener.needs.routes.is_empty());
    let mut set = ScopeSet::default();
    let text = "{name: a, route_configuration_name: r, key: {fragments: [{string_key: x}]}}";
    let config = message::<ScopedRouteConfiguration>(text);
    let (key, scope) = compiler.scoped_route(&config, &name).unwrap().value;
    let ScopeTable::Rds(table) = &scope.table else { panic!("{scope:?}") };
    assert_eq!((&*table.name, &table.source), ("r", &ConfigSource::ads()));
    assert!(set.insert(key.clone(), scope.clone()).is_ok() && set.insert(key, scope).is_err());
    let both = format!(
        "{{name: a, route_configuration_name: r, route_configuration: {TABLE}, \
                        key: {{fragments: [{{string_key: x}}]}}}}"
    );
    assert!(compiler.scoped_route(&message(&both), &name).is_err());
    let demand = ScopedRouteConfiguration { on_demand: true, ..config };
    let (_, scope) = compiler.scoped_route(&demand, &name).unwrap().value;
    assert!(scope.on_demand);
    // A listener waits for the tables of the scopes it has in itself.
    let inline = format!(
        "scoped_routes: {{name: set, {BUILDER}, rds_config_source: {{ads: {{}}}}, \
         scoped_route_configurations_list: {{scoped_route_configurations: [{{name: a, on_demand: \
         true, route_configuration_name: r, key: {{fragments: [{{string_key: x}}]}}}}]}}}}"
    );
    let found = routed(&mut compiler, &inline).unwrap_err();
    assert!(found.contains("on_demand is not supported yet"), "{found}");
}

#[test]
fn clusters_on_demand_come_by_the_incremental_protocol() {
    let mut compiler = compiler();
    let mut compile = |odcds: &str| {
        const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";
        let fields = format!(
            "http_filters:
- {{name: d, typed_config: {{'@type': {FILTERS}.on_demand.v3.OnDemand, odcds: {odcds}}}}}
- {{name: r, typed_config: {{'@type': {FILTERS}.router.v3.Router}}}}
route_config: {{name: r}}"
        );
        listener(&mut compiler, &fields).map(drop)
    };
    assert_eq!(compile("{source: {ads: {}}}"), Ok(()));
    for (odcds, why) in [
        ("{}", "odcds.source: a source is required"),
        ("{source: {path: /dev/null}}", "by the incremental protocol only"),
        ("{source: {ads: {}}, resources_locator: 'xdstp://a/b'}", "resources_locator is not"),
        ("{source: {ads: {}}, timeout: -1s}", "timeout"),
    ] {
        let found = compile(odcds).unwrap_err();
        assert!(found.contains(why), "{odcds}: {found}");
    }
}

const BUFFER: &str = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
const CORS: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";

/// A filter by ECDS with these fields, and the router.
fn discovered(fields: &str) -> String {
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    format!(
        "http_filters:
- {{name: f, config_discovery: {{config_source: {{ads: {{}}}}, type_urls: [{BUFFER}]{fields}}}}}
- {{name: r, typed_config: {{'@type': {ROUTER}}}}}
route_config: {{name: r}}"
    )
}

#[test]
fn filters_by_ecds() {
    let mut compiler = compiler();
    let waits = listener(&mut compiler, &discovered("")).unwrap();
    let slot = Arc::clone(&waits.needs.extensions[0]);
    assert!(!slot.is_ready() && slot.current().is_none());
    let again = listener(&mut compiler, &discovered("")).unwrap();
    assert!(Arc::ptr_eq(&slot, &again.needs.extensions[0]), "one slot for the same");
    let found = compiler.extension_slots("f", &ConfigSource::ads());
    assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &slot));
    let options = |any: &str| {
        message::<TypedExtensionConfig>(&format!("{{name: f, typed_config: {{{any}}}}}"))
    };
    let good = options(&format!("'@type': {BUFFER}, max_request_bytes: 9"));
    let extension = compiler.extension(&good, &slot).unwrap().value;
    slot.set(Some(Arc::clone(&extension)));
    assert!(slot.is_ready() && Arc::ptr_eq(&slot.current().unwrap(), &extension));
    let other = options(&format!("'@type': {CORS}"));
    let found = compiler.extension(&other, &slot).unwrap_err();
    let wanted = "typed_config: Error: filter config has type URL \
                  envoy.extensions.filters.http.cors.v3.Cors but expect \
                  envoy.extensions.filters.http.buffer.v3.Buffer.";
    assert_eq!(texts(&found), [wanted]);
    slot.set(None);
    assert!(slot.current().is_none(), "there is no default");
}

#[test]
fn a_filter_by_ecds_ends_no_chain() {
    let config = format!("config_source: {{ads: {{}}}}, type_urls: [{BUFFER}]");
    let fields = format!(
        "http_filters: [{{name: f, config_discovery: {{{config}}}}}]\nroute_config: {{name: r}}"
    );
    let error = listener(&mut compiler(), &fields).unwrap_err();
    assert!(error.contains("non-terminal filter named f"), "{error}");
}

#[test]
fn defaults_of_filters_by_ecds() {
    let mut compiler = compiler();
    let default = format!(", default_config: {{'@type': {BUFFER}, max_request_bytes: 7}}");
    let waits = listener(&mut compiler, &discovered(&default)).unwrap();
    let slot = &waits.needs.extensions[0];
    assert!(!slot.is_ready() && slot.current().is_some());
    let now = format!("{default}, apply_default_config_without_warming: true");
    let ready = listener(&mut compiler, &discovered(&now)).unwrap();
    assert!(ready.needs.extensions[0].is_ready());
    let without = ", apply_default_config_without_warming: true";
    let error = listener(&mut compiler, &discovered(without)).unwrap_err();
    assert!(error.contains("without setting default config for f"), "{error}");
}

fn layer(yaml: &str) -> prost_types::Struct {
    let document = Document::parse(yaml, "l.yaml", Format::Yaml).unwrap();
    let (bytes, ..) = document.encode("google.protobuf.Struct").unwrap();
    prost_types::Struct::decode(bytes.as_slice()).unwrap()
}

#[test]
fn values_of_the_runtime() {
    let mut compiler = compiler();
    let ads = ConfigSource::ads();
    let table = "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /, \
                 runtime_fraction: {runtime_key: share, default_value: {numerator: 1}}}, \
                 route: {cluster: c}}]}]}";
    let config = message::<RouteConfiguration>(table);
    assert!(compiler.routes(&config, &[], &ads).unwrap().reads_runtime);
    let plain = message::<RouteConfiguration>(TABLE);
    assert!(!compiler.routes(&plain, &[], &ads).unwrap().reads_runtime);
    let half = layer("{share: 50}");
    assert!(compiler.runtime_layer("rtds", &half).unwrap().value);
    assert!(!compiler.runtime_layer("rtds", &half).unwrap().value, "nothing new");
    let wrong = layer("{share: [1]}");
    let found = compiler.runtime_layer("rtds", &wrong).unwrap_err();
    assert!(reasons(&found).contains("invalid runtime entry value for share"), "{found:?}");
}
