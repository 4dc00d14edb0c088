//! Listening sockets of the parent, until somebody wants their addresses.

use std::os::fd::OwnedFd;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::{SockAddr, address_of};

/// What a parent has given, by the address each socket is bound to.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: HashMap<SockAddr, Vec<OwnedFd>, RandomState>,
    claimed: Vec<SockAddr>,
}

impl Inherited {
    /// Keeps a socket, if it is a listening one.
    pub(super) fn add(&mut self, socket: OwnedFd) -> bool {
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let Some(address) = address_of(&socket).ok().filter(|_| listens) else { return false };
        self.sockets.entry(address).or_default().push(socket);
        true
    }

    /// How many nobody has taken.
    pub fn len(&self) -> usize {
        self.sockets.values().map(Vec::len).sum()
    }

    /// Has everything been taken?
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// All sockets of this address: the parent has one for each shard, or one for all.
    pub fn take(&mut self, address: &SockAddr) -> Vec<OwnedFd> {
        let Some(taken) = self.sockets.remove(address) else { return Vec::new() };
        self.claimed.push(address.clone());
        taken
    }

    /// Addresses that were taken since the last call.
    pub(super) fn claimed(&mut self) -> Vec<SockAddr> {
        std::mem::take(&mut self.claimed)
    }

    /// Nobody will ask any more: closes what is left.
    pub fn clear(&mut self) {
        self.sockets.clear();
    }
}
