//! Configurations of the peers: one worker, keep-alive on both sides, no access log, no limits in
//! the way, and nothing added that the others do not add.

use super::peer::Kind;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What a peer is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Where to listen on 127.0.0.1.
    pub(super) port: u16,
    /// Where to forward to.
    pub(super) upstream: SocketAddr,
    /// Most connections from clients.
    pub(super) connections: usize,
    /// Number of prefix routes; 0: everything goes to the upstream.
    pub(super) routes: usize,
}

/// The prefix of the `index`th route.
pub(super) fn prefix(index: usize) -> String {
    format!("/r{index:05}/")
}

/// Files to write into `dir`; the first is the configuration.
pub(super) fn files(kind: Kind, task: &Task, dir: &Path) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Ringway | Kind::Envoy => vec![("envoy.yaml", envoy(task))],
        Kind::Haproxy => {
            let map: String = (0..task.routes).map(|at| format!("{} b\n", prefix(at))).collect();
            vec![("haproxy.cfg", haproxy(task, dir)), ("routes.map", map)]
        }
        Kind::Nginx => vec![("nginx.conf", nginx(task, dir))],
    }
}

const HCM: &str = concat!(
    "type.googleapis.com/envoy.extensions.filters.network",
    ".http_connection_manager.v3.HttpConnectionManager"
);

const ENVOY_HEAD: &str = r#"static_resources:
  listeners:
  - name: in
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": @HCM@
          stat_prefix: in
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
"#;

const ENVOY_TAIL: &str = r"  clusters:
  - name: b
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - { max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }
    load_assignment:
      cluster_name: b
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: @HOST@, port_value: @PORT@ } }
";

fn envoy(task: &Task) -> String {
    let mut out = ENVOY_HEAD.replace("@HCM@", HCM).replace("@PORT@", &task.port.to_string());
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
    out + &ENVOY_TAIL
        .replace("@HOST@", &task.upstream.ip().to_string())
        .replace("@PORT@", &task.upstream.port().to_string())
}

fn haproxy(task: &Task, dir: &Path) -> String {
    let route = match task.routes {
        0 => "default_backend b".to_owned(),
        // Thousands of `use_backend` lines would be searched one by one: this is its way.
        _ => format!("use_backend %[path,map_beg({})]", dir.join("routes.map").display()),
    };
    format!(
        "global\n  nbthread 1\n  maxconn {connections}\n\
         defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend h\n  mode http\n  bind 127.0.0.1:{port}\n  option forwardfor\n  {route}\n\
         backend b\n  mode http\n  http-reuse always\n  server u {upstream} pool-max-conn 4096\n",
        connections = task.connections,
        port = task.port,
        upstream = task.upstream,
    )
}

fn nginx(task: &Task, dir: &Path) -> String {
    let mut locations = String::new();
    if task.routes == 0 {
        locations += "    location / { proxy_pass http://u; }\n";
    }
    for at in 0..task.routes {
        let _ = writeln!(locations, "    location {} {{ proxy_pass http://u; }}", prefix(at));
    }
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {};\n", dir.join(name).display()))
        .concat();
    format!(
        "worker_processes 1;\ndaemon off;\nmaster_process off;\n\
         error_log {log};\npid {pid};\n\
         events {{ worker_connections {connections}; use epoll; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 75s;\n\
         {temp}\
         \x20 upstream u {{ server {upstream}; keepalive 2048; keepalive_requests 100000000; }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port} backlog=4096;\n\
         \x20   proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
         \x20   proxy_buffer_size 16k;\n    proxy_buffers 8 32k;\n\
         \x20   proxy_busy_buffers_size 64k;\n    proxy_max_temp_file_size 0;\n\
         {locations}  }}\n}}\n",
        log = dir.join("error.log").display(),
        pid = dir.join("nginx.pid").display(),
        // It closes idle connections once fewer than a sixteenth are left.
        connections = task.connections + task.connections / 8,
        upstream = task.upstream,
        port = task.port,
    )
}
