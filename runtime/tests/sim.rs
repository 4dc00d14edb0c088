//! The simulated network: several runtimes, many seeds, nothing left over.

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, connect,
    now, sleep, spawn,
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
