//! [`splice`] and [`Splice`]: move bytes from one stream to another inside of the kernel.

use super::{Source, Stream};
use crate::buf::Chunk;
use crate::op::poll::Interest;
use crate::shard::Shared;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

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
    let mut splice = Splice::new(&from.splice_end()?, &to.splice_end()?);
    let mut moved = 0;
    while moved < limit {
        let most = usize::try_from(limit - moved).unwrap_or(STEP).min(STEP);
        let step = poll_fn(|cx| splice.poll_step(from, to, most, cx)).await;
        match step.map_err(|error| match error {
            SpliceError::From(error) | SpliceError::To(error) => error,
        })? {
            0 => break,
            n => moved += n as u64,
        }
    }
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

/// One side of what [`Splice`] moves.
#[derive(Clone)]
pub struct SpliceEnd(Rc<Source>);

/// Which side of a [`Splice`] failed.
#[derive(Debug)]
pub enum SpliceError {
    /// Receiving did.
    From(io::Error),
    /// Sending did.
    To(io::Error),
}

/// One direction of a connection, moved by the kernel step by step: for those who count, time or
/// stop it. A pipe is held only while bytes are in it.
pub struct Splice {
    from: SpliceEnd,
    to: SpliceEnd,
    pipe: Option<Pipe>,
    in_pipe: usize,
    started: bool,
}

impl Splice {
    /// Between the ends of two streams.
    pub fn new(from: &SpliceEnd, to: &SpliceEnd) -> Self {
        Self { from: from.clone(), to: to.clone(), pipe: None, in_pipe: 0, started: false }
    }

    /// Whether bytes wait for the receiver to take them.
    pub fn is_backed_up(&self) -> bool {
        self.in_pipe > 0
    }

    /// Moves up to `most` bytes (of what was received before all of a chunk); 0 at the end of
    /// `from`, which is the receiver's to be told. The streams are those of the ends; nobody else
    /// may receive from the one or write to the other from the first call on.
    ///
    /// # Errors
    /// That of either stream.
    pub fn poll_step(
        &mut self,
        from: &Stream,
        to: &Stream,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, SpliceError>> {
        if !self.started {
            ready!(from.poll_recv_stopped(cx));
            if let Some(chunk) = from.take_received() {
                return Poll::Ready(Ok(pass_on(from, to, chunk, most as u64) as usize));
            }
            ready!(to.poll_queued_below(cx, 0)).map_err(SpliceError::To)?;
            if from.received_end().map_err(SpliceError::From)? {
                return Poll::Ready(Ok(0));
            }
            self.started = true;
        }
        if self.in_pipe == 0 {
            match ready!(self.poll_fill(most, cx)).map_err(SpliceError::From)? {
                0 => {
                    from.mark_end();
                    return Poll::Ready(Ok(0));
                }
                n => self.in_pipe = n,
            }
        }
        self.poll_drain(cx).map_err(SpliceError::To)
    }

    fn poll_fill(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let shared = self.from.0.shared();
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => match shared.pipes.borrow_mut().pop() {
                Some(pipe) => pipe,
                None => open_pipe()?,
            },
        };
        let filled = self.from.0.poll_io(Interest::Read, cx, |fd| {
            rustix::pipe::splice(fd, None, pipe.write.as_fd(), None, most.min(STEP), FLAGS)
        });
        match filled {
            Poll::Ready(Ok(n)) if n > 0 => self.pipe = Some(pipe),
            _ => give_back(shared, pipe),
        }
        filled
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = self.pipe.take() else { return Poll::Ready(Ok(0)) };
        let mut moved = 0;
        while self.in_pipe > 0 {
            let left = self.in_pipe;
            let sent = self.to.0.poll_io(Interest::Write, cx, |fd| {
                rustix::pipe::splice(pipe.read.as_fd(), None, fd, None, left, FLAGS)
            });
            match sent {
                Poll::Ready(Ok(n)) => {
                    self.in_pipe -= n;
                    moved += n;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    // The rest is asked for again by who got this part.
                    return if moved > 0 { Poll::Ready(Ok(moved)) } else { Poll::Pending };
                }
            }
        }
        give_back(self.from.0.shared(), pipe);
        Poll::Ready(Ok(moved))
    }
}

impl fmt::Debug for Splice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splice").field("in_pipe", &self.in_pipe).finish_non_exhaustive()
    }
}

impl fmt::Debug for SpliceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpliceEnd").finish_non_exhaustive()
    }
}

impl Stream {
    /// This stream as a side of a [`Splice`]: another descriptor of its socket, which is
    /// non-blocking from now on.
    ///
    /// # Errors
    /// Want of descriptors; `Unsupported` for a simulated socket.
    pub fn splice_end(&self) -> io::Result<SpliceEnd> {
        Ok(SpliceEnd(Rc::new(Source::new(self.shared(), self.dup_nonblocking()?)?)))
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Keeps an empty pipe for the next step of anybody.
fn give_back(shared: &Shared, pipe: Pipe) {
    let mut pipes = shared.pipes.borrow_mut();
    if pipes.len() < PIPES_KEPT {
        pipes.push(pipe);
    }
}

fn open_pipe() -> io::Result<Pipe> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The system may grant less (fs.pipe-max-size): then a step is smaller.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, STEP);
    Ok(Pipe { read, write })
}
