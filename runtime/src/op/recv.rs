//! Receive.
//!
//! epoll reads when somebody asks and the socket may be readable, into a buffer whose size follows
//! what the last reads brought.

use crate::buf::{BufMut, Chunk};
use crate::driver::{Driver, Io, StreamSlot, closed, keep_waker};
use std::io;
use std::task::{Context, Poll};

/// Bytes of a buffer for a message head. With its header it fits a size class.
pub(crate) const SMALL: usize = 16 << 10;
/// Bytes expected from which on receives are large.
pub(crate) const LARGE_FROM: usize = 64 << 10;

/// What one receive came to: data, end of stream (`None`), or an error.
pub(crate) type Received = io::Result<Option<Chunk>>;

impl Io {
    /// The next data of the stream, or a wake-up when there is some.
    pub(crate) fn poll_recv(&mut self, index: u32, cx: &mut Context<'_>) -> Poll<Received> {
        if let Some(received) = self.try_recv(index) {
            return Poll::Ready(received);
        }
        let slot = &mut self.streams[index as usize];
        keep_waker(&mut slot.recv_waker, cx.waker());
        self.arm_recv(index);
        Poll::Pending
    }

    /// Data that is there already.
    pub(crate) fn try_recv(&mut self, index: u32) -> Option<Received> {
        let slot = &mut self.streams[index as usize];
        if let Some(chunk) = slot.recv.pop_front() {
            self.drained(index);
            return Some(Ok(Some(chunk)));
        }
        if slot.recv_error != 0 {
            return Some(Err(io::Error::from_raw_os_error(slot.recv_error)));
        }
        if slot.eof {
            return Some(Ok(None));
        }
        match self.driver {
            Driver::Epoll(_) => self.read_now(index),
            Driver::Closed => Some(Err(closed())),
        }
    }

    /// Wakes `cx` when the stream has data, its end, or an error; reads nothing of it.
    pub(crate) fn poll_readable(&mut self, index: u32, cx: &mut Context<'_>) -> Poll<()> {
        let slot = &mut self.streams[index as usize];
        if !slot.recv.is_empty() || slot.eof || slot.recv_error != 0 {
            return Poll::Ready(());
        }
        // A readable mark may be stale: only an attempt tells.
        if let Driver::Epoll(_) = self.driver
            && let Some(received) = self.read_now(index)
        {
            if let Ok(Some(chunk)) = received {
                self.streams[index as usize].recv.push(chunk);
            }
            return Poll::Ready(());
        }
        let slot = &mut self.streams[index as usize];
        keep_waker(&mut slot.recv_waker, cx.waker());
        self.arm_recv(index);
        Poll::Pending
    }

    /// Asks the driver for the next data, unless it is at it or the reader is behind.
    pub(crate) fn arm_recv(&mut self, _index: u32) {
        match &mut self.driver {
            Driver::Epoll(_) | Driver::Closed => {}
        }
    }

    /// How much more is expected: decides how large receives are.
    pub(crate) fn recv_hint(&mut self, index: u32, expect: usize) {
        self.streams[index as usize].expect = expect;
    }

    /// The reader took something: receive again if that was suspended.
    fn drained(&mut self, _index: u32) {}

    /// epoll: reads if the socket may be readable. `None`: nothing there.
    fn read_now(&mut self, index: u32) -> Option<Received> {
        let slot = &mut self.streams[index as usize];
        if !slot.readable {
            return None;
        }
        let size = next_size(slot, self.bulk_size);
        let mut buf = BufMut::from_raw(self.pool.lease(size));
        let fd = match slot.sock.fd() {
            Ok(fd) => fd,
            Err(err) => return Some(Err(err)),
        };
        let read = loop {
            match rustix::net::recv(fd, buf.spare(), rustix::net::RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        match read {
            Ok((0, _)) => {
                slot.eof = true;
                slot.readable = false;
                Some(Ok(None))
            }
            Ok((n, _)) => {
                // A read that leaves room emptied the socket, and an edge will tell of more;
                // except that a FIN which came before has had its edge.
                if n < buf.capacity() && !slot.hangup {
                    slot.readable = false;
                }
                note_received(slot, n, buf.capacity());
                buf.advance(n);
                Some(Ok(Some(buf.freeze())))
            }
            Err(rustix::io::Errno::AGAIN) => {
                slot.readable = false;
                None
            }
            Err(errno) => {
                slot.recv_error = errno.raw_os_error();
                slot.readable = false;
                Some(Err(errno.into()))
            }
        }
    }
}

/// Size of the buffer for the next receive.
fn next_size(slot: &StreamSlot, bulk: usize) -> usize {
    if slot.expect > LARGE_FROM { bulk } else { slot.recv_size.min(bulk) }
}

/// Learns from a receive of `n` bytes into a buffer of `cap`: full buffers make the next one
/// larger, near-empty ones smaller.
fn note_received(slot: &mut StreamSlot, n: usize, cap: usize) {
    slot.expect = slot.expect.saturating_sub(n);
    if n == cap {
        slot.recv_size = slot.recv_size.max(cap).saturating_mul(4).min(256 << 10);
    } else if n <= SMALL {
        slot.recv_size = SMALL;
    }
}
