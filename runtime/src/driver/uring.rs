//! The io_uring driver: submissions are queued during a turn and go to the kernel with the one
//! wait at its end.
//!
//! Memory that the kernel reads or writes lives in the slots of [`super::Io`] and in [`SendOp`]s,
//! and stays there until the completion that ends the operation: nothing is freed on the word of a
//! cancellation. `in_flight` counts the completions still to come.

use super::{Driver, Io, Kind, Token};
use crate::buf::{BufRing, BufferConfig, Chunk, Pool};
use io_uring::cqueue::{buffer_select, more};
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The group of provided buffers that multishot receives pick from.
pub(crate) const GROUP: u16 = 0;

/// A send the kernel works on: the data, and the headers that describe it.
pub(crate) struct SendOp {
    pub(crate) stream: u32,
    pub(crate) generation: u32,
    /// What is being sent; the first chunk may be partly gone.
    pub(crate) chunks: VecDeque<Chunk>,
    pub(crate) slices: Vec<libc::iovec>,
    pub(crate) header: libc::msghdr,
}

impl SendOp {
    fn new() -> Box<Self> {
        Box::new(Self {
            stream: 0,
            generation: 0,
            chunks: VecDeque::new(),
            slices: Vec::new(),
            // SAFETY: all-zero bytes are a valid, empty message header: a plain C struct.
            header: unsafe { std::mem::zeroed() },
        })
    }
}

/// A write to a file the kernel works on.
pub(crate) struct FileOp {
    /// What the kernel uses: the data and the open descriptor.
    pub(crate) _held: (Chunk, Rc<std::os::fd::OwnedFd>),
    pub(crate) generation: u32,
    pub(crate) result: Option<i32>,
    pub(crate) waker: Option<std::task::Waker>,
    pub(crate) orphaned: bool,
}

/// A completion, copied out of the queue.
#[derive(Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    pub(crate) result: i32,
    /// The operation goes on: this is not its last completion.
    pub(crate) more: bool,
    /// The provided buffer that was used.
    pub(crate) buffer: Option<u16>,
}

/// A ring and what is in flight on it.
pub(crate) struct Uring {
    ring: IoUring,
    /// Multishot operations and buffer rings are there (6.1); else single-shot only (5.11).
    pub(crate) multishot: bool,
    pub(crate) sends: Slab<Box<SendOp>>,
    #[expect(clippy::vec_box, reason = "the kernel knows their address: they must not move")]
    spare_sends: Vec<Box<SendOp>>,
    pub(crate) files: Slab<FileOp>,
    /// Submissions that did not fit into the queue.
    overflow: VecDeque<Entry>,
    in_flight: usize,
    /// Streams whose receive found no buffer.
    pub(crate) starved: Vec<u32>,
    reaped: Vec<Completion>,
    /// No operation is started any more.
    pub(crate) closing: bool,
}

/// Sizes of the queues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queues {
    pub(crate) submission: u32,
    pub(crate) completion: u32,
}

impl Uring {
    /// Sets a ring up with all that Linux 6.1 has, and gives `pool` its ring of buffers.
    ///
    /// # Errors
    /// That of the system call: `EINVAL` for an older kernel, `EPERM` or `ENOSYS` where it is not
    /// permitted.
    pub(crate) fn multishot(
        queues: Queues,
        buffers: &BufferConfig,
        pool: &Pool,
    ) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(queues.completion)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(queues.submission)?;
        let mut group = BufRing::new(buffers.ring_buffers, buffers.ring_buffer_size)?;
        // SAFETY: the ring's memory belongs to the pool from here on, which outlives this driver
        // (the driver holds a count of it); the ring is closed before. The kernel is handed an
        // address, which safe code cannot do.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                group.address(),
                group.count(),
                GROUP,
                0,
            )?;
        }
        group.fill();
        pool.install_ring(group);
        Ok(Self::new(ring, true))
    }

    /// Sets a ring up with what Linux 5.11 has.
    ///
    /// # Errors
    /// That of the system call, or `Unsupported` for an older kernel.
    pub(crate) fn single_shot(queues: Queues) -> io::Result<Self> {
        let ring = IoUring::builder().setup_cqsize(queues.completion).build(queues.submission)?;
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_fast_poll() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "io_uring of this kernel is older than 5.11: use --io-level epoll",
            ));
        }
        Ok(Self::new(ring, false))
    }

    fn new(ring: IoUring, multishot: bool) -> Self {
        Self {
            ring,
            multishot,
            sends: Slab::new(),
            spare_sends: Vec::new(),
            files: Slab::new(),
            overflow: VecDeque::new(),
            in_flight: 0,
            starved: Vec::new(),
            reaped: Vec::new(),
            closing: false,
        }
    }

    /// Queues an operation. When the queue is full it is submitted at once.
    ///
    /// # Safety
    /// All memory and descriptors that `entry` names stay valid until its last completion.
    pub(crate) unsafe fn push(&mut self, entry: Entry) {
        self.in_flight += 1;
        if !self.overflow.is_empty() {
            return self.overflow.push_back(entry);
        }
        // SAFETY: the caller's promise.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return;
        }
        // It may refuse while completions are backed up; then the rest waits for the next turn.
        let _ = self.ring.submit();
        // SAFETY: the caller's promise.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.overflow.push_back(entry);
        }
    }

    /// Takes back the operation that `token` names. It ends with a completion of its own.
    pub(crate) fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.to_u64())
            .build()
            .user_data(Token::new(Kind::Ignored, 0, 0).to_u64());
        // SAFETY: a cancellation names no memory.
        unsafe { self.push(entry) }
    }

    /// Closes a descriptor with the next submission.
    pub(crate) fn close(&mut self, fd: std::os::fd::OwnedFd) {
        use std::os::fd::IntoRawFd;
        let entry = opcode::Close::new(types::Fd(fd.into_raw_fd()))
            .build()
            .user_data(Token::new(Kind::Ignored, 0, 0).to_u64());
        // SAFETY: the descriptor is given away: nobody else can close or use it.
        unsafe { self.push(entry) }
    }

    /// An empty send operation and its key. It goes back with [`Uring::free_send`].
    pub(crate) fn new_send(&mut self) -> u32 {
        let op = self.spare_sends.pop().unwrap_or_else(SendOp::new);
        self.sends.insert(op) as u32
    }

    pub(crate) fn free_send(&mut self, key: u32) {
        if let Some(mut op) = self.sends.try_remove(key as usize) {
            op.chunks.clear();
            op.slices.clear();
            if self.spare_sends.len() < 256 && op.slices.capacity() <= 64 {
                self.spare_sends.push(op);
            }
        }
    }

    /// Submits, waits for a completion up to `timeout`, and copies out what has completed.
    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        while let Some(entry) = self.overflow.front() {
            // SAFETY: who pushed it promised, and it was not submitted yet.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                break;
            }
            self.overflow.pop_front();
        }
        let entered = match timeout {
            _ if !self.overflow.is_empty() => self.ring.submit(),
            Some(Duration::ZERO) => self.enter_now(),
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let spec = types::Timespec::from(timeout);
                let args = types::SubmitArgs::new().timespec(&spec);
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        let outcome = match entered {
            Ok(_) => Ok(()),
            Err(err) => match err.raw_os_error() {
                // Nothing came in time; or the completion queue is full, and we empty it now.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(err),
            },
        };
        self.reaped.clear();
        for entry in self.ring.completion() {
            let flags = entry.flags();
            let completion = Completion {
                token: Token::from_u64(entry.user_data()),
                result: entry.result(),
                more: more(flags),
                buffer: buffer_select(flags),
            };
            self.in_flight -= usize::from(!completion.more);
            self.reaped.push(completion);
        }
        outcome
    }

    /// Submits without waiting; no system call when there is nothing to do.
    fn enter_now(&mut self) -> io::Result<usize> {
        let queue = self.ring.submission();
        let work = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if work || !self.multishot { self.ring.submit() } else { Ok(0) }
    }
}

impl Io {
    pub(super) fn uring_wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.uring_prepare();
        let Driver::Uring(driver) = &mut self.driver else { return Ok(0) };
        let outcome = driver.enter(timeout);
        let reaped = std::mem::take(&mut driver.reaped);
        let count = reaped.len();
        for completion in &reaped {
            self.uring_complete(*completion);
        }
        if let Driver::Uring(driver) = &mut self.driver {
            driver.reaped = reaped;
        }
        outcome.map(|()| count)
    }

    /// Fills the ring of buffers and goes on with receives that found it empty.
    fn uring_prepare(&mut self) {
        self.pool.with_ring(BufRing::refill);
        let Driver::Uring(driver) = &mut self.driver else { return };
        if driver.starved.is_empty() {
            return;
        }
        let mut starved = std::mem::take(&mut driver.starved);
        for index in starved.drain(..) {
            if self.streams.contains(index as usize) {
                self.arm_recv(index);
            }
        }
        if let Driver::Uring(driver) = &mut self.driver {
            driver.starved = starved;
        }
    }

    fn uring_complete(&mut self, done: Completion) {
        match done.token.kind() {
            Some(Kind::Stream) => self.recv_complete(done),
            Some(Kind::StreamPoll) => self.recv_ready(done),
            Some(Kind::Send) => self.send_complete(done),
            Some(Kind::SendPoll) => self.send_room(done),
            Some(Kind::Connect) => self.connect_complete(done),
            Some(Kind::Listener) => self.accept_complete(done),
            Some(Kind::Source) => self.source_complete(done, true),
            Some(Kind::SourceWrite) => self.source_complete(done, false),
            Some(Kind::File) => self.file_complete(done),
            Some(Kind::Ignored) => {}
            None => debug_assert!(false, "a completion nobody asked for"),
        }
    }

    /// Takes every operation back from the kernel and waits until it has let go of all memory.
    pub(super) fn uring_shutdown(&mut self) {
        let tokens = self.uring_tokens();
        let Driver::Uring(driver) = &mut self.driver else { return };
        driver.closing = true;
        tokens.into_iter().for_each(|token| driver.cancel(token));
        // Cancelled operations end at once; only a device that hangs can hold one.
        for _ in 0..100 {
            let Driver::Uring(driver) = &self.driver else { return };
            if driver.in_flight == 0 {
                return;
            }
            // An error here leaves the operations in flight, and the loop ends below.
            let _ = self.uring_wait(Some(Duration::from_millis(50)));
        }
        self.uring_abandon();
    }

    /// The kernel did not let go: memory it may still use is leaked rather than reused.
    fn uring_abandon(&mut self) {
        std::mem::forget(Rc::clone(&self.pool));
        if let Driver::Uring(driver) = &mut self.driver {
            std::mem::forget(std::mem::take(&mut driver.sends));
            std::mem::forget(std::mem::take(&mut driver.files));
        }
        for (_, slot) in &mut self.streams {
            std::mem::forget(slot.recv_buf.take());
            std::mem::forget(slot.connect_addr.take());
        }
    }

    /// Names of all operations in flight.
    fn uring_tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (index, slot) in &self.streams {
            let token = |kind| Token::new(kind, index as u32, slot.generation);
            if slot.recv_armed {
                tokens.extend([token(Kind::Stream), token(Kind::StreamPoll)]);
            }
            if slot.connect_addr.is_some() {
                tokens.push(token(Kind::Connect));
            }
        }
        for (index, slot) in &self.listeners {
            if slot.armed {
                tokens.push(Token::new(Kind::Listener, index as u32, slot.generation));
            }
        }
        for (index, slot) in &self.sources {
            let token = |kind| Token::new(kind, index as u32, slot.generation);
            if slot.read_armed {
                tokens.push(token(Kind::Source));
            }
            if slot.write_armed {
                tokens.push(token(Kind::SourceWrite));
            }
        }
        if let Driver::Uring(driver) = &self.driver {
            for (key, op) in &driver.sends {
                let token = |kind| Token::new(kind, key as u32, op.generation);
                tokens.extend([token(Kind::Send), token(Kind::SendPoll)]);
            }
            let files = driver.files.iter().filter(|(_, op)| op.result.is_none());
            tokens.extend(files.map(|(key, op)| Token::new(Kind::File, key as u32, op.generation)));
        }
        tokens
    }
}
