//! Simulation of a whole proxy that follows a management server: the control thread and two shards
//! on one simulated network with the server, upstreams and clients that never stop asking.
//!
//! A run is some rounds. In each the server's configuration goes from one consistent state to
//! another, one resource at a time and in any order, so that routes may come before their clusters,
//! and clusters go before them; responses of different types overtake one another; some resources
//! are bad; and the stream is lost in all ways there are. A round ends when all shards do what the
//! server says. Every answer, and every end of a connection, is judged ([`history`]).
//!
//! Everything follows from the seed, which a failure names: `RINGWAY_SIM_SEED=n` replays that run
//! alone, `RINGWAY_SIM_RUNS=n` makes so many in all tests together.

mod history;
mod moves;
mod proxy;
mod server;
mod state;

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{Instant, Join, Runtime, SockAddr, sleep, spawn};
use ringway_xds::client::Protocol;

use self::history::History;
use self::moves::{Moves, Op};
use self::proxy::Proxy;
use self::server::{Server, TROUBLES};
use self::state::{HOSTS, HTTP1, HTTP2, Key, LISTENERS, State};
use super::world::server as upstream;
use super::world::traffic::{self, Habits, Log};
use super::{address, seeds};

/// The drain time.
const DRAIN: Duration = Duration::from_millis(500);

/// How long the proxy may take, once the server has said all, to do it: it may have to connect to
/// the server again, and a table or a cluster is kept back for up to five seconds.
const PATIENCE: Duration = Duration::from_secs(8);

const MANAGEMENT: u16 = 18_000;

/// Everything there is.
struct Sim {
    seed: u64,
    net: Network,
    /// Where servers and clients run.
    far: Runtime,
    proxy: Proxy,
    server: Rc<Server>,
    servers: Vec<Join<()>>,
    log: Rc<Log>,
    history: History,
    moves: Moves,
    state: State,
    /// What is spoilt.
    spoilt: Option<Key>,
    /// Answers so far.
    answers: usize,
}

impl Sim {
    fn new(seed: u64, protocol: Protocol) -> Self {
        let net = Network::new(seed, Faults::default());
        let mut far = super::runtime(&net);
        let server = Server::new(protocol, seed ^ 0xad5);
        let at = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], MANAGEMENT)));
        let log = Rc::<Log>::default();
        let servers = far.enter(|| {
            let http1 = HTTP1.map(|port| upstream::http1(Rc::clone(&log), address(port), port));
            let http2 = HTTP2.map(|port| upstream::http2(Rc::clone(&log), address(port), port));
            let management = spawn(Rc::clone(&server).run(at));
            let all = http1.into_iter().map(spawn).chain(http2.into_iter().map(spawn));
            all.chain([management]).collect()
        });
        Self {
            seed,
            proxy: Proxy::new(&net, MANAGEMENT, protocol, seed ^ 0x9e),
            net,
            far,
            server,
            servers,
            log,
            history: History::new(protocol == Protocol::Delta),
            moves: Moves::new(seed),
            state: State::default(),
            spoilt: None,
            answers: 0,
        }
    }

    /// For whoever looks into a run that failed.
    fn tell(&self, what: &str) {
        println!("{} ms: {what}", self.now().as_nanos() / 1_000_000);
    }

    fn now(&self) -> Instant {
        self.net.now()
    }

    /// Lets time pass until something is so, and at the most so long.
    fn run_until(&mut self, longest: Duration, done: impl FnMut() -> bool) -> bool {
        let mut all: Vec<&mut Runtime> = self.proxy.runtimes.iter_mut().collect();
        all.push(&mut self.far);
        self.net.run_until(&mut all, longest, done)
    }

    fn run_for(&mut self, time: Duration) {
        // The network goes from event to event: one has to be there at the end.
        let over = self.far.enter(|| spawn(sleep(time)));
        assert!(self.run_until(2 * time, || over.is_finished()), "time passes");
    }

    /// Clients begin to ask.
    fn ask(&mut self) {
        let seed = self.seed * 10;
        for (number, (_, port)) in
            (0..).zip([LISTENERS[0], LISTENERS[0], LISTENERS[1], LISTENERS[1]])
        {
            let habits = Habits {
                pause: Duration::from_millis(120),
                slow: (Duration::ZERO, Duration::from_millis(20)),
                bytes: 300,
                lanes: 2,
                ..Habits::busy(address(port), &HOSTS)
            };
            let log = Rc::clone(&self.log);
            self.far.enter(|| match number {
                1 => drop(spawn(traffic::http2(log, habits, seed + number))),
                _ => drop(spawn(traffic::http1(log, habits, seed + number))),
            });
        }
    }

    fn apply(&mut self, op: Op) {
        let now = self.now();
        self.tell(&format!("{op:?}"));
        match op {
            Op::Set(key) => {
                self.history.set(now, key, &self.state);
                self.server.put(key, self.state.yaml(key).as_deref());
            }
            Op::Pass(key, state) => {
                self.history.set(now, key, &state);
                self.server.put(key, state.yaml(key).as_deref());
            }
            Op::Drop(key) => {
                self.history.set(now, key, &State::default());
                self.server.put(key, None);
            }
            Op::Spoil(key) => self.server.put(key, Some(&state::bad(key))),
        }
    }

    /// From what there is to `next`.
    fn go_to(&mut self, next: State) {
        let before = std::mem::replace(&mut self.state, next);
        let mut ops = self.moves.ops(&before, &self.state);
        if let Some(key) = self.spoilt.take() {
            ops.push(Op::Set(key));
        } else if self.moves.below(4) == 0
            && let Some(key) = self.moves.spoilt(&before, &self.state)
            && !ops.iter().any(|op| matches!(op, Op::Drop(_)))
        {
            self.spoilt = Some(key);
            let at = self.moves.below(ops.len() as u64 + 1) as usize;
            ops.insert(at, Op::Spoil(key));
        }
        let trouble = self.moves.below(TROUBLES.len() as u64 * 2) as usize;
        let trouble_at = self.moves.below(ops.len() as u64 + 1) as usize;
        for (at, op) in ops.into_iter().enumerate() {
            self.apply(op);
            if at == trouble_at
                && let Some(trouble) = TROUBLES.get(trouble)
            {
                let soon = self.moves.below(4);
                self.run_for(Duration::from_millis(1 + soon * soon));
                self.tell(&format!("{trouble:?}"));
                self.server.make(*trouble);
            }
            if self.moves.below(3) > 0 {
                let gap = self.moves.below(120);
                self.run_for(Duration::from_millis(1 + gap));
            }
        }
        self.settle();
    }

    /// Waits until all shards do what the server says, and judges what has happened.
    fn settle(&mut self) {
        let end = self.now() + PATIENCE;
        loop {
            let refused = self.spoilt.is_none_or(|key| self.server.was_refused(key));
            let all_said = self.server.has_said_all(self.state.types());
            match self.proxy.follows(&self.state) {
                Ok(()) if refused && all_said => break,
                lacks => {
                    let lacks = lacks.err().unwrap_or_else(|| "an answer".to_owned());
                    assert!(self.now() < end, "it never follows: {lacks}; {:#?}", self.state);
                }
            }
            self.run_for(Duration::from_millis(5));
        }
        let now = self.now();
        self.tell("quiet");
        self.history.quiet(now);
        self.judge();
    }

    fn judge(&mut self) {
        let (answers, ends) = self.log.take();
        self.answers += answers.len();
        for answer in &answers {
            if let Err(wrong) = self.history.judge(answer) {
                panic!("{wrong}: {answer:#?}\n{:#?}", self.state);
            }
        }
        for end in &ends {
            if let Err(wrong) = self.history.judge_end(end) {
                panic!("{wrong}: {end:#?}\n{:#?}", self.state);
            }
        }
    }

    /// Rounds of changes under traffic.
    fn rounds(&mut self, rounds: u64) {
        let first = self.moves.first();
        self.go_to(first);
        self.ask();
        for _ in 0..rounds {
            let mut next = self.state.clone();
            for _ in 0..=self.moves.below(3) {
                self.moves.change(&mut next);
            }
            self.go_to(next);
        }
        // Whoever is left on something old has to leave.
        self.run_for(DRAIN + Duration::from_millis(100));
        self.judge();
        self.proxy.check_shards();
    }

    /// Takes everything away, and looks for what is left of it.
    fn finish(mut self) {
        self.log.stop();
        let log = Rc::clone(&self.log);
        assert!(self.run_until(PATIENCE, || log.clients() == 0), "a client is stuck");
        self.spoilt = None;
        self.go_to(State::default());
        self.run_for(Duration::from_secs(8));
        let rest = self.proxy.xds.borrow().check_rest();
        assert_eq!(rest, Ok(()), "left with the control thread");
        let shards = self.proxy.shards.clone();
        for shard in &shards {
            assert_eq!(shard.check_invariants(), Ok(()), "shard {}", shard.index);
        }
        drop(shards);
        let plan = self.proxy.out.plan.borrow();
        assert!(plan.clusters.len() <= 6 && plan.routes.len() <= 4, "ids are used again");
        drop(plan);
        let Self { net, proxy, mut far, servers, .. } = self;
        let mut runtimes = proxy.end();
        far.enter(|| servers.iter().for_each(Join::abort));
        let mut all: Vec<&mut Runtime> = runtimes.iter_mut().collect();
        all.push(&mut far);
        net.run_until(&mut all, PATIENCE, || false);
        if let Err(left) = net.check_invariants() {
            panic!("left behind: {left}");
        }
    }
}

/// What a run has come to: when it was over, and how many answers there were.
fn simulate(seed: u64) -> (Instant, usize) {
    let told = Told(seed);
    let protocol = if seed.is_multiple_of(2) { Protocol::Sotw } else { Protocol::Delta };
    let mut sim = Sim::new(seed, protocol);
    sim.rounds(5);
    let came = (sim.now(), sim.answers);
    sim.finish();
    std::mem::forget(told);
    came
}

/// Says which seed has failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("seed {}: RINGWAY_SIM_SEED={} runs it again", self.0, self.0);
    }
}

/// Seeds in every run of the tests.
const RUNS: u64 = 1000;

/// Tests that share them, so that they run side by side.
const PARTS: u64 = 8;

fn part(number: u64) {
    let answers: usize = seeds(RUNS)
        .filter(|seed| seed % PARTS == number)
        .map(|seed| {
            let (_, answers) = simulate(seed);
            assert!(answers > 0, "nobody has asked");
            answers
        })
        .sum();
    println!("{answers} answers were right");
}

macro_rules! parts {
    ($($number:literal $name:ident)*) => {
        $(#[test] fn $name() { part($number) })*
    };
}

parts! {
    0 no_request_is_lost_0
    1 no_request_is_lost_1
    2 no_request_is_lost_2
    3 no_request_is_lost_3
    4 no_request_is_lost_4
    5 no_request_is_lost_5
    6 no_request_is_lost_6
    7 no_request_is_lost_7
}

#[test]
fn a_seed_replays_its_run() {
    for seed in [3, 4] {
        assert_eq!(simulate(seed), simulate(seed));
    }
}
