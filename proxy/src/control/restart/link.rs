//! A connection to another process: notes go out in order, and come in as events.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ringway_runtime::{Join, PacketSocket, spawn};

use super::note::{NOTE_MAX, Note};

/// What comes from the other process.
#[derive(Debug)]
pub(in crate::control) enum Incoming {
    /// A note, and the descriptor it carried.
    Note(Note, Option<OwnedFd>),
    /// It is gone, or says what cannot be understood; why.
    Gone(String),
}

/// One end of the connection. Dropping it closes it.
pub(super) struct Link {
    out: Rc<Out>,
    reader: Join<()>,
}

/// A message, with the descriptor that goes with it.
type Packet = (Vec<u8>, Option<Rc<OwnedFd>>);

struct Out {
    socket: PacketSocket,
    /// What did not fit into the socket. Its descriptors are connections that are open anyway, so
    /// it is bounded by these.
    waiting: RefCell<VecDeque<Packet>>,
    writing: Cell<bool>,
}

impl Link {
    /// Tells `heard` of everything that comes.
    pub(super) fn start(socket: PacketSocket, heard: impl Fn(Incoming) + 'static) -> Self {
        let out = Rc::new(Out { socket, waiting: RefCell::default(), writing: Cell::new(false) });
        let reading = Rc::clone(&out);
        let reader = spawn(async move {
            loop {
                match receive(&reading.socket).await {
                    Ok((note, fd)) => heard(Incoming::Note(note, fd)),
                    Err(why) => return heard(Incoming::Gone(why)),
                }
            }
        });
        Self { out, reader }
    }

    /// Sends a note, now or as soon as there is room; `false`: it is too large to be said.
    pub(super) fn send(&self, note: &Note, fd: Option<Rc<OwnedFd>>) -> bool {
        let Some(bytes) = note.encode() else { return false };
        let mut waiting = self.out.waiting.borrow_mut();
        if waiting.is_empty() {
            match self.out.socket.try_send(&bytes, fd.as_ref().map(|fd| fd.as_fd())) {
                Err(error) if is_passing(&error) => {}
                // A socket that is broken says so to the reader.
                Ok(()) | Err(_) => return true,
            }
        }
        waiting.push_back((bytes, fd));
        drop(waiting);
        if !self.out.writing.replace(true) {
            let out = Rc::clone(&self.out);
            drop(spawn(async move { out.write().await }));
        }
        true
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The reader and a writer at work hold the socket, too.
        self.reader.abort();
        self.out.waiting.borrow_mut().clear();
    }
}

impl Out {
    async fn write(&self) {
        loop {
            let next = self.waiting.borrow().front().cloned();
            let Some((bytes, fd)) = next else { break };
            let fd = fd.as_ref().map(|fd| fd.as_fd());
            let sent = self.socket.send(&bytes, fd).await;
            if sent.as_ref().is_err_and(is_passing) {
                // Too many descriptors are on their way.
                ringway_runtime::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            }
            if self.waiting.borrow_mut().pop_front().is_none() || sent.is_err() {
                break;
            }
        }
        self.writing.set(false);
    }
}

/// Errors of a moment.
fn is_passing(error: &io::Error) -> bool {
    const TOO_MANY_REFERENCES: i32 = rustix::io::Errno::TOOMANYREFS.raw_os_error();
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(TOO_MANY_REFERENCES)
}

/// The next note.
///
/// # Errors
/// Why there is none, and never will be.
pub(super) async fn receive(socket: &PacketSocket) -> Result<(Note, Option<OwnedFd>), String> {
    let packet = match socket.recv(NOTE_MAX).await {
        Ok(Some(packet)) => packet,
        Ok(None) => return Err("it has closed the connection".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let note = Note::decode(&packet.bytes).map_err(|what| format!("it sends no note: {what}"))?;
    Ok((note, packet.fd))
}
