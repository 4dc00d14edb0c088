//! Futures that wait for time to pass.

use super::{Instant, TICK, now};
use crate::current;
use crate::shard::Shared;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Resolves once `d` has passed, at a granularity of 1 ms and never early.
pub fn sleep(d: Duration) -> Sleep {
    sleep_until(now() + d)
}

/// Resolves once `deadline` has passed, at a granularity of 1 ms and never early.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, entry: None }
}

/// A timer. It costs nothing until it is first polled; dropping it cancels it.
pub struct Sleep {
    deadline: Instant,
    /// The runtime it is registered with and the key there.
    entry: Option<(Rc<Shared>, u32)>,
}

impl Sleep {
    /// When it resolves.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed, by the cached clock.
    pub fn is_elapsed(&self) -> bool {
        self.deadline <= now()
    }

    /// Moves the deadline. Extending it is O(1): a deadline may be pushed out per received byte.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some((shared, key)) = &self.entry {
            shared.wheel.borrow_mut().reset(*key, tick_after(deadline));
        }
    }
}

/// The first tick that is not before `deadline`.
fn tick_after(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(TICK)
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((shared, key)) = &self.entry {
            let fired = shared.wheel.borrow_mut().poll(*key, cx.waker());
            let done = fired || self.deadline <= shared.clock.now();
            return if done { Poll::Ready(()) } else { Poll::Pending };
        }
        let shared = current::shared();
        if self.deadline <= shared.clock.now() {
            return Poll::Ready(());
        }
        let when = tick_after(self.deadline);
        let key = shared.wheel.borrow_mut().insert(when, cx.waker().clone());
        self.entry = Some((shared, key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((shared, key)) = self.entry.take() {
            // The waker is dropped after the borrow: it may be one that runs code.
            let waker = shared.wheel.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

/// The time given to [`timeout`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// Gives `future` at most `d`. What is ready at the deadline still wins.
pub fn timeout<F: Future>(d: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(d) }
}

/// See [`timeout`].
#[derive(Debug)]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is never moved out of the pinned struct and has no other accessor;
        // `sleep` is Unpin. Safe projection would need a macro crate for this one place.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.sleep)
        };
        if let Poll::Ready(value) = future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    }
}
