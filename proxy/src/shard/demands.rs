//! Requests that wait for configuration which is fetched only when it is asked for.
//!
//! LIFECYCLE of a demand: asked for by a first request, which tells the control thread → others
//! that want the same join it → the control thread says that what could be done is done, after the
//! change that brings it (if any) has been installed: all go on → gone. A demand that the last
//! request has left is forgotten at once; an answer that comes later finds nobody.
//!
//! The control thread answers every demand, in time: see `control/xds/demands.rs`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::outbox::MeshOutbox;
use crate::control::message::Message;
use crate::plan::demand::{Demand, OnDemandClusters, Supply};

/// Requests of a shard that wait at the most, for whatever; others go on without.
const WAITING_MAX: usize = 16 * 1024;

/// Different things a shard waits for at the most.
const DEMANDS_MAX: usize = 1024;

/// All that requests of a shard wait for.
pub(crate) struct Demands {
    index: usize,
    outbox: Rc<MeshOutbox>,
    asked: RefCell<HashMap<Demand, Rc<Asked>, RandomState>>,
    waiting: Cell<usize>,
}

/// One thing.
#[derive(Default)]
struct Asked {
    done: Cell<Option<Supply>>,
    /// Who waits, by number; `None`: it was not polled yet.
    wakers: RefCell<HashMap<u64, Option<Waker>, RandomState>>,
    next: Cell<u64>,
}

/// A request's place among those that wait; leaves it when dropped.
pub(crate) struct Waiting {
    demands: Rc<Demands>,
    what: Demand,
    asked: Rc<Asked>,
    number: u64,
}

impl Demands {
    pub(super) fn new(index: usize, outbox: Rc<MeshOutbox>) -> Rc<Self> {
        let (asked, waiting) = Default::default();
        Rc::new(Self { index, outbox, asked, waiting })
    }

    /// Begins to wait for something; `None` where there is too much that is waited for. `from`
    /// says where clusters come from.
    pub(crate) fn ask(
        self: &Rc<Self>,
        what: Demand,
        from: Option<&Arc<OnDemandClusters>>,
    ) -> Option<Waiting> {
        if self.waiting.get() >= WAITING_MAX {
            return None;
        }
        let known = self.asked.borrow().get(&what).map(Rc::clone);
        let asked = match known {
            Some(asked) => asked,
            None => self.begin(&what, from)?,
        };
        self.waiting.set(self.waiting.get() + 1);
        let number = asked.next.get();
        asked.next.set(number + 1);
        asked.wakers.borrow_mut().insert(number, None);
        Some(Waiting { demands: Rc::clone(self), what, asked, number })
    }

    fn begin(&self, what: &Demand, from: Option<&Arc<OnDemandClusters>>) -> Option<Rc<Asked>> {
        let mut all = self.asked.borrow_mut();
        if all.len() >= DEMANDS_MAX || !self.outbox.has_room() {
            return None;
        }
        let asked = Rc::<Asked>::default();
        all.insert(what.clone(), Rc::clone(&asked));
        let (shard, what, from) = (self.index, what.clone(), from.cloned());
        self.outbox.send(Message::Demand { shard, what, from });
        Some(asked)
    }

    /// The control thread has done what can be done for this.
    pub(super) fn supplied(&self, what: &Demand, supply: Supply) {
        let Some(asked) = self.asked.borrow_mut().remove(what) else { return };
        asked.done.set(Some(supply));
        for waker in asked.wakers.borrow_mut().values_mut() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// How many requests wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// For how many things.
    #[cfg(test)]
    pub(super) fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

impl Waiting {
    /// Ready when the request may go on, whatever has come.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Supply> {
        if let Some(supply) = self.asked.done.get() {
            return Poll::Ready(supply);
        }
        if let Some(place) = self.asked.wakers.borrow_mut().get_mut(&self.number) {
            match place {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *place = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let demands = &self.demands;
        demands.waiting.set(demands.waiting.get().saturating_sub(1));
        let mut wakers = self.asked.wakers.borrow_mut();
        wakers.remove(&self.number);
        // One that is not done and has somebody left is the one in the map.
        if wakers.is_empty() && self.asked.done.get().is_none() {
            demands.asked.borrow_mut().remove(&self.what);
        }
    }
}
