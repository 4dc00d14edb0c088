//! Filter chains of a listener on one shard.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use ringway_runtime::Instant;
use slab::Slab;

use crate::http::manager::Manager;
use crate::network::Server;
use crate::plan::listener::FilterChain;
use crate::shard::drain::Drainage;

/// One filter chain on one shard.
///
/// LIFECYCLE: made when the first connection takes it → goes on for as long as listeners of this
/// name have a chain that is configured alike, renewed when values of the runtime change → drains
/// ([`Drainage`]) → over: what is left is closed.
pub(crate) struct ActiveChain {
    /// As it is configured now: values of the runtime may change under its connections.
    version: RefCell<Rc<ChainVersion>>,
    /// Tasks of the connections it serves.
    tasks: RefCell<Slab<Waker>>,
    /// Connections it has taken, those in their handshake included.
    connections: Cell<usize>,
    /// Its connections are to leave.
    drainage: OnceCell<Rc<Drainage>>,
}

/// A filter chain as it is configured for a while.
pub(crate) struct ChainVersion {
    pub plan: Arc<FilterChain>,
    /// What serves its connections.
    pub server: Server,
}

impl ChainVersion {
    fn new(plan: &Arc<FilterChain>) -> Rc<Self> {
        Rc::new(Self { server: Server::new(&plan.terminal), plan: Arc::clone(plan) })
    }
}

impl ActiveChain {
    fn new(plan: &Arc<FilterChain>) -> Self {
        Self {
            version: RefCell::new(ChainVersion::new(plan)),
            tasks: RefCell::default(),
            connections: Cell::new(0),
            drainage: OnceCell::new(),
        }
    }

    /// What new connections are served by.
    pub(crate) fn version(&self) -> Rc<ChainVersion> {
        Rc::clone(&self.version.borrow())
    }

    /// The connection manager of requests that come from now on, if it is another than `old`.
    #[inline]
    pub(crate) fn renewed(&self, old: &Rc<Manager>) -> Option<Rc<Manager>> {
        match &self.version.borrow().server {
            Server::Http(manager) if !Rc::ptr_eq(manager, old) => Some(Rc::clone(manager)),
            _ => None,
        }
    }

    /// Goes on as `plan` says, which is configured alike and may have been told other values of the
    /// runtime.
    pub(super) fn renew(&self, plan: &Arc<FilterChain>) {
        if self.version.borrow().plan.answers != plan.answers {
            self.version.replace(ChainVersion::new(plan));
        }
    }

    /// The task of a connection wants to hear what becomes of the chain; the key is for
    /// [`ActiveChain::forget`].
    pub(crate) fn remember(&self, waker: &Waker) -> usize {
        self.tasks.borrow_mut().insert(waker.clone())
    }

    /// The task is done.
    pub(crate) fn forget(&self, key: usize) {
        self.tasks.borrow_mut().try_remove(key);
    }

    /// Wakes every connection, so that idle ones see what has changed.
    pub(crate) fn wake_all(&self) {
        for (_, waker) in self.tasks.borrow().iter() {
            waker.wake_by_ref();
        }
    }

    /// It has taken a connection.
    pub(super) fn enter(&self) {
        self.connections.set(self.connections.get() + 1);
        if let Some(drainage) = self.drainage.get() {
            drainage.join(1);
        }
    }

    /// A connection of it is gone.
    pub(super) fn leave(&self) {
        self.connections.set(self.connections.get().saturating_sub(1));
        if let Some(drainage) = self.drainage.get() {
            drainage.leave();
        }
    }

    /// Its connections leave from now on. A second call changes nothing.
    pub(crate) fn begin_drain(&self, drainage: &Rc<Drainage>) {
        if self.drainage.set(Rc::clone(drainage)).is_ok() {
            drainage.join(self.connections.get());
        }
    }

    /// Should the response under way be the last of its connection?
    pub(crate) fn asks_to_leave(&self) -> bool {
        self.drainage.get().is_some_and(|drainage| drainage.asks())
    }

    /// When a connection of this number, which can leave without losing anything, does so.
    pub(crate) fn leaves_at(&self, connection: u64) -> Option<Instant> {
        self.drainage.get().map(|drainage| drainage.leaves_at(connection))
    }

    /// Its idle connections are closed.
    pub(crate) fn is_last_call(&self) -> bool {
        self.drainage.get().is_some_and(|drainage| drainage.is_last_call())
    }

    /// What connections it still has are closed.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.drainage.get().is_some_and(|drainage| drainage.is_over())
    }
}

/// The chains of a listener, each made ready when the first connection takes it: there may be ten
/// thousand, of which a shard sees a few.
pub(super) struct Chains(Box<[OnceCell<Rc<ActiveChain>>]>);

impl Chains {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceCell::new()).collect())
    }

    /// The chain at this position of `plan`, the list this was made for; true where this call has
    /// made it.
    pub(super) fn get(
        &self,
        plan: &[Arc<FilterChain>],
        index: usize,
    ) -> Option<(Rc<ActiveChain>, bool)> {
        let (cell, plan) = (self.0.get(index)?, plan.get(index)?);
        let mut made = false;
        let chain = cell.get_or_init(|| {
            made = true;
            Rc::new(ActiveChain::new(plan))
        });
        Some((Rc::clone(chain), made))
    }

    /// Puts a chain at its place, unless there is one.
    pub(super) fn keep(&self, index: usize, chain: Rc<ActiveChain>) {
        if let Some(cell) = self.0.get(index) {
            _ = cell.set(chain);
        }
    }

    /// Those that a connection has taken, with their positions.
    pub(super) fn made(&self) -> impl Iterator<Item = (usize, &Rc<ActiveChain>)> {
        self.0.iter().enumerate().filter_map(|(at, cell)| Some((at, cell.get()?)))
    }
}
