//! Configuration that is fetched when a request asks for it: the same on Envoy and on ringway, from
//! one management server for both.

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::delta::{Server, types};
use ringway_tests::diff::case::{Action, Rule, UpstreamOptions};
use ringway_tests::diff::upstream::Upstream;
use ringway_tests::proxy::{self, Kind, Proxy};
use ringway_tests::{bins, certs, ports};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Test = fn(&mut Side) -> Result<()>;

const TESTS: [(&str, Test); 9] = [
    ("a_cluster_is_fetched_once_for_all_who_wait", cluster),
    ("a_cluster_that_is_missing_or_late_is_503", no_cluster),
    ("a_route_decides_where_clusters_come_from", per_route),
    ("a_cluster_that_goes_is_fetched_again", gone),
    ("clusters_named_by_routes_are_fetched", named),
    ("a_tcp_connection_waits_for_its_cluster", tcp),
    ("a_virtual_host_is_fetched", host),
    ("a_virtual_host_is_known_by_many_names", aliases),
    ("the_route_table_of_a_scope_is_fetched", scope),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for kind in [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("epoll")] {
        let missing = match kind {
            Kind::Envoy => bins::envoy().err(),
            Kind::Ringway(_) => bins::ringway().err(),
        };
        if let Some(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: on demand on {}: {reason}", kind.name());
        }
        for (name, test) in TESTS {
            let run = move || {
                let mut side = Side::start(kind).map_err(|e| Failed::from(format!("{e:#}")))?;
                test(&mut side)
                    .map_err(|error| Failed::from(format!("{error:#}\n{}", side.proxy.log_tail())))
            };
            let trial = Trial::test(format!("{}::{name}", kind.name()), run);
            trials.push(trial.with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A proxy with its management server and an upstream.
struct Side {
    kind: Kind,
    proxy: Proxy,
    server: Server,
    upstream: Upstream,
    /// Of the listeners with routes of their own, by RDS with VHDS, and by SRDS; of the TCP proxies
    /// to a cluster that there is, one that there is not, and one of which nothing is said.
    ports: [u16; 6],
}

/// Whom a request is for, and what came of it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

impl Side {
    fn start(kind: Kind) -> Result<Self> {
        let server = Server::start()?;
        let answer = Action::Reply(200, b"hello".to_vec(), vec![]);
        let rule = Rule { upstream: 0, path: "/".into(), script: vec![answer] };
        let store = Arc::new(certs::Store::default());
        let upstream = Upstream::start(vec![rule], UpstreamOptions::default(), &store)?;
        let ports = [(); 6].map(|()| ports::free());
        let admin = ports::free();
        let vhds =
            "{ name: hosts, vhds: { config_source: { ads: {}, resource_api_version: V3 } } }";
        server.put(types::ROUTES, "hosts", "hosts", vhds)?;
        let scope = |name: &str, on_demand: bool| {
            format!(
                "{{ name: {name}, on_demand: {on_demand}, route_configuration_name: of-{name}, \
                 key: {{ fragments: [{{ string_key: {name} }}] }} }}"
            )
        };
        for (name, on_demand) in [("now", false), ("later", true), ("never", true)] {
            server.put(types::SCOPE, name, name, &scope(name, on_demand))?;
            server.always(types::SCOPE, name);
        }
        for name in ["of-now", "of-later"] {
            let table = format!("{{ name: {name}, virtual_hosts: [{}] }}", host_of(name, "'*'"));
            server.put(types::ROUTES, name, name, &table)?;
        }
        let tcp = [(3, "tcp"), (4, "tcp-none"), (5, "tcp-late")];
        let tcp = tcp
            .map(|(index, name)| TCP.replace("INDEX", &index.to_string()).replace("CLUSTER", name));
        let config = CONFIG.to_owned() + &tcp.concat();
        let config = proxy::fill(&config, |name| match name {
            "admin" => Some(admin.to_string()),
            "xds" => Some(server.port.to_string()),
            "upstream" => Some(upstream.port.to_string()),
            _ => {
                let index: usize = name.strip_prefix("listener_")?.parse().ok()?;
                ports.get(index).map(ToString::to_string)
            }
        })?;
        let dir = proxy::new_dir()?;
        let workers = ["--concurrency".to_owned(), "2".to_owned()];
        let proxy = Proxy::start(kind, dir, &config, admin, &workers)?;
        // What comes without a request: the tables of the listeners.
        _ = server.asked();
        Ok(Self { kind, proxy, server, upstream, ports })
    }

    fn put_cluster(&self, name: &str) -> Result<()> {
        let port = self.upstream.port;
        let address = format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}");
        let yaml = format!(
            "{{ name: {name}, connect_timeout: 1s, load_assignment: {{ cluster_name: {name}, \
             endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {address} }} }}] }}] }} }}"
        );
        self.server.put(types::CLUSTER, name, name, &yaml)
    }

    /// Sends a request with these lines of its head.
    fn get(&self, listener: usize, path: &str, lines: &str) -> Result<Answer> {
        ask(self.ports[listener], &format!("GET {path} HTTP/1.1\r\n{lines}"), "")
    }

    fn asked(&self, expected: &[&str]) -> Result<()> {
        let asked = self.server.asked();
        ensure!(asked == expected, "asked for {asked:?}, not for {expected:?}");
        Ok(())
    }

    /// Envoy stays subscribed to what there is not (any more), and waits for its server to bring it
    /// by itself; ringway asks again for every request that wants it.
    fn asks_again(&self) -> bool {
        self.kind != Kind::Envoy
    }

    /// The access log's lines so far.
    fn log(&self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(200));
        self.proxy.file("access.log").lines().map(ToOwned::to_owned).collect()
    }
}

/// A virtual host that leads to the static cluster.
fn host_of(name: &str, domains: &str) -> String {
    format!(
        "{{ name: {name}, domains: [{domains}], routes: [{{ match: {{ prefix: / }}, \
         route: {{ cluster: upstream }} }}] }}"
    )
}

fn ask(port: u16, head: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    write!(stream, "{head}{length}connection: close\r\n\r\n{body}")?;
    let mut text = String::new();
    let mut byte = [0];
    while !is_whole(&text) && stream.read(&mut byte).context("reading an answer")? > 0 {
        text.push(char::from(byte[0]));
    }
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok(Answer { status: status.with_context(|| format!("no status: {text:?}"))?, body })
}

/// Whether an answer is here by its length: the connection may stay for a while.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

fn is(answer: &Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "{answer:?}, not {status}");
    Ok(())
}

fn cluster(side: &mut Side) -> Result<()> {
    side.put_cluster("a")?;
    let port = side.ports[0];
    let askers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || ask(port, "GET / HTTP/1.1\r\nhost: x\r\ncluster: a\r\n", ""))
        })
        .collect();
    for asker in askers {
        let answer = asker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        is(&answer, 200)?;
        ensure!(answer.body.ends_with("hello"), "{answer:?}");
    }
    side.asked(&["Cluster a"])?;
    is(&side.get(0, "/", "host: x\r\ncluster: a\r\n")?, 200)?;
    side.asked(&[])?;
    side.put_cluster("b")?;
    is(&ask(port, "POST / HTTP/1.1\r\nhost: x\r\ncluster: b\r\n", "some body")?, 200)?;
    side.asked(&["Cluster b"])?;
    let names = ["update_attempt", "update_success", "update_rejected", "update_failure"];
    let names = names.map(|name| format!("cluster_manager.odcds.{name}"));
    let stats = side.proxy.stats(&names);
    ensure!(stats[1..] == [Some(2), Some(0), Some(0)], "{stats:?}");
    ensure!(side.server.refused().is_empty(), "{:?}", side.server.refused());
    Ok(())
}

fn no_cluster(side: &mut Side) -> Result<()> {
    let began = Instant::now();
    let none = side.get(0, "/", "host: x\r\ncluster: none\r\n")?;
    is(&none, 503)?;
    ensure!(none.body.is_empty(), "{none:?}");
    ensure!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    side.asked(&["Cluster none"])?;
    side.server.be_silent(types::CLUSTER, "late");
    let began = Instant::now();
    is(&side.get(0, "/", "host: x\r\ncluster: late\r\n")?, 503)?;
    let took = began.elapsed();
    ensure!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
    side.asked(&["Cluster late"])?;
    is(&side.get(0, "/", "host: x\r\n")?, 503)?;
    is(&side.get(0, "/", "host: x\r\ncluster:\r\n")?, 503)?;
    side.asked(&[])?;
    if side.asks_again() {
        side.put_cluster("none")?;
        is(&side.get(0, "/", "host: x\r\ncluster: none\r\n")?, 200)?;
        side.asked(&["Cluster none"])?;
        // Names that mean more than one thing: they end an Envoy.
        for name in ["*", "xdstp://x/envoy.config.cluster.v3.Cluster/y"] {
            is(&side.get(0, "/", &format!("host: x\r\ncluster: {name}\r\n"))?, 503)?;
        }
        side.asked(&[])?;
    }
    let log = side.log();
    let expected = ["503 NC cluster_not_found", "503 NC cluster_not_found"];
    ensure!(log.get(..2).is_some_and(|first| first == expected), "{log:?}");
    Ok(())
}

fn per_route(side: &mut Side) -> Result<()> {
    side.put_cluster("a")?;
    is(&side.get(0, "/off", "host: x\r\ncluster: a\r\n")?, 503)?;
    side.asked(&[])?;
    is(&side.get(0, "/own", "host: x\r\ncluster: a\r\n")?, 200)?;
    side.asked(&["Cluster a"])?;
    is(&side.get(0, "/off", "host: x\r\ncluster: a\r\n")?, 200)?;
    Ok(())
}

fn gone(side: &mut Side) -> Result<()> {
    side.put_cluster("a")?;
    is(&side.get(0, "/", "host: x\r\ncluster: a\r\n")?, 200)?;
    side.asked(&["Cluster a"])?;
    side.server.remove(types::CLUSTER, "a");
    std::thread::sleep(Duration::from_millis(500));
    is(&side.get(0, "/", "host: x\r\ncluster: a\r\n")?, 503)?;
    if side.asks_again() {
        side.asked(&["Cluster a"])?;
        side.put_cluster("a")?;
        is(&side.get(0, "/", "host: x\r\ncluster: a\r\n")?, 200)?;
    }
    Ok(())
}

fn named(side: &mut Side) -> Result<()> {
    for name in ["direct", "weighted"] {
        side.put_cluster(name)?;
        is(&side.get(0, &format!("/{name}"), "host: x\r\n")?, 200)?;
        side.asked(&[&format!("Cluster {name}")])?;
    }
    Ok(())
}

fn tcp(side: &mut Side) -> Result<()> {
    side.put_cluster("tcp")?;
    side.server.be_silent(types::CLUSTER, "tcp-late");
    let began = Instant::now();
    is(&side.get(3, "/", "host: x\r\n")?, 200)?;
    is(&side.get(3, "/", "host: x\r\n")?, 200)?;
    side.asked(&["Cluster tcp"])?;
    ensure!(side.get(4, "/", "host: x\r\n").is_err(), "a cluster that is not there answers");
    side.asked(&["Cluster tcp-none"])?;
    ensure!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    ensure!(side.get(5, "/", "host: x\r\n").is_err(), "a cluster that is not there answers");
    ensure!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    let names = ["attempt", "success", "missing", "timeout"];
    let names = names.map(|name| format!("tcp.tcp.on_demand_cluster_{name}"));
    let stats = side.proxy.stats(&names);
    ensure!(stats == [Some(3), Some(1), Some(1), Some(1)], "{stats:?}");
    let no_route = side.proxy.stat("tcp.tcp.downstream_cx_no_route");
    ensure!(no_route == Some(2), "{no_route:?}");
    std::thread::sleep(Duration::from_millis(200));
    let log = side.proxy.file("tcp.log");
    ensure!(log == "-\n-\nNC\nNC\n", "{log:?}");
    Ok(())
}

fn host(side: &mut Side) -> Result<()> {
    let host = host_of("hosts/a.example", "a.example");
    side.server.put(types::VIRTUAL_HOST, "hosts/a.example", "hosts/a.example", &host)?;
    is(&side.get(1, "/", "host: A.example\r\n")?, 200)?;
    side.asked(&["VirtualHost hosts/a.example"])?;
    is(&side.get(1, "/", "host: a.example\r\n")?, 200)?;
    side.asked(&[])?;
    let host = host_of("hosts/c.example", "c.example");
    side.server.put(types::VIRTUAL_HOST, "hosts/c.example", "hosts/c.example", &host)?;
    let post = "POST / HTTP/1.1\r\nhost: c.example\r\n";
    is(&ask(side.ports[1], post, "some body")?, 200)?;
    side.asked(&["VirtualHost hosts/c.example"])?;
    is(&side.get(1, "/", "host: b.example\r\n")?, 404)?;
    side.asked(&["VirtualHost hosts/b.example"])?;
    ensure!(side.server.refused().is_empty(), "{:?}", side.server.refused());
    Ok(())
}

fn aliases(side: &mut Side) -> Result<()> {
    let host = host_of("hosts/all", "a.example, b.example");
    for name in ["hosts/a.example", "hosts/b.example"] {
        side.server.put(types::VIRTUAL_HOST, name, "hosts/all", &host)?;
    }
    is(&side.get(1, "/", "host: a.example\r\n")?, 200)?;
    side.asked(&["VirtualHost hosts/a.example"])?;
    is(&side.get(1, "/", "host: b.example\r\n")?, 200)?;
    // It came with the other.
    side.asked(&[])?;
    Ok(())
}

fn scope(side: &mut Side) -> Result<()> {
    is(&side.get(2, "/", "host: x\r\nscope: now\r\n")?, 200)?;
    side.asked(&[])?;
    is(&side.get(2, "/", "host: x\r\nscope: later\r\n")?, 200)?;
    side.asked(&["RouteConfiguration of-later"])?;
    is(&side.get(2, "/", "host: x\r\nscope: later\r\n")?, 200)?;
    is(&side.get(2, "/", "host: x\r\nscope: other\r\n")?, 404)?;
    side.asked(&[])?;
    if side.asks_again() {
        // In Envoy the request waits for as long as its stream may be idle.
        is(&side.get(2, "/", "host: x\r\nscope: never\r\n")?, 404)?;
        side.asked(&["RouteConfiguration of-never"])?;
    }
    Ok(())
}

const CONFIG: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: {{admin}} } } }
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{ envoy_grpc: { cluster_name: xds } }]
static_resources:
  clusters:
  - name: upstream
    connect_timeout: 1s
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: 127.0.0.1, port_value: {{upstream}} } }
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{xds}} } } }
  listeners:
  - name: clusters
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener_0}} } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: clusters
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: access.log
              log_format:
                text_format_source:
                  inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
          route_config:
            validate_clusters: false
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /off }
                route: { cluster_header: cluster }
                typed_per_filter_config:
                  on_demand:
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.\
                      PerRouteConfig"
              - match: { path: /own }
                route: { cluster_header: cluster }
                typed_per_filter_config:
                  on_demand:
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.\
                      PerRouteConfig"
                    odcds:
                      source:
                        resource_api_version: V3
                        api_config_source:
                          api_type: DELTA_GRPC
                          transport_api_version: V3
                          grpc_services: [{ envoy_grpc: { cluster_name: xds } }]
              - match: { path: /direct }
                route: { cluster: direct }
              - match: { path: /weighted }
                route: { weighted_clusters: { clusters: [{ name: weighted, weight: 1 }] } }
              - match: { prefix: / }
                route: { cluster_header: cluster }
          http_filters: &filters
          - name: on_demand
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand
              odcds: { source: { ads: {}, resource_api_version: V3 }, timeout: 2s }
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  - name: hosts
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener_1}} } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: hosts
          rds: { route_config_name: hosts, config_source: { ads: {}, resource_api_version: V3 } }
          http_filters: *filters
  - name: scopes
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener_2}} } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: scopes
          scoped_routes:
            name: scopes
            scope_key_builder:
              fragments: [{ header_value_extractor: { name: scope, index: 0 } }]
            rds_config_source: { ads: {}, resource_api_version: V3 }
            scoped_rds: { scoped_rds_config_source: { ads: {}, resource_api_version: V3 } }
          http_filters: *filters
"#;

const TCP: &str = r#"
  - name: CLUSTER
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener_INDEX}} } }
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: CLUSTER
          on_demand:
            odcds_config: { ads: {}, resource_api_version: V3 }
            timeout: 1s
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: tcp.log
              log_format: { text_format_source: { inline_string: "%RESPONSE_FLAGS%\n" } }
"#;
