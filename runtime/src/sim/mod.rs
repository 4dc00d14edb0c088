//! A simulated network with a virtual clock: many runtimes on one thread, every run repeatable from
//! its seed.
//!
//! Runtimes made with [`crate::Backend::Sim`] and clones of one [`Network`] reach each other by
//! address. Nothing is real but the code under test: time stands still while anybody has work, and
//! jumps to the next arrival or timer when nobody has. Segments are delayed, split and lost with
//! their connection as [`Faults`] says, all from one seeded generator.

mod net;
mod passing;
#[cfg(test)]
mod tests;

pub(crate) use net::{Net, Pulled};

use crate::net::SockAddr;
use crate::shard::{Runtime, Shared};
use crate::time::Instant;
use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::rc::{Rc, Weak};
use std::thread::ThreadId;
use std::time::Duration;

/// What goes wrong, and how often. Probabilities are from 0.0 to 1.0.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// The shortest time a segment travels.
    pub delay_min: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// A segment arrives in two parts, at different times.
    pub split: f64,
    /// A send is taken only in part.
    pub short_send: f64,
    /// A completion is late, by up to `delay_max`.
    pub late_completion: f64,
    /// A receive finds no buffer and is put off to another turn.
    pub no_buffers: f64,
    /// A segment is lost with its connection: both ends see a reset.
    pub reset: f64,
    /// A connection attempt is refused though somebody listens.
    pub refuse: f64,
}

impl Default for Faults {
    /// A short, varying delay, and segments split at times: what every correct program copes with.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(20),
            delay_max: Duration::from_micros(500),
            split: 0.1,
            short_send: 0.1,
            late_completion: 0.1,
            no_buffers: 0.05,
            reset: 0.0,
            refuse: 0.0,
        }
    }
}

impl Faults {
    /// Nothing goes wrong, and every segment takes 50 µs.
    pub fn none() -> Self {
        Self {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_micros(50),
            split: 0.0,
            short_send: 0.0,
            late_completion: 0.0,
            no_buffers: 0.0,
            reset: 0.0,
            refuse: 0.0,
        }
    }
}

/// A handle of a simulated network. It may be moved to another thread, as part of a
/// [`crate::Config`], but only be used on the one that made it.
pub struct Network {
    thread: ThreadId,
    net: ManuallyDrop<Rc<RefCell<Net>>>,
}

// SAFETY: every access and the drop compare the current thread with the one that made the value, so
// the `Rc` inside is never touched anywhere else; on another thread it is leaked. A configuration
// that can be sent to shard threads could not name a network otherwise, except through a lock.
unsafe impl Send for Network {}

impl Network {
    /// A network of nobody yet.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let net = Rc::new(RefCell::new(Net::new(seed, faults)));
        Self { thread: std::thread::current().id(), net: ManuallyDrop::new(net) }
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.inner().borrow().now()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.inner().borrow_mut().set_faults(faults);
    }

    /// Connections to `from` reach the listener at `to`, which can ask where they went
    /// ([`crate::Stream::original_dst`]): what a REDIRECT rule of iptables does.
    pub fn redirect(&self, from: &SockAddr, to: &SockAddr) {
        self.inner().borrow_mut().redirect(from.clone(), to.clone());
    }

    /// Turns `runtimes` until `done` holds; true if it came to that within `limit` of virtual time.
    /// False also when nobody has anything left to do or to wait for.
    pub fn run_until(
        &self,
        runtimes: &mut [&mut Runtime],
        limit: Duration,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let end = self.now() + limit;
        loop {
            let mut idle = true;
            let first = self.inner().borrow_mut().below(runtimes.len());
            let (before, after) = runtimes.split_at_mut(first);
            for runtime in after.iter_mut().chain(before) {
                idle &= runtime.turn(false).is_idle() && !runtime.is_ready();
            }
            if done() {
                return true;
            }
            if !idle {
                continue;
            }
            let timer = runtimes.iter().filter_map(|runtime| runtime.next_timer()).min();
            let advanced = self.inner().borrow_mut().advance(timer);
            if !advanced || self.now() > end {
                return false;
            }
        }
    }

    /// Checks that nothing is left over: no socket, listener or segment in the network, and in each
    /// runtime no task, timer, slot or buffer.
    ///
    /// # Errors
    /// One line that names everything that is left.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut net = self.inner().borrow_mut();
        let mut left = net.leftovers();
        for shared in net.runtimes().filter_map(Weak::upgrade) {
            let usage = shared.usage();
            if usage != crate::Usage::default() {
                left.push(format!("runtime {}: {usage:?}", shared.id));
            }
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }

    /// A seed for a runtime that was given none.
    pub(crate) fn seed(&self) -> u64 {
        self.inner().borrow_mut().seed()
    }

    pub(crate) fn share(&self) -> Rc<RefCell<Net>> {
        Rc::clone(self.inner())
    }

    /// Lets [`Network::check_invariants`] look into a runtime.
    pub(crate) fn watch(&self, shared: &Rc<Shared>) {
        self.inner().borrow_mut().add_runtime(Rc::downgrade(shared));
    }

    fn inner(&self) -> &Rc<RefCell<Net>> {
        assert!(
            self.thread == std::thread::current().id(),
            "a simulated network is used on a thread that did not make it"
        );
        &self.net
    }
}

impl Clone for Network {
    fn clone(&self) -> Self {
        Self { thread: self.thread, net: ManuallyDrop::new(Rc::clone(self.inner())) }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.thread == std::thread::current().id() {
            // SAFETY: dropped once, here, on its own thread; elsewhere it is leaked (see `Send`).
            unsafe { ManuallyDrop::drop(&mut self.net) }
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
