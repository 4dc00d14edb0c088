//! Poll: readiness of a descriptor that plain system calls then use.

use crate::driver::{Completion, Driver, Io, Kind, SourceSlot, Token, closed, keep_waker};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll};

/// The direction waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Io {
    /// Adds a non-blocking descriptor.
    pub(crate) fn add_source(&mut self, fd: OwnedFd) -> io::Result<u32> {
        let generation = self.next_generation();
        let entry = self.sources.vacant_entry();
        let index = entry.key() as u32;
        match &self.driver {
            Driver::Epoll(epoll) => {
                epoll.add(fd.as_fd(), Token::new(Kind::Source, index, generation))?;
            }
            Driver::Uring(_) | Driver::Sim(_) => {}
            Driver::Closed => return Err(closed()),
        }
        entry.insert(SourceSlot {
            fd,
            generation,
            readable: true,
            writable: true,
            read_waker: None,
            write_waker: None,
            read_armed: false,
            write_armed: false,
            orphaned: false,
        });
        Ok(index)
    }

    /// Ready while the descriptor may be: until [`Io::source_blocked`] says that it was not.
    pub(crate) fn poll_source(
        &mut self,
        index: u32,
        interest: Interest,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Driver::Closed = self.driver {
            return Poll::Ready(Err(closed()));
        }
        let slot = &mut self.sources[index as usize];
        let (ready, waker) = match interest {
            Interest::Read => (slot.readable, &mut slot.read_waker),
            Interest::Write => (slot.writable, &mut slot.write_waker),
        };
        if ready {
            return Poll::Ready(Ok(()));
        }
        keep_waker(waker, cx.waker());
        self.arm_source(index, interest);
        Poll::Pending
    }

    /// io_uring: waits for readiness once.
    fn arm_source(&mut self, index: u32, interest: Interest) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.sources[index as usize];
        let (armed, kind, mask) = match interest {
            Interest::Read => (&mut slot.read_armed, Kind::Source, libc::POLLIN),
            Interest::Write => (&mut slot.write_armed, Kind::SourceWrite, libc::POLLOUT),
        };
        if driver.closing || std::mem::replace(armed, true) {
            return;
        }
        let entry = opcode::PollAdd::new(types::Fd(slot.fd.as_raw_fd()), mask as u32)
            .build()
            .user_data(Token::new(kind, index, slot.generation).to_u64());
        // SAFETY: it names no memory, and the descriptor stays in the slot while the mark set
        // above is, which only the completion clears.
        unsafe { driver.push(entry) }
    }

    /// io_uring: a wait for readiness has ended.
    pub(crate) fn source_complete(&mut self, done: Completion, read: bool) {
        let Some(slot) = self.sources.get_mut(done.token.index()) else { return };
        if slot.generation != done.token.generation() {
            return;
        }
        if read {
            slot.read_armed = false;
        } else {
            slot.write_armed = false;
        }
        if slot.orphaned {
            return self.release_source(done.token.index() as u32);
        }
        // Errors show in the system call that is tried now.
        self.source_ready(done.token, read, !read);
    }

    /// io_uring: takes waits for readiness back.
    fn cancel_source(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &self.sources[index as usize];
        if slot.read_armed {
            driver.cancel(Token::new(Kind::Source, index, slot.generation));
        }
        if slot.write_armed {
            driver.cancel(Token::new(Kind::SourceWrite, index, slot.generation));
        }
    }

    /// A system call found the descriptor not ready: wait for an event.
    pub(crate) fn source_blocked(&mut self, index: u32, interest: Interest) {
        let slot = &mut self.sources[index as usize];
        match interest {
            Interest::Read => slot.readable = false,
            Interest::Write => slot.writable = false,
        }
    }

    /// An event says that the descriptor is ready.
    pub(crate) fn source_ready(&mut self, token: Token, readable: bool, writable: bool) {
        let Some(slot) = self.sources.get_mut(token.index()) else { return };
        if slot.generation != token.generation() {
            return;
        }
        if readable {
            slot.readable = true;
            slot.read_waker.take().into_iter().for_each(|waker| waker.wake());
        }
        if writable {
            slot.writable = true;
            slot.write_waker.take().into_iter().for_each(|waker| waker.wake());
        }
    }

    /// The handle of a source is gone.
    pub(crate) fn drop_source(&mut self, index: u32) {
        let Some(slot) = self.sources.get_mut(index as usize) else { return };
        slot.orphaned = true;
        slot.read_waker = None;
        slot.write_waker = None;
        self.cancel_source(index);
        self.release_source(index);
    }

    /// Frees an orphaned slot that the kernel is done with.
    pub(crate) fn release_source(&mut self, index: u32) {
        let Some(slot) = self.sources.get(index as usize) else { return };
        if slot.orphaned && !slot.read_armed && !slot.write_armed {
            self.sources.remove(index as usize);
        }
    }
}
