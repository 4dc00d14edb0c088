//! The drivers: io_uring, epoll, and a simulated network, behind one completion-style interface.
//!
//! [`Io`] holds what all of them share: the slots of streams, listeners and readiness sources. The
//! operations are in `op/`, one file each, every driver in it. Nothing here runs user code: wakers
//! of this runtime only queue a task, and the last slice of a buffer only returns it to the pool.

mod epoll;
mod probe;
mod sim;
mod slots;
mod uring;

pub(crate) use epoll::Epoll;
pub(crate) use probe::open;
pub(crate) use sim::Sim;
pub(crate) use slots::{
    Connecting, Kind, ListenerSlot, Sock, SourceSlot, StreamSlot, Token, keep_waker,
};
pub(crate) use uring::{Completion, FileOp, GROUP, Uring};

use crate::buf::{BufferConfig, Pool};
use slab::Slab;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Which way I/O is done.
pub(crate) enum Driver {
    Uring(Box<Uring>),
    Epoll(Epoll),
    Sim(Sim),
    /// The runtime has ended; handles that outlive it get errors.
    Closed,
}

/// All I/O state of one runtime.
pub(crate) struct Io {
    pub(crate) driver: Driver,
    pub(crate) streams: Slab<StreamSlot>,
    pub(crate) listeners: Slab<ListenerSlot>,
    pub(crate) sources: Slab<SourceSlot>,
    /// Streams with something to send since the last flush.
    pub(crate) dirty: Vec<u32>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) bulk_size: usize,
    generation: u32,
}

impl Io {
    pub(crate) fn new(driver: Driver, pool: Rc<Pool>, buffers: &BufferConfig) -> Self {
        Self {
            driver,
            streams: Slab::new(),
            listeners: Slab::new(),
            sources: Slab::new(),
            dirty: Vec::new(),
            pool,
            bulk_size: buffers.bulk_size,
            generation: 0,
        }
    }

    /// Whether sockets must be opened non-blocking. (io_uring fails operations on a non-blocking
    /// socket instead of waiting for it.)
    pub(crate) fn wants_nonblocking(&self) -> bool {
        matches!(self.driver, Driver::Epoll(_))
    }

    /// Tags slots, so that an event for a former user of a slot is told apart. 24 bits.
    pub(crate) fn next_generation(&mut self) -> u32 {
        self.generation = (self.generation + 1) & 0xff_ffff;
        self.generation
    }

    /// Submits what is queued, waits up to `timeout` (`None`: until something happens) and
    /// handles what has completed. Returns the number of events.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        match &mut self.driver {
            Driver::Uring(_) => self.uring_wait(timeout),
            Driver::Epoll(_) => self.epoll_wait(timeout),
            Driver::Sim(_) => self.sim_wait(timeout),
            Driver::Closed => Ok(0),
        }
    }

    /// Ends the driver: takes every operation back from the kernel.
    pub(crate) fn shutdown(&mut self) {
        self.uring_shutdown();
        self.sim_shutdown();
        self.driver = Driver::Closed;
    }
}

/// The error of a handle whose runtime has ended.
pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the runtime of this handle has ended")
}
