//! One thread of the generator.

use super::client::Client;
use super::http1::Answer;
use super::pacer::{self, Queue, Times};
use super::tally::{Failure, Tally};
use super::target::Protocol;
use super::tls::Tls;
use super::{Load, Progress, multiplex};
use crate::proc;
use anyhow::{Result, ensure};
use ringway_runtime::{
    Chunk, Config, Instant, Join, Runtime, precise_now, sleep, sleep_until, spawn, timeout,
};
use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Time between two looks at the clock and the progress.
const LOOK: Duration = Duration::from_millis(50);
/// Wait after a connection that could not be opened.
pub(super) const BACK_OFF: Duration = Duration::from_millis(10);

/// What one thread has found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Time measured.
    pub(super) elapsed: Duration,
    /// CPU time of the watched process in it, and its resident memory at the end.
    pub(super) watched: Option<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are being opened.
    Opening,
    /// Load that is not counted.
    Warmup,
    /// Load that is.
    Measuring,
    /// No new requests.
    Over,
}

/// What the connections of a thread share.
pub(super) struct State {
    pub(super) load: Load,
    request: Chunk,
    phase: Cell<Phase>,
    /// Connections that wait for the phase to change.
    waiting: RefCell<Vec<Waker>>,
    /// Connections that tried to open.
    opened: Cell<usize>,
    connected: Cell<usize>,
    last_error: RefCell<String>,
    sources: Cell<usize>,
    tally: RefCell<Tally>,
    /// Open loop only, once it has begun.
    queue: OnceCell<Queue>,
    /// Open loop: requests due in this time count.
    window: Cell<(Instant, Instant)>,
}

/// Runs the `index`th thread's share of `load`.
pub(super) fn run(
    load: &Load,
    index: usize,
    barrier: &Barrier,
    progress: &Progress,
) -> Result<Outcome> {
    let share =
        load.connections / load.threads + usize::from(index < load.connections % load.threads);
    let runtime = load.io_backend.parse().and_then(|backend| {
        let cpu = load.pin.map(|core| core + index);
        Runtime::new(Config { backend, cpu, ..Config::default() })
    });
    // Everybody comes to the barrier, or the others would wait for ever.
    let mut runtime = runtime.inspect_err(|_| {
        barrier.wait();
    })?;
    let load = load.clone();
    runtime.block_on(async move {
        let state = Rc::new(State::new(load));
        let tasks: Vec<_> = (0..share).map(|_| state.start()).collect();
        while state.opened.get() < share {
            sleep(Duration::from_millis(1)).await;
        }
        barrier.wait();
        ensure!(
            state.connected.get() > 0 || !state.load.keep_alive,
            "no connection to {} could be opened: {}",
            state.load.target.addr,
            state.last_error.borrow()
        );
        state.measure(index, progress, tasks).await
    })
}

impl State {
    fn new(load: Load) -> Self {
        Self {
            request: Chunk::from(load.target.request.clone()),
            load,
            phase: Cell::new(Phase::Opening),
            waiting: RefCell::default(),
            opened: Cell::new(0),
            connected: Cell::new(0),
            last_error: RefCell::default(),
            sources: Cell::new(0),
            tally: RefCell::new(Tally::new()),
            queue: OnceCell::new(),
            window: Cell::new((Instant::FAR_FUTURE, Instant::FAR_FUTURE)),
        }
    }

    /// Starts a connection.
    fn start(self: &Rc<Self>) -> Join<()> {
        match self.load.target.protocol {
            Protocol::Http2(_) => spawn(multiplex::connection(Rc::clone(self))),
            _ => spawn(connection(Rc::clone(self))),
        }
    }

    /// A connection was opened before the load begins, or could not be.
    pub(super) fn has_tried(&self, connected: bool) {
        self.connected.set(self.connected.get() + usize::from(connected));
        self.opened.set(self.opened.get() + 1);
    }

    /// Everything after all connections were opened.
    async fn measure(
        self: &Rc<Self>,
        index: usize,
        progress: &Progress,
        tasks: Vec<Join<()>>,
    ) -> Result<Outcome> {
        if let Some(opened) = &self.load.opened {
            opened.store(true, Ordering::Relaxed);
        }
        let start = precise_now();
        let (begin, end) =
            (start + self.load.warmup, start + self.load.warmup + self.load.duration);
        self.window.set((begin, end));
        if let Some(rate) = self.load.rate {
            let rate = rate / self.load.threads as f64;
            let times = Times::new(start, rate, self.load.warmup + self.load.duration);
            self.queue.get_or_init(|| Queue::new(times));
            let alarm = pacer::alarm(times)?;
            let state = Rc::clone(self);
            spawn(async move {
                if let Some(queue) = state.queue.get() {
                    queue.run(alarm).await;
                }
            });
        }
        self.enter(Phase::Warmup);
        sleep_until(begin).await;
        let watch = self.load.watch.filter(|_| index == 0);
        let cpu_before = watch.map(proc::cpu_time).transpose()?;
        let measured_from = precise_now();
        self.enter(Phase::Measuring);
        let mut shown = (0, 0);
        while precise_now() < end {
            sleep_until(end.min(precise_now() + LOOK)).await;
            self.show(progress, index, start, &mut shown);
        }
        let elapsed = precise_now().since(measured_from);
        let cpu_after = watch.map(proc::cpu_time).transpose()?;
        let answered = self.tally.borrow().answered;
        self.enter(Phase::Over);
        progress.finished.store(true, Ordering::Relaxed);
        let memory = watch.map(proc::resident).transpose()?;
        self.drain(&tasks, end).await;
        let mut tally = std::mem::take(&mut *self.tally.borrow_mut());
        tally.answered = answered;
        let cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        Ok(Outcome { tally, elapsed, watched: cpu.zip(memory) })
    }

    /// Open loop: waits until what was due is answered, and counts what is not.
    async fn drain(&self, tasks: &[Join<()>], end: Instant) {
        if let Some(queue) = self.queue.get() {
            let deadline = end + self.load.timeout;
            while precise_now() < deadline && tasks.iter().any(|task| !task.is_finished()) {
                sleep(LOOK).await;
            }
            let mut tally = self.tally.borrow_mut();
            for _ in 0..queue.overdue() {
                tally.fail(Failure::NotSent);
            }
            for _ in tasks.iter().filter(|task| !task.is_finished()) {
                tally.fail(Failure::Timeout);
            }
        }
        tasks.iter().for_each(Join::abort);
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn show(&self, progress: &Progress, index: usize, start: Instant, shown: &mut (u64, u64)) {
        let tally = self.tally.borrow();
        let now = (tally.answered, tally.failures.values().sum::<u64>());
        progress.requests.fetch_add(now.0 - shown.0, Ordering::Relaxed);
        progress.failures.fetch_add(now.1 - shown.1, Ordering::Relaxed);
        *shown = now;
        if index == 0 {
            let elapsed = precise_now().since(start).as_nanos();
            progress.elapsed.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The time the next request is due; `None` when there is none.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        match (self.phase.get(), self.queue.get()) {
            (Phase::Opening, _) => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            (_, Some(queue)) => queue.poll_next(cx),
            (Phase::Over, None) => Poll::Ready(None),
            (_, None) => Poll::Ready(Some(precise_now())),
        }
    }

    pub(super) async fn open(&self, tls: Option<&Tls>) -> Result<Client, Failure> {
        let turn = self.sources.get();
        self.sources.set(turn.wrapping_add(1));
        let source = match self.load.source.len() {
            0 => None,
            len => self.load.source.get(turn % len).copied(),
        };
        let client = Client::open(&self.load.target, tls, source).await.map_err(|err| {
            *self.last_error.borrow_mut() = err.to_string();
            Failure::Connect
        })?;
        if let Some(handshake) = client.handshake() {
            self.tally.borrow_mut().shook_hands(handshake);
        }
        Ok(client)
    }

    /// The next request's time, and whether this connection was free before it came.
    pub(super) async fn next(&self) -> Option<(Instant, bool)> {
        let mut waited = false;
        let due = poll_fn(|cx| {
            let due = self.poll_due(cx);
            waited |= due.is_pending();
            due
        });
        let due = due.await?;
        Some((due, waited))
    }

    async fn exchange(
        &self,
        slot: &mut Option<Client>,
        tls: Option<&Tls>,
        due: Instant,
        waited: bool,
    ) -> Result<Answer, Failure> {
        let client = match slot {
            Some(client) => client,
            None => slot.insert(self.open(tls).await?),
        };
        client.send(&self.request)?;
        if waited {
            self.sent_late(due, precise_now());
        }
        client.answer().await
    }

    /// A connection was free, but the request left only now.
    pub(super) fn sent_late(&self, due: Instant, now: Instant) {
        if self.queue.get().is_some() && self.counts(due) {
            self.tally.borrow_mut().sent_late(now.since(due));
        }
    }

    /// Whether a request is part of the result: in the open loop by the time it was due, in the
    /// closed loop by the time it ended.
    fn counts(&self, due: Instant) -> bool {
        let (begin, end) = self.window.get();
        match self.queue.get() {
            Some(_) => (begin..end).contains(&due),
            None => self.phase.get() == Phase::Measuring,
        }
    }

    pub(super) fn count(&self, due: Instant, result: Result<Answer, Failure>) {
        let mut tally = self.tally.borrow_mut();
        if self.phase.get() == Phase::Measuring
            && let Ok(answer) = result
        {
            tally.answered += 1;
            tally.bytes += answer.bytes;
        }
        if self.counts(due) {
            match result {
                Ok(answer) => tally.answer(precise_now().since(due), answer.status),
                Err(failure) => tally.fail(failure),
            }
        }
    }
}

/// Sends requests on one connection, and opens another when it ends.
async fn connection(state: Rc<State>) {
    let tls = state.load.target.tls.as_ref().map(Tls::with_own_tickets);
    let tls = tls.as_ref();
    let mut client = None;
    if state.load.keep_alive {
        let opening = timeout(state.load.timeout, state.open(tls)).await;
        client = opening.ok().and_then(Result::ok);
    }
    state.has_tried(client.is_some());
    while let Some((due, waited)) = state.next().await {
        // Closing an idle connection is the server's right.
        client = client.filter(|client: &Client| !client.is_closed());
        let exchange = state.exchange(&mut client, tls, due, waited);
        let result = timeout(state.load.timeout, exchange).await;
        let result = result.unwrap_or(Err(Failure::Timeout));
        if !result.is_ok_and(|answer| answer.keep_alive && state.load.keep_alive) {
            client = None;
        }
        state.count(due, result);
        if result.is_err_and(|failure| failure == Failure::Connect) {
            sleep(BACK_OFF).await;
        }
    }
}
