//! Bootstraps as people write them, and what becomes of them.

mod assignment;
mod dynamic;
mod http2;
mod listeners;
mod secrets;
mod sockets;
mod tls;

use std::time::Duration;

use ringway_xds::Format;

use crate::config::{Diagnostics, Loaded, load_text};
use crate::observe::stats::Registry;
use crate::plan::cluster::{Discovery, DnsFamily, Lb};
use crate::plan::http::{HttpManager, StripPort};
use crate::plan::listener::Terminal;
use crate::plan::route::{Action, ClusterChoice, Fraction, PathRewrite, RetryOn};
use crate::plan::{Address, Cluster};

fn load(text: &str) -> Result<Loaded, Diagnostics> {
    load_text(text, "t.yaml", Format::Yaml, 2, &mut Registry::new(4))
}

/// A bootstrap with a connection manager: its fields, then its routes.
fn manager(fields: &str, routes: &str) -> String {
    const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                       http_connection_manager.v3.HttpConnectionManager";
    let block = |text: &str, indent: &str| -> String {
        text.lines().map(|line| format!("{indent}{line}\n")).collect()
    };
    format!(
        "static_resources:
  clusters:
  - name: c
    load_assignment:
      cluster_name: c
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': {HCM}
          stat_prefix: s
          http_filters:
          - name: router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
{}          route_config:
            virtual_hosts:
            - name: v
              domains: ['*']
              routes:
{}",
        block(fields, "          "),
        block(routes, "              ")
    )
}

const ROUTE: &str = "- {match: {prefix: /}, route: {cluster: c}}";

fn cluster(fields: &str) -> String {
    format!("static_resources: {{clusters: [{{name: c, {fields}}}]}}")
}

fn http(loaded: &Loaded) -> &HttpManager {
    let Terminal::Http(manager, _) = &loaded.plan.listeners[0].chains[0].terminal else {
        panic!("no connection manager");
    };
    manager
}

fn only_cluster(loaded: &Loaded) -> &Cluster {
    loaded.plan.clusters[0].as_ref().expect("a cluster of the file")
}

/// Path and message of every error.
fn errors(text: &str) -> Vec<(String, String)> {
    let found = load(text).expect_err("the text is wrong");
    let errors = found.0.into_iter().filter(|d| d.is_error());
    errors.map(|d| (d.path, d.message)).collect()
}

#[test]
fn defaults_are_those_of_envoy() {
    let loaded = load(&manager("", ROUTE)).expect("a good file");
    let listener = &loaded.plan.listeners[0];
    assert_eq!(&*listener.name, "l");
    assert_eq!(&*listener.stat_prefix, "127.0.0.1_0");
    assert_eq!(listener.addresses, [Address::Ip(([127, 0, 0, 1], 0).into())]);
    assert_eq!((listener.buffer_limit, listener.reuse_port), (1 << 20, true));
    assert_eq!(listener.workers.len(), 2);
    let http = http(&loaded);
    assert_eq!(http.timeouts.idle, Duration::from_secs(3600));
    assert_eq!(http.timeouts.stream_idle, Duration::from_secs(300));
    assert_eq!(http.http1.max_headers_bytes, 60 << 10);
    assert_eq!((&*http.server_name, http.request_id.generate), ("envoy", true));
    let route = &http.routes.inline().unwrap().hosts()[0].routes()[0];
    let Action::Forward(forward) = &route.action else { panic!("{route:?}") };
    assert_eq!(forward.timeout, Duration::from_secs(15));
    assert_eq!((forward.cluster_not_found_status, route.matched_len), (503, Some(1)));
    let cluster = only_cluster(&loaded);
    assert_eq!((cluster.lb, cluster.connect_timeout), (Lb::RoundRobin, Duration::from_secs(5)));
    assert_eq!(cluster.circuit_breakers[1].max_retries, 3);
    assert_eq!(cluster.hosts.hosts.len(), 1);
}

#[test]
fn all_errors_of_a_file_are_told_with_their_places() {
    let text = manager(
        "http3_protocol_options: {}",
        "- {match: {prefix: /a}, route: {cluster: d}}\n\
         - {match: {prefix: /b}, request_headers_to_add: [{header: {key: Host, value: x}}], \
           route: {cluster: c}}\n\
         - {match: {safe_regex: {regex: '('}}, route: {cluster: c}}",
    );
    let found = load(&text).expect_err("four errors");
    assert_eq!(found.errors(), 4, "{found}");
    let lines: Vec<u32> = found.0.iter().map(|d| d.line).collect();
    assert!(lines.is_sorted() && lines[0] > 0, "{lines:?}");
    let messages: Vec<&str> = found.0.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages[0], "http3_protocol_options is not supported yet");
    assert_eq!(messages[1], "route: unknown cluster 'd'");
    assert_eq!(messages[2], ":-prefixed or host headers may not be modified");
    assert!(messages[3].starts_with("invalid regex '('"), "{}", messages[3]);
    assert_eq!(found.0[1].suggestion.as_deref(), Some("c"));
    assert!(found.0[1].path.ends_with("virtual_hosts[0].routes[0].route.cluster"));
}

#[test]
fn clusters_need_not_exist_where_the_table_says_so() {
    let text = manager("", "- {match: {prefix: /}, route: {cluster: later}}")
        .replace("virtual_hosts:", "validate_clusters: false\n            virtual_hosts:");
    let loaded = load(&text).expect("a good file");
    let id = loaded.plan.cluster_ids["later"];
    assert!(loaded.plan.clusters[id.0 as usize].is_none());
    let Action::Forward(forward) =
        &http(&loaded).routes.inline().unwrap().hosts()[0].routes()[0].action
    else {
        panic!("a route that forwards")
    };
    assert!(matches!(forward.cluster, ClusterChoice::One(found) if found == id));
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for (fields, path) in [
        ("tracing: {}", "tracing"),
        ("codec_type: HTTP3", "codec_type"),
        ("local_reply_config: {mappers: []}", ""),
        ("strip_any_host_port: true", ""),
        ("proxy_status_config: {}", "proxy_status_config"),
    ] {
        let text = manager(fields, ROUTE);
        if path.is_empty() {
            load(&text).unwrap_or_else(|found| panic!("{fields}: {found}"));
            continue;
        }
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].0.ends_with(&format!("typed_config.{path}")), "{errors:?}");
        assert!(errors[0].1.ends_with("not supported yet"), "{errors:?}");
    }
    let loaded = load(&manager("strip_any_host_port: true", ROUTE)).expect("a good file");
    assert_eq!(http(&loaded).normalise.strip_port, StripPort::Any);
}

#[test]
fn routes_take_from_their_virtual_host() {
    let text = manager(
        "",
        "- {match: {safe_regex: {regex: '/a{x}'}}, route: {cluster: c, prefix_rewrite: /b}}\n\
         - {match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: 'reset'}}}",
    );
    let host = "domains: ['*']\n              retry_policy: {retry_on: '5xx,unavailable,no'}";
    let loaded = load(&text.replace("domains: ['*']", host)).expect("a good file");
    let routes = http(&loaded).routes.inline().unwrap().hosts()[0].routes();
    let on = |index: usize| match &routes[index].action {
        Action::Forward(forward) => forward.retry.as_ref().map(|retry| retry.on),
        _ => None,
    };
    assert_eq!(on(0), Some(RetryOn(RetryOn::R5XX | RetryOn::GRPC_UNAVAILABLE)));
    assert_eq!(on(1), Some(RetryOn(RetryOn::RESET)));
    let Action::Forward(forward) = &routes[0].action else { panic!("a route that forwards") };
    assert!(matches!(&forward.extra().rewrite, PathRewrite::Prefix(text) if &**text == "/b"));
    assert_eq!(routes[0].matched_len, None);
    assert_eq!(loaded.warnings.0.len(), 1, "the word 'no' is no condition");
}

#[test]
fn the_runtime_is_asked_once() {
    let layers = "layered_runtime:
  layers:
  - name: a
    static_layer: {share: 7, w: {c: 3}, circuit_breakers: {c: {default: {max_requests: 9}}}}
  - name: b
    static_layer: {share: {numerator: 1, denominator: TEN_THOUSAND}}
";
    let text = manager(
        "",
        "- {match: {prefix: /, runtime_fraction: {default_value: {numerator: 50}, \
           runtime_key: share}}, route: {weighted_clusters: {runtime_key_prefix: w, \
           clusters: [{name: c, weight: 1}]}}}",
    );
    let loaded = load(&format!("{layers}{text}")).expect("a good file");
    let route = &http(&loaded).routes.inline().unwrap().hosts()[0].routes()[0];
    let conditions = route.conditions.as_ref().expect("a share is a condition");
    let share = Fraction { numerator: 1, denominator: 10_000 };
    assert_eq!(conditions.fraction, Some(share));
    let Action::Forward(forward) = &route.action else { panic!("a route that forwards") };
    assert!(matches!(&forward.cluster, ClusterChoice::Weighted(w) if w.total == 3));
    assert_eq!(only_cluster(&loaded).circuit_breakers[0].max_requests, 9);
}

#[test]
fn dns_clusters() {
    let hosts = "load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: \
                 {address: {socket_address: {address: a.example, port_value: 80}}}}]}]}";
    let loaded = load(&cluster(&format!("type: STRICT_DNS, dns_lookup_family: V4_ONLY, {hosts}")))
        .expect("a good file");
    let Discovery::StrictDns(dns) = &only_cluster(&loaded).discovery else { panic!("DNS") };
    assert_eq!((dns.family, dns.refresh), (DnsFamily::V4Only, Duration::from_secs(5)));
    assert_eq!((&*dns.targets[0].name, dns.targets[0].port), ("a.example", 80));
    assert!(only_cluster(&loaded).hosts.hosts.is_empty());

    let custom = "cluster_type: {name: envoy.cluster.dns, typed_config: {'@type': \
                  type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, \
                  dns_refresh_rate: 7s, all_addresses_in_single_endpoint: true}}";
    let loaded = load(&cluster(&format!("{custom}, {hosts}"))).expect("a good file");
    let Discovery::LogicalDns(dns) = &only_cluster(&loaded).discovery else { panic!("DNS") };
    assert_eq!(dns.refresh, Duration::from_secs(7));

    let errors = errors(&cluster("type: LOGICAL_DNS"));
    assert_eq!(errors[0].1, "LOGICAL_DNS clusters must have a single host");
}

#[test]
fn rules_across_fields() {
    for (fields, message) in [
        ("outlier_detection: {base_ejection_time: 4s, max_ejection_time: 3s}", "smaller than"),
        ("eds_cluster_config: {eds_config: {ads: {}}}", "set in a non-EDS cluster"),
        ("load_balancing_policy: {policies: []}", "didn't find a registered load balancer"),
        (
            "type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}",
            "greater than or equal",
        ),
        ("type: EDS", "Missing config source specifier"),
    ] {
        let errors = errors(&cluster(fields));
        assert!(errors.iter().any(|(_, m)| m.contains(message)), "{fields}: {errors:?}");
    }
    let errors = errors("static_resources: {clusters: [{name: c}, {name: c}]}");
    assert_eq!(errors[0].0, "static_resources.clusters[1].name");
}

#[test]
fn inline_yaml_is_merged_over_the_file() {
    let path = std::env::temp_dir().join(format!("ringway-load-{}.yaml", std::process::id()));
    std::fs::write(&path, "node: {id: a, cluster: b}\n").expect("a file in the temporary folder");
    let file = path.to_string_lossy();
    let arguments = ["-c", &file, "--config-yaml", "node: {id: x}", "--service-cluster", "flag"];
    let options = crate::cli::Options::from_arguments(arguments).expect("good flags");
    let loaded = crate::config::load(&options, 1, &mut Registry::new(3)).expect("a good file");
    assert_eq!((loaded.node.id.as_str(), loaded.node.cluster.as_str()), ("x", "flag"));
    std::fs::remove_file(&path).expect("the file is still there");
    let gone = crate::config::load(&options, 1, &mut Registry::new(3)).expect_err("no file");
    assert_eq!(&*gone.0[0].file, &*file);
}

#[test]
fn files_that_may_never_end_are_not_read() {
    for path in ["/dev/zero", "/proc/version", "/dev/../sys/kernel/uevent_seqnum", "/"] {
        let body = format!("{{status: 200, body: {{filename: {path}}}}}");
        let route = format!("- {{match: {{prefix: /}}, direct_response: {body}}}");
        let found = load(&manager("", &route)).unwrap_err();
        let [only] = found.0.as_slice() else { panic!("{path}: {found}") };
        assert!(only.path.ends_with("direct_response.body.filename"), "{path}: {found}");
    }
}
