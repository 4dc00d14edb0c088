//! The clients of a case: they act out its steps on one proxy and note what they get.

use super::case::{Case, ClientKind, Read, Step};
use super::side::Side;
use super::{text, upstream};
use crate::tls::ClientOptions;
use crate::wire::{End, Peer};
use h2::Session;
use rustls::ClientConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod h2;

/// How long a client waits for a response before it notes that none came.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a connection must stay silent to be noted as open.
const SILENCE: Duration = Duration::from_millis(400);

/// A client's connection.
#[derive(Debug)]
enum Connection {
    Bytes(Peer),
    H2(Box<Session>),
}

/// Runs the steps of a case.
#[derive(Debug)]
pub struct Clients<'a> {
    side: &'a Side,
    kind: ClientKind,
    connections: BTreeMap<String, Connection>,
    /// Names whose TLS handshake failed: what follows is not sent on a new connection.
    failed: BTreeSet<String>,
    /// Sessions of TLS live in these.
    configs: BTreeMap<ClientOptions, Arc<ClientConfig>>,
    /// The transcript, not normalised.
    pub lines: Vec<String>,
    /// Ports of the clients.
    pub ports: Vec<u16>,
    /// Where the oracle did not answer what the case says it answers.
    pub surprises: Vec<String>,
}

impl Connection {
    fn peer(&mut self) -> &mut Peer {
        match self {
            Self::Bytes(peer) => peer,
            Self::H2(session) => session.peer(),
        }
    }

    fn into_peer(self) -> Peer {
        match self {
            Self::Bytes(peer) => peer,
            Self::H2(session) => session.into_peer(),
        }
    }
}

impl<'a> Clients<'a> {
    /// Clients without connections.
    #[must_use]
    pub fn new(side: &'a Side) -> Self {
        Self {
            side,
            kind: ClientKind::default(),
            connections: BTreeMap::new(),
            failed: BTreeSet::new(),
            configs: BTreeMap::new(),
            lines: vec![],
            ports: vec![],
            surprises: vec![],
        }
    }

    /// Acts out all steps.
    pub fn run(&mut self, case: &Case) {
        self.kind = case.client.clone();
        for step in &case.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect(conn, listener, kind) => self.connect(conn, listener, kind),
            Step::Send(conn, bytes) => {
                if let Some(connection) = self.open(conn) {
                    connection.peer().send(bytes);
                }
            }
            Step::Read(conn, how, status) => self.read(conn, *how, *status),
            Step::State(conn) => self.state(conn),
            Step::Fin(conn) => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.peer().fin();
                }
            }
            Step::Reset(conn) => {
                if let Some(connection) = self.connections.remove(conn) {
                    connection.into_peer().reset();
                }
            }
            Step::Close(conn) => {
                self.connections.remove(conn);
            }
            Step::Wait(time) => std::thread::sleep(*time),
            Step::AwaitUpstream(n, count) => {
                let seen = until(|| self.side.requests_seen(*n) >= *count);
                if !seen {
                    self.lines.push(format!("upstream {n} did not see {count} requests"));
                }
            }
            Step::AwaitStat(name, value) => {
                let mut last = None;
                let reached = until(|| {
                    last = self.side.proxy.stat(name);
                    last == Some(*value)
                });
                if !reached {
                    self.lines.push(format!("{name} is {last:?}, never {value}"));
                }
            }
            Step::H2(conn, step) => {
                let Some(connection) = self.open(conn) else { return };
                let Connection::H2(session) = connection else {
                    return self.lines.push(format!("{conn} is no HTTP/2 connection"));
                };
                let noted = session.step(step);
                self.note(conn, noted);
            }
        }
    }

    /// Adds what a read led to.
    fn note(&mut self, conn: &str, noted: h2::Noted) {
        if let Some((wanted, got)) = noted.surprise {
            self.surprises.push(format!("{conn} got status {got}, the case says {wanted}"));
        }
        let title = match noted.label.as_str() {
            "" => conn.to_owned(),
            label => format!("{conn}.{label}"),
        };
        self.lines.extend(noted.lines.into_iter().map(|line| format!("{title}< {line}")));
    }

    fn open(&mut self, conn: &str) -> Option<&mut Connection> {
        if self.failed.contains(conn) {
            return None;
        }
        if !self.connections.contains_key(conn) {
            let kind = self.kind.clone();
            self.connect(conn, "listener_0", &kind);
        }
        self.connections.get_mut(conn)
    }

    fn connect(&mut self, conn: &str, listener: &str, kind: &ClientKind) {
        self.failed.remove(conn);
        let mut peer = match self.side.connect(listener) {
            Ok(peer) => peer,
            Err(error) => return self.lines.push(format!("{conn} cannot connect: {error}")),
        };
        self.ports.push(peer.local_port());
        if !kind.prefix.is_empty() {
            peer.send(&kind.prefix);
        }
        if let Some(tls) = &kind.tls
            && let Err(why) = self.secure(conn, &mut peer, tls)
        {
            self.lines.push(format!("{conn} tls failed: {why}"));
            self.connections.remove(conn);
            self.failed.insert(conn.to_owned());
            return;
        }
        let connection = if kind.h2 {
            Connection::H2(Box::new(Session::new(peer, kind)))
        } else {
            Connection::Bytes(peer)
        };
        self.connections.insert(conn.to_owned(), connection);
    }

    fn secure(&mut self, conn: &str, peer: &mut Peer, tls: &ClientOptions) -> Result<(), String> {
        let certs = self.side.certs();
        let fresh = || tls.config(&certs).map_err(|error| format!("{error:#}"));
        let config = match self.configs.get(tls) {
            Some(config) if tls.resume => Arc::clone(config),
            _ => fresh()?,
        };
        self.configs.insert(tls.clone(), Arc::clone(&config));
        let connection = tls.connection(config).map_err(|error| format!("{error:#}"))?;
        match peer.secure(connection, Instant::now() + PATIENCE) {
            Ok(()) => {
                let facts = peer.tls().map(|link| link.facts(&certs)).unwrap_or_default();
                self.lines.push(format!("{conn} tls {facts}"));
                Ok(())
            }
            Err(end) => Err(end.word().to_owned()),
        }
    }

    fn read(&mut self, conn: &str, how: Read, status: u16) {
        let Some(connection) = self.open(conn) else { return };
        let peer = connection.peer();
        let (mut lines, got) = match how {
            Read::Message => response(peer, false),
            Read::HeadOnly => response(peer, true),
            Read::Raw => (raw(peer), 0),
            Read::Bytes(n) => (bytes(peer, n), 0),
            Read::Nothing(time) => (nothing(peer, time), 0),
        };
        if status != 0 && got != status {
            self.surprises.push(format!("{conn} got status {got}, the case says {status}"));
        }
        lines.iter_mut().for_each(|line| *line = format!("{conn}< {line}"));
        self.lines.append(&mut lines);
    }

    fn state(&mut self, conn: &str) {
        let (text, more) = match self.connections.get_mut(conn) {
            None => ("has no connection".to_owned(), vec![]),
            Some(Connection::H2(session)) => session.state(Instant::now() + SILENCE),
            Some(Connection::Bytes(peer)) => {
                let end = peer.to_end(Instant::now() + SILENCE);
                let extra = if peer.buf.is_empty() {
                    String::new()
                } else {
                    format!(", with {}", text::body(&std::mem::take(&mut peer.buf)))
                };
                (format!("is {}{extra}", end.word()), vec![])
            }
        };
        for noted in more {
            self.note(conn, noted);
        }
        self.lines.push(format!("{conn} {text}"));
    }
}

fn until(mut reached: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// One response as lines, with its status.
fn response(peer: &mut Peer, to_head: bool) -> (Vec<String>, u16) {
    let deadline = Instant::now() + PATIENCE;
    let head = match peer.head(deadline) {
        Ok(head) => head,
        Err(end) => {
            let part = std::mem::take(&mut peer.buf);
            return (vec![format!("no response: {}, {}", end.word(), text::body(&part))], 0);
        }
    };
    let mut lines = vec![head.start.clone()];
    lines.extend(head.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    match peer.response_body(&head, to_head, deadline) {
        Ok(body) => lines.extend(upstream::body_lines(&body)),
        Err((end, part)) => {
            lines.extend(upstream::body_lines(&part));
            lines.push(format!("(incomplete: {})", end.word()));
        }
    }
    (lines, head.status())
}

fn raw(peer: &mut Peer) -> Vec<String> {
    let mut deadline = Instant::now() + PATIENCE;
    let end = loop {
        match peer.fill(deadline) {
            Ok(()) => deadline = Instant::now() + SILENCE,
            Err(end) => break end,
        }
    };
    let bytes = std::mem::take(&mut peer.buf);
    if bytes.len() > 10_000 {
        return vec![text::body(&bytes), format!("then {}", end.word())];
    }
    let text = crate::wire::escape_latin(&bytes);
    let mut lines: Vec<String> = text.split("\r\n").map(|line| format!("| {line}")).collect();
    lines.push(format!("then {}", end.word()));
    lines
}

fn bytes(peer: &mut Peer, n: usize) -> Vec<String> {
    match peer.exactly(n, Instant::now() + PATIENCE) {
        Ok(bytes) => vec![text::body(&bytes)],
        Err(end) => {
            let part = std::mem::take(&mut peer.buf);
            vec![format!("{} and no more: {}", text::body(&part), end.word())]
        }
    }
}

fn nothing(peer: &mut Peer, time: Duration) -> Vec<String> {
    if peer.buf.is_empty() {
        match peer.fill(Instant::now() + time) {
            Err(End::Timeout) => return vec!["nothing".into()],
            Err(end) => return vec![end.word().into()],
            Ok(()) => {}
        }
    }
    vec![format!("something: {}", text::body(&peer.buf))]
}
