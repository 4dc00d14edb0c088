//! Sending to other threads without ever losing a message or waiting for a slow receiver.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::mesh::{Full, Mailbox};
use ringway_runtime::{sleep, spawn};

use super::message::Message;

/// Pause between two attempts while a receiver's ring is full.
const RETRY: Duration = Duration::from_millis(1);

/// A thread's way to the others: the control thread's to all, the admin thread's back. What does
/// not fit into a receiver's ring waits here, in order; it is the sender's own state (plans, host
/// sets, lent sockets), so it is bounded by what it publishes.
#[derive(Clone)]
pub(super) struct Post {
    inner: Rc<Inner>,
}

struct Inner {
    mailbox: Mailbox<Message>,
    /// By receiver.
    waiting: RefCell<Vec<VecDeque<Message>>>,
}

impl Post {
    /// Sends through this mailbox.
    pub(super) fn new(mailbox: Mailbox<Message>) -> Self {
        let waiting = RefCell::new((0..mailbox.len()).map(|_| VecDeque::new()).collect());
        Self { inner: Rc::new(Inner { mailbox, waiting }) }
    }

    /// The next message for this thread.
    pub(super) async fn recv(&self) -> Message {
        self.inner.mailbox.recv().await
    }

    /// Sends, now or as soon as there is room.
    pub(super) fn send(&self, to: usize, message: Message) {
        let mut waiting = self.inner.waiting.borrow_mut();
        let idle = waiting.iter().all(VecDeque::is_empty);
        let Some(queue) = waiting.get_mut(to) else { return };
        let kept = if queue.is_empty() {
            match self.inner.mailbox.send(to, message) {
                Ok(()) => return,
                Err(Full(message)) => message,
            }
        } else {
            message
        };
        queue.push_back(kept);
        if idle {
            let post = self.clone();
            drop(spawn(async move { post.deliver_late().await }));
        }
    }

    /// Sends if there is room now; whether it did.
    pub(super) fn try_send(&self, to: usize, message: Message) -> bool {
        let waiting = self.inner.waiting.borrow();
        let in_order = waiting.get(to).is_some_and(VecDeque::is_empty);
        in_order && self.inner.mailbox.send(to, message).is_ok()
    }

    /// Tries again until nothing waits.
    async fn deliver_late(&self) {
        loop {
            sleep(RETRY).await;
            let mut waiting = self.inner.waiting.borrow_mut();
            for (to, queue) in waiting.iter_mut().enumerate() {
                while let Some(message) = queue.pop_front() {
                    if let Err(Full(message)) = self.inner.mailbox.send(to, message) {
                        queue.push_front(message);
                        break;
                    }
                }
            }
            if waiting.iter().all(VecDeque::is_empty) {
                return;
            }
        }
    }
}
