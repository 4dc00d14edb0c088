//! HTTP/1 of the scripted server.

use super::{Shared, body_lines, ending, far, raw};
use crate::diff::case::Action;
use crate::diff::text;
use crate::wire::{Head, Peer, escape_latin};
use std::time::Duration;

impl Shared {
    /// Serves HTTP/1 to the end of the connection.
    pub(super) fn serve_h1(&self, connection: usize, mut peer: Peer) -> Peer {
        loop {
            let head = peer.head(far());
            let notes = self.notes(connection);
            let note = |lines: Vec<String>, request: bool| notes.add(lines, request);
            let head = match head {
                Ok(head) => head,
                Err(_) if peer.buf.is_empty() => return peer,
                Err(_) => {
                    let raw = escape_latin(&peer.buf);
                    note(vec![format!("incomplete head {raw:?}")], true);
                    return peer;
                }
            };
            let path = head.start.split(' ').nth(1).unwrap_or_default();
            if let Some(rule) = self.rule(path) {
                if !act(&mut peer, &head, &rule.script, &|_, _| {}) {
                    return peer;
                }
                continue;
            }
            let script = self
                .next_script()
                .unwrap_or_else(|| vec![Action::Reply(200, b"ok".to_vec(), vec![])]);
            if !exchange(&mut peer, &head, &script, &note) {
                return peer;
            }
        }
    }
}

/// Reads the rest of a request, notes it, acts. False: the connection is over.
fn exchange(
    peer: &mut Peer,
    head: &Head,
    script: &[Action],
    note: &dyn Fn(Vec<String>, bool),
) -> bool {
    let mut lines = head_lines(head);
    if script.first() == Some(&Action::Early) {
        lines.push("(body not waited for)".into());
        note(lines, true);
        return act(peer, head, &script[1..], note);
    }
    match peer.request_body(head, far()) {
        Ok(body) => {
            lines.extend(body_lines(&body));
            note(lines, true);
            act(peer, head, script, note)
        }
        Err((end, part)) => {
            lines.extend(body_lines(&part));
            lines.push(ending("incomplete", end));
            note(lines, true);
            false
        }
    }
}

fn act(peer: &mut Peer, head: &Head, script: &[Action], note: &dyn Fn(Vec<String>, bool)) -> bool {
    for action in script {
        match action {
            Action::Early => {}
            Action::Body => {
                let lines = match peer.request_body(head, far()) {
                    Ok(body) => body_lines(&body),
                    Err((end, part)) => {
                        let mut lines = body_lines(&part);
                        lines.push(ending("incomplete", end));
                        lines
                    }
                };
                note(lines, false);
            }
            Action::Reply(status, body, headers) => {
                peer.send(&reply(*status, body, headers, head.start.starts_with("HEAD ")));
            }
            Action::Chunked(status, data, headers, trailers) => {
                send_chunked(peer, *status, data, headers, trailers);
            }
            Action::Send(bytes) => peer.send(bytes),
            Action::Wait(time) => std::thread::sleep(*time),
            Action::Fin => peer.fin(),
            Action::Close => return false,
            Action::Reset => {
                if let Ok(socket) = peer.try_clone_socket() {
                    socket.set_linger(Some(Duration::ZERO)).ok();
                }
                return false;
            }
            Action::Hang => {
                peer.to_end(far());
                let extra = text::body(&peer.buf);
                note(vec![format!("the proxy ended the connection, after {extra}")], false);
                return false;
            }
            Action::Head(status, lines) => {
                let lines = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
                peer.send(format!("HTTP/1.1 {status} Scripted\r\n{lines}\r\n").as_bytes());
            }
            Action::Recv(_) | Action::RecvAll | Action::Echo => raw::act(peer, action, note),
            Action::Trailers(_) | Action::End | Action::Rst(_) | Action::Goaway(..) => {
                note(vec!["the script is for HTTP/2".to_owned()], false);
            }
        }
    }
    true
}

fn head_lines(head: &Head) -> Vec<String> {
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    std::iter::once(head.start.clone()).chain(headers).collect()
}

fn reply(status: u16, body: &[u8], headers: &[String], to_head: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    if !matches!(status, 100..200 | 204 | 304) {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !to_head {
        bytes.extend_from_slice(body);
    }
    bytes
}

fn send_chunked(
    peer: &mut Peer,
    status: u16,
    data: &[Vec<u8>],
    headers: &[String],
    trailers: &[String],
) {
    let lines = |lines: &[String]| lines.iter().map(|l| format!("{l}\r\n")).collect::<String>();
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ntransfer-encoding: chunked\r\n{}\r\n",
        lines(headers)
    );
    peer.send(head.as_bytes());
    for chunk in data {
        let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        peer.send(&bytes);
    }
    peer.send(format!("0\r\n{}\r\n", lines(trailers)).as_bytes());
}
