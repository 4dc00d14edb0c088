//! Send: chunks are queued, and all that is queued by the end of a turn goes out in one system
//! call or submission per stream.

use crate::buf::{BufMut, Chain, Chunk};
use crate::driver::{Completion, Driver, Io, Kind, Sock, Token, keep_waker};
use io_uring::{opcode, types};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// Slices of one send.
pub(crate) const MAX_SLICES: usize = 64;
/// Several chunks of this many bytes together are copied into one (io_uring).
const COPY_MAX: usize = 4 << 10;

impl Io {
    /// Queues data. After a write error it is dropped: the error is reported by who waits.
    pub(crate) fn write(&mut self, index: u32, chunk: Chunk) {
        let slot = &mut self.streams[index as usize];
        if slot.write_error == 0 && !slot.shutdown_wanted {
            slot.send.push(chunk);
            self.mark_dirty(index);
        }
    }

    /// Sends what nothing is queued before, without waiting for the end of the turn; drops it
    /// where that cannot be.
    pub(crate) fn send_last(&mut self, index: u32, chunk: Chunk) {
        let slot = &mut self.streams[index as usize];
        if slot.write_error != 0 || slot.shutdown_wanted || slot.queued() > 0 {
            return;
        }
        if let Driver::Uring(_) = self.driver {
            // A submission would be cancelled with the stream.
            let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
            if let Ok(fd) = slot.sock.fd() {
                let _ = rustix::net::send(fd, &chunk, flags);
            }
            return;
        }
        slot.send.push(chunk);
        self.flush(index);
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
            Driver::Uring(_) => self.send_submit(index),
            Driver::Sim(_) => self.sim_send(index),
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

    /// io_uring: gives the queue to the kernel, one send at a time.
    fn send_submit(&mut self, index: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &mut self.streams[index as usize];
        if slot.send_armed || slot.send.is_empty() || driver.closing {
            return;
        }
        let key = driver.new_send();
        let op = &mut driver.sends[key as usize];
        op.stream = index;
        op.generation = slot.generation;
        slot.in_flight = if slot.send.len() <= COPY_MAX && slot.send.count() > 1 {
            // A head and a small body: one copy costs less than a list of slices.
            let mut joined = BufMut::from_raw(self.pool.lease(slot.send.len()));
            slot.send.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            slot.send.clear();
            op.chunks.push_back(joined.freeze());
            op.chunks[0].len()
        } else {
            let mut bytes = 0;
            while op.chunks.len() < MAX_SLICES
                && let Some(chunk) = slot.send.pop_front()
            {
                bytes += chunk.len();
                op.chunks.push_back(chunk);
            }
            bytes
        };
        slot.send_armed = true;
        slot.send_op = key;
        self.send_push(key);
    }

    /// io_uring: submits what is left of a send.
    fn send_push(&mut self, key: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let op = &mut driver.sends[key as usize];
        let fd = types::Fd(self.streams[op.stream as usize].sock.raw());
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = if op.chunks.len() == 1 {
            let chunk = &op.chunks[0];
            let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            opcode::Send::new(fd, chunk.as_ptr(), len).flags(flags).build()
        } else {
            op.slices.clear();
            op.slices.extend(op.chunks.iter().map(|chunk| libc::iovec {
                iov_base: chunk.as_ptr().cast_mut().cast(),
                iov_len: chunk.len(),
            }));
            op.header.msg_iov = op.slices.as_mut_ptr();
            op.header.msg_iovlen = op.slices.len();
            opcode::SendMsg::new(fd, &raw const op.header).flags(flags as u32).build()
        };
        let token = Token::new(Kind::Send, key, op.generation);
        // SAFETY: data, slices and header belong to the boxed operation, which stays where it is,
        // untouched, until the completion; the socket stays in its slot while `send_armed` is set.
        unsafe { driver.push(entry.user_data(token.to_u64())) }
    }

    /// io_uring: the kernel has taken some or all of a send, or it failed.
    pub(crate) fn send_complete(&mut self, done: Completion) {
        let key = done.token.index() as u32;
        let Driver::Uring(driver) = &mut self.driver else { return };
        let Some(op) = driver.sends.get_mut(key as usize) else { return };
        if op.generation != done.token.generation() {
            return;
        }
        let index = op.stream;
        let sent = usize::try_from(done.result).unwrap_or(0);
        advance(&mut op.chunks, sent);
        let slot = &mut self.streams[index as usize];
        let again = matches!(done.result.saturating_neg(), libc::EAGAIN | libc::EINTR);
        let more = !op.chunks.is_empty() && (sent > 0 || again);
        if more && !slot.orphaned && !driver.closing {
            slot.in_flight = slot.in_flight.saturating_sub(sent);
            slot.wake_send();
            return if again { self.send_wait(key) } else { self.send_push(key) };
        }
        driver.free_send(key);
        slot.in_flight = 0;
        slot.send_armed = false;
        if slot.orphaned {
            return self.release_stream(index);
        }
        if done.result < 0 && !again {
            return self.write_failed(index, done.result.saturating_neg());
        }
        slot.wake_send();
        self.send_submit(index);
        self.finish_shutdown(index);
    }

    /// io_uring: the socket is full and non-blocking; waits until it has room.
    fn send_wait(&mut self, key: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let op = &driver.sends[key as usize];
        let fd = types::Fd(self.streams[op.stream as usize].sock.raw());
        let token = Token::new(Kind::SendPoll, key, op.generation);
        let entry = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
        // SAFETY: it names no memory, and the socket stays in its slot while `send_armed` is set.
        unsafe { driver.push(entry.user_data(token.to_u64())) }
    }

    /// io_uring: there is room (or the wait was taken back).
    pub(crate) fn send_room(&mut self, done: Completion) {
        let key = done.token.index() as u32;
        let Driver::Uring(driver) = &mut self.driver else { return };
        let Some(op) = driver.sends.get(key as usize) else { return };
        if op.generation != done.token.generation() {
            return;
        }
        let index = op.stream;
        let slot = &mut self.streams[index as usize];
        if !slot.orphaned && !driver.closing {
            return self.send_push(key);
        }
        slot.send_armed = false;
        slot.in_flight = 0;
        driver.free_send(key);
        self.release_stream(index);
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
        match (&slot.sock, &self.driver) {
            (Sock::Fd(fd), _) => {
                // It fails when the connection is gone, and then the FIN has nowhere to go.
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
            }
            (Sock::Sim(id), Driver::Sim(sim)) => sim.net.borrow_mut().shutdown(*id),
            _ => {}
        }
    }
}

/// Drops the first `n` bytes of a list of chunks.
fn advance(chunks: &mut VecDeque<Chunk>, mut n: usize) {
    while n > 0
        && let Some(front) = chunks.front_mut()
    {
        if front.len() > n {
            return front.advance(n);
        }
        n -= front.len();
        chunks.pop_front();
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
