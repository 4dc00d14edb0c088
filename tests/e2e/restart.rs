//! One process takes the place of another: nothing that clients asked is lost, and connections that
//! were idle stay open.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::restart::{Clients, Server, Tail, Worker};
use ringway_tests::{bins, ports};
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Test = fn(&'static str) -> Result<()>;

const TESTS: [(&str, Test); 9] = [
    ("nothing_is_lost_under_load", under_load),
    ("idle_connections_go_over", idle_connections),
    ("a_request_under_way_is_answered_and_its_connection_goes_over", busy_connection),
    ("epochs_follow_one_another", epochs),
    ("numbers_of_workers_may_differ", concurrency),
    ("a_child_that_is_killed_leaves_its_parent_as_it_was", killed_child),
    ("a_parent_that_is_killed_leaves_its_child_as_it_was", killed_parent),
    ("who_cannot_take_over_does_not_start", refusals),
    ("sigterm_and_reuse_port_lose_nothing", sigterm),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = bins::ringway().err();
    if let Some(reason) = &missing
        && !arguments.list
    {
        eprintln!("skipped: restarts: {reason}");
    }
    let mut trials = Vec::new();
    for backend in ["uring", "uring-5.11", "epoll"] {
        for (name, test) in TESTS {
            let run = move || test(backend).map_err(|error| Failed::from(format!("{error:#}")));
            let trial = Trial::test(format!("{backend}::{name}"), run);
            trials.push(trial.with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A chain of processes with one base id on one configuration.
struct Chain {
    server: Server,
    backend: &'static str,
    listener: u16,
    admin: u16,
    base: u32,
}

impl Chain {
    fn new(backend: &'static str) -> Result<Self> {
        let (listener, admin) = (ports::free(), ports::free());
        // Ports are nobody else's, so this number is not either.
        Ok(Self { server: Server::start()?, backend, listener, admin, base: listener.into() })
    }

    fn config(&self) -> String {
        CONFIG
            .replace("{{admin}}", &self.admin.to_string())
            .replace("{{listener}}", &self.listener.to_string())
            .replace("{{server}}", &self.server.port().to_string())
    }

    /// Starts the process of an epoch, with further flags.
    fn spawn(&self, epoch: u32, flags: &str) -> Result<Worker> {
        let mut all = format!(
            "--io-backend {} --restart-epoch {epoch} --base-id {} -l info",
            self.backend, self.base
        );
        for (flag, value) in
            [("--concurrency", "2"), ("--drain-time-s", "4"), ("--parent-shutdown-time-s", "6")]
        {
            if !flags.contains(flag) {
                all = format!("{all} {flag} {value}");
            }
        }
        Worker::spawn(&self.config(), &format!("{all} {flags}"), self.admin)
    }

    /// The same, until it accepts.
    fn start(&self, epoch: u32, flags: &str) -> Result<Worker> {
        let mut worker = self.spawn(epoch, flags)?;
        worker.wait_live(epoch)?;
        Ok(worker)
    }

    fn clients(&self, count: usize) -> Clients {
        Clients::start(self.listener, count)
    }

    fn connect(&self) -> Result<Tail> {
        Tail::connect(self.listener)
    }

    /// Waits until only the sockets of one process, of two workers, listen.
    ///
    /// The kernel takes a ring apart some time after its process was reaped, and what the ring held
    /// listens until then: connections that come to such a socket are reset.
    fn wait_until_the_kernel_is_done_with_the_dead(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        // Local address, remote address, state 0A: LISTEN.
        let wanted = format!(":{:04X} 00000000:0000 0A", self.listener);
        loop {
            let sockets = std::fs::read_to_string("/proc/net/tcp")?.matches(&wanted).count();
            if sockets <= 2 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{sockets} sockets still listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

const CONFIG: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: {{admin}} } } }
stats_flush_interval: 0.2s
static_resources:
  listeners:
  - name: main
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener}} } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{ match: { prefix: / }, route: { cluster: server, timeout: 0s } }]
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: server
    connect_timeout: 1s
    load_assignment:
      cluster_name: server
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{server}} } } }
"#;

fn under_load(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut old = chain.start(0, "--drain-strategy immediate --parent-shutdown-time-s 2")?;
    let clients = chain.clients(32);
    std::thread::sleep(Duration::from_millis(500));
    let new = chain.start(1, "--parent-shutdown-time-s 2")?;
    old.wait_end(Duration::from_secs(10))?;
    ensure!(old.code() == Some(0), "the old process ended with {:?}", old.code());
    std::thread::sleep(Duration::from_millis(300));
    let (requests, failures, connections) = clients.stop();
    println!("{requests} requests on {connections} connections, {} failed", failures.len());
    ensure!(failures.is_empty(), "{} of {requests} failed: {:?}", failures.len(), failures.first());
    ensure!(requests > 200, "only {requests} requests");
    ensure!(connections == 32, "{connections} connections for 32 clients: some were closed");
    // Each is counted once, whoever serves it.
    let total = new.number("http.ingress.downstream_cx_total")?;
    ensure!(total == 32, "{total} connections counted");
    drop(new);
    Ok(())
}

fn idle_connections(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut old = chain.start(0, "")?;
    let mut used: Vec<Tail> = (0..50).map(|_| chain.connect()).collect::<Result<_>>()?;
    for tail in &mut used {
        tail.get("/before")?;
    }
    let mut fresh: Vec<Tail> = (0..20).map(|_| chain.connect()).collect::<Result<_>>()?;
    let new = chain.start(1, "--parent-shutdown-time-s 1")?;
    old.wait_end(Duration::from_secs(10))?;
    for tail in used.iter_mut().chain(&mut fresh) {
        let head = tail.get("/after").context("a connection that was idle")?;
        ensure!(!head.contains("connection: close"), "{head}");
    }
    let active = new.stat("listener.127.0.0.1_", "downstream_cx_active", &chain.listener)?;
    ensure!(active == 70, "{active} connections instead of 70");
    Ok(())
}

fn busy_connection(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut old = chain.start(0, "")?;
    let mut tail = chain.connect()?;
    tail.send("/slow?ms=1500")?;
    std::thread::sleep(Duration::from_millis(200));
    let new = chain.start(1, "--parent-shutdown-time-s 3")?;
    let head = tail.answer()?;
    ensure!(head.contains("200 OK") && !head.contains("connection: close"), "{head}");
    old.wait_end(Duration::from_secs(10))?;
    tail.get("/after").context("the connection has not gone over")?;
    drop(new);
    Ok(())
}

fn epochs(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut before = chain.start(0, "")?;
    let mut tail = chain.connect()?;
    let clients = chain.clients(8);
    for epoch in 1..=3 {
        tail.get("/x")?;
        let next = chain.start(epoch, "--parent-shutdown-time-s 1")?;
        before.wait_end(Duration::from_secs(10))?;
        tail.get("/y").with_context(|| format!("epoch {epoch}"))?;
        let generation = next.number("server.hot_restart_generation")?;
        ensure!(generation == i64::from(epoch) + 1, "generation {generation} in epoch {epoch}");
        ensure!(next.number("server.hot_restart_epoch")? == i64::from(epoch), "epoch {epoch}");
        before = next;
    }
    let (requests, failures, _) = clients.stop();
    ensure!(failures.is_empty(), "{} of {requests} failed: {:?}", failures.len(), failures.first());
    // Every process has told the next all that it had counted.
    let counted = before.number("http.ingress.downstream_rq_total")?;
    let asked = i64::try_from(requests)? + 6;
    ensure!(counted == asked, "{counted} requests counted of {asked}");
    Ok(())
}

fn concurrency(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut before = chain.start(0, "--concurrency 3")?;
    let clients = chain.clients(16);
    for (epoch, workers) in [(1, 1), (2, 4)] {
        let flags = format!("--concurrency {workers} --parent-shutdown-time-s 1");
        let next = chain.start(epoch, &flags)?;
        before.wait_end(Duration::from_secs(10))?;
        // New connections find somebody, whatever queue they come into.
        for _ in 0..40 {
            chain.connect()?.get("/new").with_context(|| format!("{workers} worker(s)"))?;
        }
        before = next;
    }
    let (requests, failures, _) = clients.stop();
    ensure!(failures.is_empty(), "{} of {requests} failed: {:?}", failures.len(), failures.first());
    Ok(())
}

fn killed_child(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let old = chain.start(0, "")?;
    let mut tail = chain.connect()?;
    tail.get("/x")?;
    // At moments from the first instruction to long after it has taken over.
    for (round, wait) in [1, 5, 10, 15, 20, 30, 50, 80, 150, 400].into_iter().enumerate() {
        let mut child = chain.spawn(1, "")?;
        std::thread::sleep(Duration::from_millis(wait));
        child.kill()?;
        for _ in 0..8 {
            chain.connect()?.get("/new").with_context(|| format!("round {round}, {wait} ms"))?;
        }
    }
    old.wait_state("LIVE")?;
    // A child that runs already takes idle connections with it; one that was not there does not.
    let mut fresh = chain.connect()?;
    let mut child = chain.spawn(1, "")?;
    child.kill()?;
    fresh.get("/still-here")?;
    let mut child = chain.start(1, "")?;
    let mut later = chain.connect()?;
    later.get("/child")?;
    child.kill()?;
    old.wait_state("LIVE")?;
    chain.connect()?.get("/parent-again")?;
    drop(old);
    Ok(())
}

fn killed_parent(backend: &'static str) -> Result<()> {
    for wait in [0, 5, 15, 30, 60, 200] {
        let chain = Chain::new(backend)?;
        let mut old = chain.start(0, "")?;
        let mut child = chain.spawn(1, "--skip-hot-restart-on-no-parent")?;
        std::thread::sleep(Duration::from_millis(wait));
        old.kill()?;
        if child.wait_live(1).is_err() {
            // The parent had welcomed it and not given everything: it says so and ends.
            let log = child.log();
            ensure!(log.contains("cannot be taken over from"), "{wait} ms:\n{log}");
            continue;
        }
        chain.wait_until_the_kernel_is_done_with_the_dead()?;
        for _ in 0..8 {
            chain.connect()?.get("/new").with_context(|| format!("{wait} ms"))?;
        }
    }
    // What has gone over is the child's, whatever becomes of the parent.
    let chain = Chain::new(backend)?;
    let mut old = chain.start(0, "")?;
    let mut tail = chain.connect()?;
    tail.get("/x")?;
    let child = chain.start(1, "")?;
    std::thread::sleep(Duration::from_millis(300));
    old.kill()?;
    tail.get("/y")?;
    drop(child);
    Ok(())
}

fn refusals(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut orphan = chain.spawn(1, "")?;
    orphan.wait_end(Duration::from_secs(10))?;
    ensure!(orphan.code() == Some(1), "{:?}", orphan.code());
    ensure!(orphan.log().contains("no process of an earlier"), "{}", orphan.log());
    let first = chain.start(0, "")?;
    let mut twin = chain.spawn(0, "")?;
    twin.wait_end(Duration::from_secs(10))?;
    ensure!(twin.log().contains("--base-id"), "{}", twin.log());
    let second = chain.start(1, "")?;
    // The name of its epoch is the second one's: it does not come as far as asking the first.
    let mut third = chain.spawn(1, "")?;
    third.wait_end(Duration::from_secs(10))?;
    ensure!(third.code() == Some(1), "{:?}", third.code());
    ensure!(third.log().contains("--base-id"), "{}", third.log());
    chain.connect()?.get("/x")?;
    if chain.connect().is_err() {
        bail!("nobody listens any more");
    }
    drop((first, second));
    Ok(())
}

/// No hot restart at all: the new process binds beside the old one, which is then told to end.
fn sigterm(backend: &'static str) -> Result<()> {
    let chain = Chain::new(backend)?;
    let mut old = chain.start(0, "--disable-hot-restart")?;
    let clients = chain.clients(32);
    std::thread::sleep(Duration::from_millis(300));
    let mut other = Chain::new(backend)?;
    other.listener = chain.listener;
    let config = other.config().replace(
        &format!("port_value: {}", other.server.port()),
        &format!("port_value: {}", chain.server.port()),
    );
    let flags = format!("--io-backend {backend} --disable-hot-restart --concurrency 2");
    let mut new = Worker::spawn(&config, &flags, other.admin)?;
    new.wait_live(0)?;
    old.terminate()?;
    old.wait_end(Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(300));
    let (requests, failures, connections) = clients.stop();
    println!("{requests} requests on {connections} connections, {} failed", failures.len());
    ensure!(failures.is_empty(), "{} of {requests} failed: {:?}", failures.len(), failures.first());
    ensure!(requests > 200, "only {requests} requests");
    Ok(())
}
