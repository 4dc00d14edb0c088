//! [`Appender`]: an append-only log file.

use crate::buf::{BufMut, Chain, Chunk};
use crate::current;
use crate::op::file::Started;
use crate::shard::Shared;
use crate::task::spawn;
use crate::time::{Sleep, now, sleep_until};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How an [`Appender`] collects before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendOptions {
    /// Bytes queued that start a write.
    pub flush_bytes: usize,
    /// The longest a line waits for others.
    pub flush_interval: Duration,
    /// Bytes queued beyond which lines are dropped and counted: a file that cannot keep up must
    /// not take the memory.
    pub limit_bytes: usize,
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self { flush_bytes: 64 << 10, flush_interval: Duration::from_secs(1), limit_bytes: 8 << 20 }
    }
}

/// A log file that lines are appended to. Writing only queues: a task of the runtime writes by size
/// or interval, with io_uring without blocking the shard. What is queued when the appender is
/// dropped is written then.
pub struct Appender {
    state: Rc<State>,
}

struct State {
    shared: Rc<Shared>,
    path: PathBuf,
    options: AppendOptions,
    fd: RefCell<Rc<OwnedFd>>,
    /// Lines of the latest buffer; those before are in `queue`.
    open: RefCell<BufMut>,
    queue: RefCell<Chain>,
    /// Bytes given to the kernel and not yet acknowledged.
    writing: Cell<usize>,
    dropped: Cell<u64>,
    error: Cell<Option<io::ErrorKind>>,
    waker: Cell<Option<Waker>>,
    flush_now: Cell<bool>,
    closed: Cell<bool>,
}

impl Appender {
    /// Opens or creates the file with default options.
    ///
    /// # Errors
    /// That of `open`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path, AppendOptions::default())
    }

    /// Opens or creates the file.
    ///
    /// # Errors
    /// That of `open`.
    pub fn open_with(path: impl AsRef<Path>, options: AppendOptions) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        let state = Rc::new(State {
            shared: current::shared(),
            fd: RefCell::new(Rc::new(open_file(&path)?)),
            path,
            options,
            open: RefCell::new(BufMut::new()),
            queue: RefCell::new(Chain::new()),
            writing: Cell::new(0),
            dropped: Cell::new(0),
            error: Cell::new(None),
            waker: Cell::new(None),
            flush_now: Cell::new(false),
            closed: Cell::new(false),
        });
        spawn(write_out(Rc::clone(&state)));
        Ok(Self { state })
    }

    /// Queues bytes, usually a line with its end. They are copied.
    pub fn write(&self, data: &[u8]) {
        let state = &self.state;
        if !state.admit(data.len()) {
            return;
        }
        let mut open = state.open.borrow_mut();
        if open.len() + data.len() > open.capacity() && !open.is_empty() {
            state.queue.borrow_mut().push(std::mem::take(&mut *open).freeze());
        }
        if open.capacity() == 0 {
            *open = BufMut::with_capacity(data.len().max(16 << 10));
        }
        open.extend_from_slice(data);
        drop(open);
        state.nudge();
    }

    /// Queues a chunk without copying it.
    pub fn write_chunk(&self, chunk: Chunk) {
        let state = &self.state;
        if state.admit(chunk.len()) {
            let open = std::mem::take(&mut *state.open.borrow_mut()).freeze();
            let mut queue = state.queue.borrow_mut();
            queue.push(open);
            queue.push(chunk);
            drop(queue);
            state.nudge();
        }
    }

    /// Opens the path again, after a rotation. What is queued goes to the new file.
    ///
    /// # Errors
    /// That of `open`; the old file stays in use then.
    pub fn reopen(&self) -> io::Result<()> {
        *self.state.fd.borrow_mut() = Rc::new(open_file(&self.state.path)?);
        self.state.error.set(None);
        Ok(())
    }

    /// Writes what is queued without waiting for size or interval, and waits until that is done.
    pub async fn flush(&self) {
        poll_fn(|cx| {
            if self.state.pending() == 0 {
                return Poll::Ready(());
            }
            self.state.flush_now.set(true);
            self.state.wake();
            // Written by another task: looking again each turn is enough for what is rare.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Bytes queued or being written.
    pub fn pending(&self) -> usize {
        self.state.pending()
    }

    /// Lines dropped since the start: the file could not keep up, or cannot be written.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.get()
    }

    /// Why the last write failed, if it did.
    pub fn error(&self) -> Option<io::ErrorKind> {
        self.state.error.get()
    }
}

impl State {
    fn pending(&self) -> usize {
        self.open.borrow().len() + self.queue.borrow().len() + self.writing.get()
    }

    /// Whether there is room for `len` more bytes; counts what is turned away.
    fn admit(&self, len: usize) -> bool {
        let fits = self.pending() + len <= self.options.limit_bytes;
        if !fits {
            self.dropped.set(self.dropped.get() + 1);
        }
        fits
    }

    /// Wakes the writer when it has something new to think about: the first line (it sets its
    /// timer) or enough of them.
    fn nudge(&self) {
        let queued = self.open.borrow().len() + self.queue.borrow().len();
        if queued >= self.options.flush_bytes {
            self.flush_now.set(true);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// All that is queued, oldest first.
    fn take(&self) -> Chain {
        let open = std::mem::take(&mut *self.open.borrow_mut()).freeze();
        let mut queue = std::mem::take(&mut *self.queue.borrow_mut());
        queue.push(open);
        queue
    }

    /// Waits until there is something to write, by size, interval, flush or the end.
    fn poll_due(&self, timer: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed.get() || self.flush_now.replace(false) {
            return Poll::Ready(());
        }
        if self.open.borrow().is_empty() && self.queue.borrow().is_empty() {
            *timer = None;
            self.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let sleep = timer.get_or_insert_with(|| sleep_until(now() + self.options.flush_interval));
        if Pin::new(sleep).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// The writing task of one appender.
async fn write_out(state: Rc<State>) {
    let mut timer = None;
    loop {
        poll_fn(|cx| state.poll_due(&mut timer, cx)).await;
        timer = None;
        let mut queue = state.take();
        if queue.is_empty() && state.closed.get() {
            return;
        }
        while let Some(mut chunk) = queue.pop_front() {
            state.writing.set(queue.len() + chunk.len());
            while !chunk.is_empty() {
                let fd = Rc::clone(&state.fd.borrow());
                match write_one(&state.shared, &fd, chunk.clone()).await {
                    Ok(written) if written > 0 => chunk.advance(written),
                    other => {
                        let kind = other.err().map_or(io::ErrorKind::WriteZero, |err| err.kind());
                        state.error.set(Some(kind));
                        state.dropped.set(state.dropped.get() + 1);
                        break;
                    }
                }
            }
        }
        state.writing.set(0);
    }
}

async fn write_one(shared: &Rc<Shared>, fd: &Rc<OwnedFd>, chunk: Chunk) -> io::Result<usize> {
    /// Lets the driver forget a write nobody waits for.
    struct Pending<'a>(&'a Shared, u32, bool);
    impl Drop for Pending<'_> {
        fn drop(&mut self) {
            if !self.2 {
                self.0.io.borrow_mut().drop_file(self.1);
            }
        }
    }
    let started = shared.io.borrow_mut().file_write(fd, chunk);
    match started {
        Started::Done(result) => result,
        Started::Pending(key) => {
            let mut pending = Pending(shared, key, false);
            poll_fn(|cx| {
                let poll = shared.io.borrow_mut().poll_file(key, cx);
                pending.2 = poll.is_ready();
                poll
            })
            .await
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.state.closed.set(true);
        self.state.wake();
    }
}

impl Drop for State {
    /// The runtime ended before the writer did: what is left is written at once.
    fn drop(&mut self) {
        let queue = self.take();
        let fd = self.fd.borrow();
        for chunk in queue {
            let mut rest = &chunk[..];
            while let Ok(written @ 1..) = rustix::io::write(&**fd, rest) {
                rest = rest.get(written..).unwrap_or_default();
            }
        }
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender").field("path", &self.state.path).finish_non_exhaustive()
    }
}

fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    Ok(OwnedFd::from(file))
}
