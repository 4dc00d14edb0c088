//! Envoy's, and ours: the same file.

use super::super::scenario::Front;
use super::{Task, prefix};
use std::fmt::Write;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

const HEAD: &str = r"static_resources:
  listeners:
  - name: in
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - filters:
";

const TCP: &str = r#"      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": @EXT@.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: b
"#;

const HTTP: &str = r#"      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": @EXT@.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          generate_request_id: false
@OPTIONS@          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": @EXT@.filters.http.router.v3.Router
              suppress_envoy_headers: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
"#;

const TLS: &str = r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": @EXT@.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: { filename: "@CERT@" }
              private_key: { filename: "@KEY@" }
"#;

const CLUSTER: &str = r"  clusters:
  - name: b
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - { max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }
@PROTOCOL@    load_assignment:
      cluster_name: b
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: @HOST@, port_value: @PORT@ } }
";

const HTTP2: &str = r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": @EXT@.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
"#;

pub(super) fn file(task: &Task) -> String {
    let mut out = HEAD.replace("@PORT@", &task.port.to_string());
    if task.front == Front::Tcp {
        out += TCP;
    } else {
        let options = match task.front {
            Front::WebSocket => "          upgrade_configs: [{ upgrade_type: websocket }]\n",
            _ => "",
        };
        out += &HTTP.replace("@OPTIONS@", options);
        out += &routes(task);
    }
    if let Front::Tls(key) = task.front {
        out += &TLS
            .replace("@CERT@", &task.certificate(key, "crt"))
            .replace("@KEY@", &task.certificate(key, "key"));
    }
    let backend = task.backend();
    let protocol = match task.front {
        Front::Http2Both | Front::Grpc => HTTP2,
        _ => "",
    };
    out += &CLUSTER
        .replace("@PROTOCOL@", protocol)
        .replace("@HOST@", &backend.ip().to_string())
        .replace("@PORT@", &backend.port().to_string());
    out.replace("@EXT@", EXTENSIONS)
}

fn routes(task: &Task) -> String {
    let mut out = String::new();
    let mut route = |prefix: &str| {
        let _ = writeln!(
            out,
            "              - {{ match: {{ prefix: \"{prefix}\" }}, \
             route: {{ cluster: b, timeout: 0s }} }}"
        );
    };
    if task.routes == 0 {
        route("/");
    }
    (0..task.routes).for_each(|at| route(&prefix(at)));
    out
}
