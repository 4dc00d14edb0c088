//! Receive.
//!
//! epoll reads when somebody asks and the socket may be readable, into a buffer whose size follows
//! what the last reads brought. io_uring keeps a multishot receive armed that takes buffers from
//! the ring; kernels before 6.1 and an exhausted ring take the other way: wait until the socket is
//! readable, then receive into a buffer got for it. A large transfer is read by system calls as
//! its reader asks, with the ring telling when there is something: then the bytes of one stream are
//! received and sent while they are in the cache, instead of those of all streams in turn.
//!
//! LIFECYCLE on the ring: idle → armed (multishot, or a wait for readability and then a receive)
//! → suspended (cancelled at the limit, for a large transfer, or to stop; armed still, until the
//! completion that ends it) → idle → … → ended (FIN or error, which stick). Dropping the stream
//! cancels; its slot stays until that last completion.

use crate::buf::{BufMut, Chunk};
use crate::driver::{
    Completion, Connecting, Driver, GROUP, Io, Kind, StreamSlot, Token, closed, keep_waker,
};
use io_uring::{opcode, types};
use std::io;
use std::task::{Context, Poll};

/// Bytes of a buffer for a message head. With its header it fits a size class.
pub(crate) const SMALL: usize = 16 << 10;
/// Bytes expected from which on receives are large.
pub(crate) const LARGE_FROM: usize = 64 << 10;

/// Largest buffer that full receives lead to.
const SIZE_MAX: usize = 64 << 10;

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
            // A receive on the ring must have ended, or its data would come after this.
            Driver::Uring(_) if is_large(slot) && !slot.recv_armed => self.read_now(index),
            Driver::Uring(_) | Driver::Sim(_) => None,
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
        let by_call = match self.driver {
            Driver::Epoll(_) => true,
            Driver::Uring(_) => is_large(slot) && !slot.recv_armed,
            Driver::Sim(_) | Driver::Closed => false,
        };
        if by_call && let Some(received) = self.read_now(index) {
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
    pub(crate) fn arm_recv(&mut self, index: u32) {
        if let Driver::Sim(_) = self.driver {
            self.streams[index as usize].recv_armed = true;
            return self.sim_recv(index);
        }
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        let ended = slot.eof || slot.recv_error != 0 || slot.orphaned || driver.closing;
        let behind = slot.recv.len() >= slot.recv_limit;
        if slot.recv_armed
            || slot.recv_stopped
            || ended
            || behind
            || slot.connecting != Connecting::Done
        {
            return;
        }
        let large = is_large(slot);
        if large && slot.readable {
            return slot.wake_recv();
        }
        let from_ring = driver.multishot
            && !large
            && self.pool.with_ring(|ring| ring.has_buffers()) == Some(true);
        slot.recv_armed = true;
        slot.recv_multi = from_ring;
        slot.recv_cancelling = false;
        let fd = types::Fd(slot.sock.raw());
        let (kind, entry) = if from_ring {
            (Kind::Stream, opcode::RecvMulti::new(fd, GROUP).build())
        } else {
            (Kind::StreamPoll, opcode::PollAdd::new(fd, libc::POLLIN as u32).build())
        };
        let entry = entry.user_data(Token::new(kind, index, slot.generation).to_u64());
        // SAFETY: neither names memory of its own (ring buffers belong to the pool), and the
        // socket stays in the slot while `recv_armed` is set, which only a completion clears.
        unsafe { driver.push(entry) }
    }

    /// How much more is expected: decides how large receives are.
    pub(crate) fn recv_hint(&mut self, index: u32, expect: usize) {
        let slot = &mut self.streams[index as usize];
        slot.expect = expect;
        if expect > LARGE_FROM {
            slot.readable |= !slot.recv_armed;
            if slot.recv_multi {
                self.cancel_recv(index);
            }
        }
    }

    /// The reader took something: receive again if that was suspended.
    fn drained(&mut self, index: u32) {
        let slot = &self.streams[index as usize];
        // Half of the limit, so that a reader at the limit does not stop and start per chunk.
        if !slot.recv_armed && slot.recv.len() <= slot.recv_limit / 2 {
            self.arm_recv(index);
        }
    }

    /// io_uring: takes the receive back; what it has brought by then still counts.
    pub(crate) fn cancel_recv(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        if slot.recv_armed && !std::mem::replace(&mut slot.recv_cancelling, true) {
            let receives = slot.recv_multi || slot.recv_buf.is_some();
            let kind = if receives { Kind::Stream } else { Kind::StreamPoll };
            driver.cancel(Token::new(kind, index, slot.generation));
        }
    }

    /// Stops receiving; ready once no receive is in flight.
    pub(crate) fn poll_recv_stopped(&mut self, index: u32, cx: &mut Context<'_>) -> Poll<()> {
        let slot = &mut self.streams[index as usize];
        slot.recv_stopped = true;
        if !slot.recv_armed {
            return Poll::Ready(());
        }
        keep_waker(&mut slot.recv_waker, cx.waker());
        self.cancel_recv(index);
        Poll::Pending
    }

    /// io_uring: receives into a buffer of our choice, if there is something.
    fn recv_into_buffer(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        let size = next_size(slot, self.bulk_size);
        let buf = slot.recv_buf.insert(self.pool.lease(size));
        let fd = types::Fd(slot.sock.raw());
        let entry = opcode::Recv::new(fd, buf.data().as_ptr(), buf.capacity() as u32)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .user_data(Token::new(Kind::Stream, index, slot.generation).to_u64());
        // SAFETY: the buffer and the socket stay in the slot while `recv_armed` is set, and nobody
        // touches the buffer before the completion takes it out.
        unsafe { driver.push(entry) }
    }

    /// io_uring: a receive has brought data or ended.
    pub(crate) fn recv_complete(&mut self, done: Completion) {
        let index = done.token.index();
        // Owned from here on, whoever it was for: dropping it returns it to the ring.
        let provided = done.buffer.and_then(|bid| self.pool.lease_ring(bid));
        let Some(slot) = self.streams.get_mut(index) else { return };
        if slot.generation != done.token.generation() {
            return;
        }
        let raw = provided.or_else(|| slot.recv_buf.take());
        if !done.more {
            slot.recv_armed = false;
            slot.recv_multi = false;
            slot.recv_cancelling = false;
        }
        if slot.orphaned {
            drop(raw);
            return self.release_stream(index as u32);
        }
        let mut wait = false;
        match done.result {
            0 => slot.end_recv(),
            n if n > 0 => {
                if let Some(raw) = raw {
                    note_received(slot, n as usize, raw.capacity());
                    slot.recv.push(Chunk::from_raw(raw, n as usize));
                }
            }
            n => match n.saturating_neg() {
                libc::ENOBUFS => return self.recv_starved(index as u32),
                libc::EAGAIN => wait = true,
                libc::ECANCELED | libc::EINTR => {}
                errno => slot.recv_error = errno,
            },
        }
        self.recv_continue(index as u32, wait);
    }

    /// io_uring: wakes the reader and keeps receiving, within the limit.
    fn recv_continue(&mut self, index: u32, wait: bool) {
        let slot = &mut self.streams[index as usize];
        if !slot.recv.is_empty() || slot.eof || slot.recv_error != 0 {
            slot.wake_recv();
        }
        if slot.recv_stopped && !slot.recv_armed {
            slot.wake_recv();
        }
        if wait {
            return self.recv_wait(index);
        }
        if slot.recv_multi && (slot.recv.len() >= slot.recv_limit || is_large(slot)) {
            self.cancel_recv(index);
        } else if !slot.recv_armed {
            // There may be more; a large transfer finds out by trying.
            slot.readable |= is_large(slot);
            self.arm_recv(index);
        }
    }

    /// io_uring: nothing was there; waits for the socket to become readable.
    fn recv_wait(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        if driver.closing || slot.recv_stopped {
            return;
        }
        slot.recv_armed = true;
        let entry = opcode::PollAdd::new(types::Fd(slot.sock.raw()), libc::POLLIN as u32)
            .build()
            .user_data(Token::new(Kind::StreamPoll, index, slot.generation).to_u64());
        // SAFETY: it names no memory, and the socket stays in the slot while `recv_armed` is set.
        unsafe { driver.push(entry) }
    }

    /// io_uring: the socket is readable (or the wait was taken back).
    pub(crate) fn recv_ready(&mut self, done: Completion) {
        let index = done.token.index();
        let Some(slot) = self.streams.get_mut(index) else { return };
        if slot.generation != done.token.generation() {
            return;
        }
        let cancelled = slot.recv_cancelling || done.result == -libc::ECANCELED;
        slot.recv_armed = false;
        slot.recv_cancelling = false;
        if slot.orphaned {
            return self.release_stream(index as u32);
        }
        let Driver::Uring(driver) = &self.driver else { return };
        if driver.closing {
            return;
        }
        if cancelled || slot.recv_stopped {
            slot.wake_recv();
            return self.arm_recv(index as u32);
        }
        if is_large(slot) {
            slot.readable = true;
            return slot.wake_recv();
        }
        slot.recv_armed = true;
        self.recv_into_buffer(index as u32);
    }

    /// io_uring: the ring of buffers was empty. Goes on when the next turn begins, from the ring
    /// if buffers came back, else with a buffer of its own: readers that hold all buffers of the
    /// ring cannot starve the others.
    fn recv_starved(&mut self, index: u32) {
        self.pool.with_ring(|ring| ring.starved());
        let slot = &mut self.streams[index as usize];
        if slot.recv_stopped {
            return slot.wake_recv();
        }
        if let Driver::Uring(driver) = &mut self.driver {
            driver.starved.push(index);
        }
    }

    /// epoll, and large transfers: reads if the socket may be readable. `None`: nothing there.
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
                slot.end_recv();
                slot.readable = false;
                self.try_recv(index)
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

/// Whether receives should go into large buffers: much is expected, or the last ones were full.
fn is_large(slot: &StreamSlot) -> bool {
    slot.expect > LARGE_FROM || slot.recv_size == SIZE_MAX
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
        slot.recv_size = (slot.recv_size * 2).min(SIZE_MAX);
    } else if n <= SMALL {
        slot.recv_size = SMALL;
    }
}
