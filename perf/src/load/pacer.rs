//! When requests are due in the open loop, and the alarm that says so in time.
//!
//! The runtime's timers tick once per millisecond: at 10,000 requests per second ten requests would
//! leave at once, and each would count up to a millisecond of waiting that is not the server's. So
//! a thread on the same core sleeps until a request is due and wakes the runtime through a socket.

use anyhow::{Context as _, Result};
use ringway_runtime::{Instant, Stream, precise_now};
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Times at a fixed distance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The first.
    pub(super) start: Instant,
    /// Nanoseconds between two.
    pub(super) interval: f64,
    /// How many there are.
    pub(super) count: u64,
}

impl Times {
    /// All times of `length` at `rate` per second.
    pub(super) fn new(start: Instant, rate: f64, length: Duration) -> Self {
        let count = (length.as_secs_f64() * rate).ceil() as u64;
        Self { start, interval: 1e9 / rate, count }
    }

    /// The `index`th time.
    pub(super) fn at(&self, index: u64) -> Instant {
        self.start + Duration::from_nanos((index as f64 * self.interval) as u64)
    }

    /// How many are not after `now`.
    pub(super) fn due(&self, now: Instant) -> u64 {
        if now < self.start {
            return 0;
        }
        let passed = now.since(self.start).as_nanos() as f64 / self.interval;
        (passed as u64).saturating_add(1).min(self.count)
    }
}

/// Hands the times out, each once, in order.
#[derive(Debug)]
pub(super) struct Queue {
    times: Times,
    next: Cell<u64>,
    idle: RefCell<VecDeque<Waker>>,
}

impl Queue {
    pub(super) fn new(times: Times) -> Self {
        Self { times, next: Cell::new(0), idle: RefCell::default() }
    }

    /// The next time once it has come; `None` after the last.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        let index = self.next.get();
        if index >= self.times.count {
            return Poll::Ready(None);
        }
        let due = self.times.at(index);
        if precise_now() < due {
            let mut idle = self.idle.borrow_mut();
            // A connection with several requests at once asks again and again.
            if !idle.iter().any(|waker| waker.will_wake(cx.waker())) {
                idle.push_back(cx.waker().clone());
            }
            return Poll::Pending;
        }
        self.next.set(index + 1);
        Poll::Ready(Some(due))
    }

    /// Times that came but were not handed out: everybody was busy.
    pub(super) fn overdue(&self) -> u64 {
        self.times.due(precise_now()).saturating_sub(self.next.get())
    }

    /// Wakes as many waiters as there are times due, all of them at the end.
    fn wake(&self) {
        let due = self.times.due(precise_now());
        let ended = due >= self.times.count;
        let mut count = due.saturating_sub(self.next.get());
        while count > 0 || ended {
            let Some(waker) = self.idle.borrow_mut().pop_front() else { return };
            waker.wake();
            count = count.saturating_sub(1);
        }
    }

    /// Wakes waiters whenever `alarm` rings. Ends with the alarm.
    pub(super) async fn run(&self, alarm: Stream) {
        while let Ok(Some(_)) = alarm.recv().await {
            self.wake();
        }
        self.wake();
    }
}

/// Starts a thread that rings at each of `times`; it ends after the last, or when nobody listens.
///
/// # Errors
/// No socket or no thread.
pub(super) fn alarm(times: Times) -> Result<Stream> {
    let (ours, theirs) = UnixStream::pair().context("opening a socket pair")?;
    theirs.set_nonblocking(true)?;
    let thread = std::thread::Builder::new().name("pacer".to_owned());
    thread.spawn(move || ring(times, theirs)).context("starting a thread")?;
    Ok(Stream::from_fd(OwnedFd::from(ours))?)
}

fn ring(times: Times, mut socket: UnixStream) {
    // The kernel may round sleeps up by this; its default is 50 µs.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut next = 0;
    while next < times.count {
        sleep_until(times.at(next));
        match socket.write(&[0]) {
            Ok(_) => {}
            // Rung often enough.
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        // Times that passed meanwhile were covered by this ring.
        next = times.due(precise_now()).max(next + 1);
    }
}

fn sleep_until(when: Instant) {
    let nanos = when.as_nanos();
    let time = Timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    while clock_nanosleep_absolute(ClockId::Monotonic, &time) == Err(rustix::io::Errno::INTR) {}
}
