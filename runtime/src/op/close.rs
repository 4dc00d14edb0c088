//! The end of handles: operations are cancelled, and slots are freed with the last of them.

use crate::driver::{Driver, Io, Sock};
use crate::net::options;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Io {
    /// The handle of a stream is gone: what is queued is dropped, the socket closed.
    pub(crate) fn drop_stream(&mut self, index: u32) {
        let Some(slot) = self.streams.get_mut(index as usize) else { return };
        slot.orphaned = true;
        slot.recv.clear();
        slot.send.clear();
        slot.recv_waker = None;
        slot.send_waker = None;
        self.release_stream(index);
    }

    /// Makes the coming close send a reset.
    pub(crate) fn reset_stream(&mut self, index: u32) {
        if let Sock::Fd(fd) = &self.streams[index as usize].sock {
            // It fails only for sockets that know no linger (unix): those are just closed.
            let _ = options::set_reset_on_close(fd);
        }
    }

    /// Frees an orphaned slot that the kernel is done with.
    pub(crate) fn release_stream(&mut self, index: u32) {
        let Some(slot) = self.streams.get(index as usize) else { return };
        if slot.orphaned && !slot.busy() {
            let slot = self.streams.remove(index as usize);
            self.close_sock(slot.sock);
        }
    }

    /// Takes the descriptor out of a stream that has nothing in flight.
    pub(crate) fn take_stream(&mut self, index: u32) -> io::Result<OwnedFd> {
        let slot = &mut self.streams[index as usize];
        slot.sock.fd()?;
        match std::mem::replace(&mut slot.sock, Sock::None) {
            Sock::Fd(fd) => {
                if let Driver::Epoll(epoll) = &self.driver {
                    epoll.remove(fd.as_fd());
                }
                Ok(fd)
            }
            Sock::Sim(_) | Sock::None => Err(crate::driver::closed()),
        }
    }

    /// Closes a socket of any kind.
    pub(crate) fn close_sock(&mut self, sock: Sock) {
        // A descriptor is closed by dropping it.
        drop(sock);
    }
}
