//! Unix sockets of whole messages that may carry a descriptor: how one process gives sockets to
//! another.

use super::{SockAddr, Source, UnixAddr};
use crate::current;
use crate::op::poll::Interest;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags,
};
use socket2::{Domain, Socket, Type};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Descriptors a message has room for when it is received; those above one are closed.
const FDS_MAX: usize = 4;

/// Listens for other processes of this machine.
pub struct PacketListener {
    source: Source,
}

/// A connection of messages (`SOCK_SEQPACKET`): each arrives whole, in order, or the connection is
/// gone.
pub struct PacketSocket {
    source: Source,
}

/// One message.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes, at least one.
    pub bytes: Vec<u8>,
    /// What it carried.
    pub fd: Option<OwnedFd>,
}

/// Who is at the other end, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process id when it connected or listened.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
}

impl PacketListener {
    /// Binds a unix address; a path is made with these permission bits.
    ///
    /// # Errors
    /// Those of `socket`, `bind` and `listen`; an address that is no unix address.
    pub fn bind(addr: &SockAddr, mode: u32) -> io::Result<Self> {
        let socket = open(addr)?;
        socket.bind(&addr.to_raw()?)?;
        if let SockAddr::Unix(UnixAddr::Path(path)) = addr {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        socket.listen(16)?;
        Ok(Self { source: Source::new(&current::shared(), socket.into())? })
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of `accept`, among them a lack of descriptors: the caller should pause before it
    /// tries again.
    pub async fn accept(&self) -> io::Result<PacketSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = self.source.io(Interest::Read, |fd| rustix::net::accept_with(fd, flags)).await?;
        Ok(PacketSocket { source: Source::new(self.source.shared(), fd)? })
    }
}

impl PacketSocket {
    /// Connects to a listener. Never waits: it is there or not.
    ///
    /// # Errors
    /// Those of `socket` and `connect`.
    pub fn connect(addr: &SockAddr) -> io::Result<Self> {
        let socket = open(addr)?;
        socket.connect(&addr.to_raw()?)?;
        Ok(Self { source: Source::new(&current::shared(), socket.into())? })
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn peer(&self) -> io::Result<PeerCredentials> {
        let found = self.source.with_fd(|fd| rustix::net::sockopt::socket_peercred(fd))?;
        Ok(PeerCredentials { pid: found.pid.as_raw_nonzero().get(), uid: found.uid.as_raw() })
    }

    /// Sends a message, with a descriptor if there is one, once there is room for it. The kernel
    /// makes a descriptor of its own of it.
    ///
    /// # Errors
    /// The other end is gone, or the message is too large for the socket's buffer.
    pub async fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.source.io(Interest::Write, |socket| send(socket, bytes, fd)).await
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// As [`PacketSocket::send`], or `WouldBlock`.
    pub fn try_send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        Ok(self.source.with_fd(|socket| send(socket, bytes, fd))?)
    }

    /// The next message; `None` once the other end is gone and all was received.
    ///
    /// # Errors
    /// That of the connection; a message of more than `max` bytes.
    pub async fn recv(&self, max: usize) -> io::Result<Option<Packet>> {
        let packet = self.source.io(Interest::Read, |fd| receive(fd, max)).await?;
        match packet {
            (packet, _) if packet.bytes.is_empty() => Ok(None),
            (_, flags) if flags.contains(ReturnFlags::TRUNC) => {
                let what = format!("a message of more than {max} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
            (packet, _) => Ok(Some(packet)),
        }
    }
}

fn open(addr: &SockAddr) -> io::Result<Socket> {
    if !matches!(addr, SockAddr::Unix(_)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a unix address"));
    }
    Socket::new_raw(Domain::UNIX, Type::SEQPACKET.nonblocking().cloexec(), None)
}

fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: [BorrowedFd<'_>; 1];
    if let Some(fd) = fd {
        fds = [fd];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags).map(|_| ())
}

fn receive(socket: BorrowedFd<'_>, max: usize) -> rustix::io::Result<(Packet, ReturnFlags)> {
    let mut bytes = vec![0; max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
    let mut fd = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            // Dropping a descriptor closes it.
            fds.for_each(|received| fd = Some(received));
        }
    }
    bytes.truncate(got.bytes);
    bytes.shrink_to_fit();
    Ok((Packet { bytes, fd }, got.flags))
}

impl fmt::Debug for PacketListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketListener").finish_non_exhaustive()
    }
}

impl fmt::Debug for PacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSocket").finish_non_exhaustive()
    }
}
