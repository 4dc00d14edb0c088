//! [`Listener`]: accepts connections.

use super::{ListenOptions, SockAddr, Stream, options};
use crate::current;
use crate::driver::{Driver, Sock};
use crate::shard::Shared;
use crate::time::{Sleep, sleep};
use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Pause after the process or system ran out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A listening TCP or unix socket. Dropping it closes it; what was accepted but not taken is
/// closed too.
pub struct Listener {
    shared: Rc<Shared>,
    index: u32,
    back_off: RefCell<Option<Sleep>>,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt`, `bind` and `listen`; a unix path that exists is in use.
    pub fn bind(addr: &SockAddr, opts: &ListenOptions) -> io::Result<Self> {
        let shared = current::shared();
        let index = shared.io.borrow_mut().listen(addr, opts)?;
        Ok(Self::new(shared, index))
    }

    /// Takes over a socket that listens already (from another process or shard).
    ///
    /// # Errors
    /// When the descriptor cannot be registered with the driver.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let shared = current::shared();
        let mut io = shared.io.borrow_mut();
        let sock = io.sock_of(fd)?;
        let index = io.add_listener(sock)?;
        drop(io);
        Ok(Self::new(shared, index))
    }

    /// Takes over a socket that may only be bound, and listens on it: from then on somebody takes
    /// what comes.
    ///
    /// # Errors
    /// That of `listen`, or when the descriptor cannot be registered with the driver.
    pub fn listen_fd(fd: OwnedFd, backlog: i32) -> io::Result<Self> {
        let shared = current::shared();
        let simulated = matches!(shared.io.borrow().driver, Driver::Sim(_));
        if !simulated {
            rustix::net::listen(&fd, backlog)?;
        }
        let listener = Self::from_fd(fd)?;
        shared.io.borrow().sim_listen(listener.index);
        Ok(listener)
    }

    /// A duplicate of the descriptor, to hand to another process. Both accept from one queue.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn dup_fd(&self) -> io::Result<OwnedFd> {
        self.shared.io.borrow().dup_listener(self.index)
    }

    /// The next connection and its peer.
    ///
    /// # Errors
    /// Those that end the listener. Connections that failed while they waited are skipped, and a
    /// lack of descriptors or memory is waited out.
    pub async fn accept(&self) -> io::Result<(Stream, SockAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`Listener::accept`] for hand-written futures.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SockAddr)>> {
        loop {
            let mut back_off = self.back_off.borrow_mut();
            if let Some(sleep) = &mut *back_off {
                ready!(Pin::new(sleep).poll(cx));
                *back_off = None;
            }
            let mut io = self.shared.io.borrow_mut();
            match ready!(io.poll_accept(self.index, cx)) {
                Ok(sock) => {
                    let index = match io.insert_stream(sock) {
                        Ok(index) => index,
                        Err(err) if is_shortage(&err) => continue,
                        Err(err) => return Poll::Ready(Err(err)),
                    };
                    // A peer that is gone already has no address, and shows at the first read.
                    let peer = io.stream_addr(index, true).unwrap_or_else(|_| unknown_peer());
                    drop(io);
                    let stream = Stream::from_index(Rc::clone(&self.shared), index);
                    return Poll::Ready(Ok((stream, peer)));
                }
                Err(err) if is_shortage(&err) => {
                    drop(io);
                    *back_off = Some(sleep(BACK_OFF));
                }
                Err(err) => return Poll::Ready(Err(err)),
            }
        }
    }

    /// Stops accepting. Connections wait in the kernel's backlog.
    pub fn pause(&self) {
        self.shared.io.borrow_mut().pause_listener(self.index, true);
    }

    /// Accepts again.
    pub fn resume(&self) {
        self.shared.io.borrow_mut().pause_listener(self.index, false);
    }

    /// Tries to accept again, as if something had come. The kernel wakes one of those who wait for
    /// a connection; if that is a process that has just died, nobody takes it.
    pub fn look_again(&self) {
        self.shared.io.borrow_mut().rearm_listener(self.index);
    }

    /// The address it is bound to: with the port the system chose, when 0 was asked for.
    ///
    /// # Errors
    /// That of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SockAddr> {
        self.shared.io.borrow().listener_addr(self.index)
    }

    fn new(shared: Rc<Shared>, index: u32) -> Self {
        Self { shared, index, back_off: RefCell::new(None) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.io.borrow_mut().drop_listener(self.index);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("index", &self.index).finish_non_exhaustive()
    }
}

impl crate::driver::Io {
    /// Opens a listener with the driver.
    fn listen(&mut self, addr: &SockAddr, opts: &ListenOptions) -> io::Result<u32> {
        if let Driver::Sim(_) = self.driver {
            return self.sim_bind(addr, opts.reuse_port, opts.listen);
        }
        let socket = options::open_listener(addr, opts, self.wants_nonblocking())?;
        self.add_listener(Sock::Fd(OwnedFd::from(socket)))
    }

    fn listener_addr(&self, index: u32) -> io::Result<SockAddr> {
        let sock = &self.listeners[index as usize].sock;
        if let (Sock::Sim(id), Driver::Sim(sim)) = (sock, &self.driver) {
            return sim.net.borrow().listener_addr(*id).ok_or_else(crate::driver::closed);
        }
        let fd = sock.fd()?;
        Ok(SockAddr::from_raw(&socket2::SockRef::from(&fd).local_addr()?))
    }

    /// Where a simulated stream went before it was redirected; `None` for a real one.
    pub(crate) fn sim_original_dst(&self, index: u32) -> Option<Option<SockAddr>> {
        match (&self.streams[index as usize].sock, &self.driver) {
            (Sock::Sim(id), Driver::Sim(sim)) => Some(sim.net.borrow().original(*id)),
            _ => None,
        }
    }

    /// The address of either end of a stream.
    pub(crate) fn stream_addr(&self, index: u32, peer: bool) -> io::Result<SockAddr> {
        let sock = &self.streams[index as usize].sock;
        if let (Sock::Sim(id), Driver::Sim(sim)) = (sock, &self.driver) {
            return sim.net.borrow().addr(*id, peer).ok_or_else(crate::driver::closed);
        }
        let fd = sock.fd()?;
        let socket = socket2::SockRef::from(&fd);
        let raw = if peer { socket.peer_addr()? } else { socket.local_addr()? };
        Ok(SockAddr::from_raw(&raw))
    }
}

fn is_shortage(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC)
    )
}

fn unknown_peer() -> SockAddr {
    SockAddr::Unix(super::UnixAddr::Unnamed)
}
