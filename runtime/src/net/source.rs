//! A descriptor used by plain non-blocking system calls, with the driver saying when.

use crate::op::poll::Interest;
use crate::shard::Shared;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Owns a non-blocking descriptor that is registered with the driver.
pub(crate) struct Source {
    shared: Rc<Shared>,
    index: u32,
}

impl Source {
    pub(crate) fn new(shared: &Rc<Shared>, fd: OwnedFd) -> io::Result<Self> {
        let index = shared.io.borrow_mut().add_source(fd)?;
        Ok(Self { shared: Rc::clone(shared), index })
    }

    /// Runs `call` on the descriptor, and again after each time it would have blocked.
    pub(crate) fn poll_io<T>(
        &self,
        interest: Interest,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut io = self.shared.io.borrow_mut();
            ready!(io.poll_source(self.index, interest, cx))?;
            match call(io.sources[self.index as usize].fd.as_fd()) {
                Err(Errno::AGAIN) => io.source_blocked(self.index, interest),
                Err(Errno::INTR) => {}
                other => return Poll::Ready(Ok(other?)),
            }
        }
    }

    /// [`Source::poll_io`] as a future.
    pub(crate) async fn io<T>(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        std::future::poll_fn(|cx| self.poll_io(interest, cx, &mut call)).await
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Runs `call` on the descriptor now.
    pub(crate) fn with_fd<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        call(self.shared.io.borrow().sources[self.index as usize].fd.as_fd())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.io.borrow_mut().drop_source(self.index);
    }
}
