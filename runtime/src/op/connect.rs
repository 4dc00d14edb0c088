//! Connect: the slot of the stream exists from the start, so a dropped attempt is a dropped stream.

use crate::driver::{Completion, Connecting, keep_waker};
use crate::driver::{Driver, Io, Kind, Sock, StreamSlot, Token, closed};
use crate::net::{ConnectOptions, SockAddr, options};
use io_uring::{opcode, types};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

impl Io {
    /// Starts to connect; the outcome is up to [`Io::poll_connect`].
    pub(crate) fn connect(&mut self, addr: &SockAddr, opts: &ConnectOptions) -> io::Result<u32> {
        if let Driver::Sim(_) = self.driver {
            return self.sim_connect(addr, opts);
        }
        let socket = options::open_client(addr, opts, self.wants_nonblocking())?;
        let raw = addr.to_raw()?;
        match &self.driver {
            Driver::Epoll(_) => {
                let pending = match socket.connect(&raw) {
                    Ok(()) => false,
                    Err(err) if err.raw_os_error() == Some(libc::EINPROGRESS) => true,
                    Err(err) => return Err(err),
                };
                let index = self.add_stream(OwnedFd::from(socket))?;
                if let Some(slot) = self.streams.get_mut(index as usize)
                    && pending
                {
                    slot.connecting = Connecting::Pending;
                    slot.writable = false;
                }
                Ok(index)
            }
            Driver::Uring(_) => {
                let index = self.add_stream(OwnedFd::from(socket))?;
                self.connect_submit(index, raw);
                Ok(index)
            }
            Driver::Sim(_) | Driver::Closed => Err(closed()),
        }
    }

    /// Simulated: an attempt in the network.
    fn sim_connect(&mut self, addr: &SockAddr, opts: &ConnectOptions) -> io::Result<u32> {
        let Driver::Sim(sim) = &self.driver else { return Err(closed()) };
        let id = sim.net.borrow_mut().connect(sim.id, addr, opts.bind.as_ref());
        let index = self.insert_stream(Sock::Sim(id))?;
        self.streams[index as usize].connecting = Connecting::Pending;
        Ok(index)
    }

    /// io_uring: starts the connect; the address stays in the slot until it ends.
    fn connect_submit(&mut self, index: u32, addr: socket2::SockAddr) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        let addr = slot.connect_addr.insert(Box::new(addr));
        let entry =
            opcode::Connect::new(types::Fd(slot.sock.raw()), addr.as_ptr().cast(), addr.len())
                .build()
                .user_data(Token::new(Kind::Connect, index, slot.generation).to_u64());
        slot.connecting = Connecting::Pending;
        // SAFETY: the boxed address and the socket stay in the slot, which is not freed while
        // `connect_addr` is set, and only the completion clears that.
        unsafe { driver.push(entry) }
    }

    /// io_uring: the connect has ended.
    pub(crate) fn connect_complete(&mut self, done: Completion) {
        let Some(slot) = self.streams.get_mut(done.token.index()) else { return };
        if slot.generation != done.token.generation() {
            return;
        }
        slot.connect_addr = None;
        connect_done(slot, done.result.min(0).saturating_neg());
        self.release_stream(done.token.index() as u32);
    }

    /// Adds a connected socket, or one about to connect.
    pub(crate) fn add_stream(&mut self, fd: OwnedFd) -> io::Result<u32> {
        let sock = self.sock_of(fd)?;
        self.insert_stream(sock)
    }

    /// Adds a stream socket of any kind.
    pub(crate) fn insert_stream(&mut self, sock: Sock) -> io::Result<u32> {
        let generation = self.next_generation();
        let entry = self.streams.vacant_entry();
        let index = entry.key() as u32;
        match &self.driver {
            Driver::Epoll(epoll) => {
                epoll.add(sock.fd()?, Token::new(Kind::Stream, index, generation))?;
            }
            Driver::Uring(_) => {}
            Driver::Sim(sim) => {
                if let Sock::Sim(id) = sock {
                    let token = Token::new(Kind::Stream, index, generation);
                    sim.net.borrow_mut().attach(id, sim.id, token);
                }
            }
            Driver::Closed => return Err(closed()),
        }
        entry.insert(StreamSlot::new(sock, generation));
        Ok(index)
    }

    /// Whether the connection stands.
    pub(crate) fn poll_connect(
        &mut self,
        index: u32,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[index as usize];
        match slot.connecting {
            Connecting::Done => Poll::Ready(Ok(())),
            Connecting::Failed(errno) => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            Connecting::Pending => {
                keep_waker(&mut slot.send_waker, cx.waker());
                Poll::Pending
            }
        }
    }

    /// epoll: the socket became writable, or broke.
    pub(crate) fn connect_writable(&mut self, index: u32) {
        let Some(slot) = self.streams.get_mut(index as usize) else { return };
        let error = match slot.sock.fd() {
            Ok(fd) => rustix::net::sockopt::socket_error(fd),
            Err(_) => Ok(Err(Errno::BADF)),
        };
        let errno = match error {
            Ok(Ok(())) => 0,
            Ok(Err(errno)) | Err(errno) => errno.raw_os_error(),
        };
        connect_done(slot, errno);
    }
}

/// Notes the outcome and wakes who waits for it.
pub(crate) fn connect_done(slot: &mut StreamSlot, errno: i32) {
    slot.connecting = match errno {
        0 => Connecting::Done,
        errno => Connecting::Failed(errno),
    };
    if let Some(waker) = slot.send_waker.take() {
        waker.wake();
    }
}
