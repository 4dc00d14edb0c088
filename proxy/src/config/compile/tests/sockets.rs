//! `transport_socket_matches`: which socket a cluster's hosts have.

use super::*;
use crate::plan::transport::{SocketIndex, Upstream};

const TYPES: &str = "type.googleapis.com/envoy.extensions.transport_sockets";

/// A bootstrap with one cluster.
fn bootstrap(cluster: &str) -> String {
    let raw = format!("{{name: raw, typed_config: {{'@type': {TYPES}.raw_buffer.v3.RawBuffer}}}}");
    let tls = format!(
        "{{name: tls, typed_config: {{'@type': {TYPES}.tls.v3.UpstreamTlsContext, \
         sni: s.example}}}}"
    );
    let proxied = format!(
        "{{name: p, typed_config: {{'@type': \
         {TYPES}.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {{version: V2}}, \
         transport_socket: {raw}}}}}"
    );
    let cluster = cluster.replace("RAW", &raw).replace("TLS", &tls).replace("PROXIED", &proxied);
    format!("static_resources: {{clusters: [{{name: c, {cluster}}}]}}")
}

fn cluster(text: &str) -> std::sync::Arc<Cluster> {
    load(&bootstrap(text)).unwrap().plan.clusters[0].clone().unwrap()
}

/// As istiod writes them.
const ISTIO: &str = "transport_socket_matches: [
  {name: tlsMode-istio, match: {tlsMode: istio}, transport_socket: TLS},
  {name: tlsMode-disabled, match: {}, transport_socket: RAW}]";

fn endpoint(port: u16, metadata: &str) -> String {
    let address = format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}");
    let metadata = match metadata {
        "" => String::new(),
        text => {
            format!(", metadata: {{filter_metadata: {{envoy.transport_socket_match: {text}}}}}")
        }
    };
    format!("{{endpoint: {{address: {address}}}{metadata}}}")
}

#[test]
fn hosts_have_the_socket_their_metadata_asks_for() {
    let hosts = [endpoint(1, "{tlsMode: istio}"), endpoint(2, ""), endpoint(3, "{tlsMode: x}")];
    let hosts = hosts.join(", ");
    let cluster = cluster(&format!(
        "{ISTIO}, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{hosts}]}}]}}"
    ));
    let secure: Vec<bool> =
        cluster.hosts.hosts.iter().map(|host| cluster.socket(host).is_secure()).collect();
    assert_eq!(secure, [true, false, false]);
    assert_eq!(cluster.sockets.bare, SocketIndex::of_match(1));
    assert!(!cluster.sockets.default.is_secure());
}

#[test]
fn a_match_may_have_a_header_around_it() {
    let cluster = cluster(
        "transport_socket: TLS, transport_socket_matches: [
          {name: p, match: {a: b}, transport_socket: PROXIED}],
        load_assignment: {cluster_name: c}",
    );
    let inside = cluster.sockets.get(SocketIndex::of_match(0));
    assert!(inside.proxy_protocol.is_some() && matches!(inside.transport, Upstream::Raw));
    assert!(cluster.sockets.get(SocketIndex::of_match(7)).is_secure(), "one that is not there");
}

#[test]
fn health_checks_may_ask_for_a_socket_of_their_own() {
    let check = |criteria: &str| {
        let cluster = cluster(&format!(
            "{ISTIO}, load_assignment: {{cluster_name: c}}, health_checks: [{{timeout: 1s, \
             interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {{}} \
             {criteria}}}]"
        ));
        cluster.health_checks[0].socket
    };
    assert_eq!(check(""), None);
    let tls = check(", transport_socket_match_criteria: {tlsMode: istio}");
    assert_eq!(tls, Some(SocketIndex::of_match(0)));
    let plain = check(", transport_socket_match_criteria: {other: 1}");
    assert_eq!(plain, Some(SocketIndex::of_match(1)));
}

#[test]
fn protocols_are_negotiated_on_all_sockets_or_none() {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let auto = format!(
        "load_assignment: {{cluster_name: c}}, typed_extension_protocol_options: {{{OPTIONS}: \
         {{'@type': type.googleapis.com/{OPTIONS}, auto_config: {{}}}}}}, transport_socket: TLS"
    );
    cluster(&auto);
    let error = load(&bootstrap(&format!("{auto}, {ISTIO}"))).unwrap_err().to_string();
    assert!(error.contains("has a non-ALPN transport socket"), "{error}");
}

#[test]
fn internal_listeners_are_told_what_passthrough_metadata_lists() {
    const EXTENSION: &str = "bootstrap_extensions: [{name: i, typed_config: {'@type': \
        type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener, \
        buffer_size_kb: 64}}]";
    let loaded = |list: &str| {
        let socket = format!(
            "transport_socket: {{name: i, typed_config: {{'@type': {TYPES}.internal_upstream.v3.\
             InternalUpstreamTransport, passthrough_metadata: [{list}], transport_socket: RAW}}}}"
        );
        load(&format!("{EXTENSION}\n{}", bootstrap(&socket)))
    };
    let internal = |loaded: &Loaded| only_cluster(loaded).sockets.default.internal;
    let silent = loaded("").unwrap();
    assert_eq!((internal(&silent).passes_destination, silent.warnings.0.len()), (false, 0));
    assert_eq!(internal(&silent).buffer, Some(64 << 10));
    let host = "{kind: {host: {}}, name: envoy.filters.listener.original_dst}";
    let told = loaded(&format!("{host}, {{kind: {{cluster: {{}}}}, name: istio}}")).unwrap();
    assert!(internal(&told).passes_destination);
    let [only] = told.warnings.0.as_slice() else { panic!("{}", told.warnings) };
    assert!(only.path.ends_with("passthrough_metadata[1]"), "{only:?}");
    for (list, field) in
        [(host.replace("host", "cluster"), "kind"), (host.replace("envoy", "x"), "name")]
    {
        let found = loaded(&list).unwrap_err().to_string();
        assert!(found.contains(&format!("passthrough_metadata[0].{field}")), "{found}");
    }
}
