//! Messages between shards: a bounded ring per ordered pair of threads, and a doorbell per thread
//! that is rung once per turn, however many messages were sent.

mod ring;
#[cfg(test)]
mod tests;

use crate::current;
use crate::net::Source;
use crate::op::poll::Interest;
use crate::shard::Shared;
use ring::Ring;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll};

/// Messages in flight from one thread to another; a sender finds the ring [`Full`] beyond that.
pub const CAPACITY: usize = 256;

/// Connects `n` threads, each with each (and with itself). End `i` is number `i`.
///
/// # Errors
/// When no descriptor is left for the doorbells.
pub fn mesh<M: Send>(n: usize) -> io::Result<Vec<MeshEnd<M>>> {
    let mut bells = Vec::with_capacity(n);
    for _ in 0..n {
        use rustix::event::{EventfdFlags, eventfd};
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        bells.push(Bell { fd, rung: AtomicBool::new(false) });
    }
    let rings = (0..n * n).map(|_| Ring::new()).collect();
    let hub = Arc::new(Hub { rings, bells });
    Ok((0..n).map(|me| MeshEnd { hub: Arc::clone(&hub), me }).collect())
}

/// One thread's end of a mesh, on its way there.
pub struct MeshEnd<M> {
    hub: Arc<Hub<M>>,
    me: usize,
}

impl<M: Send + 'static> MeshEnd<M> {
    /// Ties the end to the current runtime; call it on the thread that is to receive.
    ///
    /// # Errors
    /// When the doorbell cannot be registered with the driver.
    pub fn attach(self) -> io::Result<Mailbox<M>> {
        let shared = current::shared();
        let fd = self.hub.bells[self.me].fd.try_clone()?;
        let bell = Source::new(&shared, fd)?;
        let count = self.hub.bells.len();
        let outbox = Rc::new(Outbox {
            hub: self.hub,
            me: self.me,
            pending: RefCell::new(Vec::with_capacity(count)),
        });
        Ok(Mailbox { outbox, shared, bell, next: Cell::new(0) })
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.me
    }
}

/// A thread's end of a mesh.
pub struct Mailbox<M> {
    outbox: Rc<Outbox<M>>,
    shared: Rc<Shared>,
    bell: Source,
    /// The ring to look into first, so that no sender starves the others.
    next: Cell<usize>,
}

/// The receiver is behind: the message comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<M>(pub M);

impl<M: Send + 'static> Mailbox<M> {
    /// Its number.
    pub fn index(&self) -> usize {
        self.outbox.me
    }

    /// Number of ends.
    pub fn len(&self) -> usize {
        self.outbox.hub.bells.len()
    }

    /// Whether there are no ends: never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Sends to end `to`; it is told at the end of this turn.
    ///
    /// # Errors
    /// The receiver has [`CAPACITY`] messages of ours unread, or there is no such end.
    pub fn send(&self, to: usize, message: M) -> Result<(), Full<M>> {
        let Some(ring) = self.outbox.ring_to(to) else { return Err(Full(message)) };
        ring.push(message).map_err(Full)?;
        self.note(to);
        Ok(())
    }

    /// Sends to every other end: to all of them or, when one has no room, to none.
    ///
    /// # Errors
    /// A receiver is behind.
    pub fn broadcast(&self, message: M) -> Result<(), Full<M>>
    where
        M: Clone,
    {
        let others = || (0..self.len()).filter(|&to| to != self.outbox.me);
        // Only we put messages into these rings, so the room found here stays.
        if others().any(|to| self.outbox.ring_to(to).is_none_or(Ring::is_full)) {
            return Err(Full(message));
        }
        for to in others() {
            if let Some(ring) = self.outbox.ring_to(to) {
                let pushed = ring.push(message.clone());
                debug_assert!(pushed.is_ok());
                self.note(to);
            }
        }
        Ok(())
    }

    /// The next message, from whomever.
    ///
    /// # Errors
    /// The runtime has ended.
    pub async fn recv(&self) -> M {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Mailbox::recv`] for hand-written futures.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<M> {
        loop {
            if let Some(message) = self.pop() {
                return Poll::Ready(message);
            }
            // From here on a sender rings again; what came before is seen by the second look.
            self.outbox.hub.bells[self.outbox.me].rung.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if let Some(message) = self.pop() {
                return Poll::Ready(message);
            }
            let mut count = [0_u8; 8];
            let read =
                self.bell.poll_io(Interest::Read, cx, |fd| rustix::io::read(fd, &mut count[..]));
            match read {
                Poll::Ready(Ok(_)) => {}
                // An ended runtime polls nothing again.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn pop(&self) -> Option<M> {
        let count = self.len();
        let hub = &self.outbox.hub;
        for step in 0..count {
            let from = (self.next.get() + step) % count;
            if let Some(message) = hub.rings[from * count + self.outbox.me].pop() {
                self.next.set((from + 1) % count);
                return Some(message);
            }
        }
        None
    }

    /// Remembers to ring `to` at the end of the turn.
    fn note(&self, to: usize) {
        let mut pending = self.outbox.pending.borrow_mut();
        if pending.is_empty() {
            let outbox = Rc::clone(&self.outbox) as Rc<dyn Doorbells>;
            self.shared.bells.borrow_mut().push(outbox);
        }
        if !pending.contains(&to) {
            pending.push(to);
        }
    }
}

/// Somebody with doorbells to ring at the end of the turn.
pub(crate) trait Doorbells {
    /// Rings them.
    fn ring(&self);
}

struct Hub<M> {
    /// Row = sender, column = receiver.
    rings: Vec<Ring<M>>,
    bells: Vec<Bell>,
}

struct Bell {
    fd: OwnedFd,
    /// Rung since the receiver last looked: no need to ring again.
    rung: AtomicBool,
}

struct Outbox<M> {
    hub: Arc<Hub<M>>,
    me: usize,
    pending: RefCell<Vec<usize>>,
}

impl<M> Outbox<M> {
    fn ring_to(&self, to: usize) -> Option<&Ring<M>> {
        let count = self.hub.bells.len();
        (to < count).then(|| &self.hub.rings[self.me * count + to])
    }
}

impl<M> Doorbells for Outbox<M> {
    fn ring(&self) {
        // Pairs with the fence of a receiver about to sleep: either it sees the message, or we
        // see that its bell is silent.
        fence(Ordering::SeqCst);
        for to in self.pending.borrow_mut().drain(..) {
            let Some(bell) = self.hub.bells.get(to) else { continue };
            if !bell.rung.swap(true, Ordering::SeqCst) {
                // It fails only when the counter is full, and then the bell rings already.
                let _ = rustix::io::write(bell.fd.as_fd(), &1_u64.to_ne_bytes());
            }
        }
    }
}

impl<M> fmt::Debug for MeshEnd<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshEnd").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("me", &self.outbox.me).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Full<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<M> fmt::Display for Full<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the receiver has {CAPACITY} messages unread")
    }
}

impl<M> std::error::Error for Full<M> {}
