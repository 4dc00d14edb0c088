//! Making a change part of what new streams begin with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::mesh::Full;
use ringway_runtime::{SockAddr, Stream};

use super::Shard;
use super::drain::Leaving;
use crate::control::message::{Adopted, DrainKind, HandOver, ListenSocket, Message, StopListening};
use crate::listener::{ActiveListener, intake};
use crate::plan::listener::Direction;
use crate::plan::{Address, Change, Listener, ListenerChange};
use crate::upstream::internal::Passed;

/// Connections that wait for a plan at the most; further ones are closed.
const EARLY_MAX: usize = 1024;

impl Shard {
    /// Takes a step, in the order [`Change`] promises. Streams under way keep what they began
    /// with; connections of listeners and chains that are no more leave over the drain time.
    pub(super) fn install(self: &Rc<Self>, change: &Change) {
        self.version.set(change.version);
        self.upstreams.set_clusters(change);
        self.tables.install(change);
        if !change.listeners.is_empty() {
            self.install_listeners(&change.listeners);
        }
        self.upstreams.remove_clusters(change);
    }

    fn install_listeners(self: &Rc<Self>, changes: &[ListenerChange]) {
        let mut sockets = self.sockets.take();
        let mut listeners = self.listeners.take();
        let mut leaving = Vec::new();
        for change in changes {
            match change {
                ListenerChange::Set(wanted) => {
                    let own: Vec<ListenSocket>;
                    (own, sockets) =
                        sockets.into_iter().partition(|socket| socket.listener == wanted.name);
                    leaving.extend(self.set_listener(&mut listeners, wanted, own));
                }
                ListenerChange::Remove(name) => {
                    let at = listeners.iter().position(|have| have.plan.name == *name);
                    if let Some(at) = at {
                        let gone = listeners.remove(at);
                        gone.stop();
                        leaving.push(Leaving::Listener(gone));
                    }
                }
            }
        }
        *self.by_address.borrow_mut() = by_address(&listeners);
        self.listeners.replace(listeners);
        leaving.into_iter().for_each(|leaving| self.drain(leaving));
        self.early.take().into_iter().for_each(|given| self.take(given));
    }

    /// A listener is new, or takes the place of the one with its name, of which is answered what
    /// has to leave.
    fn set_listener(
        self: &Rc<Self>,
        listeners: &mut Vec<Rc<ActiveListener>>,
        wanted: &Arc<Listener>,
        sockets: Vec<ListenSocket>,
    ) -> Option<Leaving> {
        let Some(old) = listeners.iter_mut().find(|have| have.plan.name == wanted.name) else {
            listeners.push(ActiveListener::start(self, wanted, sockets, None));
            return None;
        };
        if Arc::ptr_eq(&old.plan, wanted) {
            return None;
        }
        let new = ActiveListener::start(self, wanted, sockets, Some(old));
        let old = std::mem::replace(old, Rc::clone(&new));
        if wanted.differs_in_chains_only(&old.plan) {
            let gone = new.succeed(&old);
            return Some(Leaving::Chains(Arc::clone(&old.plan), gone));
        }
        old.stop();
        Some(Leaving::Listener(old))
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

    /// Takes in a connection to an internal listener; false if there is none of that name.
    pub(super) fn take_in_internal(
        self: &Rc<Self>,
        name: &str,
        stream: Stream,
        passed: Passed,
    ) -> bool {
        let listeners = self.listeners.borrow();
        let named = |listener: &&Rc<ActiveListener>| {
            listener.plan.internal && *listener.plan.name == *name && listener.is_open()
        };
        let Some(listener) = listeners.iter().find(named).map(Rc::clone) else { return false };
        drop(listeners);
        intake::internal(self, &listener, stream, passed);
        true
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

    /// A connection of this listener, for another shard.
    pub(crate) fn hand_over(
        &self,
        listener: &ActiveListener,
        socket: OwnedFd,
        peer: SockAddr,
    ) -> HandOver {
        let listener = Arc::clone(&listener.plan);
        HandOver { listener, version: self.version.get(), socket, peer }
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
            // It is not known here yet; one that is no more is not waited for.
            None if given.version > self.version.get() && self.early.borrow().len() < EARLY_MAX => {
                self.early.borrow_mut().push(given);
            }
            None => {}
        }
    }

    pub(super) fn stop_listening(&self, which: StopListening) {
        for listener in self.listeners.borrow().iter() {
            if which == StopListening::All || listener.plan.direction == Direction::Inbound {
                listener.stop_soon();
            }
        }
    }

    /// Duplicates of all listening sockets of this shard.
    pub(super) fn lend(&self) -> Vec<OwnedFd> {
        self.listeners.borrow().iter().flat_map(|listener| listener.lend()).collect()
    }

    pub(super) fn pause(&self, addresses: &[SockAddr]) {
        self.listeners.borrow().iter().for_each(|listener| listener.pause(addresses));
    }

    /// Another process that was to take over is gone: everything is as it was before.
    pub(super) fn resume(&self) {
        if self.draining.get().is_some_and(|(drain, _)| drain.kind != DrainKind::Exit) {
            self.draining.set(None);
        }
        self.giving.set(false);
        self.listeners.borrow().iter().for_each(|listener| listener.resume());
        self.connections.wake_all();
    }

    pub(super) fn look_again(&self) {
        self.listeners.borrow().iter().for_each(|listener| listener.look_again());
    }

    /// Goes on with an idle connection that another process has served.
    pub(super) fn adopt(self: &Rc<Self>, given: Adopted) {
        let listeners = self.listeners.borrow();
        let listener = listeners.iter().find(|have| have.plan.name == given.passport.listener);
        let listener = listener.cloned();
        drop(listeners);
        if let Some(listener) = listener {
            intake::resumed(self, &listener, given);
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
