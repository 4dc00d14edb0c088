//! Simulated TCP proxying: every way in which the two ends of a connection can stop talking.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Chunk, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, Stream, connect, sleep,
    spawn,
};

use super::client::{Rng, body_of};
use super::{LIMIT, PROXY, Shard, address, runtime, seeds, shard};
use crate::config::load_text;
use crate::observe::stats::Registry;
use crate::plan::Plan;
use crate::plan::listener::Terminal;

const SERVER: u16 = 9001;

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: sim
    address: { socket_address: { address: 10.0.0.1, port_value: 8080 } }
    per_connection_buffer_limit_bytes: 16384
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: sim
          cluster: up
          idle_timeout: 20s
          max_downstream_connection_duration: 300s
          max_connect_attempts: 3
          backoff_options: { base_interval: 0.1s }
  clusters:
  - name: up
    connect_timeout: 2s
    per_connection_buffer_limit_bytes: 16384
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 9001 } } }
"#;

/// What the first byte of a connection tells the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Play {
    /// Gives everything back, and ends when the client has ended.
    Echo,
    /// Sends, ends, and only then listens to the end.
    EndFirst,
    /// Sends more than all buffers hold, to a client that is slow.
    Flood,
    /// Is slow to read what the client sends, and says how much it was.
    Slow,
    /// Resets the connection after some bytes.
    Reset,
    /// Takes everything and says nothing: somebody else has to end it.
    Silent,
}

const PLAYS: [Play; 6] =
    [Play::Echo, Play::EndFirst, Play::Flood, Play::Slow, Play::Reset, Play::Silent];

/// Bytes of the plays that move many.
const MANY: usize = 200_000;
const FEW: usize = 3_000;

async fn pause(rng: &mut Rng, max_ms: u64) {
    sleep(Duration::from_millis(rng.next() % (max_ms + 1))).await;
}

/// Sends in pieces of any size; ends early when the connection is gone.
async fn send(stream: &Stream, data: &[u8], rng: &mut Rng) {
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + rng.next() as usize % 9_000).min(rest.len()));
        stream.write(Chunk::copy_from(piece));
        if stream.queued_below(16 << 10).await.is_err() {
            return;
        }
        if rng.next().is_multiple_of(8) {
            pause(rng, 20).await;
        }
        rest = more;
    }
}

/// Reads to the end: what came, and whether it was a FIN.
async fn read(stream: &Stream, slow: bool, rng: &mut Rng) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        match stream.recv().await {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) => return (all, true),
            Err(_) => return (all, false),
        }
        if slow {
            pause(rng, 40).await;
        }
    }
}

async fn server(listen: SockAddr, seed: u64) {
    let listener = Listener::bind(&listen, &ListenOptions::default()).expect("bind");
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        spawn(act(stream, Rng(seed.wrapping_mul(77) + number)));
    }
}

async fn act(stream: Stream, mut rng: Rng) {
    stream.set_recv_limit(8 << 10);
    let Ok(Some(mut first)) = stream.recv().await else { return };
    let play = PLAYS[usize::from(first[0])];
    first.advance(1);
    stream.unread(first);
    match play {
        Play::Echo => {
            while let Ok(Some(chunk)) = stream.recv().await {
                stream.write(chunk);
                if stream.queued_below(8 << 10).await.is_err() {
                    return;
                }
            }
            stream.shutdown_write();
        }
        Play::EndFirst => {
            send(&stream, &body_of(1, FEW), &mut rng).await;
            stream.shutdown_write();
            let (data, whole) = read(&stream, false, &mut rng).await;
            assert!(!whole || data == body_of(2, FEW), "after the server's end");
        }
        Play::Flood => {
            send(&stream, &body_of(3, MANY), &mut rng).await;
            stream.shutdown_write();
            read(&stream, false, &mut rng).await;
        }
        Play::Slow => {
            let (data, whole) = read(&stream, true, &mut rng).await;
            if whole {
                stream.write(Chunk::from((data.len() as u32).to_be_bytes().to_vec()));
            }
            stream.shutdown_write();
        }
        Play::Reset => {
            send(&stream, &body_of(4, FEW), &mut rng).await;
            pause(&mut rng, 30).await;
            return stream.reset();
        }
        Play::Silent => {
            read(&stream, false, &mut rng).await;
        }
    }
    let _ = stream.flush().await;
}

/// One connection; whether it went through from one end to the other.
async fn client(to: SockAddr, play: usize, mut rng: Rng) -> bool {
    let Ok(stream) = connect(&to, &ConnectOptions::default()).await else { return false };
    stream.set_recv_limit(8 << 10);
    stream.write(Chunk::from(vec![play as u8]));
    match PLAYS[play] {
        Play::Echo => {
            let sent = body_of(5, if rng.next().is_multiple_of(2) { MANY } else { FEW });
            let stream = Rc::new(stream);
            let (writer, data, seed) = (Rc::clone(&stream), sent.clone(), rng.next());
            let writing = spawn(async move {
                send(&writer, &data, &mut Rng(seed)).await;
                writer.shutdown_write();
            });
            let (got, whole) = read(&stream, false, &mut rng).await;
            assert!(sent.starts_with(&got), "an echo came changed");
            writing.abort();
            whole && got.len() == sent.len()
        }
        Play::EndFirst => {
            let (got, whole) = read(&stream, false, &mut rng).await;
            assert!(body_of(1, FEW).starts_with(&got));
            send(&stream, &body_of(2, FEW), &mut rng).await;
            stream.shutdown_write();
            whole && stream.flush().await.is_ok() && got.len() == FEW
        }
        Play::Flood => {
            let (got, whole) = read(&stream, true, &mut rng).await;
            assert!(body_of(3, MANY).starts_with(&got), "a flood came changed");
            whole && got.len() == MANY
        }
        Play::Slow => {
            send(&stream, &body_of(6, MANY), &mut rng).await;
            stream.shutdown_write();
            let (got, whole) = read(&stream, false, &mut rng).await;
            whole && got == (MANY as u32).to_be_bytes()
        }
        Play::Reset => {
            let (got, whole) = read(&stream, false, &mut rng).await;
            assert!(!whole, "a reset of the server passed for an end");
            assert!(body_of(4, FEW).starts_with(&got));
            true
        }
        Play::Silent if rng.next().is_multiple_of(2) => {
            // The other end must not outlive this one.
            pause(&mut rng, 30).await;
            stream.reset();
            true
        }
        Play::Silent => {
            let (got, _) = read(&stream, false, &mut rng).await;
            got.is_empty()
        }
    }
}

fn plan(registry: &mut Registry) -> Plan {
    match load_text(BOOTSTRAP, "tcp.yaml", ringway_xds::Format::Yaml, 1, registry) {
        Ok(loaded) => loaded.plan,
        Err(diagnostics) => panic!("the simulated configuration: {diagnostics}"),
    }
}

/// Runs three connections of every play; how many of the 18 went through.
fn simulate(seed: u64, faults: Faults) -> u32 {
    let net = Network::new(seed, faults);
    let (mut proxy, mut upstream, mut clients) = (runtime(&net), runtime(&net), runtime(&net));
    let mut registry = Registry::new(1);
    let plan = plan(&mut registry);
    registry.publish();
    let shard = proxy.enter(|| shard(plan, &mut registry));
    let serving = upstream.enter(|| spawn(server(address(SERVER), seed)));
    let (through, open) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(18u64)));
    for number in 0..18u64 {
        let (through, open) = (Rc::clone(&through), Rc::clone(&open));
        let rng = Rng(seed.wrapping_mul(131) + number);
        clients.enter(|| {
            spawn(async move {
                sleep(Duration::from_millis(1 + number)).await;
                let went = client(address(PROXY), (number % 6) as usize, rng).await;
                through.set(through.get() + u32::from(went));
                open.set(open.get() - 1);
            })
        });
    }
    let mut all = [&mut proxy, &mut upstream, &mut clients];
    let done = net.run_until(&mut all, LIMIT, || open.get() == 0);
    assert!(done, "seed {seed}: {} clients are stuck", open.get());
    finish(seed, &net, shard, serving, &mut all);
    through.get()
}

fn finish(
    seed: u64,
    net: &Network,
    shard: Rc<Shard>,
    serving: ringway_runtime::Join<()>,
    all: &mut [&mut Runtime; 3],
) {
    net.run_until(all, LIMIT, || shard.check_invariants().is_ok());
    if let Err(wrong) = shard.check_invariants() {
        panic!("seed {seed}: {wrong}");
    }
    check_numbers(seed, &shard);
    for listener in &*shard.listeners.borrow() {
        listener.stop();
    }
    serving.abort();
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

/// Gauges are back at 0, and what began has ended.
fn check_numbers(seed: u64, shard: &Shard) {
    let listeners = shard.listeners.borrow();
    let Terminal::TcpProxy(tcp) = &listeners[0].plan.chains[0].terminal else { panic!("no TCP") };
    let cluster = shard.upstreams.by_name(b"up").expect("the cluster");
    let names = &cluster.plan().stats;
    for (name, gauge) in [
        ("downstream_cx_tx_bytes_buffered", tcp.stats.downstream_cx_tx_bytes_buffered()),
        ("upstream_flush_active", tcp.stats.upstream_flush_active()),
        ("listener downstream_cx_active", listeners[0].plan.stats.downstream_cx_active()),
        ("upstream_cx_active", names.upstream_cx_active()),
        ("upstream_cx_tx_bytes_buffered", names.upstream_cx_tx_bytes_buffered()),
        ("upstream_rq_active", names.upstream_rq_active()),
        ("upstream_rq_pending_active", names.upstream_rq_pending_active()),
        ("cx_open", names.circuit_breakers_default_cx_open()),
    ] {
        assert_eq!(shard.stats.gauge_value(gauge), 0, "seed {seed}: {name}");
    }
    let count = |counter| shard.stats.counter_value(counter);
    assert_eq!(
        count(names.upstream_cx_total()),
        count(names.upstream_cx_destroy()),
        "seed {seed}: connections that began and that ended"
    );
    let paused = tcp.stats.downstream_flow_control_paused_reading_total();
    let resumed = tcp.stats.downstream_flow_control_resumed_reading_total();
    assert!(count(paused) >= count(resumed), "seed {seed}");
}

#[test]
fn every_byte_and_every_end_goes_through() {
    for seed in seeds(40) {
        let through = simulate(seed, Faults::default());
        assert_eq!(through, 18, "seed {seed}");
    }
}

#[test]
fn broken_connections_leave_nothing_behind() {
    let failed = Rc::new(RefCell::new(0));
    for seed in seeds(40) {
        let faults = Faults { reset: 0.01, refuse: 0.2, no_buffers: 0.2, ..Faults::default() };
        *failed.borrow_mut() += 18 - simulate(seed, faults);
    }
    assert!(*failed.borrow() > 0, "the faults must have been felt");
}
