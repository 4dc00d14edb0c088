//! Listeners of a shard: sockets, accept loops, connections.
//!
//! LIFECYCLE of a listener: `start` (sockets of equal addresses come from the one it replaces) →
//! `pause` (another process accepts on the same sockets) and `resume`, perhaps → `stop` (sockets
//! closed, connections stay) or replaced → its connections drain, all of them or those of chains
//! that are no more → gone when the last connection lets go of it.

mod acceptor;
mod admitted;
mod candidate;
mod chain;
mod filters;
pub(crate) mod intake;
mod log;
mod meta;

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{ListenOptions, Listener as Socket, SockAddr, sleep, spawn};

use crate::control::message::ListenSocket;
use crate::plan::{Address, Listener};
use crate::shard::Shard;
use crate::shard::drain::Drainage;

use acceptor::Acceptor;
pub(crate) use admitted::Admitted;
use chain::Chains;
pub(crate) use chain::{ActiveChain, ChainVersion};
pub(crate) use meta::Meta;

/// How long a socket that is to be closed is still accepted on: what has come by then is in its
/// queue already.
const LAST_ONES: Duration = Duration::from_millis(20);

/// One listener on one shard.
pub(crate) struct ActiveListener {
    pub plan: Arc<Listener>,
    chains: Chains,
    acceptors: RefCell<Vec<Acceptor>>,
    stopped: Cell<bool>,
    /// Connections that are with its filters.
    filtering: Cell<usize>,
    /// The one in whose favour it ended, where only chains differ.
    successor: OnceCell<Rc<Self>>,
    /// All its connections are to leave.
    drainage: OnceCell<Rc<Drainage>>,
}

impl ActiveListener {
    /// Starts to accept on `sockets`, and on those of `old`, the listener it replaces, whose
    /// addresses it has as well and that are not among `sockets`.
    pub(crate) fn start(
        shard: &Rc<Shard>,
        plan: &Arc<Listener>,
        sockets: Vec<ListenSocket>,
        old: Option<&Self>,
    ) -> Rc<Self> {
        let active = Rc::new(Self {
            plan: Arc::clone(plan),
            chains: Chains::new(plan.chains.len()),
            acceptors: RefCell::default(),
            stopped: Cell::new(old.is_some_and(|old| old.stopped.get())),
            filtering: Cell::new(0),
            successor: OnceCell::new(),
            drainage: OnceCell::new(),
        });
        let backlog = plan.backlog.unwrap_or_else(|| ListenOptions::default().backlog);
        for socket in sockets {
            let Some(address) = plan.addresses.get(socket.address) else { continue };
            match Socket::listen_fd(socket.socket, backlog.cast_signed()) {
                Ok(socket) => active.accept_on(shard, address.clone(), socket),
                Err(error) => crate::control::log::log!(
                    Error,
                    Config,
                    "listener '{}': cannot accept on its socket: {error}",
                    plan.name
                ),
            }
        }
        if let Some(old) = old {
            active.take_over(old);
        }
        active
    }

    /// Takes the sockets of addresses that it has and accepts on no other socket for.
    fn take_over(self: &Rc<Self>, old: &Self) {
        let new: Vec<Address> =
            self.acceptors.borrow().iter().map(|acceptor| acceptor.address.clone()).collect();
        let wanted = |address: &Address| {
            self.plan.bind_to_port
                && self.plan.addresses.contains(address)
                && !new.contains(address)
        };
        let mut kept = old.acceptors.take();
        kept.retain(|acceptor| wanted(&acceptor.address));
        kept.iter().for_each(|acceptor| acceptor.retarget(self));
        self.acceptors.borrow_mut().append(&mut kept);
    }

    /// Takes the place of `old`, of which it differs in its chains only: those that are configured
    /// alike go on with their connections. Answers those that do not.
    pub(crate) fn succeed(self: &Rc<Self>, old: &Self) -> Vec<Rc<ActiveChain>> {
        let mut gone = Vec::new();
        for (at, chain) in old.chains.made() {
            let hash = old.plan.chains.get(at).map(|plan| plan.hash);
            let same = self.plan.chains.iter().position(|plan| Some(plan.hash) == hash);
            match same {
                Some(at) => {
                    self.plan.chains.get(at).into_iter().for_each(|plan| chain.renew(plan));
                    self.chains.keep(at, Rc::clone(chain));
                }
                None => gone.push(Rc::clone(chain)),
            }
        }
        _ = old.successor.set(Rc::clone(self));
        gone
    }

    /// The configuration that a connection of this one goes on with, once its filters are done.
    fn newest(self: &Rc<Self>) -> Rc<Self> {
        let mut newest = self;
        while let Some(next) = newest.successor.get() {
            newest = next;
        }
        Rc::clone(newest)
    }

    /// The chain at a position, made if it is its first use.
    fn chain(&self, shard: &Shard, index: usize) -> Option<Rc<ActiveChain>> {
        let (chain, made) = self.chains.get(&self.plan.chains, index)?;
        if made {
            shard.connections.add(&chain);
            if let Some(drainage) = self.drainage.get() {
                chain.begin_drain(drainage);
            }
        }
        Some(chain)
    }

    /// The connection manager of a chain.
    #[cfg(test)]
    pub(crate) fn manager(&self, chain: usize) -> Rc<crate::http::manager::Manager> {
        let (chain, _) = self.chains.get(&self.plan.chains, chain).expect("a chain there");
        match &chain.version().server {
            crate::network::Server::Http(manager) => Rc::clone(manager),
            other => panic!("no connection manager: {other:?}"),
        }
    }

    /// Accepts on one more socket.
    pub(crate) fn accept_on(self: &Rc<Self>, shard: &Rc<Shard>, address: Address, socket: Socket) {
        let acceptor = Acceptor::new(shard, address, socket, Rc::clone(self));
        self.acceptors.borrow_mut().push(acceptor);
    }

    /// Accepts no more on the sockets of these addresses.
    pub(crate) fn pause(&self, addresses: &[SockAddr]) {
        self.acceptors.borrow().iter().for_each(|acceptor| acceptor.pause(addresses));
    }

    /// Accepts again.
    pub(crate) fn resume(&self) {
        self.acceptors.borrow().iter().for_each(|acceptor| acceptor.resume());
    }

    /// Another process that accepted on its sockets is dead: its last wake-ups may have been ours.
    pub(crate) fn look_again(self: &Rc<Self>) {
        /// The kernel lets go of a dead process' requests some time after everybody knows.
        const MOMENTS: [Duration; 4] = [
            Duration::from_millis(10),
            Duration::from_millis(50),
            Duration::from_millis(200),
            Duration::from_millis(1000),
        ];
        let this = Rc::clone(self);
        spawn(async move {
            for moment in MOMENTS {
                sleep(moment).await;
                this.acceptors.borrow().iter().for_each(Acceptor::look_again);
            }
        });
    }

    /// Duplicates of its sockets, for another process.
    pub(crate) fn lend(&self) -> Vec<OwnedFd> {
        self.acceptors.borrow().iter().filter_map(Acceptor::lend).collect()
    }

    /// Has it a socket of this address?
    #[cfg(test)]
    pub(crate) fn accepts_on(&self, address: &Address) -> bool {
        self.acceptors.borrow().iter().any(|acceptor| acceptor.address == *address)
    }

    /// Does it take connections of its address from others?
    pub(crate) fn is_open(&self) -> bool {
        !self.stopped.get()
    }

    /// Closes the sockets; connections stay.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.acceptors.take();
    }

    /// All its connections leave from now on.
    pub(crate) fn begin_drain(&self, drainage: &Rc<Drainage>) {
        if self.drainage.set(Rc::clone(drainage)).is_ok() {
            drainage.join(self.filtering.get());
        }
        self.chains.made().for_each(|(_, chain)| chain.begin_drain(drainage));
    }

    /// Wakes every connection that is served.
    pub(crate) fn wake_all(&self) {
        self.chains.made().for_each(|(_, chain)| chain.wake_all());
    }

    /// A connection is with its filters.
    fn filter_begins(&self) {
        self.filtering.set(self.filtering.get() + 1);
        if let Some(drainage) = self.drainage.get() {
            drainage.join(1);
        }
    }

    /// It is not any more.
    fn filter_ends(&self) {
        self.filtering.set(self.filtering.get().saturating_sub(1));
        if let Some(drainage) = self.drainage.get() {
            drainage.leave();
        }
    }

    /// Accepts what is in the queues of its sockets, then closes them.
    pub(crate) fn stop_soon(self: &Rc<Self>) {
        self.stopped.set(true);
        let this = Rc::clone(self);
        spawn(async move {
            sleep(LAST_ONES).await;
            this.stop();
        });
    }
}
