//! Bytes that are not HTTP: a TCP server, or what follows an upgrade.

use super::{Shared, far};
use crate::diff::case::Action;
use crate::diff::text;
use crate::wire::{End, Peer};
use std::time::Duration;

impl Shared {
    /// Acts a script out on a connection; echoes when there is none. In the end it waits for the
    /// end of the connection and notes how much came.
    pub(super) fn serve_raw(&self, connection: usize, mut peer: Peer) -> Peer {
        let notes = self.notes(connection);
        let note = |lines: Vec<String>, request: bool| notes.add(lines, request);
        notes.add(vec!["a connection".to_owned()], true);
        let script = self.next_script().unwrap_or_else(|| vec![Action::Echo]);
        for action in &script {
            match action {
                Action::Send(bytes) => peer.send(bytes),
                Action::Wait(time) => std::thread::sleep(*time),
                Action::Fin => peer.fin(),
                Action::Close => return peer,
                Action::Reset => {
                    if let Ok(socket) = peer.try_clone_socket() {
                        socket.set_linger(Some(Duration::ZERO)).ok();
                    }
                    return peer;
                }
                Action::Recv(_) | Action::RecvAll | Action::Echo | Action::Hang => {
                    act(&mut peer, action, &note);
                }
                _ => notes.add(vec!["the script is for HTTP".to_owned()], false),
            }
        }
        if !matches!(script.last(), Some(Action::Hang | Action::RecvAll | Action::Echo)) {
            act(&mut peer, &Action::RecvAll, &note);
        }
        peer
    }
}

/// Receives, and notes it.
pub(super) fn act(peer: &mut Peer, action: &Action, note: &dyn Fn(Vec<String>, bool)) {
    match action {
        Action::Recv(n) => {
            let line = match peer.exactly(*n, far()) {
                Ok(bytes) => format!("got {}", text::body(&bytes)),
                Err(end) => {
                    let part = std::mem::take(&mut peer.buf);
                    format!("got {} and no more: {}", text::body(&part), word(end))
                }
            };
            note(vec![line], false);
        }
        Action::Echo => {
            let mut total = std::mem::take(&mut peer.buf);
            peer.send(&total);
            let end = loop {
                if let Err(end) = peer.fill(far()) {
                    break end;
                }
                let bytes = std::mem::take(&mut peer.buf);
                peer.send(&bytes);
                total.extend(bytes);
            };
            peer.fin();
            note(vec![format!("echoed {} then {}", text::body(&total), word(end))], false);
        }
        _ => {
            let end = peer.to_end(far());
            let bytes = std::mem::take(&mut peer.buf);
            note(vec![format!("got {} then {}", text::body(&bytes), word(end))], false);
        }
    }
}

/// How the proxy ended it. A connection without TLS: RST says that bytes were lost on purpose, or
/// lay unread in the kernel.
fn word(end: End) -> &'static str {
    end.word()
}
