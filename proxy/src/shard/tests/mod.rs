//! Simulation of a whole shard: clients, proxy and upstreams on the simulated network, with
//! delayed, split and lost segments, short sends and scarce buffers. Everything follows from the
//! seed, which a failure names: `RINGWAY_SIM_SEED=n` replays that run alone, `RINGWAY_SIM_RUNS=n`
//! makes more of them.

mod client;
mod demands;
mod http2;
mod listeners;
mod server;
mod tcp;
mod updates;
pub(super) mod world;
mod xds;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{Backend, Config, ListenOptions, Listener, Runtime, SockAddr, sleep, spawn};

use super::outbox::MeshOutbox;
use super::{DrainOptions, Links, Loads, Shard};
use crate::config::load_text;
use crate::http::conn::Conn;
use crate::observe::stats::Registry;
use crate::plan::{Change, Plan};

/// Virtual time a run may take.
const LIMIT: Duration = Duration::from_secs(600);

const PROXY: u16 = 8080;
const UPSTREAMS: [u16; 2] = [9001, 9002];

pub(super) fn address(port: u16) -> SockAddr {
    SockAddr::from(SocketAddr::from(([10, 0, 0, 1], port)))
}

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: sim
    address: { socket_address: { address: 10.0.0.1, port_value: 8080 } }
    per_connection_buffer_limit_bytes: 16384
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.\
            http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: sim
          stream_idle_timeout: 20s
          common_http_protocol_options: { idle_timeout: 30s }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: /direct }
                direct_response: { status: 200, body: { inline_string: here } }
              - match: { prefix: /retry }
                route:
                  cluster: up
                  timeout: 5s
                  retry_policy: { retry_on: "5xx,reset,connect-failure", num_retries: 2 }
              - match: { prefix: / }
                route: { cluster: up, timeout: 5s }
  clusters:
  - name: up
    connect_timeout: 2s
    per_connection_buffer_limit_bytes: 16384
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 9001 } } }
        - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 9002 } } }
"#;

fn plan(bootstrap: &str, registry: &mut Registry) -> Plan {
    match load_text(bootstrap, "sim.yaml", ringway_xds::Format::Yaml, 1, registry) {
        Ok(loaded) => loaded.plan,
        Err(diagnostics) => panic!("the simulated configuration: {diagnostics}"),
    }
}

fn runtime(net: &Network) -> Runtime {
    let config = Config { backend: Backend::Sim(net.clone()), ..Config::default() };
    Runtime::new(config).expect("a simulated runtime")
}

/// A shard of the current runtime that serves `plan`, on all its addresses.
fn shard(plan: Plan, registry: &mut Registry) -> Rc<Shard> {
    let stats = registry.writer(0).expect("a page for the only shard");
    let links = Links {
        outbox: MeshOutbox::new(Box::new(|_| Ok(()))),
        peers: Box::new(|_, _| Ok(())),
        loads: Loads::new(1),
    };
    let drain = DrainOptions { time: Duration::from_secs(30), ..DrainOptions::default() };
    let shard = world::shard((0, 1), stats, links, drain);
    shard.install(&Change::all(&plan));
    for listener in &*shard.listeners.borrow() {
        for address in listener.plan.addresses.iter().filter(|_| listener.plan.bind_to_port) {
            let at = crate::control::bind::sock_addr(address);
            let socket = Listener::bind(&at, &ListenOptions::default()).expect("bind");
            listener.accept_on(&shard, address.clone(), socket);
        }
    }
    shard
}

/// What came of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Responses by status; 0 for a connection that ended without one.
    statuses: Vec<u16>,
    /// Nanoseconds of virtual time it took.
    took: u128,
}

fn simulate(seed: u64, faults: Faults) -> Outcome {
    simulate_with(BOOTSTRAP, seed, faults)
}

fn simulate_with(bootstrap: &str, seed: u64, faults: Faults) -> Outcome {
    simulate_mix(bootstrap, (false, false), seed, faults)
}

/// `http2`: whether clients, and whether upstreams speak it.
fn simulate_mix(bootstrap: &str, http2: (bool, bool), seed: u64, faults: Faults) -> Outcome {
    let net = Network::new(seed, faults);
    let start = net.now();
    let (mut proxy, mut upstream, mut clients) = (runtime(&net), runtime(&net), runtime(&net));
    let mut registry = Registry::new(1);
    let plan = plan(bootstrap, &mut registry);
    registry.publish();
    let shard = proxy.enter(|| shard(plan, &mut registry));
    let serving: Vec<_> = upstream
        .enter(|| {
            UPSTREAMS.map(|port| {
                let (at, seed) = (address(port), seed ^ u64::from(port));
                if http2.1 { spawn(http2::serve(at, seed)) } else { spawn(server::serve(at, seed)) }
            })
        })
        .into();
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let open = Rc::new(Cell::new(6));
    for number in 0..6u64 {
        let (outcome, open) = (Rc::clone(&outcome), Rc::clone(&open));
        clients.enter(|| {
            spawn(async move {
                sleep(Duration::from_millis(1 + number)).await;
                let (to, seed) = (address(PROXY), seed.wrapping_mul(31) + number);
                let got =
                    if http2.0 { http2::run(to, seed).await } else { client::run(to, seed).await };
                outcome.borrow_mut().statuses.extend(got);
                open.set(open.get() - 1);
            })
        });
    }
    let mut all = [&mut proxy, &mut upstream, &mut clients];
    let done = net.run_until(&mut all, LIMIT, || open.get() == 0);
    assert!(done, "seed {seed}: a client is stuck");
    let took = (net.now() - start).as_nanos();
    finish(seed, &net, shard, serving, &mut all);
    let mut outcome = outcome.take();
    outcome.took = took;
    outcome
}

/// Stops everything and looks for what is left.
fn finish(
    seed: u64,
    net: &Network,
    shard: Rc<Shard>,
    serving: Vec<ringway_runtime::Join<()>>,
    all: &mut [&mut Runtime; 3],
) {
    // Connections notice that their clients are gone.
    net.run_until(all, LIMIT, || shard.check_invariants().is_ok());
    if let Err(wrong) = shard.check_invariants() {
        panic!("seed {seed}: {wrong}");
    }
    check_gauges(seed, &shard);
    for listener in &*shard.listeners.borrow() {
        listener.stop();
    }
    serving.iter().for_each(|task| task.abort());
    let [proxy, ..] = all;
    proxy.enter(|| {
        shard.upstreams.drain();
        drop(shard);
    });
    net.run_until(all, LIMIT, || false);
    if let Err(left) = net.check_invariants() {
        panic!("seed {seed}: {left}");
    }
}

fn check_gauges(seed: u64, shard: &Shard) {
    for listener in &*shard.listeners.borrow() {
        let hcm = &listener.manager(0).plan.stats.hcm;
        for (name, gauge) in [
            ("downstream_cx_active", hcm.downstream_cx_active()),
            ("downstream_rq_active", hcm.downstream_rq_active()),
            ("listener downstream_cx_active", listener.plan.stats.downstream_cx_active()),
        ] {
            assert_eq!(shard.stats.gauge_value(gauge), 0, "seed {seed}: {name}");
        }
    }
    let cluster = shard.upstreams.by_name(b"up").expect("the cluster");
    let stats = &cluster.plan().stats;
    for (name, gauge) in [
        ("upstream_rq_active", stats.upstream_rq_active()),
        ("upstream_rq_pending_active", stats.upstream_rq_pending_active()),
        ("rq_open", stats.circuit_breakers_default_rq_open()),
    ] {
        assert_eq!(shard.stats.gauge_value(gauge), 0, "seed {seed}: {name}");
    }
}

/// Seeds of a test: the one asked for, or the first `runs`.
fn seeds(runs: u64) -> std::ops::Range<u64> {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match asked("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("RINGWAY_SIM_RUNS").unwrap_or(runs),
    }
}

#[test]
fn every_request_is_answered_right_whatever_the_timing() {
    for seed in seeds(60) {
        let outcome = simulate(seed, Faults::default());
        assert!(outcome.statuses.contains(&200), "seed {seed}: {outcome:?}");
    }
}

#[test]
fn lost_connections_and_scarce_buffers_leave_nothing_behind() {
    let mut failed = 0;
    for seed in seeds(60) {
        let faults = Faults { reset: 0.01, refuse: 0.1, no_buffers: 0.2, ..Faults::default() };
        let outcome = simulate(seed, faults);
        failed += outcome.statuses.iter().filter(|status| **status != 200).count();
    }
    assert!(failed > 0, "the faults must have been felt");
}

/// The same with filters that stop, wait and cut up all that passes: nobody may notice.
fn filtered() -> String {
    let probe = |name: &str| {
        let kind = "envoy.extensions.filters.http.kill_request.v3.KillRequest";
        format!(
            "          - name: {name}
            typed_config:
              \"@type\": type.googleapis.com/{kind}
              probability: {{ numerator: 1 }}
"
        )
    };
    let buffer = "          - name: buffer
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
              max_request_bytes: 1000000
";
    let filters = format!("          http_filters:\n{}{buffer}{}", probe("first"), probe("second"));
    BOOTSTRAP.replace("          http_filters:\n", &filters)
}

#[test]
fn filters_may_stop_and_wait_wherever_they_like() {
    let bootstrap = filtered();
    for seed in seeds(60) {
        let outcome = simulate_with(&bootstrap, seed, Faults::default());
        assert!(outcome.statuses.contains(&200), "seed {seed}: {outcome:?}");
    }
    for seed in seeds(60) {
        let faults = Faults { reset: 0.01, refuse: 0.1, no_buffers: 0.2, ..Faults::default() };
        simulate_with(&bootstrap, seed, faults);
    }
}

#[test]
fn a_seed_replays_its_run() {
    let faults = || Faults { reset: 0.01, refuse: 0.1, ..Faults::default() };
    assert_eq!(simulate(7, faults()), simulate(7, faults()));
}

/// What an idle connection costs is decided here, not by what a request needs.
#[test]
fn an_idle_connection_is_small() {
    fn future<F: Future>(_: fn(Box<Conn>) -> F) -> usize {
        size_of::<F>()
    }
    assert!(size_of::<Conn>() <= 256, "{}", size_of::<Conn>());
    let task = future(crate::http::conn::serve);
    assert!(task <= 256, "{task}");
}
