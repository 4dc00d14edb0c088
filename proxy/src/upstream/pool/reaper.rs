//! Closes idle connections: those whose peer is gone, and those whose time is over.
//!
//! One task per cluster, begun with its first idle connection. All idle connections of the cluster
//! are armed with this task's waker, so keeping one costs no task and no wake-up; the task looks
//! through them all when one of them stirs or the earliest deadline has come.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use ringway_runtime::{self as runtime, Instant, Join};

use super::Pool;
use super::conn::End;
use crate::transport::Stream;
use crate::upstream::cluster::Shared;

/// The reaper of one cluster.
#[derive(Default)]
pub(in crate::upstream) struct Reaper {
    /// Pools with idle connections (or that had some when they were last looked at).
    pools: RefCell<Vec<Weak<Pool>>>,
    waker: RefCell<Option<Waker>>,
    /// When the task's timer fires next; `FAR_FUTURE` if it does not.
    armed: Cell<Option<Instant>>,
    task: RefCell<Option<Join<()>>>,
}

impl Reaper {
    /// Arms a connection that becomes idle. Ready if it has stirred already.
    pub(super) fn watch(&self, stream: &Stream) -> Poll<()> {
        match &*self.waker.borrow() {
            Some(waker) => stream.poll_closed_or_readable(&mut Context::from_waker(waker)),
            // The task has not run yet; it will look at everything when it does.
            None => Poll::Pending,
        }
    }

    /// This pool has idle connections from now on.
    pub(super) fn add(&self, pool: &Rc<Pool>) {
        self.pools.borrow_mut().push(Rc::downgrade(pool));
    }

    /// A look is needed at `deadline` or earlier.
    pub(super) fn not_later_than(&self, deadline: Instant, shared: &Rc<Shared>) {
        if self.task.borrow().is_none() {
            let weak = Rc::downgrade(shared);
            *self.task.borrow_mut() = Some(runtime::spawn(run(weak)));
            return;
        }
        // Deadlines mostly grow, so the timer is almost always early enough.
        if self.armed.get().is_some_and(|armed| armed <= deadline) {
            return;
        }
        if let Some(waker) = &*self.waker.borrow() {
            self.armed.set(Some(deadline));
            waker.wake_by_ref();
        }
    }

    /// Ends the task. Idle connections are closed by then.
    pub(in crate::upstream) fn stop(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        self.waker.borrow_mut().take();
        self.pools.borrow_mut().clear();
    }

    /// Looks at every idle connection; the next deadline.
    fn look(&self, cx: &mut Context<'_>) -> Instant {
        let mut next = Instant::FAR_FUTURE;
        let mut pools = std::mem::take(&mut *self.pools.borrow_mut());
        pools.retain(|weak| {
            let Some(pool) = weak.upgrade() else { return false };
            match pool.reap(cx) {
                Some(deadline) => {
                    next = next.min(deadline);
                    true
                }
                None => false,
            }
        });
        // Burying a connection cannot make another idle, but be safe against losing one.
        self.pools.borrow_mut().append(&mut pools);
        next
    }
}

async fn run(shared: Weak<Shared>) {
    let mut timer = runtime::sleep_until(Instant::FAR_FUTURE);
    poll_fn(|cx| {
        let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
        let reaper = &shared.reaper;
        match &mut *reaper.waker.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        loop {
            let next = reaper.look(cx);
            reaper.armed.set(Some(next));
            timer.reset(next);
            if Pin::new(&mut timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

impl Pool {
    /// Buries what is dead or over; the earliest deadline of the rest, `None` if none is left.
    fn reap(&self, cx: &mut Context<'_>) -> Option<Instant> {
        let now = runtime::now();
        let idle_timeout = self.shared.plan.http.idle_timeout;
        let mut next = Instant::FAR_FUTURE;
        let mut at = 0;
        loop {
            let end = {
                let state = self.state.borrow();
                let Some(conn) = state.idle.get(at) else { break };
                if conn.stream.poll_closed_or_readable(cx).is_ready() {
                    conn.dead_verdict()
                } else if conn.dies <= now {
                    End::Duration
                } else if conn.deadline(idle_timeout) <= now {
                    End::Idle
                } else {
                    next = next.min(conn.deadline(idle_timeout));
                    at += 1;
                    continue;
                }
            };
            let dead = self.state.borrow_mut().idle.remove(at);
            if let Some(conn) = dead {
                self.bury(conn, end);
            }
        }
        if at == 0 {
            self.watched.set(false);
            return None;
        }
        Some(next)
    }
}
