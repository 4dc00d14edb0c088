//! The simulated network: several runtimes, many seeds, nothing left over.

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, Stream,
    connect, now, sleep, spawn,
};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// How many seeds to run: `SEEDS`, to look further than usual.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(50)
}

fn runtime(net: &Network) -> Runtime {
    Runtime::new(Config { backend: Backend::Sim(net.clone()), ..Config::default() })
        .expect("a simulated runtime")
}

fn addr(port: u16) -> SockAddr {
    SockAddr::from(SocketAddr::from(([10, 0, 0, 1], port)))
}

/// Echoes until its task is dropped.
async fn serve(at: SockAddr) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        spawn(async move {
            while let Ok(Some(chunk)) = stream.recv().await {
                stream.write(chunk);
                if stream.queued_below(16 << 10).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends `rounds` messages and expects them back; how many came.
async fn ask(to: SockAddr, rounds: usize, trace: Rc<RefCell<Vec<u64>>>) -> usize {
    let Ok(stream) = connect(&to, &ConnectOptions::default()).await else { return 0 };
    for round in 0..rounds {
        let message = vec![round as u8; 1 + round * 997];
        stream.write(Chunk::copy_from(&message));
        let mut got = Vec::new();
        while got.len() < message.len() {
            match stream.recv().await {
                Ok(Some(chunk)) => got.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return round,
            }
        }
        assert!(got == message, "bytes came back changed");
        trace.borrow_mut().push(now().as_nanos());
    }
    rounds
}

/// One run: a server, two clients on a runtime each. Answers per client, and when they came.
fn run(seed: u64, faults: Faults) -> (Vec<usize>, Vec<u64>) {
    let net = Network::new(seed, faults);
    let mut server = runtime(&net);
    let mut clients = [runtime(&net), runtime(&net)];
    let trace = Rc::new(RefCell::new(Vec::new()));
    let answers = Rc::new(RefCell::new(Vec::new()));
    let serving = server.enter(|| spawn(serve(addr(80))));
    let open = Rc::new(Cell::new(0));
    for client in &mut clients {
        for _ in 0..3 {
            let (trace, answers) = (Rc::clone(&trace), Rc::clone(&answers));
            let open = Rc::clone(&open);
            open.set(open.get() + 1);
            client.enter(|| {
                spawn(async move {
                    sleep(Duration::from_millis(1)).await;
                    let got = ask(addr(80), 20, trace).await;
                    answers.borrow_mut().push(got);
                    open.set(open.get() - 1);
                })
            });
        }
    }
    let [one, two] = &mut clients;
    let mut all = [&mut server, one, two];
    assert!(net.run_until(&mut all, LIMIT, || open.get() == 0), "seed {seed}: stuck");
    serving.abort();
    // Nothing left to do: the run ends by itself.
    net.run_until(&mut all, LIMIT, || false);
    if let Err(left) = net.check_invariants() {
        panic!("seed {seed}: {left}");
    }
    let answers = answers.borrow().clone();
    (answers, trace.borrow().clone())
}

#[test]
fn every_answer_arrives_whatever_the_timing() {
    for seed in 0..seeds() {
        let (answers, _) = run(seed, Faults::default());
        assert_eq!(answers, [20; 6], "seed {seed}");
    }
}

#[test]
fn resets_and_refusals_leave_nothing_behind() {
    let mut cut_short = 0;
    for seed in 0..seeds() {
        let faults = Faults { reset: 0.02, refuse: 0.2, no_buffers: 0.3, ..Faults::default() };
        let (answers, _) = run(seed, faults);
        cut_short += answers.iter().filter(|&&got| got < 20).count();
    }
    assert!(cut_short as u64 > seeds(), "the faults must have happened: {cut_short}");
}

#[test]
fn a_seed_repeats_its_run() {
    let faults = || Faults { reset: 0.01, ..Faults::default() };
    assert_eq!(run(42, faults()), run(42, faults()));
    assert_ne!(run(42, faults()).1, run(43, faults()).1);
}

#[test]
fn time_jumps() {
    let net = Network::new(1, Faults::none());
    let mut rt = runtime(&net);
    rt.block_on(sleep(Duration::from_secs(3600)));
    assert!(net.now().as_nanos() >= 3600 * 1_000_000_000);
    // Otherwise this test would still run.
}

#[test]
fn invariants_name_what_is_left() {
    let net = Network::new(1, Faults::none());
    let mut rt = runtime(&net);
    let listener = rt.enter(|| Listener::bind(&addr(80), &ListenOptions::default()));
    let left = net.check_invariants().expect_err("a listener is open");
    assert!(left.contains("10.0.0.1:80"), "{left}");
    drop(listener);
    assert_eq!(net.check_invariants(), Ok(()));
}

#[test]
fn a_shared_port_spreads_connections() {
    let net = Network::new(5, Faults::none());
    let mut rt = runtime(&net);
    rt.block_on(async {
        let opts = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let counts: Vec<_> = (0..2)
            .map(|_| {
                let listener = Listener::bind(&addr(80), &opts).expect("bind");
                let count = Rc::new(Cell::new(0));
                let seen = Rc::clone(&count);
                let task = spawn(async move {
                    loop {
                        drop(listener.accept().await.expect("accept"));
                        seen.set(seen.get() + 1);
                    }
                });
                (task, count)
            })
            .collect();
        assert!(Listener::bind(&addr(80), &ListenOptions::default()).is_err(), "in use");
        for _ in 0..100 {
            connect(&addr(80), &ConnectOptions::default()).await.expect("connect");
        }
        sleep(Duration::from_millis(10)).await;
        let [a, b] = [counts[0].1.get(), counts[1].1.get()];
        assert!(a + b == 100 && a > 20 && b > 20, "{a} + {b}");
        counts.iter().for_each(|(task, _)| task.abort());
    });
}

/// A failed send wakes its task in the last steps of a round; the run must not end before it.
#[test]
fn a_writer_whose_peer_has_closed_hears_of_it() {
    for seed in 0..50 {
        let net = Network::new(seed, Faults::default());
        let (mut server, mut client) = (runtime(&net), runtime(&net));
        let failed = Rc::new(Cell::new(false));
        let heard = Rc::clone(&failed);
        server.enter(|| {
            spawn(async move {
                let listener = Listener::bind(&addr(80), &ListenOptions::default()).expect("bind");
                let (stream, _) = listener.accept().await.expect("accept");
                sleep(Duration::from_secs(3)).await;
                stream.write(Chunk::from(vec![1; 300_000]));
                heard.set(stream.flush().await.is_err());
            })
        });
        client.enter(|| {
            spawn(async move {
                sleep(Duration::from_millis(1)).await;
                let stream = connect(&addr(80), &ConnectOptions::default()).await.expect("connect");
                sleep(Duration::from_secs(1)).await;
                drop(stream);
            })
        });
        net.run_until(&mut [&mut server, &mut client], LIMIT, || false);
        assert!(failed.get(), "seed {seed}");
        assert_eq!(net.check_invariants(), Ok(()), "seed {seed}");
    }
}

/// Whether the network has nothing to say against what is left.
fn at_rest(net: &Network) {
    assert_eq!(net.check_invariants(), Ok(()));
}

#[test]
fn a_listener_goes_to_another_runtime_as_a_descriptor() {
    let net = Network::new(5, Faults::default());
    let (mut one, mut other) = (runtime(&net), runtime(&net));
    let bound = ListenOptions { listen: false, ..ListenOptions::default() };
    let fd = one.enter(|| Listener::bind(&addr(1), &bound).expect("bind").dup_fd());
    let fd = fd.expect("a descriptor");
    let asked = one.enter(|| spawn(connect_to(1)));
    assert!(net.run_until(&mut [&mut one, &mut other], LIMIT, || asked.is_finished()));
    assert!(!one.block_on(asked), "it is bound only");
    let listener = other.enter(|| Listener::listen_fd(fd, 8)).expect("a listener");
    let served = other.enter(|| {
        spawn(async move {
            let (stream, peer) = listener.accept().await.expect("accept");
            (stream.take_fd().expect("a descriptor"), peer)
        })
    });
    let asked = one.enter(|| spawn(connect_to(1)));
    assert!(net.run_until(&mut [&mut one, &mut other], LIMIT, || served.is_finished()));
    let (fd, _) = other.block_on(served);
    // The connection comes to the first runtime, with what was sent meanwhile.
    let echo = one.enter(|| {
        let stream = Stream::from_fd(fd).expect("a stream");
        spawn(async move {
            let chunk = stream.recv().await.expect("no error").expect("data");
            stream.write(chunk);
            stream.flush().await.expect("it goes out");
        })
    });
    let done = || echo.is_finished() && asked.is_finished();
    assert!(net.run_until(&mut [&mut one, &mut other], LIMIT, done));
    assert!(one.block_on(asked));
    net.run_until(&mut [&mut one, &mut other], LIMIT, || false);
    drop((echo, other));
    at_rest(&net);
}

#[test]
fn what_is_let_go_of_on_its_way_is_closed() {
    let net = Network::new(6, Faults::default());
    let mut one = runtime(&net);
    let fd = one.enter(|| {
        let options = ListenOptions::default();
        Listener::bind(&addr(1), &options).expect("bind").dup_fd().expect("a descriptor")
    });
    assert!(net.check_invariants().is_err(), "it listens");
    drop(fd);
    at_rest(&net);
}

/// Whether a message sent to this port comes back.
async fn connect_to(port: u16) -> bool {
    let Ok(stream) = connect(&addr(port), &ConnectOptions::default()).await else { return false };
    stream.write(Chunk::from_static(b"ping"));
    stream.recv().await.is_ok_and(|chunk| chunk.is_some_and(|chunk| &*chunk == b"ping"))
}
