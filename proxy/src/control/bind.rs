//! Listening sockets, all bound before anything runs: a port in use ends the start, not a worker.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Keepalive, ListenOptions, SockAddr, SocketOption};

use super::message::ListenSocket;
use super::restart::Inherited;
use crate::plan::{self, Address, Listener, Plan};

/// Where a listener is bound: the ports the system chose in place of 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// [`Listener::name`]
    pub name: Arc<str>,
    /// In the order of [`Listener::addresses`].
    pub addresses: Vec<Address>,
}

/// Every socket of a plan.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For people: what is bound where.
    pub bound: Vec<Bound>,
    /// For every shard its own sockets.
    pub by_shard: Vec<Vec<ListenSocket>>,
}

/// A listener that cannot have its address.
#[derive(Debug)]
pub struct BindError {
    what: String,
    address: Address,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, address, error } = self;
        write!(f, "{what}: cannot bind '{address}': {error}")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "; another socket has this address: stop its process or choose another")
            }
            io::ErrorKind::PermissionDenied => match address {
                Address::Ip(ip) if ip.port() < 1024 => {
                    write!(f, "; ports below 1024 need CAP_NET_BIND_SERVICE or root")
                }
                _ => write!(f, "; this user may not create a socket there"),
            },
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "; no interface has this address (freebind: true binds all the same)")
            }
            io::ErrorKind::NotFound => write!(f, "; the directory of the socket does not exist"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds every listener of the plan for `shards` shards. Needs a current runtime.
///
/// Sockets are bound and do not listen: shards begin with that when they begin to accept. Those of
/// the process this one replaces are taken first; they listen already, and connections wait in
/// them.
///
/// With `enable_reuse_port` a shard has a socket of its own, so that the kernel spreads
/// connections; without it, and for pipes, all share one.
///
/// # Errors
/// The first listener that cannot be bound; what was bound before it is closed again.
pub fn bind_all(
    plan: &Plan,
    shards: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, BindError> {
    let mut sockets =
        Sockets { bound: Vec::new(), by_shard: (0..shards).map(|_| Vec::new()).collect() };
    for listener in &plan.listeners {
        bind_listener(listener, &mut sockets, inherited)?;
    }
    Ok(sockets)
}

/// Binds the addresses of a listener that are not bound yet: `bound` answers where one is that the
/// shards have sockets of already.
///
/// # Errors
/// The first address that cannot be bound; what was bound before it is closed again.
pub fn bind_missing(
    listener: &Listener,
    shards: usize,
    inherited: &mut Inherited,
    bound: impl Fn(&Address) -> Option<Address>,
) -> Result<(Bound, Vec<Vec<ListenSocket>>), BindError> {
    let by_shard = (0..shards).map(|_| Vec::new()).collect();
    let mut sockets = Sockets { bound: Vec::new(), by_shard };
    bind_others(listener, &mut sockets, inherited, bound)?;
    let bound = sockets.bound.pop();
    let nowhere = || Bound { name: listener.name.clone(), addresses: Vec::new() };
    Ok((bound.unwrap_or_else(nowhere), sockets.by_shard))
}

fn bind_listener(
    listener: &Listener,
    sockets: &mut Sockets,
    inherited: &mut Inherited,
) -> Result<(), BindError> {
    bind_others(listener, sockets, inherited, |_| None)
}

fn bind_others(
    listener: &Listener,
    sockets: &mut Sockets,
    inherited: &mut Inherited,
    bound: impl Fn(&Address) -> Option<Address>,
) -> Result<(), BindError> {
    let mut addresses = Vec::with_capacity(listener.addresses.len());
    for (index, address) in listener.addresses.iter().enumerate() {
        if !listener.bind_to_port {
            addresses.push(address.clone());
            continue;
        }
        if let Some(at) = bound(address) {
            addresses.push(at);
            continue;
        }
        let fail = |error| BindError {
            what: format!("listener '{}'", listener.name),
            address: address.clone(),
            error,
        };
        let given = inherited.take(&sock_addr(address));
        if given.is_empty() {
            addresses.push(bind_address(listener, index, address, sockets).map_err(fail)?);
        } else {
            share_out(listener, index, given, sockets).map_err(fail)?;
            addresses.push(address.clone());
        }
    }
    sockets.bound.push(Bound { name: listener.name.clone(), addresses });
    Ok(())
}

/// Gives every shard a socket of those that are there, and every socket a shard: the queue of one
/// that nobody accepts on would never be emptied.
fn share_out(
    listener: &Listener,
    index: usize,
    given: Vec<OwnedFd>,
    sockets: &mut Sockets,
) -> io::Result<()> {
    let shards = sockets.by_shard.len();
    let count = given.len();
    let mut give = |shard: usize, socket: OwnedFd| {
        if let Some(shard) = sockets.by_shard.get_mut(shard) {
            shard.push(ListenSocket { listener: listener.name.clone(), address: index, socket });
        }
    };
    for (place, socket) in given.into_iter().enumerate() {
        // Shards beyond the number of sockets share them with those before.
        for shard in (place..shards).step_by(count).skip(1) {
            give(shard, socket.try_clone()?);
        }
        give(place % shards.max(1), socket);
    }
    Ok(())
}

/// Binds one address for every shard and tells where it is now.
fn bind_address(
    listener: &Listener,
    index: usize,
    address: &Address,
    sockets: &mut Sockets,
) -> io::Result<Address> {
    let own = listener.reuse_port && matches!(address, Address::Ip(_));
    let both = listener.ipv4_compat.get(index).copied().unwrap_or_default();
    let options = ListenOptions { v6_only: !both, ..listen_options(listener, index, address, own) };
    let mut actual = address.clone();
    let mut shared = None;
    for shard in &mut sockets.by_shard {
        let socket = match &shared {
            Some(socket) if !own => ringway_runtime::Listener::dup_fd(socket)?,
            _ => {
                // The first socket of port 0 chooses the port of all.
                let socket = open(&actual, &options)?;
                if let (Address::Ip(_), SockAddr::Inet(chosen)) = (&actual, socket.local_addr()?) {
                    actual = Address::Ip(chosen);
                }
                let fd = socket.dup_fd()?;
                shared = Some(socket);
                fd
            }
        };
        shard.push(ListenSocket { listener: listener.name.clone(), address: index, socket });
    }
    Ok(actual)
}

/// Binds and listens on one address that belongs to no listener of the plan, or takes its socket
/// over.
///
/// # Errors
/// Those of binding, with `what` in front.
pub fn bind_one(
    what: &str,
    address: &Address,
    socket_options: &[plan::SocketOption],
    inherited: &mut Inherited,
) -> Result<(ringway_runtime::Listener, Address), BindError> {
    let options = ListenOptions {
        mode: mode(address),
        options: raw_options(socket_options),
        ..ListenOptions::default()
    };
    let mut bind = || {
        let given = inherited.take(&sock_addr(address)).pop();
        let listener = match given {
            Some(socket) => ringway_runtime::Listener::from_fd(socket)?,
            None => open(address, &options)?,
        };
        let actual = match listener.local_addr()? {
            SockAddr::Inet(chosen) => Address::Ip(chosen),
            SockAddr::Unix(_) => address.clone(),
        };
        Ok((listener, actual))
    };
    bind().map_err(|error| BindError { what: what.to_owned(), address: address.clone(), error })
}

fn open(address: &Address, options: &ListenOptions) -> io::Result<ringway_runtime::Listener> {
    if let Address::Pipe { path, .. } = address {
        remove_stale_socket(path);
    }
    ringway_runtime::Listener::bind(&sock_addr(address), options)
}

/// A socket file outlives the process that made it; only sockets are removed.
fn remove_stale_socket(path: &Path) {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        let _binding_will_tell = std::fs::remove_file(path);
    }
}

/// The runtime's form of an address.
pub fn sock_addr(address: &Address) -> SockAddr {
    match address {
        Address::Ip(ip) => SockAddr::Inet(*ip),
        Address::Pipe { path, .. } => SockAddr::unix(path),
        // Of hosts only: nobody binds it.
        Address::Internal { .. } => SockAddr::unix(address.to_string()),
    }
}

fn mode(address: &Address) -> Option<u32> {
    match address {
        Address::Pipe { mode, .. } if *mode != 0 => Some(*mode),
        _ => None,
    }
}

fn listen_options(
    listener: &Listener,
    index: usize,
    address: &Address,
    own: bool,
) -> ListenOptions {
    let special = listener.own_options.get(index);
    let keepalive = special.and_then(|own| own.tcp_keepalive).or(listener.tcp_keepalive);
    let options = special.and_then(|own| own.socket_options.as_ref());
    let defaults = ListenOptions::default();
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    ListenOptions {
        reuse_port: own,
        listen: false,
        mode: mode(address),
        keepalive: keepalive.map(|keepalive| Keepalive {
            time: keepalive.time_s.map(seconds),
            interval: keepalive.interval_s.map(seconds),
            probes: keepalive.probes,
        }),
        transparent: listener.transparent,
        freebind: listener.freebind,
        fast_open: listener.fast_open,
        options: raw_options(options.unwrap_or(&listener.socket_options)),
        ..defaults
    }
}

fn raw_options(options: &[plan::SocketOption]) -> Vec<SocketOption> {
    let raw = |option: &plan::SocketOption| SocketOption {
        level: option.level,
        name: option.name,
        value: option.value.clone(),
    };
    options.iter().map(raw).collect()
}
