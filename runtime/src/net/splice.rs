//! [`splice`]: moves bytes from one stream to another inside of the kernel.

use super::{Source, Stream};
use crate::buf::Chunk;
use crate::op::poll::Interest;
use crate::shard::Shared;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Bytes moved by one system call, and held in a pipe.
const STEP: usize = 256 << 10;
/// Pipes kept for the next pump.
const PIPES_KEPT: usize = 16;

/// A pipe for [`splice`], empty while nobody uses it.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Moves bytes from `from` to `to` until the end of `from` (a FIN is passed on) or until `limit`
/// bytes were moved, and returns how many. What `from` has received already goes first, by an
/// ordinary send; the rest is moved by `splice(2)` through a pipe, without being copied to this
/// process. It receives only as fast as `to` takes, and nobody else may receive meanwhile. (A
/// simulated stream is moved by receives and sends.)
///
/// Pump the other direction with a second call. Dropping the future may lose bytes that were in
/// the pipe: close both streams then.
///
/// # Errors
/// That of either stream. The streams are of no further use then.
pub async fn splice(from: &Stream, to: &Stream, limit: u64) -> io::Result<u64> {
    let moved = if from.can_splice() && to.can_splice() {
        let moved = pump(from, to, limit).await;
        from.restart_recv();
        moved?
    } else {
        copy(from, to, limit).await?
    };
    if from.received_end()? && moved < limit {
        to.shutdown_write();
    }
    to.flush().await?;
    Ok(moved)
}

/// The ordinary way: by receive and send.
async fn copy(from: &Stream, to: &Stream, limit: u64) -> io::Result<u64> {
    let mut moved = 0;
    while moved < limit {
        let Some(chunk) = from.recv().await? else { break };
        moved += pass_on(from, to, chunk, limit - moved);
        to.queued_below(STEP).await?;
    }
    Ok(moved)
}

/// The kernel's way.
async fn pump(from: &Stream, to: &Stream, limit: u64) -> io::Result<u64> {
    poll_fn(|cx| from.poll_recv_stopped(cx)).await;
    let mut moved = 0;
    while moved < limit
        && let Some(chunk) = from.take_received()
    {
        moved += pass_on(from, to, chunk, limit - moved);
    }
    to.flush().await?;
    if moved == limit || from.received_end()? {
        return Ok(moved);
    }
    let pump = Pump::new(Rc::clone(from.shared()), from, to)?;
    while moved < limit {
        let step = usize::try_from(limit - moved).unwrap_or(STEP).min(STEP);
        match pump.step(step).await? {
            0 => {
                from.mark_end();
                break;
            }
            n => moved += n as u64,
        }
    }
    pump.finish();
    Ok(moved)
}

/// Writes up to `limit` bytes of `chunk`, and gives the rest back to `from`.
fn pass_on(from: &Stream, to: &Stream, mut chunk: Chunk, limit: u64) -> u64 {
    let head = chunk.split_to(usize::try_from(limit).unwrap_or(usize::MAX));
    let len = head.len() as u64;
    to.write(head);
    if !chunk.is_empty() {
        from.unread(chunk);
    }
    len
}

/// A pipe between two sockets.
struct Pump {
    shared: Rc<Shared>,
    from: Source,
    to: Source,
    pipe: Option<Pipe>,
    /// Bytes may be left in the pipe.
    dirty: Cell<bool>,
}

impl Pump {
    fn new(shared: Rc<Shared>, from: &Stream, to: &Stream) -> io::Result<Self> {
        let pooled = shared.pipes.borrow_mut().pop();
        let pipe = match pooled {
            Some(pipe) => pipe,
            None => open_pipe()?,
        };
        Ok(Self {
            from: Source::new(&shared, from.dup_nonblocking()?)?,
            to: Source::new(&shared, to.dup_nonblocking()?)?,
            shared,
            pipe: Some(pipe),
            dirty: Cell::new(false),
        })
    }

    /// Moves up to `max` bytes; 0 at the end of the sender's stream.
    async fn step(&self, max: usize) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let filled = self
            .from
            .io(Interest::Read, |fd| {
                rustix::pipe::splice(fd, None, pipe.write.as_fd(), None, max, flags)
            })
            .await?;
        let mut left = filled;
        self.dirty.set(true);
        while left > 0 {
            left -= self
                .to
                .io(Interest::Write, |fd| {
                    rustix::pipe::splice(pipe.read.as_fd(), None, fd, None, left, flags)
                })
                .await?;
        }
        self.dirty.set(false);
        Ok(filled)
    }

    fn finish(mut self) {
        let mut pipes = self.shared.pipes.borrow_mut();
        if !self.dirty.get()
            && pipes.len() < PIPES_KEPT
            && let Some(pipe) = self.pipe.take()
        {
            pipes.push(pipe);
        }
    }
}

fn open_pipe() -> io::Result<Pipe> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The system may grant less (fs.pipe-max-size): then a step is smaller.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, STEP);
    Ok(Pipe { read, write })
}
