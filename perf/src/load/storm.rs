//! New TLS connections without requests: how many a server can take, and a storm of them.

use super::link::Link;
use super::target::Target;
use super::tls::Tls;
use anyhow::{Context, Result};
use ringway_runtime::{Config, Runtime, precise_now, sleep, spawn, timeout};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Handshakes in flight in the closed loop.
const TOGETHER: usize = 32;
/// Time a client waits for its handshake.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most handshakes in flight at a rate: what a server does not answer must not eat this process.
const FLIGHT_MAX: usize = 4096;
/// The niceness of a thread that gives way to all others.
const LEAST_IMPORTANT: i32 = 19;
/// Local addresses in turn, for their ports.
const SOURCES: u8 = 16;

/// How fast connections come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The next when one is done, some at a time: as many as the server can take.
    Closed,
    /// So many per second, whatever the server does.
    Rate(f64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handshakes {
    /// Time it went on, in seconds.
    pub seconds: f64,
    /// Connections begun.
    pub begun: u64,
    /// Handshakes that came to their end.
    pub completed: u64,
    /// Refused, broken, or not done in time.
    pub failed: u64,
    /// Due, but not begun: too many were in flight.
    pub left_out: u64,
}

impl Handshakes {
    /// Completed handshakes per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.completed as f64 / self.seconds.max(1e-9)
    }
}

/// Opens connections to `target`, shakes hands and closes them, until `stop`.
///
/// At a rate the calling thread is made less important than others on its core from now on: a
/// generator that measures latency there must not wait for this one, or its own waiting would look
/// like the server's.
///
/// # Errors
/// The target has no TLS, or the core is not there.
pub fn handshakes(
    target: &Target,
    pace: Pace,
    pin: Option<usize>,
    stop: &AtomicBool,
) -> Result<Handshakes> {
    let tls = target.tls.clone().context("a storm of handshakes needs TLS")?;
    if pace != Pace::Closed {
        let _ = rustix::process::setpriority_process(None, LEAST_IMPORTANT);
    }
    let storm = Rc::new(Storm {
        target: target.clone(),
        tls,
        over: Cell::new(false),
        flight: Cell::new(0),
        source: Cell::new(0),
        seen: RefCell::default(),
    });
    Runtime::new(Config { cpu: pin, ..Config::default() })?.block_on(async move {
        let start = precise_now();
        if pace == Pace::Closed {
            for _ in 0..TOGETHER {
                let storm = Rc::clone(&storm);
                spawn(async move {
                    while !storm.over.get() {
                        storm.one().await;
                    }
                });
            }
        }
        let mut due = 0;
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
            if let Pace::Rate(rate) = pace {
                let now_due = (precise_now().since(start).as_secs_f64() * rate) as u64;
                storm.begin(now_due.saturating_sub(due));
                due = now_due;
            }
        }
        storm.over.set(true);
        let seen = *storm.seen.borrow();
        Ok(Handshakes { seconds: precise_now().since(start).as_secs_f64(), ..seen })
    })
}

struct Storm {
    target: Target,
    tls: Tls,
    over: Cell<bool>,
    flight: Cell<usize>,
    source: Cell<u8>,
    seen: RefCell<Handshakes>,
}

impl Storm {
    fn begin(self: &Rc<Self>, count: u64) {
        for _ in 0..count {
            if self.flight.get() >= FLIGHT_MAX {
                self.seen.borrow_mut().left_out += 1;
                continue;
            }
            let storm = Rc::clone(self);
            spawn(async move { storm.one().await });
        }
    }

    async fn one(&self) {
        self.flight.set(self.flight.get() + 1);
        self.seen.borrow_mut().begun += 1;
        let turn = self.source.get();
        self.source.set((turn + 1) % SOURCES);
        let source = IpAddr::from([127, 0, 0, 2 + turn]);
        let opening = Link::open(&self.target, Some(&self.tls), Some(source));
        let opened = timeout(PATIENCE, opening).await;
        let mut seen = self.seen.borrow_mut();
        match opened {
            Ok(Ok(_)) => seen.completed += 1,
            Ok(Err(_)) | Err(_) => seen.failed += 1,
        }
        self.flight.set(self.flight.get() - 1);
    }
}
