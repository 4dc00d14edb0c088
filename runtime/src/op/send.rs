//! Send: chunks are queued, and all that is queued by the end of a turn goes out in one system
//! call or submission per stream.

use crate::buf::{Chain, Chunk};
use crate::driver::{Driver, Io, Sock, keep_waker};
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// Slices of one send.
pub(crate) const MAX_SLICES: usize = 64;

impl Io {
    /// Queues data. After a write error it is dropped: the error is reported by who waits.
    pub(crate) fn write(&mut self, index: u32, chunk: Chunk) {
        let slot = &mut self.streams[index as usize];
        if slot.write_error == 0 && !slot.shutdown_wanted {
            slot.send.push(chunk);
            self.mark_dirty(index);
        }
    }

    /// Queues several chunks.
    pub(crate) fn write_chain(&mut self, index: u32, mut chain: Chain) {
        let slot = &mut self.streams[index as usize];
        if slot.write_error == 0 && !slot.shutdown_wanted {
            slot.send.append(&mut chain);
            self.mark_dirty(index);
        }
    }

    /// Asks for a FIN once all that is queued has gone.
    pub(crate) fn shutdown_write(&mut self, index: u32) {
        self.streams[index as usize].shutdown_wanted = true;
        self.mark_dirty(index);
    }

    /// Ready once no more than `below` bytes wait, or with the error that ended writing.
    pub(crate) fn poll_queued_below(
        &mut self,
        index: u32,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[index as usize];
        if slot.write_error != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(slot.write_error)));
        }
        if slot.queued() <= below {
            return Poll::Ready(Ok(()));
        }
        slot.send_below = below;
        keep_waker(&mut slot.send_waker, cx.waker());
        Poll::Pending
    }

    /// Puts the stream on the list of those to flush at the end of the turn.
    pub(crate) fn mark_dirty(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Sends what every stream has queued in this turn.
    pub(crate) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if let Some(slot) = self.streams.get_mut(index as usize) {
                slot.dirty = false;
                self.flush(index);
            }
        }
        self.dirty = dirty;
    }

    fn flush(&mut self, index: u32) {
        let slot = &self.streams[index as usize];
        if slot.orphaned || slot.write_error != 0 {
            return;
        }
        match &self.driver {
            Driver::Epoll(_) => self.send_now(index),
            Driver::Closed => self.write_failed(index, libc::ENOTCONN),
        }
        self.finish_shutdown(index);
    }

    /// epoll: sends until the queue is empty or the socket is full.
    fn send_now(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        while slot.writable && !slot.send.is_empty() {
            match send_slices(&slot.sock, &slot.send) {
                Ok((sent, offered)) => {
                    slot.send.advance(sent);
                    // The rest did not fit; the socket will say when it does.
                    slot.writable = sent == offered;
                }
                Err(libc::EAGAIN) => slot.writable = false,
                Err(libc::EINTR) => {}
                Err(errno) => return self.write_failed(index, errno),
            }
        }
        slot.wake_send();
    }

    /// Ends writing for good.
    pub(crate) fn write_failed(&mut self, index: u32, errno: i32) {
        let slot = &mut self.streams[index as usize];
        slot.write_error = errno;
        slot.send.clear();
        slot.wake_send();
    }

    /// Sends the FIN that was asked for, when its turn has come.
    pub(crate) fn finish_shutdown(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        if !slot.shutdown_wanted || slot.shutdown_done || slot.queued() > 0 {
            return;
        }
        slot.shutdown_done = true;
        if let Sock::Fd(fd) = &slot.sock {
            // It fails when the connection is gone, and then the FIN has nowhere to go.
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }
}

/// One sendmsg of the head of the queue: bytes sent, bytes offered.
fn send_slices(sock: &Sock, queue: &Chain) -> Result<(usize, usize), i32> {
    let fd = sock.fd().map_err(|_| libc::EBADF)?;
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    if queue.count() == 1
        && let Some(chunk) = queue.front()
    {
        let sent = rustix::net::send(fd, chunk, flags).map_err(|errno| errno.raw_os_error())?;
        return Ok((sent, chunk.len()));
    }
    let slices: SmallVec<[IoSlice<'_>; MAX_SLICES]> =
        queue.iter().take(MAX_SLICES).map(|chunk| IoSlice::new(chunk)).collect();
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let mut control = rustix::net::SendAncillaryBuffer::default();
    let sent = rustix::net::sendmsg(fd, &slices, &mut control, flags)
        .map_err(|errno| errno.raw_os_error())?;
    Ok((sent, offered))
}
