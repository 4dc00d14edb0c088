//! Handshakes take turns: a few per round of the shard, so that a storm of them does not keep
//! connections that are up waiting.
//!
//! LIFECYCLE: idle (nobody passed in this round) → paced (somebody did: whoever comes queues, and
//! a task lets a few pass per round) → idle, once a round found nobody queued.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ringway_runtime as runtime;

/// Handshake steps per round: each is 100 to 300 µs of work for the signature alone.
const PER_ROUND: usize = 2;
/// Most that wait. Who comes when there are as many is turned away: their turn would come too
/// late.
const QUEUE_MAX: usize = 8192;

/// Paces the handshakes of a shard.
#[derive(Clone, Default)]
pub(crate) struct Gate(Rc<State>);

#[derive(Default)]
struct State {
    paced: Cell<bool>,
    queue: RefCell<VecDeque<Rc<Ticket>>>,
}

#[derive(Default)]
struct Ticket {
    called: Cell<bool>,
    /// Its holder is gone.
    void: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Too many wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// Voids the ticket of who gives up waiting.
struct Holder(Rc<Ticket>);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.void.set(true);
    }
}

impl Gate {
    /// Waits for a turn.
    ///
    /// # Errors
    /// When too many wait already.
    pub(super) async fn pass(&self) -> Result<(), Crowded> {
        if !self.0.paced.replace(true) {
            runtime::spawn(pace(Rc::clone(&self.0)));
            return Ok(());
        }
        let holder = {
            let mut queue = self.0.queue.borrow_mut();
            if queue.len() >= QUEUE_MAX {
                return Err(Crowded);
            }
            let ticket = Rc::<Ticket>::default();
            queue.push_back(Rc::clone(&ticket));
            Holder(ticket)
        };
        poll_fn(|cx| {
            if holder.0.called.get() {
                return Poll::Ready(());
            }
            *holder.0.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(())
    }
}

/// Lets those in the queue pass, a few per round, and ends when a round finds nobody.
async fn pace(state: Rc<State>) {
    loop {
        runtime::yield_now().await;
        let mut called = 0;
        while called < PER_ROUND {
            let Some(ticket) = state.queue.borrow_mut().pop_front() else { break };
            if ticket.void.get() {
                continue;
            }
            ticket.called.set(true);
            if let Some(waker) = ticket.waker.borrow_mut().take() {
                waker.wake();
            }
            called += 1;
        }
        if called == 0 {
            state.paced.set(false);
            return;
        }
    }
}
