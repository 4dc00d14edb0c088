//! Messages to the control thread. Its ring may be full for a moment; what does not fit waits here
//! and goes out with the next message, or after a short pause.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::mesh::Full;

use crate::control::message::{EjectReason, EjectRequest, HealthVerdict, Message};
use crate::plan::{ClusterId, Host};
use crate::upstream::Outbox;

/// Messages kept at the most; verdicts are repeated by later checks, so the oldest may go.
const KEPT_MAX: usize = 4096;

/// Puts a message into the control thread's ring.
pub(super) type Post = dyn Fn(Message) -> Result<(), Full<Message>>;

/// The way from a shard to the control thread.
pub(super) struct MeshOutbox {
    post: Box<Post>,
    waiting: RefCell<VecDeque<Message>>,
    retrying: Cell<bool>,
}

impl MeshOutbox {
    pub(super) fn new(post: Box<Post>) -> Self {
        Self { post, waiting: RefCell::default(), retrying: Cell::new(false) }
    }

    /// Sends a message, now or soon, in order.
    pub(super) fn send(self: &Rc<Self>, message: Message) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= KEPT_MAX {
            waiting.pop_front();
        }
        waiting.push_back(message);
        drop(waiting);
        self.flush();
        if !self.waiting.borrow().is_empty() && !self.retrying.replace(true) {
            let this = Rc::clone(self);
            ringway_runtime::spawn(async move {
                while !this.waiting.borrow().is_empty() {
                    ringway_runtime::sleep(Duration::from_millis(5)).await;
                    this.flush();
                }
                this.retrying.set(false);
            });
        }
    }

    /// Whether what cannot be repeated may be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.borrow().len() < KEPT_MAX / 4
    }

    /// Waits until what cannot be repeated may be sent.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            ringway_runtime::sleep(Duration::from_millis(5)).await;
        }
    }

    fn flush(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(message) = waiting.pop_front() {
            if let Err(Full(message)) = (self.post)(message) {
                waiting.push_front(message);
                return;
            }
        }
    }
}

/// The upstream side holds the outbox as a trait object.
pub(super) struct SharedOutbox(pub Rc<MeshOutbox>);

impl Outbox for SharedOutbox {
    fn eject(&self, cluster: ClusterId, host: &Arc<Host>, reason: EjectReason) {
        let host = Arc::clone(host);
        self.0.send(Message::Eject(EjectRequest { cluster, host, reason }));
    }

    fn health_verdict(&self, cluster: ClusterId, host: &Arc<Host>, healthy: bool) {
        let host = Arc::clone(host);
        self.0.send(Message::HealthVerdict(HealthVerdict { cluster, host, healthy }));
    }

    fn host_added(&self, cluster: ClusterId, host: &Arc<Host>) {
        self.0.send(Message::HostAdded(cluster, Arc::clone(host)));
    }
}
