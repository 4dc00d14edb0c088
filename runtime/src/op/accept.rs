//! Accept.

use crate::driver::{Driver, Io, Kind, ListenerSlot, Sock, Token, closed, keep_waker};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

/// Error numbers that concern one connection that failed before it was accepted, not the listener.
const PASSING: [i32; 11] = [
    libc::EINTR,
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::ENETDOWN,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ENETUNREACH,
    libc::EPERM,
];

impl Io {
    /// Adds a listening socket.
    pub(crate) fn add_listener(&mut self, sock: Sock) -> io::Result<u32> {
        let generation = self.next_generation();
        let entry = self.listeners.vacant_entry();
        let index = entry.key() as u32;
        match &self.driver {
            Driver::Epoll(epoll) => {
                let fd = sock.fd()?;
                rustix::io::ioctl_fionbio(fd, true)?;
                epoll.add_listener(fd, Token::new(Kind::Listener, index, generation))?;
            }
            Driver::Closed => return Err(closed()),
        }
        entry.insert(ListenerSlot::new(sock, generation));
        Ok(index)
    }

    /// The next connection. Errors are those of the process or system (no descriptors, no
    /// memory): the caller backs off.
    pub(crate) fn poll_accept(
        &mut self,
        index: u32,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Sock>> {
        let slot = &mut self.listeners[index as usize];
        if let Some(sock) = slot.queue.pop_front() {
            return Poll::Ready(Ok(sock));
        }
        if slot.error != 0 {
            let errno = std::mem::replace(&mut slot.error, 0);
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        keep_waker(&mut slot.waker, cx.waker());
        if slot.paused {
            return Poll::Pending;
        }
        match &self.driver {
            Driver::Epoll(_) => self.accept_now(index),
            Driver::Closed => Poll::Ready(Err(closed())),
        }
    }

    /// Stops accepting; connections wait in the kernel's backlog.
    pub(crate) fn pause_listener(&mut self, index: u32, paused: bool) {
        let slot = &mut self.listeners[index as usize];
        slot.paused = paused;
        if !paused && let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// The handle of a listener is gone.
    pub(crate) fn drop_listener(&mut self, index: u32) {
        let Some(slot) = self.listeners.get_mut(index as usize) else { return };
        slot.orphaned = true;
        slot.waker = None;
        let queue = std::mem::take(&mut slot.queue);
        queue.into_iter().for_each(|sock| self.close_sock(sock));
        self.release_listener(index);
    }

    /// Frees an orphaned slot that the kernel is done with.
    pub(crate) fn release_listener(&mut self, index: u32) {
        let Some(slot) = self.listeners.get(index as usize) else { return };
        if slot.orphaned && !slot.armed {
            let slot = self.listeners.remove(index as usize);
            self.close_sock(slot.sock);
        }
    }

    /// epoll: accepts if there may be somebody.
    fn accept_now(&mut self, index: u32) -> Poll<io::Result<Sock>> {
        use rustix::net::SocketFlags;
        let slot = &mut self.listeners[index as usize];
        while slot.readable {
            let fd = match slot.sock.fd() {
                Ok(fd) => fd,
                Err(err) => return Poll::Ready(Err(err)),
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(fd, flags) {
                Ok(fd) => return Poll::Ready(Ok(Sock::Fd(fd))),
                Err(Errno::AGAIN) => slot.readable = false,
                Err(errno) if is_passing(errno.raw_os_error()) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
        Poll::Pending
    }

    /// A listener's descriptor, duplicated, for handing it over.
    pub(crate) fn dup_listener(&self, index: u32) -> io::Result<OwnedFd> {
        self.listeners[index as usize].sock.fd()?.try_clone_to_owned()
    }
}

/// Whether an accept that failed so is just tried again.
pub(crate) fn is_passing(errno: i32) -> bool {
    PASSING.contains(&errno)
}
