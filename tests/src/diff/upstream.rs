//! The scripted server behind a proxy: it reads requests whole, notes exactly what it got, and does
//! what the case told it to do with the next request (200 `ok` when it told nothing).
//!
//! LIFECYCLE of a connection: accepted → (request read → noted → script acted out)* → ended by the
//! script or by the proxy. One thread each; the listener lives as long as the process of the test.

use super::case::{Action, Rule};
use super::text;
use crate::wire::{Body, End, Head, Peer, escape_latin};
use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A listening scripted server.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Vec<Action>>>,
    seen: Mutex<Vec<Seen>>,
    /// The open connections.
    open: Mutex<BTreeMap<usize, Socket>>,
    rules: Vec<Rule>,
    /// Counts the cases, so that what comes late is not taken for part of the next one.
    case: AtomicUsize,
}

/// Something an upstream saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which of its connections, counted from the start of the process.
    pub connection: usize,
    /// Lines of the transcript.
    pub lines: Vec<String>,
    case: usize,
    /// Whether it is a request (and not an end of a connection).
    pub request: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Starts one; `rules` are those of this upstream.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(rules: Vec<Rule>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("an upstream cannot listen")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            seen: Mutex::default(),
            open: Mutex::default(),
            rules,
            case: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    let socket = Socket::from(stream);
                    if let Ok(handle) = socket.try_clone() {
                        locked(&shared.open).insert(connection, handle);
                    }
                    let peer = shared.serve(connection, Peer::new(socket));
                    locked(&shared.open).remove(&connection);
                    drop(peer);
                });
            }
        });
        Ok(Self { shared, port })
    }

    /// Begins a case: ends all connections, so that no case depends on the one before, and forgets
    /// what was seen and told before.
    pub fn begin(&self) {
        self.end_connections();
        self.shared.case.fetch_add(1, Ordering::SeqCst);
        locked(&self.shared.scripts).clear();
        locked(&self.shared.seen).clear();
    }

    /// FIN on every connection; the proxy has taken it out of its pool once its own FIN is here.
    fn end_connections(&self) {
        let each = |how: Shutdown| {
            locked(&self.shared.open).values().for_each(|socket| {
                socket.shutdown(how).ok();
            });
        };
        each(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(1);
        while !locked(&self.shared.open).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        each(Shutdown::Both);
    }

    /// Tells what to do with a coming request.
    pub fn script(&self, script: Vec<Action>) {
        locked(&self.shared.scripts).push_back(script);
    }

    /// What was seen in this case.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let case = self.shared.case.load(Ordering::SeqCst);
        locked(&self.shared.seen).iter().filter(|seen| seen.case == case).cloned().collect()
    }
}

impl Shared {
    /// Serves a connection to its end and gives it back, to be closed.
    fn serve(&self, connection: usize, mut peer: Peer) -> Peer {
        loop {
            let head = peer.head(far());
            let case = self.case.load(Ordering::SeqCst);
            let note = |lines: Vec<String>, request: bool| {
                locked(&self.seen).push(Seen { connection, lines, case, request });
            };
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
            if let Some(rule) = self.rules.iter().find(|rule| rule.path == path) {
                if !act(&mut peer, &head, &rule.script, &|_, _| {}) {
                    return peer;
                }
                continue;
            }
            let next = locked(&self.scripts).pop_front();
            let script = next.unwrap_or_else(|| vec![Action::Reply(200, b"ok".to_vec(), vec![])]);
            if !exchange(&mut peer, &head, &script, &note) {
                return peer;
            }
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(300)
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
        }
    }
    true
}

fn ending(what: &str, end: End) -> String {
    match end {
        End::Garbage => format!("({what}: not HTTP/1)"),
        End::Timeout => format!("({what}: no more came)"),
        // FIN or RST is decided by what lies unread in the kernel: no choice of the proxy.
        End::Closed | End::Reset => format!("({what}: the proxy ended the connection)"),
    }
}

fn head_lines(head: &Head) -> Vec<String> {
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    std::iter::once(head.start.clone()).chain(headers).collect()
}

/// A body as lines of a transcript: how it was framed, what it held.
#[must_use]
pub fn body_lines(body: &Body) -> Vec<String> {
    match body {
        Body::None => vec![],
        Body::Length(data) => text::body_lines("body", data),
        Body::UntilClose(data) => text::body_lines("body to the end", data),
        Body::Chunked(data, trailers) => {
            let mut lines = text::body_lines("body chunked", data);
            lines.extend(trailers.iter().map(|line| format!("trailer {line}")));
            lines
        }
    }
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

/// An address that answers no SYN: its queue is full. The sockets keep it full.
#[derive(Debug)]
pub struct BlackHole {
    _listener: Socket,
    _fill: Vec<Socket>,
    /// The port, on 127.0.0.1.
    pub port: u16,
}

impl BlackHole {
    /// Makes one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        listener.listen(0)?;
        let address = listener.local_addr()?;
        let port = address.as_socket().map_or(0, |a| a.port());
        let mut fill = Vec::new();
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&address).ok();
            fill.push(socket);
        }
        Ok(Self { _listener: listener, _fill: fill, port })
    }
}
