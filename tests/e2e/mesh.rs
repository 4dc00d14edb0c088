//! Two sidecars as istiod configures them, in a network namespace with Istio's redirection: what an
//! application sends goes to its own proxy (15001), over mutual TLS to the other one (15006), and
//! on to the other application; what leaves the mesh passes through. The standard metrics of both
//! sides say who spoke to whom.
//!
//! Where namespaces are not permitted, or there is no iptables, it is skipped.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::certs::{Spec, Store};
use ringway_tests::proxy::{self, Kind, Proxy};
use ringway_tests::wire::Peer;
use ringway_tests::{bins, namespace, ports};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SUBJECTS: [Kind; 3] =
    [Kind::Ringway("uring"), Kind::Ringway("uring-5.11"), Kind::Ringway("epoll")];

/// Where the client's application is, the address of the server's pod, one outside the mesh.
const CLIENT: &str = "10.9.9.1";
const POD: &str = "10.9.9.2";
const OUTSIDE: &str = "10.9.9.50:8081";

const NETWORK: &str = "
    ip link set lo up
    ip addr add 10.9.9.1/32 dev lo
    ip addr add 10.9.9.2/32 dev lo
    ip addr add 10.9.9.50/32 dev lo
    ip addr add 10.9.9.100/32 dev lo
    ip addr add 10.9.9.101/32 dev lo
    iptables -t nat -A OUTPUT -p tcp -s 10.9.9.1 -d 10.9.9.0/24 -j REDIRECT --to-ports 15001
    iptables -t nat -A OUTPUT -p tcp -s 127.0.0.6 -j RETURN
    iptables -t nat -A OUTPUT -p tcp -d 10.9.9.2 -j REDIRECT --to-ports 15006
";

fn main() -> ExitCode {
    if let Some(code) = namespace::inside(&SUBJECTS, sidecars) {
        return code;
    }
    let arguments = Arguments::from_args();
    let missing = bins::ringway().err().or_else(|| namespace::available(&["nat"]).err());
    let trials = SUBJECTS.into_iter().map(|subject| {
        let name = format!("{}::two_sidecars", subject.name());
        if let Some(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: {name}: {reason}");
        }
        let run = move || namespace::run(subject).map_err(|e| Failed::from(format!("{e:#}")));
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn sidecars(kind: Kind) -> Result<()> {
    namespace::sh(NETWORK)?;
    applications()?;
    let certs = certificates()?;
    let (of_client, of_server) = (ports::free(), ports::free());
    let dir = proxy::new_dir()?;
    let tls = Tls::new(&certs, "server", "client", &dir)?;
    let server = Proxy::start(kind, dir, &server_config(of_server, &tls), of_server, &[])?;
    let dir = proxy::new_dir()?;
    let tls = Tls::new(&certs, "client", "server", &dir)?;
    let client = Proxy::start(kind, dir, &client_config(of_client, &tls), of_client, &[])?;
    let both = || format!("client:\n{}\nserver:\n{}", client.log_tail(), server.log_tail());
    http().with_context(both)?;
    tcp().with_context(both)?;
    passthrough().with_context(both)?;
    // Nobody was on the way anywhere: a loop, without the black hole.
    let mut lost = Peer::new(connect("127.0.0.1", "127.0.0.1:15001")?);
    lost.send(b"x");
    lost.to_end(Instant::now() + Duration::from_secs(5));
    ensure!(lost.buf.is_empty(), "an answer out of the black hole");
    metrics(&client, &SEEN_BY_CLIENT).context("the client's proxy")?;
    metrics(&server, &SEEN_BY_SERVER).context("the server's proxy")
}

/// The server's applications, and a server outside the mesh.
fn applications() -> Result<()> {
    let serve = |address: &str, act: fn(TcpStream)| -> Result<()> {
        let listener = TcpListener::bind(address)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || act(stream));
            }
        });
        Ok(())
    };
    serve(&format!("{POD}:8080"), say_request)?;
    serve(&format!("{POD}:9000"), greet_and_echo)?;
    serve(OUTSIDE, greet_and_echo)
}

/// Answers each request with its head.
fn say_request(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&head)).is_err() {
                return;
            }
            head.clear();
        }
    }
}

/// Speaks first, then repeats what it hears.
fn greet_and_echo(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    let mut written = stream.write_all(b"hello\n");
    while written.is_ok() {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(n) => written = stream.write_all(&bytes[..n]),
        }
    }
}

/// A connection of an application at `from`.
fn connect(from: &str, to: &str) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(format!("{from}:0").parse::<SocketAddr>()?))?;
    socket.connect(&SockAddr::from(to.parse::<SocketAddr>()?))?;
    Ok(socket)
}

/// Two requests to a service by its virtual address.
fn http() -> Result<()> {
    let mut peer = Peer::new(connect(CLIENT, "10.9.9.100:80")?);
    for _ in 0..2 {
        let deadline = Instant::now() + Duration::from_secs(10);
        peer.send(b"GET /a HTTP/1.1\r\nhost: httpbin.app.svc.cluster.local\r\n\r\n");
        let head = peer.head(deadline).map_err(|end| anyhow::anyhow!("no answer: {end:?}"))?;
        ensure!(head.status() == 200, "{}", head.start);
        ensure!(head.get("x-envoy-peer-metadata").is_none(), "the client hears of the proxies");
        let body = peer.response_body(&head, false, deadline);
        let body = body.map_err(|_| anyhow::anyhow!("no body"))?;
        let seen = format!("{body:?}");
        ensure!(!seen.contains("x-envoy-peer"), "the application hears of the proxies: {seen}");
    }
    Ok(())
}

fn tcp() -> Result<()> {
    talk("10.9.9.101:9000").context("a TCP service")
}

fn passthrough() -> Result<()> {
    talk(OUTSIDE).context("outside the mesh")
}

/// With a server that speaks first.
fn talk(to: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut peer = Peer::new(connect(CLIENT, to)?);
    let failed = |end| anyhow::anyhow!("{end:?}");
    let hello = peer.until(b"\n", deadline).map_err(failed)?;
    ensure!(hello == b"hello\n", "{hello:?}");
    peer.send(b"and back\n");
    let echo = peer.until(b"\n", deadline).map_err(failed)?;
    ensure!(echo == b"and back\n", "{echo:?}");
    Ok(())
}

/// Metric, labels it must have among others, value.
type Expected = (&'static str, &'static [(&'static str, &'static str)], u64);

const FROM_CLIENT: &[(&str, &str)] = &[
    ("reporter", "source"),
    ("source_workload", "client-v1"),
    ("source_principal", "spiffe://cluster.local/ns/app/sa/client"),
    ("destination_workload", "httpbin-v1"),
    ("destination_workload_namespace", "app"),
    ("destination_principal", "spiffe://cluster.local/ns/app/sa/server"),
    ("destination_service", "httpbin.app.svc.cluster.local"),
    ("destination_service_name", "httpbin"),
    ("destination_service_namespace", "app"),
    ("destination_canonical_service", "httpbin"),
    ("destination_cluster", "Kubernetes"),
    ("request_protocol", "http"),
    ("response_code", "200"),
    ("grpc_response_status", ""),
    ("response_flags", "-"),
    ("connection_security_policy", "unknown"),
];

const SEEN_BY_CLIENT: [Expected; 5] = [
    ("istio_requests_total", FROM_CLIENT, 2),
    ("istio_request_duration_milliseconds_count", FROM_CLIENT, 2),
    (
        "istio_tcp_connections_opened_total",
        &[
            ("destination_workload", "httpbin-v1"),
            ("destination_app", "httpbin"),
            ("destination_service_name", "echo"),
            ("request_protocol", "tcp"),
        ],
        1,
    ),
    ("istio_tcp_received_bytes_total", &[("destination_service_name", "echo")], 9),
    (
        "istio_tcp_sent_bytes_total",
        &[("destination_service_name", "PassthroughCluster"), ("destination_app", "unknown")],
        15,
    ),
];

const SEEN_BY_SERVER: [Expected; 3] = [
    (
        "istio_requests_total",
        &[
            ("reporter", "destination"),
            ("source_workload", "client-v1"),
            ("source_canonical_revision", "v1"),
            ("source_principal", "spiffe://cluster.local/ns/app/sa/client"),
            ("source_app", "client"),
            ("destination_workload", "httpbin-v1"),
            ("destination_service_name", "httpbin"),
            ("response_code", "200"),
            ("connection_security_policy", "mutual_tls"),
        ],
        2,
    ),
    (
        "istio_tcp_connections_closed_total",
        &[
            ("reporter", "destination"),
            ("source_workload", "client-v1"),
            ("connection_security_policy", "mutual_tls"),
        ],
        1,
    ),
    ("istio_tcp_sent_bytes_total", &[("source_workload", "client-v1")], 15),
];

/// Waits until the metrics are as expected.
fn metrics(proxy: &Proxy, expected: &[Expected]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, page) = proxy.admin_get("/stats/prometheus")?;
        let missing = expected.iter().find(|expected| !has(&page, expected));
        let Some(missing) = missing else { return Ok(()) };
        if Instant::now() > deadline {
            let lines = page.lines().filter(|line| line.starts_with("istio_"));
            let found = lines.filter(|line| !line.contains("_bucket")).collect::<Vec<_>>();
            bail!("no {missing:?} in\n{}", found.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn has(page: &str, (metric, labels, value): &Expected) -> bool {
    page.lines().any(|line| {
        let Some(rest) = line.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{')) else {
            return false;
        };
        let label = |(name, value): &(&str, &str)| rest.contains(&format!("{name}=\"{value}\""));
        labels.iter().all(label) && line.ends_with(&format!("}} {value}"))
    })
}

fn certificates() -> Result<Store> {
    let lines = [
        "root ca cn=root",
        "client by=root uri=spiffe://cluster.local/ns/app/sa/client",
        "server by=root uri=spiffe://cluster.local/ns/app/sa/server",
    ];
    let specs = lines
        .map(|line| Spec::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    Store::make(&specs.into_iter().collect::<Result<Vec<_>>>()?)
}

/// The part of a TLS context that names certificates.
struct Tls(String);

impl Tls {
    fn new(certs: &Store, own: &str, other: &str, dir: &std::path::Path) -> Result<Self> {
        let file = |what: &str| certs.placeholder(what, dir);
        Ok(Self(format!(
            "tls_certificates: [ {{ certificate_chain: {{ filename: {} }}, private_key: {{ \
             filename: {} }} }} ], validation_context: {{ trusted_ca: {{ filename: {} }}, \
             match_typed_subject_alt_names: [ {{ san_type: URI, matcher: {{ exact: \
             'spiffe://cluster.local/ns/app/sa/{other}' }} }} ] }}",
            file(&format!("cert:{own}"))?,
            file(&format!("key:{own}"))?,
            file("ca:root")?,
        )))
    }
}

const T: &str = "type.googleapis.com";
const F: &str = "type.googleapis.com/envoy.extensions.filters";

fn node(name: &str) -> String {
    format!(
        "node: {{ id: 'sidecar~10.9.9.1~{name}.app~app.svc.cluster.local', cluster: {name}.app, \
         metadata: {{ NAME: {name}-v1-abc, NAMESPACE: app, WORKLOAD_NAME: {name}-v1, CLUSTER_ID: \
         Kubernetes, LABELS: {{ app: {name}, version: v1, service.istio.io/canonical-name: \
         {name}, service.istio.io/canonical-revision: v1 }} }} }}"
    )
}

/// As in the dumps: a filter whose type stock Envoy does not know comes as a TypedStruct.
fn typed_struct(name: &str, kind: &str, value: &str) -> String {
    format!(
        "{{ name: {name}, typed_config: {{ '@type': {T}/udpa.type.v1.TypedStruct, type_url: \
         {T}/{kind}, value: {{ {value} }} }} }}"
    )
}

fn exchange() -> String {
    typed_struct(
        "istio.metadata_exchange",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "enable_discovery: true, protocol: istio-peer-exchange",
    )
}

fn stats() -> String {
    format!("{{ name: istio.stats, typed_config: {{ '@type': {T}/stats.PluginConfig }} }}")
}

fn http_manager(prefix: &str, filters: &str, routes: &str) -> String {
    let peers =
        typed_struct("istio.metadata_exchange", "io.istio.http.peer_metadata.Config", filters);
    let alpn = "{ name: istio.alpn, typed_config: { '@type': type.googleapis.com/istio.envoy.config\
                .filter.http.alpn.v2alpha1.FilterConfig, alpn_override: [ { upstream_protocol: \
                HTTP10, alpn_override: [ istio-http/1.0, istio, http/1.0 ] }, { upstream_protocol: \
                HTTP11, alpn_override: [ istio-http/1.1, istio, http/1.1 ] }, { upstream_protocol: \
                HTTP2, alpn_override: [ istio-h2, istio, h2 ] } ] } }";
    format!(
        "{{ name: h, typed_config: {{ '@type': {F}.network.http_connection_manager.v3.\
         HttpConnectionManager, stat_prefix: '{prefix}', http_filters: [ {peers}, {alpn}, {}, {{ \
         name: r, typed_config: {{ '@type': {F}.http.router.v3.Router }} }} ], route_config: {{ \
         name: '80', validate_clusters: false, virtual_hosts: [ {routes} ] }} }} }}",
        stats()
    )
}

fn tcp_proxy(cluster: &str) -> String {
    format!(
        "{{ name: t, typed_config: {{ '@type': {F}.network.tcp_proxy.v3.TcpProxy, stat_prefix: \
         '{cluster}', cluster: '{cluster}' }} }}"
    )
}

fn address(ip: &str, port: u16) -> String {
    format!("address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}")
}

fn admin(port: u16) -> String {
    format!("admin: {{ {} }}", address("127.0.0.1", port))
}

const ORIGINAL_DST: &str = "type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 5s";

fn client_config(admin_port: u16, Tls(tls): &Tls) -> String {
    let http = http_manager(
        "outbound_0.0.0.0_80",
        "upstream_discovery: [ { istio_headers: {} }, { workload_discovery: {} } ], \
         upstream_propagation: [ { istio_headers: {} } ]",
        "{ name: 'httpbin:80', domains: [ httpbin.app.svc.cluster.local ], routes: [ { match: { \
         prefix: / }, route: { cluster: 'outbound|80||httpbin' } } ] }, { name: allow_any, \
         domains: [ '*' ], routes: [ { name: allow_any, match: { prefix: / }, route: { cluster: \
         PassthroughCluster } } ] }",
    );
    let outbound = |port: u16, service: &str, app_port: u16| {
        format!(
            "{{ name: 'outbound|{port}||{service}', type: STATIC, connect_timeout: 5s, metadata: \
             {{ filter_metadata: {{ istio: {{ services: [ {{ host: \
             {service}.app.svc.cluster.local, name: {service}, namespace: app }} ] }} }} }}, \
             filters: [ {} ], transport_socket: {{ name: tls, typed_config: {{ '@type': \
             {T}/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: \
             outbound_.{port}_._.{service}, common_tls_context: {{ alpn_protocols: [ \
             istio-peer-exchange, istio ], {tls} }} }} }}, load_assignment: {{ cluster_name: c, \
             endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ {} }} }} ] }} ] }} }}",
            exchange(),
            address(POD, app_port)
        )
    };
    let mesh = "traffic_direction: OUTBOUND";
    format!(
        "{}\n{}\nstatic_resources:\n  listeners:\n  - {{ name: virtualOutbound, {}, \
         use_original_dst: true, {mesh}, filter_chains: [ {{ name: virtualOutbound-blackhole, \
         filter_chain_match: {{ destination_port: 15001 }}, filters: [ {}, {} ] }}, {{ name: \
         virtualOutbound-catchall-tcp, filters: [ {}, {} ] }} ] }}\n  - {{ name: 0.0.0.0_80, {}, \
         bind_to_port: false, {mesh}, filter_chains: [ {{ filters: [ {http} ] }} ] }}\n  - {{ \
         name: 10.9.9.101_9000, {}, bind_to_port: false, {mesh}, filter_chains: [ {{ filters: [ \
         {}, {} ] }} ] }}\n  clusters:\n  - {}\n  - {}\n  - {{ name: BlackHoleCluster, type: \
         STATIC, connect_timeout: 5s }}\n  - {{ name: PassthroughCluster, {ORIGINAL_DST} }}\n",
        node("client"),
        admin(admin_port),
        address("127.0.0.1", 15001),
        stats(),
        tcp_proxy("BlackHoleCluster"),
        stats(),
        tcp_proxy("PassthroughCluster"),
        address("0.0.0.0", 80),
        address("10.9.9.101", 9000),
        stats(),
        tcp_proxy("outbound|9000||echo"),
        outbound(80, "httpbin", 8080),
        outbound(9000, "echo", 9000),
    )
}

fn server_config(admin_port: u16, Tls(tls): &Tls) -> String {
    let http = http_manager(
        "inbound_0.0.0.0_8080",
        "downstream_discovery: [ { istio_headers: {} }, { workload_discovery: {} } ], \
         downstream_propagation: [ { istio_headers: {} } ]",
        "{ name: 'inbound|http|8080', domains: [ '*' ], routes: [ { name: default, match: { \
         prefix: / }, route: { cluster: 'inbound|8080||' } } ] }",
    );
    let socket = format!(
        "transport_socket: {{ name: tls, typed_config: {{ '@type': \
         {T}/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, \
         require_client_certificate: true, common_tls_context: {{ alpn_protocols: [ \
         istio-peer-exchange, h2, http/1.1, istio-http/1.1, istio-h2 ], {tls} }} }} }}"
    );
    let matches = |port: u16, alpn: &str| {
        format!(
            "filter_chain_match: {{ destination_port: {port}, transport_protocol: tls, \
             application_protocols: [ {alpn} ] }}"
        )
    };
    let inbound = |port: u16, service: &str| {
        format!(
            "{{ name: 'inbound|{port}||', {ORIGINAL_DST}, upstream_bind_config: {{ source_address: \
             {{ address: 127.0.0.6, port_value: 0 }} }}, metadata: {{ filter_metadata: {{ istio: \
             {{ services: [ {{ host: {service}.app.svc.cluster.local, name: {service}, namespace: \
             app }} ] }} }} }} }}"
        )
    };
    format!(
        "{}\n{}\nstatic_resources:\n  listeners:\n  - {{ name: virtualInbound, {}, \
         use_original_dst: true, traffic_direction: INBOUND, listener_filters: [ {{ name: t, \
         typed_config: {{ '@type': {F}.listener.tls_inspector.v3.TlsInspector }} }} ], \
         filter_chains: [ {{ name: http, {}, {socket}, filters: [ {}, {http} ] }}, {{ name: tcp, \
         {}, {socket}, filters: [ {}, {}, {} ] }}, {{ name: virtualInbound-blackhole, \
         filter_chain_match: {{ destination_port: 15006 }}, filters: [ {} ] }} ] }}\n  \
         clusters:\n  - {}\n  - {}\n  - {{ name: BlackHoleCluster, type: STATIC, connect_timeout: \
         5s }}\n",
        node("httpbin"),
        admin(admin_port),
        address("0.0.0.0", 15006),
        matches(8080, "istio-http/1.0, istio-http/1.1, istio-h2"),
        exchange(),
        matches(9000, "istio-peer-exchange, istio"),
        exchange(),
        stats(),
        tcp_proxy("inbound|9000||"),
        tcp_proxy("BlackHoleCluster"),
        inbound(8080, "httpbin"),
        inbound(9000, "echo"),
    )
}
