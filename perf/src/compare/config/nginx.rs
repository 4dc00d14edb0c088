//! nginx's.

use super::super::scenario::Front;
use super::{Task, prefix};
use std::fmt::Write;
use std::path::Path;

/// Where Debian puts modules that are loaded.
const MODULES: &str = "/usr/lib/nginx/modules";

pub(super) fn file(task: &Task, dir: &Path) -> String {
    let module = match task.front {
        Front::Tcp => format!("load_module {MODULES}/ngx_stream_module.so;\n"),
        _ => String::new(),
    };
    // It closes idle connections once fewer than a sixteenth are left; those to the upstream count.
    let sides = if task.front == Front::Tcp { 2 } else { 1 };
    let connections = sides * task.connections + task.connections / 8;
    let body = if task.front == Front::Tcp { stream(task) } else { http(task, dir) };
    format!(
        "{module}worker_processes 1;\ndaemon off;\nmaster_process off;\n\
         error_log {log};\npid {pid};\n\
         events {{ worker_connections {connections}; use epoll; }}\n{body}",
        log = dir.join("error.log").display(),
        pid = dir.join("nginx.pid").display(),
    )
}

fn stream(task: &Task) -> String {
    format!(
        "stream {{\n  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n\
         \x20   proxy_pass {upstream};\n    proxy_buffer_size 64k;\n  }}\n}}\n",
        port = task.port,
        upstream = task.backend(),
    )
}

fn http(task: &Task, dir: &Path) -> String {
    let mut locations = match (task.front, task.routes) {
        (Front::Grpc, _) => "    location / { grpc_pass grpc://u; }\n".to_owned(),
        (_, 0) => "    location / { proxy_pass http://u; }\n".to_owned(),
        _ => String::new(),
    };
    for at in 0..task.routes {
        let _ = writeln!(locations, "    location {} {{ proxy_pass http://u; }}", prefix(at));
    }
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {};\n", dir.join(name).display()))
        .concat();
    let (listen, tls) = match task.front {
        Front::Tls(key) => (" ssl", tls(task, key)),
        Front::Http2 | Front::Http2Both | Front::Grpc => (" http2", String::new()),
        _ => ("", String::new()),
    };
    let connection = match task.front {
        Front::WebSocket => {
            "    proxy_set_header Upgrade $http_upgrade;\n\
             \x20   proxy_set_header Connection \"upgrade\";\n"
        }
        _ => "    proxy_set_header Connection \"\";\n",
    };
    format!(
        "http {{\n  access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 75s;\n\
         {temp}\
         \x20 upstream u {{ server {upstream}; keepalive 2048; keepalive_requests 100000000; }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port} backlog=4096{listen};\n{tls}\
         \x20   proxy_http_version 1.1;\n{connection}\
         \x20   proxy_buffer_size 16k;\n    proxy_buffers 8 32k;\n\
         \x20   proxy_busy_buffers_size 64k;\n    proxy_max_temp_file_size 0;\n\
         {locations}  }}\n}}\n",
        upstream = task.backend(),
        port = task.port,
    )
}

fn tls(task: &Task, key: super::Key) -> String {
    format!(
        "    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_certificate {};\n\
         \x20   ssl_certificate_key {};\n",
        task.certificate(key, "crt"),
        task.certificate(key, "key"),
    )
}
