//! Listeners of a shard: sockets, accept loops, connections.
//!
//! LIFECYCLE: `start` (one accept task per socket) → `stop` (sockets closed, connections stay) →
//! gone when the last connection lets go of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Join, Listener as Socket, spawn};

use crate::control::message::ListenSocket;
use crate::http::conn::{self, Conn};
use crate::http::manager::Manager;
use crate::observe::stats::ListenerHttpStats;
use crate::plan::Listener;
use crate::plan::listener::NetworkFilter;
use crate::shard::Shard;

/// One listener on one shard.
pub(crate) struct ActiveListener {
    pub plan: Arc<Listener>,
    /// `listener.<l>.http.<p>.*`
    pub http_stats: ListenerHttpStats,
    manager: Rc<Manager>,
    accepting: RefCell<Vec<Join<()>>>,
    /// Connections open on it.
    pub connections: Cell<usize>,
}

impl ActiveListener {
    /// Starts to accept on `sockets`. `None` where the plan has no filter chain to serve with.
    pub(crate) fn start(
        shard: &Rc<Shard>,
        plan: &Arc<Listener>,
        sockets: Vec<ListenSocket>,
    ) -> Option<Rc<Self>> {
        let NetworkFilter::Http(manager, http_stats) = &plan.chains.first()?.network;
        let active = Rc::new(Self {
            plan: Arc::clone(plan),
            http_stats: http_stats.clone(),
            manager: Rc::new(Manager::new(Arc::clone(manager))),
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
        Some(active)
    }

    /// What serves its connections.
    #[cfg(test)]
    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
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
        let manager = Rc::clone(&listener.manager);
        let conn =
            Conn::accepted(Rc::clone(&shard), Rc::clone(&listener), manager, stream.into(), peer);
        spawn(conn::serve(conn));
    }
}
