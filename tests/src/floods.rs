//! Attacks on an HTTP/2 listener, one bounded loop each: memory stays bounded, another client is
//! served meanwhile, and where Envoy ends the connection so do we.
//!
//! LIFECYCLE of an attack: preface → its frames in batches, answers drained and dropped → the proxy
//! ends the connection, or 8 s are over. A prober asks for a page every 25 ms from beginning to
//! end.

mod attacks;

use crate::certs::Store;
use crate::diff::case::{Action, Rule, UpstreamOptions};
use crate::diff::upstream::Upstream;
use crate::h2::{self, PREFACE};
use crate::proxy::Kind;
use crate::suites::Setup;
use crate::suites::slow::rss_kb;
use crate::wire::{End, Peer};
use anyhow::{Context, Result};
pub use attacks::{ATTACKS, Attack};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long an attack lasts at most.
const LONGEST: Duration = Duration::from_secs(8);
/// Growth of memory that is too much, in KB.
const MEMORY_KB: u64 = 48 * 1024;
/// Longest wait of the other client. The proxy, the attacker and other tests share the cores.
const WAIT: Duration = Duration::from_secs(3);

/// What came of an attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The proxy ended the connection.
    pub ended: bool,
    /// CPU the proxy used, in milliseconds.
    pub cpu_ms: u64,
    /// Growth of its memory.
    pub grown_kb: u64,
    /// Longest wait of the other client.
    pub slowest: Duration,
    /// How many of its requests were not answered.
    pub unanswered: usize,
    /// Statistics of HTTP/2 that changed.
    pub stats: Vec<String>,
}

impl Outcome {
    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self, attack: &Attack) -> Vec<String> {
        let mut faults = Vec::new();
        if attack.ends && !self.ended {
            faults.push("the connection is not ended (Envoy ends it)".to_owned());
        }
        if self.grown_kb > MEMORY_KB {
            faults.push(format!("memory grows by {} KB", self.grown_kb));
        }
        if self.unanswered > 0 || self.slowest > WAIT {
            faults.push(format!(
                "another client waits {:?}, {} requests are not answered",
                self.slowest, self.unanswered
            ));
        }
        faults
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}, CPU {} ms, memory +{} KB, slowest other {:?}; {}",
            if self.ended { "ended" } else { "stays open" },
            self.cpu_ms,
            self.grown_kb,
            self.slowest,
            self.stats.join(" ")
        )
    }
}

/// The proxy under attack, with a server behind it that takes its time on `/slow`.
#[derive(Debug)]
pub struct Target {
    setup: Setup,
    _server: Upstream,
}

impl Target {
    /// Starts it.
    ///
    /// # Errors
    /// The proxy does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        let rule =
            |path: &str, script: Vec<Action>| Rule { upstream: 0, path: path.into(), script };
        let reply = || Action::Reply(200, vec![b'x'; 1000], vec![]);
        let rules = vec![
            rule("/", vec![reply()]),
            rule("/slow", vec![Action::Early, Action::Wait(Duration::from_secs(20)), reply()]),
            rule("/large", vec![Action::Reply(200, vec![b'x'; 200_000], vec![])]),
        ];
        let certs = Arc::new(Store::default());
        let server = Upstream::start(rules, UpstreamOptions::default(), &certs)?;
        let setup = Setup::start(kind, "flood", server.port)?;
        Ok(Self { setup, _server: server })
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], self.setup.port("plain")?)))
    }

    /// Runs one attack.
    ///
    /// # Errors
    /// The proxy cannot be reached, or has died.
    pub fn attack(&mut self, attack: &Attack) -> Result<Outcome> {
        let address = self.address()?;
        let pid = self.setup.proxy.pid();
        let (cpu, memory) = (cpu_ms(pid)?, rss_kb(pid)?);
        let before = self.stats()?;
        let stop = AtomicBool::new(false);
        let (ended, (slowest, unanswered)) = std::thread::scope(|scope| {
            let prober = scope.spawn(|| probe(address, &stop));
            let ended = rush(address, attack);
            stop.store(true, Ordering::SeqCst);
            (ended, prober.join().unwrap_or((Duration::MAX, 1)))
        });
        let grown_kb = rss_kb(pid).context("the proxy died")?.saturating_sub(memory);
        let after = self.stats()?;
        let stats = after.into_iter().filter(|line| !before.contains(line)).collect();
        let cpu_ms = cpu_ms(pid)?.saturating_sub(cpu);
        Ok(Outcome { ended: ended?, cpu_ms, grown_kb, slowest, unanswered, stats })
    }

    fn stats(&self) -> Result<Vec<String>> {
        let (_, text) = self.setup.proxy.admin_get("/stats?filter=http2|premature")?;
        Ok(text.lines().filter(|line| !line.contains("active")).map(str::to_owned).collect())
    }
}

/// Sends the attack; true when the proxy ended the connection.
fn rush(address: SocketAddr, attack: &Attack) -> Result<bool> {
    let mut peer = Peer::connect(address)?;
    peer.send(&[PREFACE, &h2::frame(h2::kind::SETTINGS, 0, 0, attack.settings)].concat());
    let deadline = Instant::now() + LONGEST;
    let mut state = attacks::State::default();
    while Instant::now() < deadline {
        match (attack.batch)(&mut state) {
            Some(bytes) => peer.send(&bytes),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
        // Answers are read away, so that the proxy can always write.
        loop {
            match peer.fill(Instant::now() + Duration::from_micros(200)) {
                Ok(()) => peer.buf.clear(),
                Err(End::Timeout) => break,
                Err(_) => return Ok(true),
            }
        }
    }
    Ok(false)
}

/// Another client: the longest wait, and how many requests stayed without an answer.
fn probe(address: SocketAddr, stop: &AtomicBool) -> (Duration, usize) {
    let (mut slowest, mut unanswered) = (Duration::ZERO, 0);
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        let answered = Peer::connect(address).ok().and_then(|mut peer| {
            peer.send(b"GET / HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
            peer.head(began + Duration::from_secs(5)).ok()
        });
        slowest = slowest.max(began.elapsed());
        unanswered += usize::from(answered.is_none_or(|head| head.status() != 200));
        std::thread::sleep(Duration::from_millis(25));
    }
    (slowest, unanswered)
}

/// CPU time of a process, in milliseconds.
fn cpu_ms(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the proxy died")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // User and system time in ticks of 10 ms, the 14th and 15th field.
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok((ticks(11) + ticks(12)) * 10)
}
