//! Listeners of a shard: sockets, accept loops, connections.
//!
//! LIFECYCLE: `start` (one accept task per socket) → `stop` (sockets closed, connections stay) →
//! gone when the last connection lets go of it.

mod admitted;
mod chain;
mod meta;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Join, Listener as Socket, SockAddr, Stream, spawn};

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

    /// Closes the sockets; connections stay.
    pub(crate) fn stop(&self) {
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
        accepted(&shard, &listener, stream, peer);
    }
}

/// Takes a connection in: finds its chain and lets it serve.
fn accepted(shard: &Rc<Shard>, listener: &Rc<ActiveListener>, stream: Stream, peer: SockAddr) {
    let local = stream.local_addr().unwrap_or_else(|_| peer.clone());
    let meta = Rc::new(Meta::new(shard.next_connection_id(), peer, local));
    let Some(chain) = listener.chains.get(&listener.plan.chains, 0) else { return };
    let link = Admitted::new(Rc::clone(shard), Rc::clone(listener), Rc::clone(&chain), meta);
    chain.server.serve(link, stream.into());
}
