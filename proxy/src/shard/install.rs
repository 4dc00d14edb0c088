//! Making a change part of what new streams begin with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::SockAddr;
use ringway_runtime::mesh::Full;

use super::Shard;
use crate::control::message::{HandOver, ListenSocket, Message, StopListening};
use crate::listener::{ActiveListener, intake};
use crate::plan::{Address, Change, ListenerChange};

/// `traffic_direction: INBOUND`.
const INBOUND: i32 = 1;

/// Connections that wait for a plan at the most; further ones are closed.
const EARLY_MAX: usize = 1024;

impl Shard {
    /// Takes a step, in the order [`Change`] promises. Listeners whose `Arc` is the same go on;
    /// others start or stop. Streams under way keep what they began with.
    pub(super) fn install(self: &Rc<Self>, change: &Change) {
        self.upstreams.set_clusters(change);
        self.tables.install(change);
        let mut sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        let mut listeners = std::mem::take(&mut *self.listeners.borrow_mut());
        for change in &change.listeners {
            let name = match change {
                ListenerChange::Set(wanted) => &wanted.name,
                ListenerChange::Remove(name) => name,
            };
            let at = listeners.iter().position(|have| have.plan.name == *name);
            let ListenerChange::Set(wanted) = change else {
                at.into_iter().for_each(|at| listeners.remove(at).stop());
                continue;
            };
            let old = at.and_then(|at| listeners.get_mut(at));
            if old.as_ref().is_some_and(|have| Arc::ptr_eq(&have.plan, wanted)) {
                continue;
            }
            let own: Vec<ListenSocket>;
            (own, sockets) = sockets.into_iter().partition(|socket| socket.listener == wanted.name);
            let new = ActiveListener::start(self, wanted, own);
            match old {
                Some(old) => std::mem::replace(old, new).stop(),
                None => listeners.push(new),
            }
        }
        *self.by_address.borrow_mut() = by_address(&listeners);
        *self.listeners.borrow_mut() = listeners;
        self.upstreams.remove_clusters(change);
        let early = std::mem::take(&mut *self.early.borrow_mut());
        early.into_iter().for_each(|given| self.take(given));
    }

    /// The listener of an address: that very address, else all addresses with this port.
    pub(crate) fn listener_at(&self, address: &SockAddr) -> Option<Rc<ActiveListener>> {
        let inet = address.as_inet()?;
        let any: IpAddr = match inet.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let map = self.by_address.borrow();
        let open = |address| map.get(&address).filter(|listener| listener.is_open()).cloned();
        open(inet).or_else(|| open((any, inet.port()).into()))
    }

    /// Gives a connection to another shard.
    ///
    /// # Errors
    /// The connection itself, where that shard's ring is full.
    pub(crate) fn give(&self, to: usize, given: HandOver) -> Result<(), HandOver> {
        match (self.peers)(to, Message::Connection(given)) {
            Err(Full(Message::Connection(given))) => Err(given),
            _ => Ok(()),
        }
    }

    /// Serves a connection another shard has accepted. Where the plan of its listener is still on
    /// the way it waits for it.
    pub(super) fn take(self: &Rc<Self>, given: HandOver) {
        let listener = {
            let listeners = self.listeners.borrow();
            let same = listeners.iter().find(|have| Arc::ptr_eq(&have.plan, &given.listener));
            let named = || listeners.iter().find(|have| have.plan.name == given.listener.name);
            same.or_else(named).cloned()
        };
        match listener {
            Some(listener) => intake::arrived(self, &listener, given),
            None if self.early.borrow().len() < EARLY_MAX => self.early.borrow_mut().push(given),
            None => {}
        }
    }

    pub(super) fn stop_listening(&self, which: StopListening) {
        for listener in self.listeners.borrow().iter() {
            if which == StopListening::All || listener.plan.direction == INBOUND {
                listener.stop();
            }
        }
    }
}

/// Listeners by the addresses they are configured with, bound to them or not. One of all IPv6
/// addresses that takes IPv4, too, is found under the IPv4 address where no other is.
fn by_address(
    listeners: &[Rc<ActiveListener>],
) -> HashMap<SocketAddr, Rc<ActiveListener>, RandomState> {
    let mut map = HashMap::default();
    let mut compatible = Vec::new();
    for listener in listeners {
        let plan = &listener.plan;
        for (index, address) in plan.addresses.iter().enumerate() {
            let Address::Ip(address) = address else { continue };
            map.entry(*address).or_insert_with(|| Rc::clone(listener));
            let both = plan.ipv4_compat.get(index).copied().unwrap_or_default();
            if both && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
                compatible
                    .push((SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), listener));
            }
        }
    }
    for (address, listener) in compatible {
        map.entry(address).or_insert_with(|| Rc::clone(listener));
    }
    map
}
