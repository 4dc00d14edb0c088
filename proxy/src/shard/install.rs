//! Making a plan the view of new streams.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use crate::control::message::{ListenSocket, StopListening};
use crate::listener::ActiveListener;
use crate::plan::Plan;

/// `traffic_direction: INBOUND`.
const INBOUND: i32 = 1;

impl Shard {
    /// Swaps the view: clusters first, so that no route of the new plan misses its cluster.
    /// Listeners whose `Arc` is the same go on; others start or stop. Streams under way keep the
    /// plan they began with.
    pub(super) fn install(self: &Rc<Self>, plan: Arc<Plan>) {
        self.upstreams.install(&plan);
        let mut sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        let mut old = std::mem::take(&mut *self.listeners.borrow_mut());
        let mut listeners = Vec::with_capacity(plan.listeners.len());
        for wanted in &plan.listeners {
            if let Some(at) = old.iter().position(|have| Arc::ptr_eq(&have.plan, wanted)) {
                listeners.push(old.swap_remove(at));
                continue;
            }
            let own: Vec<ListenSocket>;
            (own, sockets) = sockets.into_iter().partition(|socket| socket.listener == wanted.name);
            listeners.push(ActiveListener::start(self, wanted, own));
        }
        old.iter().for_each(|gone| gone.stop());
        *self.listeners.borrow_mut() = listeners;
        *self.view.borrow_mut() = Some(plan);
    }

    pub(super) fn stop_listening(&self, which: StopListening) {
        for listener in self.listeners.borrow().iter() {
            if which == StopListening::All || listener.plan.direction == INBOUND {
                listener.stop();
            }
        }
    }
}
