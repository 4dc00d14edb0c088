//! HAProxy's.

use super::super::scenario::Front;
use super::Task;
use std::path::Path;

pub(super) fn file(task: &Task, dir: &Path) -> String {
    let route = match task.routes {
        0 => "default_backend b".to_owned(),
        // Thousands of `use_backend` lines would be searched one by one: this is its way.
        _ => format!("use_backend %[path,map_beg({})]", dir.join("routes.map").display()),
    };
    let bind = match task.front {
        Front::Http1 | Front::WebSocket | Front::Tcp => String::new(),
        Front::Http2 | Front::Http2Both | Front::Grpc => " proto h2".to_owned(),
        Front::Tls(key) => format!(" ssl crt {}", task.certificate(key, "pem")),
    };
    let (mode, forwarded, reuse) = match task.front {
        Front::Tcp => ("tcp", "", ""),
        _ => ("http", "  option forwardfor\n", "  http-reuse always\n"),
    };
    // Without a limit it would reserve a pipe for every fourth connection.
    let (pipes, splice) = match task.splice {
        true => ("  maxpipes 128\n", "  option splice-auto\n"),
        false => ("", ""),
    };
    format!(
        "global\n  nbthread 1\n  maxconn {connections}\n{pipes}\
         defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 timeout tunnel 60s\n{splice}\
         frontend h\n  mode {mode}\n  bind 127.0.0.1:{port}{bind}\n{forwarded}  {route}\n\
         backend b\n  mode {mode}\n{reuse}  server u {upstream}{pool}\n",
        connections = task.connections,
        port = task.port,
        upstream = task.backend(),
        pool = match task.front {
            Front::Tcp => "",
            Front::Http2Both | Front::Grpc => " pool-max-conn 4096 proto h2",
            _ => " pool-max-conn 4096",
        },
    )
}
