//! Simulated sockets on their way from one runtime to another, as descriptors.
//!
//! LIFECYCLE: a handle is turned into a descriptor, or duplicated as one (`pass`) → somebody takes
//! it (`arrive`): a stream then belongs to that runtime, a listener has one more handle → the last
//! copy of the descriptor is closed. A stream that nobody took by then is closed, and a listener
//! that has no handle either, as the kernel would.
//!
//! The descriptor is the writing end of a pipe: the system keeps count of its copies, and its
//! reading end shows when none is left.

use super::net::Net;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};

/// A socket that descriptors stand for.
pub(super) struct Passing {
    /// Of the pipe.
    inode: u64,
    reader: PipeReader,
    sock: u32,
}

impl Passing {
    /// Whether no copy of the descriptor is left.
    fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.reader, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0)
    }
}

impl Net {
    /// A descriptor that stands for a socket.
    pub(crate) fn pass(&mut self, sock: u32) -> io::Result<OwnedFd> {
        let (reader, writer) = io::pipe()?;
        let inode = rustix::fs::fstat(&writer)?.st_ino;
        self.passing.push(Passing { inode, reader, sock });
        Ok(writer.into())
    }

    /// The socket that a descriptor stands for.
    pub(crate) fn arrive(&mut self, fd: impl AsFd) -> io::Result<u32> {
        let inode = rustix::fs::fstat(fd)?.st_ino;
        let at = self.passing.iter().position(|passing| passing.inode == inode);
        let foreign =
            || io::Error::new(io::ErrorKind::Unsupported, "no socket of the simulated network");
        let at = at.ok_or_else(foreign)?;
        let sock = self.passing[at].sock;
        if !self.listeners.contains_key(&sock) {
            // A stream is with one runtime only.
            self.passing.swap_remove(at);
        }
        Ok(sock)
    }

    /// Closes what was let go of on its way.
    pub(crate) fn sweep_passing(&mut self) {
        let mut at = 0;
        while let Some(passing) = self.passing.get(at) {
            if !passing.is_closed() {
                at += 1;
                continue;
            }
            let sock = self.passing.swap_remove(at).sock;
            match self.listeners.get(&sock) {
                Some(listener) if listener.handles.is_empty() => self.close_unless_passing(sock),
                Some(_) => {}
                None => self.close(sock, false),
            }
        }
    }

    /// Closes a listener without handles, unless it is on its way to one.
    pub(super) fn close_unless_passing(&mut self, listener: u32) {
        if !self.passing.iter().any(|passing| passing.sock == listener) {
            self.close_listener(listener);
        }
    }
}
