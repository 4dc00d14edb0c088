//! The epoll driver: edge-triggered, speculative system calls, one wait per turn.

use super::{Driver, Io, Kind, Token};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Events taken per wait. Each may take a buffer until the end of the turn: more would not fit the
/// cache.
const BATCH: usize = 256;

/// An epoll instance and the buffer its events arrive in.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Watches `fd` for both directions, edge-triggered. Closing the descriptor ends it.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.fd, fd, EventData::new_u64(token.to_u64()), flags)?)
    }

    /// Watches a listening socket.
    pub(crate) fn add_listener(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.fd, fd, EventData::new_u64(token.to_u64()), flags)?)
    }

    /// Stops watching a descriptor that lives on (one that is handed to somebody else).
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // It fails only for what is not watched, which is the goal.
        let _ = epoll::delete(&self.fd, fd);
    }
}

impl Io {
    pub(super) fn epoll_wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let Driver::Epoll(driver) = &mut self.driver else { return Ok(0) };
        let timeout = timeout.map(|t| rustix::event::Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let mut events = std::mem::take(&mut driver.events);
        events.clear();
        let waited =
            epoll::wait(&driver.fd, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
        let outcome = match waited {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(err) => Err(err.into()),
        };
        for event in &events {
            let token = Token::from_u64(event.data.u64());
            self.epoll_event(token, event.flags);
        }
        if let Driver::Epoll(driver) = &mut self.driver {
            driver.events = events;
        }
        outcome
    }

    fn epoll_event(&mut self, token: Token, flags: EventFlags) {
        let hangup = flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP);
        let readable = hangup || flags.contains(EventFlags::IN);
        let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let writable = broken || flags.contains(EventFlags::OUT);
        match token.kind() {
            Some(Kind::Stream) => self.epoll_stream(token, readable, writable, hangup),
            Some(Kind::Listener) => {
                if let Some(slot) = self.listeners.get_mut(token.index())
                    && slot.generation == token.generation()
                {
                    slot.readable = true;
                    if let Some(waker) = slot.waker.take() {
                        waker.wake();
                    }
                }
            }
            Some(Kind::Source) => self.source_ready(token, readable, writable),
            _ => debug_assert!(false, "an event nobody asked for: {token:?}"),
        }
    }

    fn epoll_stream(&mut self, token: Token, readable: bool, writable: bool, hangup: bool) {
        let Some(slot) = self.streams.get_mut(token.index()) else { return };
        if slot.generation != token.generation() {
            return;
        }
        slot.hangup |= hangup;
        if readable {
            slot.readable = true;
            slot.wake_recv();
        }
        if writable && !slot.writable {
            slot.writable = true;
            if slot.connecting == super::slots::Connecting::Pending {
                return self.connect_writable(token.index() as u32);
            }
            if !slot.send.is_empty() {
                self.mark_dirty(token.index() as u32);
            }
        }
    }
}
