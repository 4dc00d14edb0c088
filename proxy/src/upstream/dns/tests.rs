use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringway_runtime::{self as runtime, Chunk, Listener, SockAddr, UdpSocket};

use super::message::{DnsName, Malformed, RecordType, question, reply};
use super::refresh::{LogicalChange, LogicalHost, Schedule, StrictHosts};
use super::system::{ResolvConf, hosts_lookup};
use super::*;
use crate::observe::stats::Registry;
use crate::plan::cluster::{Dns, DnsFamily, DnsTarget, HostState};
use crate::plan::{Address, Cluster};
use crate::upstream::testing::{cluster, run, template};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(text: &str) -> DnsName {
    DnsName::parse(text).expect("a name")
}

/// A record: owner, type, TTL, data.
type Record<'a> = (&'a str, u16, u32, Vec<u8>);

fn wire(text: &str) -> Vec<u8> {
    let mut out = question(0, &name(text), RecordType::A, false);
    out.drain(..12);
    out.truncate(out.len() - 4);
    out
}

/// The answer to a question, as a server would send it.
fn answer(question: &[u8], flags: u16, records: &[Record<'_>]) -> Vec<u8> {
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    let end = 12 + question[12..].iter().position(|&b| b == 0).expect("a root") + 5;
    out.extend_from_slice(&question[12..end]);
    for (owner, kind, ttl, data) in records {
        out.extend_from_slice(&wire(owner));
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

const OK: u16 = 0x8180;

#[test]
fn names_are_checked() {
    assert_eq!(format!("{:?}", name("Foo.Example.")), "foo.example.");
    for bad in ["", ".", "a..b", "a b", &"x".repeat(64), &["abcdefg"; 40].join(".")] {
        assert_eq!(DnsName::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn answers_follow_aliases() {
    let asked = question(7, &name("www.example"), RecordType::A, true);
    let records: &[Record<'_>] = &[
        ("b.example", 1, 60, vec![10, 0, 0, 2]),
        ("www.example", 5, 30, wire("b.example")),
        ("evil.example", 1, 60, vec![6, 6, 6, 6]),
        ("b.example", 28, 60, vec![0; 16]),
        ("B.EXAMPLE", 1, 20, vec![10, 0, 0, 3]),
    ];
    let bytes = answer(&asked, OK, records);
    let got = reply(&bytes, 7, &name("WWW.example."), RecordType::A).expect("an answer");
    assert_eq!(got.addresses, [(ip("10.0.0.2"), 30), (ip("10.0.0.3"), 20)]);
}

#[test]
fn what_was_not_asked_is_refused() {
    let asked = question(7, &name("a.example"), RecordType::A, true);
    let bytes = answer(&asked, OK, &[("a.example", 1, 60, vec![10, 0, 0, 2])]);
    let (a, v4) = (name("a.example"), RecordType::A);
    assert!(reply(&bytes, 7, &a, v4).is_ok());
    assert_eq!(reply(&bytes, 8, &a, v4), Err(Malformed), "another id");
    assert_eq!(reply(&bytes, 7, &name("b.example"), v4), Err(Malformed), "another name");
    assert_eq!(reply(&bytes, 7, &a, RecordType::Aaaa), Err(Malformed), "another type");
    assert_eq!(reply(&asked, 7, &a, v4), Err(Malformed), "a question");
    assert_eq!(reply(&bytes[..bytes.len() - 1], 7, &a, v4), Err(Malformed), "cut off");
}

#[test]
fn pointers_must_lead_backwards() {
    let asked = question(7, &name("a.example"), RecordType::A, false);
    let mut bytes = answer(&asked, OK, &[]);
    bytes[7] = 1;
    // Owner: a pointer to itself.
    let at = bytes.len() as u8;
    bytes.extend_from_slice(&[0xc0, at, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
    assert_eq!(reply(&bytes, 7, &name("a.example"), RecordType::A), Err(Malformed));
    bytes[at as usize + 1] = 12;
    let got = reply(&bytes, 7, &name("a.example"), RecordType::A).expect("a compressed owner");
    assert_eq!(got.addresses, [(ip("1.2.3.4"), 1)]);
}

proptest! {
    /// Nothing that comes from the network can do more than be refused.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = reply(&bytes, 0, &name("a.example"), RecordType::A);
    }

    #[test]
    fn any_change_of_an_answer_is_read(
        changes in prop::collection::vec((0usize..90, any::<u8>()), 1..8),
    ) {
        let asked = question(7, &name("www.example"), RecordType::A, false);
        let records: &[Record<'_>] =
            &[("www.example", 5, 30, wire("b.example")), ("b.example", 1, 60, vec![10, 0, 0, 2])];
        let mut bytes = answer(&asked, OK, records);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let _ = reply(&bytes, 7, &name("www.example"), RecordType::A);
    }
}

#[test]
fn resolv_conf_is_read_as_others_do() {
    let conf = ResolvConf::parse(
        "# comment\nnameserver 10.0.0.1\nnameserver fe80::1%eth0 ; two\nnameserver ?\n\
         search a.test b.test\noptions ndots:2 timeout:1 attempts:9 rotate edns0\n",
    );
    assert_eq!(conf.servers, ["10.0.0.1:53", "[fe80::1]:53"].map(|s| s.parse().expect("ok")));
    assert_eq!(conf.search, ["a.test", "b.test"]);
    assert_eq!((conf.ndots, conf.timeout, conf.attempts), (2, Duration::from_secs(1), 5));
    assert_eq!(conf.candidates("x.y"), ["x.y.a.test", "x.y.b.test", "x.y"]);
    assert_eq!(conf.candidates("x.y.z"), ["x.y.z", "x.y.z.a.test", "x.y.z.b.test"]);
    assert_eq!(conf.candidates("x."), ["x."]);
    let empty = ResolvConf::parse("");
    assert_eq!(empty.servers, ["127.0.0.1:53".parse().expect("ok")]);
    assert_eq!(empty.candidates("x"), ["x"]);
}

#[test]
fn the_hosts_file_is_read() {
    let text = "127.0.0.1 localhost\n10.1.1.1\tdb.test db # the database\n::5 db\n";
    assert_eq!(hosts_lookup(text, "DB."), [ip("10.1.1.1"), ip("::5")]);
    assert!(hosts_lookup(text, "database").is_empty());
    assert_eq!(hosts_lookup("", "x.localhost"), [ip("127.0.0.1"), ip("::1")]);
}

/// A DNS server over UDP and TCP on one port: `respond` makes the answer to a question, or none.
struct DnsServer {
    address: SocketAddr,
    asked: Rc<RefCell<Vec<String>>>,
    tasks: [runtime::Join<()>; 2],
}

impl DnsServer {
    fn start(respond: impl Fn(&str, &[u8], bool) -> Option<Vec<u8>> + 'static) -> Self {
        let any = SockAddr::Inet((Ipv4Addr::LOCALHOST, 0).into());
        let listener = Listener::bind(&any, &Default::default()).expect("a port");
        let address = listener.local_addr().expect("bound");
        let socket = UdpSocket::bind(&address).expect("the same port");
        let asked: Rc<RefCell<Vec<String>>> = Rc::default();
        let log = asked.clone();
        let respond = Rc::new(move |question: &[u8], tcp: bool| {
            let labels = String::from_utf8_lossy(&question[13..]).into_owned();
            let first = labels.split(|c: char| c.is_control()).next().unwrap_or_default();
            log.borrow_mut().push(format!("{first}{}", if tcp { "+tcp" } else { "" }));
            respond(first, question, tcp)
        });
        let over_tcp = respond.clone();
        let udp = runtime::spawn(async move {
            while let Ok((question, from)) = socket.recv_from(512).await {
                if let Some(answer) = respond(&question, false) {
                    let _ = socket.send_to(&answer, &from).await;
                }
            }
        });
        let tcp = runtime::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(Some(question)) = stream.recv().await else { continue };
                if let Some(answer) = over_tcp(&question[2..], true) {
                    let len = (answer.len() as u16).to_be_bytes();
                    stream.write(Chunk::copy_from(&len));
                    stream.write(Chunk::from(answer));
                    let _ = stream.flush().await;
                }
            }
        });
        let address = address.as_inet().expect("inet");
        Self { address, asked, tasks: [udp, tcp] }
    }

    async fn lookup(&self, name: &str, family: DnsFamily) -> Result<Answer, Failure> {
        let files = std::env::temp_dir().join(format!("ringway-dns-{}", std::process::id()));
        let _ = std::fs::write(&files, "options timeout:1 attempts:2\n");
        let resolver = Resolver::with_files(&files, "/nonexistent");
        resolver.lookup(name, family, &[self.address]).await
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(runtime::Join::abort);
    }
}

fn kind_of(question: &[u8]) -> u16 {
    let at = 12 + question[12..].iter().position(|&b| b == 0).expect("a root") + 1;
    u16::from_be_bytes([question[at], question[at + 1]])
}

#[test]
fn names_are_looked_up() {
    run(async {
        let server = DnsServer::start(|first, question, tcp| {
            let v4 = kind_of(question) == 1;
            let owner = format!("{first}.test");
            let record = |data: Vec<u8>| (if v4 { 1 } else { 28 }, data);
            let (flags, found) = match (first, v4) {
                ("four", true) | ("both", true) => (OK, Some(record(vec![10, 0, 0, 4]))),
                ("six", false) | ("both", false) => (OK, Some(record(vec![6; 16]))),
                ("long", _) if !tcp => (OK | 0x200, None),
                ("long", true) => (OK, Some(record(vec![10, 0, 0, 5]))),
                ("gone", _) => (OK | 3, None),
                ("broken", _) => (OK | 2, None),
                ("mute", _) => return None,
                _ => (OK, None),
            };
            let records: Vec<_> =
                found.iter().map(|(kind, data)| (&*owner, *kind, 9, data.clone())).collect();
            Some(answer(question, flags, &records))
        });
        let (v4, v6) = (ip("10.0.0.4"), IpAddr::from([6; 16]));
        let ttl = Some(Duration::from_secs(9));
        let found = |addresses: &[IpAddr]| Ok(Answer { addresses: addresses.to_vec(), ttl });
        assert_eq!(server.lookup("four.test", DnsFamily::V4Only).await, found(&[v4]));
        assert_eq!(server.lookup("four.test", DnsFamily::Auto).await, found(&[v4]));
        assert_eq!(server.lookup("six.test", DnsFamily::V4Preferred).await, found(&[v6]));
        assert_eq!(server.lookup("both.test", DnsFamily::Auto).await, found(&[v6]));
        assert_eq!(server.lookup("both.test", DnsFamily::V4Preferred).await, found(&[v4]));
        assert_eq!(server.lookup("both.test", DnsFamily::All).await, found(&[v6, v4]));
        let long = server.lookup("long.test", DnsFamily::V4Only).await;
        assert_eq!(long, found(&[ip("10.0.0.5")]), "over TCP");
        for nothing in ["gone.test", "six.test"] {
            let got = server.lookup(nothing, DnsFamily::V4Only).await;
            assert_eq!(got, Ok(Answer::default()), "no address is an answer");
        }
        let broken = server.lookup("broken.test", DnsFamily::V4Only).await;
        assert_eq!(broken, Err(Failure::Server(2)));
        server.asked.borrow_mut().clear();
        let start = runtime::now();
        assert_eq!(server.lookup("mute.test", DnsFamily::V4Only).await, Err(Failure::Timeout));
        assert_eq!(server.asked.borrow().len(), 2, "both attempts");
        assert!(start.elapsed() < Duration::from_millis(2500));
        let literal = server.lookup("::1", DnsFamily::V4Only).await.expect("itself");
        assert_eq!((literal.addresses, literal.ttl), (vec![ip("::1")], None));
        let bad = server.lookup("a b.test", DnsFamily::V4Only).await;
        assert_eq!(bad, Err(Failure::Name));
    });
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    run(async {
        let server = DnsServer::start(|_, _, _| None);
        let address = server.address;
        drop(server);
        runtime::yield_now().await;
        let resolver = Resolver::with_files("/nonexistent", "/nonexistent");
        let start = runtime::now();
        let got = resolver.lookup("x.test", DnsFamily::V4Only, &[address]).await;
        assert_eq!(got, Err(Failure::Timeout));
        assert!(start.elapsed() < Duration::from_secs(1), "refused at once");
    });
}

fn target() -> DnsTarget {
    DnsTarget { name: "db.test".into(), port: 80, template: template() }
}

fn plan(change: impl FnOnce(&mut Cluster)) -> Arc<Cluster> {
    cluster(&mut Registry::new(1), Vec::new(), change)
}

#[test]
fn addresses_that_stay_keep_their_host() {
    let (plan, target) = (plan(|_| {}), target());
    let mut hosts = StrictHosts::default();
    let (a, b, c) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"));
    assert!(hosts.update(&plan, &target, &[a, b, a]));
    let before = hosts.hosts().to_vec();
    assert_eq!(before.len(), 2);
    assert_eq!(&*before[0].info.hostname, "db.test");
    assert!(!hosts.update(&plan, &target, &[b, a]), "another order is no change");
    assert!(hosts.update(&plan, &target, &[b, c]));
    assert!(Arc::ptr_eq(&hosts.hosts()[0], &before[1]));
    assert_eq!(hosts.hosts()[1].address, Address::Ip(SocketAddr::new(c, 80)));
    assert!(hosts.update(&plan, &target, &[]));
    assert!(hosts.hosts().is_empty());
}

#[test]
fn healthy_hosts_outlive_their_address() {
    let check = crate::plan::cluster::HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        no_traffic_interval: Duration::from_secs(1),
        no_traffic_healthy_interval: Duration::from_secs(1),
        unhealthy_interval: Duration::from_secs(1),
        unhealthy_edge_interval: Duration::from_secs(1),
        healthy_edge_interval: Duration::from_secs(1),
        reuse_connection: true,
        socket: None,
        kind: crate::plan::cluster::HealthCheckKind::Tcp { send: None, receive: Vec::new() },
    };
    let (plan, target) = (plan(|cluster| cluster.health_checks.push(check)), target());
    let mut hosts = StrictHosts::default();
    assert!(hosts.update(&plan, &target, &[ip("10.0.0.1"), ip("10.0.0.2")]));
    let [first, second] = [hosts.hosts()[0].clone(), hosts.hosts()[1].clone()];
    assert!(!first.state.is_healthy(), "not checked yet");
    first.state.clear(HostState::FAILED_ACTIVE_HC);
    assert!(hosts.update(&plan, &target, &[]));
    assert_eq!(hosts.hosts().len(), 1);
    assert_eq!(first.state.flags(), HostState::PENDING_REMOVAL);
    first.state.set(HostState::FAILED_ACTIVE_HC);
    assert!(hosts.update(&plan, &target, &[]));
    assert!(hosts.hosts().is_empty());
    drop(second);
}

#[test]
fn a_logical_host_moves() {
    let (plan, target) = (plan(|_| {}), target());
    let mut logical = LogicalHost::default();
    let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
    assert_eq!(logical.update(&plan, &target, &[]), LogicalChange::Same);
    assert!(logical.host().is_none());
    assert_eq!(logical.update(&plan, &target, &[a]), LogicalChange::New);
    assert_eq!(logical.update(&plan, &target, &[a]), LogicalChange::Same);
    assert_eq!(logical.update(&plan, &target, &[b, a]), LogicalChange::Moved);
    assert_eq!(logical.update(&plan, &target, &[b, a]), LogicalChange::Same);
    let host = logical.host().expect("made");
    assert_eq!(host.current_address(), Address::Ip(SocketAddr::new(b, 80)));
    assert_eq!(host.address, Address::Ip(SocketAddr::new(a, 80)));
}

#[test]
fn refreshes_follow_the_settings() {
    let seconds = Duration::from_secs;
    let mut dns = Dns {
        targets: Vec::new(),
        refresh: seconds(5),
        failure_refresh: (seconds(1), seconds(4)),
        jitter: Duration::ZERO,
        respect_ttl: false,
        family: DnsFamily::Auto,
        resolvers: Vec::new(),
    };
    let mut schedule = Schedule::new(&dns);
    let ttl = Some(seconds(60));
    assert_eq!(schedule.after_success(&dns, ttl, |_| 0), seconds(5));
    dns.respect_ttl = true;
    assert_eq!(schedule.after_success(&dns, ttl, |_| 0), seconds(60));
    assert_eq!(schedule.after_success(&dns, Some(Duration::ZERO), |_| 0), seconds(5));
    dns.jitter = seconds(2);
    assert_eq!(schedule.after_success(&dns, None, |n| n - 1), Duration::from_millis(6999));
    let limits: Vec<u64> = (0..4)
        .map(|_| {
            let mut limit = 0;
            schedule.after_failure(&dns, |n| {
                limit = n;
                0
            });
            limit
        })
        .collect();
    assert_eq!(limits, [1000, 2000, 4000, 4000]);
    schedule.after_success(&dns, None, |_| 0);
    assert_eq!(schedule.after_failure(&dns, |n| n - 1), Duration::from_millis(999));
    dns.failure_refresh = (seconds(5), seconds(5));
    assert_eq!(schedule.after_failure(&dns, |_| 0), seconds(5), "fixed without a range");
}
