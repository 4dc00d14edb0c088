//! Writes to files: on the ring where there is one, else at once.

use crate::buf::Chunk;
use crate::driver::{Completion, Driver, FileOp, Io, Kind, Token, keep_waker};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

/// A write that was started: done already, or under this key.
pub(crate) enum Started {
    Done(io::Result<usize>),
    Pending(u32),
}

impl Io {
    /// Starts to write `chunk` at the end (or the position) of `fd`.
    pub(crate) fn file_write(&mut self, fd: &Rc<OwnedFd>, chunk: Chunk) -> Started {
        let generation = self.next_generation();
        let Driver::Uring(driver) = &mut self.driver else {
            return Started::Done(write_now(fd, &chunk));
        };
        if driver.closing {
            return Started::Done(write_now(fd, &chunk));
        }
        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let entry = opcode::Write::new(types::Fd(fd.as_raw_fd()), chunk.as_ptr(), len)
            // The current position, which for an appending descriptor is the end.
            .offset(u64::MAX)
            .build();
        let key = driver.files.insert(FileOp {
            _held: (chunk, Rc::clone(fd)),
            generation,
            result: None,
            waker: None,
            orphaned: false,
        }) as u32;
        let token = Token::new(Kind::File, key, generation);
        // SAFETY: data and descriptor belong to the operation, which stays until its completion.
        unsafe { driver.push(entry.user_data(token.to_u64())) }
        Started::Pending(key)
    }

    /// The outcome of a started write: bytes written.
    pub(crate) fn poll_file(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Driver::Uring(driver) = &mut self.driver else {
            return Poll::Ready(Err(crate::driver::closed()));
        };
        let op = &mut driver.files[key as usize];
        let Some(result) = op.result else {
            keep_waker(&mut op.waker, cx.waker());
            return Poll::Pending;
        };
        driver.files.remove(key as usize);
        Poll::Ready(match usize::try_from(result) {
            Ok(written) => Ok(written),
            Err(_) => Err(io::Error::from_raw_os_error(result.saturating_neg())),
        })
    }

    /// Nobody waits for the outcome any more.
    pub(crate) fn drop_file(&mut self, key: u32) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let Some(op) = driver.files.get_mut(key as usize) else { return };
        op.orphaned = true;
        if op.result.is_some() {
            driver.files.remove(key as usize);
        }
    }

    /// io_uring: a write has ended.
    pub(crate) fn file_complete(&mut self, done: Completion) {
        let Driver::Uring(driver) = &mut self.driver else { return };
        let Some(op) = driver.files.get_mut(done.token.index()) else { return };
        if op.generation != done.token.generation() {
            return;
        }
        op.result = Some(done.result);
        let orphaned = op.orphaned;
        if let Some(waker) = op.waker.take() {
            waker.wake();
        }
        if orphaned {
            driver.files.remove(done.token.index());
        }
    }
}

fn write_now(fd: &OwnedFd, data: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, data)?)
}
