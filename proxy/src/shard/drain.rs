//! Drains: connections are asked to leave over a time, and made to when it is over.
//!
//! LIFECYCLE of a [`Drainage`]: begun, shared by everything that leaves together → its connections
//! leave with a response, more and more of them; those of HTTP/2 say so by themselves →
//! *last call*, a tenth of the time before the end: no response keeps its connection, idle ones are
//! closed; so only what takes longer than that tenth is cut off by the end → nobody is left, or the
//! time is over → *over*: what is left is closed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Instant, sleep, spawn};

use super::Shard;
use crate::control::message::{DrainStrategy, Message};
use crate::listener::{ActiveChain, ActiveListener};
use crate::plan::Listener;

/// `--drain-strategy` and `--drain-time-s`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DrainOptions {
    /// How responses are chosen that end their connection.
    pub strategy: DrainStrategy,
    /// How long it takes.
    pub time: Duration,
}

/// The part of a drain time in which connections are asked; the rest is for what is under way.
const ASKING: f64 = 0.9;

/// How responses end their connections from some moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    options: DrainOptions,
    since: Instant,
}

impl Ramp {
    /// From now on.
    pub(crate) fn new(options: DrainOptions) -> Self {
        Self { options, since: ringway_runtime::now() }
    }

    /// When it began.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Should the response under way be the last of its connection? The chance grows from none to
    /// certainty over the time.
    pub(crate) fn asks(&self) -> bool {
        match self.options.strategy {
            DrainStrategy::Immediate => true,
            DrainStrategy::Gradual => {
                let all = self.options.time.as_millis() as u64;
                let gone = self.since.elapsed().as_millis() as u64;
                all == 0 || ringway_runtime::rand_below(all) < gone
            }
        }
    }

    /// When a connection leaves that can do so at any moment without losing anything: spread over
    /// the time by its number, so that not all clients come back at once.
    pub(super) fn leaves_at(&self, connection: u64) -> Instant {
        match self.options.strategy {
            DrainStrategy::Immediate => self.since,
            DrainStrategy::Gradual => {
                // Numbers in a row must not leave in a row: Fibonacci hashing.
                let spread = connection.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let share = spread as f64 / f64::from(u32::MAX);
                self.since + self.options.time.mul_f64(share)
            }
        }
    }
}

/// What leaves together.
pub(crate) struct Drainage {
    /// Ends with the last call.
    ramp: Ramp,
    stage: Cell<Stage>,
    /// Connections that are still there, those on their way to a chain included.
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Asking,
    LastCall,
    Over,
}

impl Drainage {
    fn new(options: DrainOptions) -> Rc<Self> {
        let asking = options.time.mul_f64(ASKING);
        Rc::new(Self {
            ramp: Ramp::new(DrainOptions { time: asking, ..options }),
            stage: Cell::new(Stage::Asking),
            left: Cell::new(0),
            waker: RefCell::default(),
        })
    }

    /// Should the response under way be the last of its connection?
    pub(crate) fn asks(&self) -> bool {
        self.is_last_call() || self.ramp.asks()
    }

    /// Its connections are to be closed where they are idle.
    pub(crate) fn is_last_call(&self) -> bool {
        self.stage.get() >= Stage::LastCall
    }

    /// Its connections are to be closed, whatever they are at.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// When an HTTP/2 connection of this number says that it leaves.
    pub(crate) fn leaves_at(&self, connection: u64) -> Instant {
        self.ramp.leaves_at(connection)
    }

    /// So many more connections belong to it.
    pub(crate) fn join(&self, connections: usize) {
        self.left.set(self.left.get() + connections);
    }

    /// One of its connections is gone.
    pub(crate) fn leave(&self) {
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        if self.left.get() == 0 {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// What a drain makes leave.
pub(super) enum Leaving {
    /// A listener with all it has.
    Listener(Rc<ActiveListener>),
    /// Some chains of a listener that goes on; of what listener they were.
    Chains(Arc<Listener>, Vec<Rc<ActiveChain>>),
}

impl Leaving {
    fn begin(&self, drainage: &Rc<Drainage>) {
        match self {
            Self::Listener(listener) => listener.begin_drain(drainage),
            Self::Chains(_, chains) => chains.iter().for_each(|chain| chain.begin_drain(drainage)),
        }
    }

    fn wake_all(&self) {
        match self {
            Self::Listener(listener) => listener.wake_all(),
            Self::Chains(_, chains) => chains.iter().for_each(|chain| chain.wake_all()),
        }
    }

    fn listener(&self) -> &Arc<Listener> {
        match self {
            Self::Listener(listener) => &listener.plan,
            Self::Chains(listener, _) => listener,
        }
    }
}

impl Shard {
    /// Makes connections leave, over the drain time; tells the control thread when nobody is left
    /// or the time is over.
    pub(super) fn drain(&self, leaving: Leaving) {
        let drainage = Drainage::new(self.drain_options);
        leaving.begin(&drainage);
        let done = Message::ListenerDrained {
            shard: self.index,
            listener: Arc::clone(leaving.listener()),
        };
        if drainage.left.get() == 0 {
            self.outbox.send(done);
            return;
        }
        // They see that they are to go; those of HTTP/2 arm their timers.
        leaving.wake_all();
        let (outbox, time) = (Rc::clone(&self.outbox), self.drain_options.time);
        let asking = time.mul_f64(ASKING);
        let steps = [(asking, Stage::LastCall), (time.saturating_sub(asking), Stage::Over)];
        spawn(async move {
            for (time, stage) in steps {
                let mut timer = sleep(time);
                poll_fn(|cx| match drainage.poll_left(cx) {
                    Poll::Pending => Pin::new(&mut timer).poll(cx),
                    ready => ready,
                })
                .await;
                drainage.stage.set(stage);
                leaving.wake_all();
            }
            outbox.send(done);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_spread_over_the_time() {
        let time = Duration::from_secs(100);
        let since = Instant::from_nanos(5_000_000_000);
        let gradual = DrainOptions { strategy: DrainStrategy::Gradual, time };
        let ramp = Ramp { options: gradual, since };
        let mut moments: Vec<u64> =
            (0..1000).map(|id| ramp.leaves_at(id).since(since).as_secs()).collect();
        moments.sort_unstable();
        assert!(moments.first() < Some(&2) && moments.last() > Some(&97));
        for (at, moment) in moments.iter().enumerate() {
            assert!(moment.abs_diff(at as u64 / 10) <= 2, "{at}: {moment}");
        }
        let immediate = DrainOptions { strategy: DrainStrategy::Immediate, time };
        assert_eq!(Ramp { options: immediate, since }.leaves_at(7), since);
    }
}
