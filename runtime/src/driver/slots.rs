//! What the drivers keep per stream, listener and readiness source.
//!
//! LIFECYCLE of a slot: in use (a handle names it) → orphaned (the handle was dropped; operations
//! the kernel still works on are cancelled, and their memory and descriptor stay) → freed (the
//! last of them has completed; the descriptor is closed).

use crate::buf::{Chain, Raw};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::Waker;

/// A socket of the system or of the simulated network.
#[derive(Debug)]
pub(crate) enum Sock {
    Fd(OwnedFd),
    Sim(u32),
    /// Taken away or closed.
    None,
}

impl Sock {
    /// The descriptor, for system calls.
    pub(crate) fn fd(&self) -> std::io::Result<BorrowedFd<'_>> {
        match self {
            Self::Fd(fd) => Ok(fd.as_fd()),
            Self::Sim(_) => Err(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "a simulated socket has no descriptor",
            )),
            Self::None => Err(super::closed()),
        }
    }

    /// The descriptor's number, or -1.
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            Self::Fd(fd) => fd.as_raw_fd(),
            Self::Sim(_) | Self::None => -1,
        }
    }
}

/// What an event is about: 8 bits kind, 24 bits generation, 32 bits slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

/// The operation (io_uring) or the slab (epoll) a [`Token`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A stream; with io_uring its receive.
    Stream = 1,
    /// With io_uring: a stream waits to be readable, to receive into a buffer then.
    StreamPoll = 2,
    Send = 3,
    Connect = 4,
    Listener = 5,
    /// A source; with io_uring its readable side.
    Source = 6,
    SourceWrite = 7,
    File = 8,
    /// A cancellation or close, whose own outcome does not matter.
    Ignored = 9,
    /// A send waits for a non-blocking socket to have room.
    SendPoll = 10,
}

impl Token {
    pub(crate) fn new(kind: Kind, index: u32, generation: u32) -> Self {
        Self((kind as u64) << 56 | u64::from(generation & 0xff_ffff) << 32 | u64::from(index))
    }

    pub(crate) fn from_u64(word: u64) -> Self {
        Self(word)
    }

    pub(crate) fn to_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn kind(self) -> Option<Kind> {
        Some(match self.0 >> 56 {
            1 => Kind::Stream,
            2 => Kind::StreamPoll,
            3 => Kind::Send,
            4 => Kind::Connect,
            5 => Kind::Listener,
            6 => Kind::Source,
            7 => Kind::SourceWrite,
            8 => Kind::File,
            9 => Kind::Ignored,
            10 => Kind::SendPoll,
            _ => return None,
        })
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }
}

/// How a stream's connection attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connecting {
    /// Not at all: it is connected.
    Done,
    Pending,
    /// Failed with this error number.
    Failed(i32),
}

/// A stream socket.
pub(crate) struct StreamSlot {
    pub(crate) sock: Sock,
    pub(crate) generation: u32,
    /// Received and not yet taken.
    pub(crate) recv: Chain,
    /// Queued and not yet accepted by the kernel.
    pub(crate) send: Chain,
    pub(crate) recv_waker: Option<Waker>,
    pub(crate) send_waker: Option<Waker>,
    /// Wake the sender once no more than this is queued.
    pub(crate) send_below: usize,
    /// Bytes of the send the kernel works on (io_uring); they are not in `send`.
    pub(crate) in_flight: usize,
    /// Bytes received but unread at which receiving is suspended.
    pub(crate) recv_limit: usize,
    /// Bytes still expected of a large transfer: receive large while it lasts.
    pub(crate) expect: usize,
    /// Size of the next buffer to receive into (drivers that choose it themselves).
    pub(crate) recv_size: usize,
    /// A buffer the kernel may be writing to: nobody touches it before the completion.
    pub(crate) recv_buf: Option<Raw>,
    /// The send in flight (io_uring), while `send_armed`.
    pub(crate) send_op: u32,
    /// The address a connect in flight reads.
    pub(crate) connect_addr: Option<Box<socket2::SockAddr>>,
    pub(crate) connecting: Connecting,
    /// Error numbers; 0 is none. Both stick.
    pub(crate) recv_error: i32,
    pub(crate) write_error: i32,
    pub(crate) eof: bool,
    /// FIN or error was announced, data may still be unread (epoll).
    pub(crate) hangup: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// A receive or a wait for one is in flight (io_uring).
    pub(crate) recv_armed: bool,
    /// That receive is a multishot one from the buffer ring.
    pub(crate) recv_multi: bool,
    pub(crate) recv_cancelling: bool,
    /// Nothing is received until further notice: the bytes go another way.
    pub(crate) recv_stopped: bool,
    pub(crate) send_armed: bool,
    /// Listed in `Io::dirty`.
    pub(crate) dirty: bool,
    pub(crate) shutdown_wanted: bool,
    pub(crate) shutdown_done: bool,
    /// The handle is gone.
    pub(crate) orphaned: bool,
}

/// Received but unread bytes of a stream unless set otherwise.
pub(crate) const RECV_LIMIT: usize = 256 << 10;

impl StreamSlot {
    pub(crate) fn new(sock: Sock, generation: u32) -> Self {
        Self {
            sock,
            generation,
            recv: Chain::new(),
            send: Chain::new(),
            recv_waker: None,
            send_waker: None,
            send_below: 0,
            in_flight: 0,
            recv_limit: RECV_LIMIT,
            expect: 0,
            recv_size: crate::op::recv::SMALL,
            recv_buf: None,
            send_op: 0,
            connect_addr: None,
            connecting: Connecting::Done,
            recv_error: 0,
            write_error: 0,
            eof: false,
            hangup: false,
            readable: false,
            writable: true,
            recv_armed: false,
            recv_multi: false,
            recv_cancelling: false,
            recv_stopped: false,
            send_armed: false,
            dirty: false,
            shutdown_wanted: false,
            shutdown_done: false,
            orphaned: false,
        }
    }

    /// Bytes the kernel has not accepted.
    pub(crate) fn queued(&self) -> usize {
        self.send.len() + self.in_flight
    }

    /// Whether the kernel works on something of this stream.
    pub(crate) fn busy(&self) -> bool {
        self.recv_armed || self.send_armed || self.connect_addr.is_some()
    }

    pub(crate) fn wake_recv(&mut self) {
        if let Some(waker) = self.recv_waker.take() {
            waker.wake();
        }
    }

    /// Notes that the receiving side has ended.
    ///
    /// The kernel reports a reset once, to a send or to a receive, and the other then sees what
    /// looks like a FIN. A response cut short must not pass for a complete one, so the error a
    /// send was given counts here too. (`EPIPE` comes when the peer's FIN had arrived before.)
    pub(crate) fn end_recv(&mut self) {
        match self.write_error {
            0 | libc::EPIPE => self.eof = true,
            errno => self.recv_error = errno,
        }
    }

    /// Wakes the sender when what it waits for has come true.
    pub(crate) fn wake_send(&mut self) {
        let due = self.write_error != 0
            || self.connecting != Connecting::Done
            || self.queued() <= self.send_below;
        if due && let Some(waker) = self.send_waker.take() {
            waker.wake();
        }
    }
}

/// A listening socket.
pub(crate) struct ListenerSlot {
    pub(crate) sock: Sock,
    pub(crate) generation: u32,
    /// Accepted and not yet taken.
    pub(crate) queue: VecDeque<Sock>,
    pub(crate) waker: Option<Waker>,
    /// Error number of the last accept; 0 is none.
    pub(crate) error: i32,
    pub(crate) readable: bool,
    pub(crate) armed: bool,
    pub(crate) cancelling: bool,
    pub(crate) paused: bool,
    pub(crate) orphaned: bool,
}

impl ListenerSlot {
    pub(crate) fn new(sock: Sock, generation: u32) -> Self {
        Self {
            sock,
            generation,
            queue: VecDeque::new(),
            waker: None,
            error: 0,
            readable: false,
            armed: false,
            cancelling: false,
            paused: false,
            orphaned: false,
        }
    }
}

/// A descriptor that is used by plain system calls once it is ready: datagram sockets, signals,
/// doorbells, pipes.
pub(crate) struct SourceSlot {
    pub(crate) fd: OwnedFd,
    pub(crate) generation: u32,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_waker: Option<Waker>,
    pub(crate) write_waker: Option<Waker>,
    pub(crate) read_armed: bool,
    pub(crate) write_armed: bool,
    pub(crate) orphaned: bool,
}

/// Keeps `waker` in `place`, without a clone when it is there already.
pub(crate) fn keep_waker(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}
