//! Listening sockets and the tasks that accept on them.
//!
//! An acceptor belongs to an address, not to one configuration of its listener: when that changes
//! it goes on with the new one, so that no connection finds nobody.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringway_runtime::{Join, Listener as Socket, SockAddr, spawn};

use super::{ActiveListener, intake};
use crate::plan::Address;
use crate::shard::Shard;

/// One socket that is accepted on. Dropping it closes it.
pub(super) struct Acceptor {
    /// As configured.
    pub(super) address: Address,
    socket: Rc<Socket>,
    /// Who takes what is accepted.
    to: Rc<RefCell<Rc<ActiveListener>>>,
    task: Join<()>,
}

impl Acceptor {
    /// Accepts on `socket` for `to`.
    pub(super) fn new(
        shard: &Rc<Shard>,
        address: Address,
        socket: Socket,
        to: Rc<ActiveListener>,
    ) -> Self {
        let to = Rc::new(RefCell::new(to));
        let socket = Rc::new(socket);
        let task = spawn(accept_loop(Rc::clone(shard), Rc::clone(&socket), Rc::clone(&to)));
        Self { address, socket, to, task }
    }

    /// Accepts no more, if the socket is bound to one of these addresses.
    pub(super) fn pause(&self, addresses: &[SockAddr]) {
        if self.socket.local_addr().is_ok_and(|own| addresses.contains(&own)) {
            self.socket.pause();
        }
    }

    /// Accepts again.
    pub(super) fn resume(&self) {
        self.socket.resume();
    }

    /// Tries to accept, whatever the kernel has told.
    pub(super) fn look_again(&self) {
        self.socket.look_again();
    }

    /// A duplicate of the socket.
    pub(super) fn lend(&self) -> Option<OwnedFd> {
        self.socket.dup_fd().ok()
    }

    /// What is accepted from now on is for another configuration of the listener.
    pub(super) fn retarget(&self, to: &Rc<ActiveListener>) {
        self.to.replace(Rc::clone(to));
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_loop(shard: Rc<Shard>, socket: Rc<Socket>, to: Rc<RefCell<Rc<ActiveListener>>>) {
    loop {
        // Errors of accept(2) are those of single connections, or want of descriptors, for which
        // the runtime backs off by itself.
        let Ok((stream, peer)) = socket.accept().await else { continue };
        let listener = Rc::clone(&to.borrow());
        intake::accepted(&shard, &listener, stream, peer);
    }
}
