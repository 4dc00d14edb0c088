//! The end of listening in a process that ends while another one, beside it in the same
//! `SO_REUSEPORT` groups, goes on: whoever connects meanwhile is served by one of the two.
//!
//! LIFECYCLE: shards lend their sockets → new connections are steered to the other process, if
//! there is one → handshakes under way come to their end → new ones are refused → shards accept
//! what is left, and close → groups are left.

use std::os::fd::OwnedFd;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::{SockAddr, address_of, retire};

use super::log::log;

/// Time for handshakes to end: a round trip to a client far away.
pub(super) const SETTLE: Duration = Duration::from_millis(300);

/// Time for shards to accept what is left.
pub(super) const EMPTY: Duration = Duration::from_millis(60);

/// The listening sockets of the process on their way out.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    groups: HashMap<SockAddr, Vec<OwnedFd>, RandomState>,
    /// Threads that have lent theirs.
    lent: usize,
}

impl Retiring {
    /// A shard's sockets, of `shards`. With those of the last one, others are steered away.
    pub(super) fn lent(&mut self, sockets: Vec<OwnedFd>, shards: usize) {
        for socket in sockets {
            if let Some(address) = address_of(&socket).ok().filter(|a| a.as_inet().is_some()) {
                self.groups.entry(address).or_default().push(socket);
            }
        }
        self.lent += 1;
        if self.lent == shards {
            self.steer();
        }
    }

    fn steer(&self) {
        for (address, own, socket) in self.sockets() {
            if !rustix::net::sockopt::socket_reuseport(socket).unwrap_or(false) {
                continue;
            }
            if let Err(error) = retire::steer_away(socket, own as u32) {
                log!(Debug, Main, "{address}: new connections are not steered away: {error}");
            }
        }
    }

    /// Nobody new gets in.
    pub(super) fn refuse(&self) {
        for (address, _, socket) in self.sockets() {
            if let Err(error) = retire::refuse_new(socket) {
                log!(Debug, Main, "{address}: new connections are not refused: {error}");
            }
        }
    }

    /// Leaves the groups. What is between two of these calls is refused, and comes again.
    pub(super) fn leave(self) {
        for (_, _, socket) in self.sockets() {
            // It is said for the whole group: all but the first of each fail.
            let _ = retire::steer_no_more(socket);
        }
    }

    /// Every socket, with its address and how many have the same one.
    fn sockets(&self) -> impl Iterator<Item = (&SockAddr, usize, &OwnedFd)> {
        let groups = self.groups.iter();
        groups.flat_map(|(address, all)| all.iter().map(move |one| (address, all.len(), one)))
    }
}
