//! Accept.

use crate::driver::{Completion, Driver, Io, Kind, ListenerSlot, Sock, Token, closed, keep_waker};
use io_uring::{opcode, types};
use rustix::io::Errno;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::task::{Context, Poll};

/// Accepted connections that wait to be taken (io_uring); the others wait in the kernel.
const QUEUE_MAX: usize = 256;

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
            // Who bound it may run on another driver. Here, operations on a non-blocking socket
            // would fail instead of waiting.
            Driver::Uring(_) => rustix::io::ioctl_fionbio(sock.fd()?, false)?,
            Driver::Sim(sim) => {
                let Sock::Sim(id) = sock else { return Err(closed()) };
                let token = Token::new(Kind::Listener, index, generation);
                sim.net.borrow_mut().attach_listener(id, sim.id, token);
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
            self.arm_accept(index);
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
            Driver::Uring(_) => {
                self.arm_accept(index);
                Poll::Pending
            }
            Driver::Sim(sim) => match slot.sock {
                Sock::Sim(id) => match sim.net.borrow_mut().accept(id) {
                    Some(accepted) => Poll::Ready(Ok(Sock::Sim(accepted))),
                    None => Poll::Pending,
                },
                _ => Poll::Ready(Err(closed())),
            },
            Driver::Closed => Poll::Ready(Err(closed())),
        }
    }

    /// Stops accepting; connections wait in the kernel's backlog.
    pub(crate) fn pause_listener(&mut self, index: u32, paused: bool) {
        let nonblocking = self.wants_nonblocking();
        let slot = &mut self.listeners[index as usize];
        if std::mem::replace(&mut slot.paused, paused) == paused {
            return;
        }
        if let (Driver::Epoll(epoll), Ok(fd)) = (&self.driver, slot.sock.fd()) {
            if paused {
                epoll.remove(fd);
            } else {
                // Nothing but a lack of memory stops it, and there is nobody to tell.
                let token = Token::new(Kind::Listener, index, slot.generation);
                let _ = epoll.add_listener(fd, token);
                slot.readable = true;
            }
        }
        if paused {
            return self.cancel_accept(index);
        }
        // The socket may have been with another process, whose driver is not ours.
        if let Ok(fd) = slot.sock.fd() {
            let _ = rustix::io::ioctl_fionbio(fd, nonblocking);
        }
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Tries to accept, whatever events have said.
    pub(crate) fn rearm_listener(&mut self, index: u32) {
        let slot = &mut self.listeners[index as usize];
        if slot.paused {
            return;
        }
        slot.readable = true;
        if slot.armed {
            // Its end wakes the accepting task, which begins anew.
            self.cancel_accept(index);
        } else if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// The handle of a listener is gone.
    pub(crate) fn drop_listener(&mut self, index: u32) {
        let Some(slot) = self.listeners.get_mut(index as usize) else { return };
        slot.orphaned = true;
        slot.waker = None;
        let queue = std::mem::take(&mut slot.queue);
        self.cancel_accept(index);
        queue.into_iter().for_each(|sock| self.close_sock(sock));
        self.release_listener(index);
    }

    /// Frees an orphaned slot that the kernel is done with.
    pub(crate) fn release_listener(&mut self, index: u32) {
        let Some(slot) = self.listeners.get(index as usize) else { return };
        if slot.orphaned && !slot.armed {
            let slot = self.listeners.remove(index as usize);
            if let (Sock::Sim(id), Driver::Sim(sim)) = (&slot.sock, &self.driver) {
                let token = Token::new(Kind::Listener, index, slot.generation);
                return sim.net.borrow_mut().detach_listener(*id, sim.id, token);
            }
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

    /// io_uring: accepts on, unless enough connections wait to be taken.
    fn arm_accept(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.listeners[index as usize];
        let full = slot.queue.len() >= QUEUE_MAX;
        if slot.armed || slot.paused || slot.orphaned || full || driver.closing {
            return;
        }
        let fd = types::Fd(slot.sock.raw());
        let entry = if driver.multishot {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        } else {
            let none = std::ptr::null_mut();
            opcode::Accept::new(fd, none, none.cast()).flags(libc::SOCK_CLOEXEC).build()
        };
        let token = Token::new(Kind::Listener, index, slot.generation);
        slot.armed = true;
        slot.cancelling = false;
        // SAFETY: it names no memory, and the socket stays in the slot while `armed` is set, which
        // only the last completion clears.
        unsafe { driver.push(entry.user_data(token.to_u64())) }
    }

    /// io_uring: takes the accept back.
    fn cancel_accept(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.listeners[index as usize];
        if slot.armed && !std::mem::replace(&mut slot.cancelling, true) {
            driver.cancel(Token::new(Kind::Listener, index, slot.generation));
        }
    }

    /// io_uring: a connection, or the end of the accept.
    pub(crate) fn accept_complete(&mut self, done: Completion) {
        let index = done.token.index();
        // SAFETY: a result of an accept that is not negative is a descriptor the kernel has just
        // made for us. It has no other owner, also when its listener is gone: then it is closed.
        let fd = (done.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(done.result) });
        let Some(slot) = self.listeners.get_mut(index) else { return };
        if slot.generation != done.token.generation() {
            return;
        }
        slot.armed = done.more;
        if slot.orphaned {
            drop(fd);
            return self.release_listener(index as u32);
        }
        let errno = done.result.min(0).saturating_neg();
        match fd {
            Some(fd) => slot.queue.push_back(Sock::Fd(fd)),
            None if errno == libc::ECANCELED || is_passing(errno) => {}
            None => slot.error = errno,
        }
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        if slot.armed && slot.queue.len() >= QUEUE_MAX {
            self.cancel_accept(index as u32);
        } else if errno == 0 || is_passing(errno) {
            self.arm_accept(index as u32);
        }
    }

    /// A listener's descriptor, duplicated, for handing it over.
    pub(crate) fn dup_listener(&self, index: u32) -> io::Result<OwnedFd> {
        match (&self.listeners[index as usize].sock, &self.driver) {
            (Sock::Sim(id), Driver::Sim(sim)) => sim.net.borrow_mut().pass(*id),
            (sock, _) => sock.fd()?.try_clone_to_owned(),
        }
    }
}

/// Whether an accept that failed so is just tried again.
pub(crate) fn is_passing(errno: i32) -> bool {
    PASSING.contains(&errno)
}
