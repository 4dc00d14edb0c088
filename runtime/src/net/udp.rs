//! [`UdpSocket`]: datagrams, over IP or unix sockets.

use super::{SockAddr, SocketOption, Source, options};
use crate::buf::{BufMut, Chunk};
use crate::current;
use crate::op::poll::Interest;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// A datagram socket.
pub struct UdpSocket {
    source: Source,
}

impl UdpSocket {
    /// Binds to `addr`; port 0 lets the system choose. A unix client binds to
    /// [`super::UnixAddr::Unnamed`].
    ///
    /// # Errors
    /// Those of `socket` and `bind`.
    pub fn bind(addr: &SockAddr) -> io::Result<Self> {
        Self::bind_with(addr, &[])
    }

    /// [`UdpSocket::bind`] with socket options, set before binding.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt` and `bind`.
    pub fn bind_with(addr: &SockAddr, opts: &[SocketOption]) -> io::Result<Self> {
        let shared = current::shared();
        if shared.io.borrow().virtual_now().is_some() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the simulated network carries no datagrams",
            ));
        }
        let socket = options::open_udp(addr, opts)?;
        Ok(Self { source: Source::new(&shared, OwnedFd::from(socket))? })
    }

    /// Sets the peer: only its datagrams are received, and [`UdpSocket::send`] goes there.
    ///
    /// # Errors
    /// That of `connect`.
    pub fn connect(&self, addr: &SockAddr) -> io::Result<()> {
        let raw = addr.to_raw()?;
        self.source.with_fd(|fd| SockRef::from(&fd).connect(&raw))
    }

    /// Sends one datagram to the connected peer, waiting while the socket is full.
    ///
    /// # Errors
    /// That of `send`; `ConnectionRefused` tells of an earlier datagram nobody took.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.source.io(Interest::Write, |fd| errno(SockRef::from(&fd).send(data))).await
    }

    /// Sends one datagram, waiting while the socket is full.
    ///
    /// # Errors
    /// That of `sendto`.
    pub async fn send_to(&self, data: &[u8], addr: &SockAddr) -> io::Result<usize> {
        let raw = addr.to_raw()?;
        self.source.io(Interest::Write, |fd| errno(SockRef::from(&fd).send_to(data, &raw))).await
    }

    /// The next datagram, cut off at `max` bytes, and its sender.
    ///
    /// # Errors
    /// That of `recvfrom`.
    pub async fn recv_from(&self, max: usize) -> io::Result<(Chunk, SockAddr)> {
        let mut buf = BufMut::new();
        let (n, from) = self
            .source
            .io(Interest::Read, |fd| {
                // Taken when there may be something: a waiting socket holds no buffer.
                buf.reserve(max.max(1));
                let room = buf.spare();
                let want = max.clamp(1, room.len());
                errno(recv_from(fd, &mut room[..want]))
            })
            .await?;
        buf.advance(n);
        Ok((buf.freeze(), from))
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// That of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SockAddr> {
        let raw = self.source.with_fd(|fd| SockRef::from(&fd).local_addr())?;
        Ok(SockAddr::from_raw(&raw))
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").finish_non_exhaustive()
    }
}

fn recv_from(fd: std::os::fd::BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    let flags = rustix::net::RecvFlags::DONTWAIT;
    let (_, n, from) = rustix::net::recvfrom(fd, &mut *buf, flags)?;
    let from = match from {
        Some(any) => match std::net::SocketAddr::try_from(any.clone()) {
            Ok(inet) => SockAddr::Inet(inet),
            Err(_) => unix_sender(any),
        },
        None => SockAddr::Unix(super::UnixAddr::Unnamed),
    };
    Ok((n.min(buf.len()), from))
}

fn unix_sender(any: rustix::net::SocketAddrAny) -> SockAddr {
    use super::UnixAddr;
    let Ok(addr) = rustix::net::SocketAddrUnix::try_from(any) else {
        return SockAddr::Unix(UnixAddr::Unnamed);
    };
    if let Some(name) = addr.abstract_name() {
        return SockAddr::Unix(UnixAddr::Abstract(name.to_vec()));
    }
    match addr.path() {
        Some(path) => SockAddr::unix(std::path::Path::new(&*path.to_string_lossy())),
        None => SockAddr::Unix(UnixAddr::Unnamed),
    }
}

fn errno<T>(result: io::Result<T>) -> rustix::io::Result<T> {
    result.map_err(|err| rustix::io::Errno::from_io_error(&err).unwrap_or(rustix::io::Errno::IO))
}
