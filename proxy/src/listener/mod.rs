//! Listeners of a shard: sockets, accept loops, connections.
//!
//! LIFECYCLE: `start` (one accept task per socket) → `stop` (sockets closed, connections stay) →
//! gone when the last connection lets go of it.

mod admitted;
mod candidate;
mod chain;
mod filters;
pub(crate) mod intake;
mod log;
mod meta;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Join, Listener as Socket, spawn};

use crate::control::message::ListenSocket;
use crate::plan::Listener;
use crate::shard::Shard;

pub(crate) use admitted::Admitted;
pub(crate) use chain::ActiveChain;
use chain::Chains;
pub(crate) use meta::Meta;

/// One listener on one shard.
pub(crate) struct ActiveListener {
    pub plan: Arc<Listener>,
    chains: Chains,
    accepting: RefCell<Vec<Join<()>>>,
    stopped: Cell<bool>,
    /// Connections open on it.
    pub connections: Cell<usize>,
}

impl ActiveListener {
    /// Starts to accept on `sockets`.
    pub(crate) fn start(
        shard: &Rc<Shard>,
        plan: &Arc<Listener>,
        sockets: Vec<ListenSocket>,
    ) -> Rc<Self> {
        let active = Rc::new(Self {
            plan: Arc::clone(plan),
            chains: Chains::new(plan.chains.len()),
            accepting: RefCell::default(),
            stopped: Cell::new(false),
            connections: Cell::new(0),
        });
        for socket in sockets {
            match Socket::from_fd(socket.socket) {
                Ok(socket) => active.accept_on(shard, socket),
                Err(error) => crate::control::log::log!(
                    Error,
                    Config,
                    "listener '{}': cannot take over its socket: {error}",
                    plan.name
                ),
            }
        }
        active
    }

    /// The connection manager of a chain.
    #[cfg(test)]
    pub(crate) fn manager(&self, chain: usize) -> Rc<crate::http::manager::Manager> {
        let chain = self.chains.get(&self.plan.chains, chain).expect("a chain at this position");
        match &chain.server {
            crate::network::Server::Http(manager) => Rc::clone(manager),
            other => panic!("no connection manager: {other:?}"),
        }
    }

    /// Accepts on one more socket.
    pub(crate) fn accept_on(self: &Rc<Self>, shard: &Rc<Shard>, socket: Socket) {
        let task = spawn(accept_loop(Rc::clone(shard), Rc::clone(self), socket));
        self.accepting.borrow_mut().push(task);
    }

    /// Does it take connections of its address from others?
    pub(crate) fn is_open(&self) -> bool {
        !self.stopped.get()
    }

    /// Closes the sockets; connections stay.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        for task in self.accepting.borrow_mut().drain(..) {
            task.abort();
        }
    }
}

async fn accept_loop(shard: Rc<Shard>, listener: Rc<ActiveListener>, socket: Socket) {
    loop {
        // Errors of accept(2) are those of single connections, or want of descriptors, for which
        // the runtime backs off by itself.
        let Ok((stream, peer)) = socket.accept().await else { continue };
        intake::accepted(&shard, &listener, stream, peer);
    }
}
