//! What takes several workers or a network of one's own: connections spread over workers, and
//! connections that the kernel redirects (iptables REDIRECT and TPROXY in a network namespace).
//!
//! Where namespaces are not permitted, or there is no iptables, the test in one is skipped.

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::proxy::{self, Kind, Proxy};
use ringway_tests::wire::Peer;
use ringway_tests::{bins, namespace, ports};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SUBJECTS: [Kind; 4] =
    [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("uring-5.11"), Kind::Ringway("epoll")];

fn main() -> ExitCode {
    if let Some(code) = namespace::inside(&SUBJECTS, redirects) {
        return code;
    }
    let arguments = Arguments::from_args();
    let network = namespace::available(&["nat", "mangle"]);
    let mut trials = Vec::new();
    for subject in SUBJECTS {
        let binary = match subject {
            Kind::Envoy => bins::envoy(),
            Kind::Ringway(_) => bins::ringway(),
        };
        let missing = binary.err();
        let no_network = missing.clone().or_else(|| network.clone().err());
        type Test = fn(Kind) -> Result<()>;
        let tests: [(&str, Test, Option<String>); 3] = [
            ("long_connections_are_spread_over_workers", spread, missing.clone()),
            ("exact_balance", exact, missing),
            ("redirected_connections", namespace::run, no_network),
        ];
        for (name, test, missing) in tests {
            // Envoy spreads connections only when it is told to.
            if subject == Kind::Envoy && name.starts_with("long") {
                continue;
            }
            let name = format!("{}::{name}", subject.name());
            if let Some(reason) = &missing
                && !arguments.list
            {
                eprintln!("skipped: {name}: {reason}");
            }
            let run = move || test(subject).map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn spread(kind: Kind) -> Result<()> {
    balance(kind, "")
}

fn exact(kind: Kind) -> Result<()> {
    balance(kind, "connection_balance_config: { exact_balance: {} }")
}

/// Where the types of filters are.
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

const WORKERS: usize = 4;
const CONNECTIONS: usize = 8;

/// Eight connections that stay are two for each of four workers, and each is served where it is.
fn balance(kind: Kind, more: &str) -> Result<()> {
    let (port, admin) = (ports::free(), ports::free());
    let config = format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  listeners:
  - name: l
    stat_prefix: l
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    {more}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          "@type": "{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: h
          http_filters:
          - name: r
            typed_config: {{ "@type": "{FILTERS}.http.router.v3.Router" }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ {{ match: {{ prefix: / }}, direct_response: {{ status: 200 }} }} ]
"#
    );
    let args = ["--concurrency".to_owned(), WORKERS.to_string()];
    let proxy = Proxy::start(kind, proxy::new_dir()?, &config, admin, &args)?;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut peer = Peer::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        // Served, so that the worker has counted it before the next one comes.
        get(&mut peer)?;
        open.push(peer);
    }
    let names: Vec<String> = (0..WORKERS)
        .flat_map(|n| {
            ["active", "total"].map(|what| format!("listener.l.worker_{n}.downstream_cx_{what}"))
        })
        .collect();
    let each = Some((CONNECTIONS / WORKERS) as i64);
    let found = proxy.stats(&names);
    ensure!(found.iter().all(|value| *value == each), "not {each:?} each: {found:?}");
    for peer in &mut open {
        get(peer)?;
    }
    let total = Some(CONNECTIONS as i64);
    ensure!(proxy.stat("listener.l.downstream_cx_active") == total, "all are counted as open");
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(5);
    while proxy.stat("listener.l.downstream_cx_active") != Some(0) {
        ensure!(Instant::now() < deadline, "connections stay counted after they were closed");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn get(peer: &mut Peer) -> Result<()> {
    peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let deadline = Instant::now() + Duration::from_secs(5);
    let head = peer.head(deadline).map_err(|end| anyhow::anyhow!("no answer: {end:?}"))?;
    ensure!(head.status() == 200, "{}", head.start);
    Ok(())
}

/// Addresses on the loopback interface; what goes to port 80 to 82 of them is redirected, what goes
/// to 10.8.8.0/24, which is nowhere, comes to us by TPROXY.
const NETWORK: &str = "
    ip link set lo up
    ip addr add 10.9.9.1/32 dev lo
    ip addr add 10.9.9.7/32 dev lo
    ip addr add 10.9.9.8/32 dev lo
    ip addr add 10.9.9.9/32 dev lo
    iptables -t nat -A OUTPUT -p tcp -d 10.9.9.0/24 --dport 80:82 -j REDIRECT --to-ports 15001
    ip route add 10.8.8.0/24 dev lo src 10.9.9.1
    ip rule add fwmark 1 lookup 100
    ip route add local default dev lo table 100
    iptables -t mangle -A OUTPUT -p tcp -d 10.8.8.0/24 -j MARK --set-mark 1
    iptables -t mangle -A PREROUTING -p tcp -d 10.8.8.0/24 -j TPROXY \
        --on-port 15006 --tproxy-mark 1
";

/// The same over IPv6, where there is any.
const NETWORK_V6: &str = "
    ip addr add fd00::9/128 dev lo nodad
    ip6tables -t nat -A OUTPUT -p tcp -d fd00::9 --dport 80 -j REDIRECT --to-ports 15001
";

/// Where a client goes, which listener serves it, and what that says the destination was.
const WAYS: [(&str, &str); 6] = [
    ("10.9.9.9:80", "exact"),
    ("10.9.9.7:81", "any"),
    ("10.9.9.8:82", "virtual"),
    ("127.0.0.1:15001", "virtual"),
    ("10.8.8.8:90", "far"),
    ("10.8.8.9:91", "transparent"),
];

fn redirects(kind: Kind) -> Result<()> {
    namespace::sh(NETWORK)?;
    let v6 = namespace::sh(NETWORK_V6).is_ok();
    let admin = 9901;
    let mut config = format!(
        "admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} \
         }}\nstatic_resources:\n  listeners:\n"
    );
    let filter = format!(
        "use_original_dst: true, listener_filters: [ {{ name: o, typed_config: {{ \
         \"@type\": \"{FILTERS}.listener.original_dst.v3.OriginalDst\" }} }} ]"
    );
    // The flag brings the filter.
    listener(&mut config, "virtual", "127.0.0.1", 15001, "use_original_dst: true")?;
    let transparent = format!("transparent: true, {filter}");
    listener(&mut config, "transparent", "0.0.0.0", 15006, &transparent)?;
    let unbound = "bind_to_port: false";
    listener(&mut config, "exact", "10.9.9.9", 80, unbound)?;
    listener(&mut config, "any", "0.0.0.0", 81, unbound)?;
    listener(&mut config, "far", "10.8.8.8", 90, unbound)?;
    if v6 {
        listener(&mut config, "virtual6", "::1", 15001, &filter)?;
        listener(&mut config, "exact6", "fd00::9", 80, unbound)?;
    }
    let proxy = Proxy::start(kind, proxy::new_dir()?, &config, admin, &[])?;
    let v6_way = v6.then_some(("[fd00::9]:80", "exact6"));
    for (to, name) in WAYS.into_iter().chain(v6_way) {
        let mut peer = Peer::connect(to.parse()?).with_context(|| format!("connecting to {to}"))?;
        peer.to_end(Instant::now() + Duration::from_secs(5));
        let said = String::from_utf8_lossy(&peer.buf).into_owned();
        ensure!(said == name, "{to} is served by '{said}', not '{name}'\n{}", proxy.log_tail());
        let line = format!("{name} {to}\n");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !proxy.file("log").contains(&line) {
            ensure!(Instant::now() < deadline, "no line {line} in:\n{}", proxy.file("log"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if !v6 {
        println!("skipped: IPv6, which this kernel does not redirect");
    }
    Ok(())
}

/// A listener that says its name and logs where its connections went.
fn listener(out: &mut String, name: &str, ip: &str, port: u16, more: &str) -> Result<()> {
    writeln!(
        out,
        r#"  - {{ name: {name}, stat_prefix: {name}, {more},
      address: {{ socket_address: {{ address: "{ip}", port_value: {port} }} }},
      access_log: [ {{ name: f, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog,
        path: log, log_format: {{ text_format_source: {{
          inline_string: "{name} %DOWNSTREAM_LOCAL_ADDRESS%\n" }} }} }} }} ],
      filter_chains: [ {{ filters: [ {{ name: d, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config,
        response: {{ inline_string: "{name}" }} }} }} ] }} ] }}"#
    )?;
    Ok(())
}
