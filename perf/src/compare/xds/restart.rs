//! Another process takes over while there is load.

use super::super::config::prefix;
use super::super::peer::{Installed, free_port};
use super::proxy::{Client, Proxy};
use super::{CONNECTIONS, Figures, Runner};
use crate::load::Report;
use anyhow::{Result, ensure};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Time of load before the other process comes.
const BEFORE: Duration = Duration::from_millis(700);
/// Seconds of load in all.
const SECONDS: f64 = 5.0;

const FIXED: &str = r#"
static_resources:
  listeners:
  - name: in
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
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
@ROUTES@
  clusters:
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
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @TO@ } } }
"#;

/// A configuration without a control plane, with so many prefix routes.
pub(super) fn fixed(port: u16, upstream: u16, routes: usize) -> String {
    let mut list = String::new();
    for prefix in (0..routes).map(prefix).chain((routes == 0).then(|| "/".to_owned())) {
        let _ = writeln!(
            list,
            "              - {{ match: {{ prefix: \"{prefix}\" }}, \
             route: {{ cluster: b, timeout: 0s }} }}"
        );
    }
    FIXED
        .replace("@PORT@", &port.to_string())
        .replace("@TO@", &upstream.to_string())
        .replace("@ROUTES@\n", &list)
}

impl Runner<'_> {
    /// Both ways of restarting.
    pub(super) fn restart(&self, peer: &Installed) -> Result<Figures> {
        let reuse_port = self.reuse_port(peer)?;
        let (hot, idle) = self.hot(peer)?;
        Ok(Figures::from([
            ("reuse_port", reuse_port.failed() as f64),
            ("hot", hot.failed() as f64),
            ("idle", idle as f64),
        ]))
    }

    /// A second process listens on the same port; when it is ready the first is told to end.
    fn reuse_port(&self, peer: &Installed) -> Result<Report> {
        const FLAGS: [&str; 3] = ["--disable-hot-restart", "--drain-time-s", "2"];
        let port = free_port()?;
        let config = fixed(port, self.upstream.addr.port(), 0);
        let mut old = Proxy::launch(peer, &config, port, &FLAGS, self.dir())?;
        old.first_request("/100b")?;
        self.under_load(port, || {
            let mut new = Proxy::launch(peer, &config, port, &FLAGS, self.dir())?;
            new.ready()?;
            std::thread::sleep(Duration::from_millis(100));
            old.running.terminate()?;
            wait_for_end(&mut old)?;
            Ok(new)
        })
    }

    /// A second process takes everything over; also how many idle connections that has cost.
    fn hot(&self, peer: &Installed) -> Result<(Report, usize)> {
        let port = free_port()?;
        let config = fixed(port, self.upstream.addr.port(), 0);
        // Others on this machine may use the small numbers.
        let base = (2000 + u32::from(port)).to_string();
        let flags = |epoch| {
            let times = ["--drain-time-s", "1", "--parent-shutdown-time-s", "2"];
            [&["--base-id", base.as_str(), "--restart-epoch", epoch], &times[..]].concat()
        };
        let mut old = Proxy::launch(peer, &config, port, &flags("0"), self.dir())?;
        old.first_request("/100b")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(addr)?;
            ensure!(client.get("/100b")? == 200, "no answer before the restart");
            idle.push(client);
        }
        let mut closed = 0;
        let report = self.under_load(port, || {
            let mut new = Proxy::launch(peer, &config, port, &flags("1"), self.dir())?;
            new.ready()?;
            wait_for_end(&mut old)?;
            closed = idle.iter_mut().filter_map(|client| client.get("/100b").err()).count();
            Ok(new)
        })?;
        Ok((report, closed))
    }

    /// Load while something happens; what that leaves lives until the load ends.
    fn under_load<T>(&self, port: u16, run: impl FnOnce() -> Result<T>) -> Result<Report> {
        let load = self.load(port, "/100b", SECONDS, None)?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| load.run(false));
            std::thread::sleep(BEFORE);
            let left = run();
            let report = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            left.map(|_| report)
        })
    }
}

fn wait_for_end(proxy: &mut Proxy) -> Result<()> {
    let begun = Instant::now();
    while !proxy.running.has_ended()? {
        ensure!(begun.elapsed() < Duration::from_secs(20), "the old process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
