//! The clients of a case: they act out its steps on one proxy and note what they get.

use super::case::{Case, Read, Step};
use super::side::Side;
use super::{text, upstream};
use crate::wire::{End, Peer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a client waits for a response before it notes that none came.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a connection must stay silent to be noted as open.
const SILENCE: Duration = Duration::from_millis(400);

/// Runs the steps of a case.
#[derive(Debug)]
pub struct Clients<'a> {
    side: &'a Side,
    peers: BTreeMap<String, Peer>,
    /// The transcript, not normalised.
    pub lines: Vec<String>,
    /// Ports of the clients.
    pub ports: Vec<u16>,
    /// Where the oracle did not answer what the case says it answers.
    pub surprises: Vec<String>,
}

impl<'a> Clients<'a> {
    /// Clients without connections.
    #[must_use]
    pub fn new(side: &'a Side) -> Self {
        Self { side, peers: BTreeMap::new(), lines: vec![], ports: vec![], surprises: vec![] }
    }

    /// Acts out all steps.
    pub fn run(&mut self, case: &Case) {
        for step in &case.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect(conn, listener) => self.connect(conn, listener),
            Step::Send(conn, bytes) => {
                self.open(conn);
                if let Some(peer) = self.peers.get_mut(conn) {
                    peer.send(bytes);
                }
            }
            Step::Read(conn, how, status) => self.read(conn, *how, *status),
            Step::State(conn) => self.state(conn),
            Step::Fin(conn) => {
                if let Some(peer) = self.peers.get(conn) {
                    peer.fin();
                }
            }
            Step::Reset(conn) => {
                if let Some(peer) = self.peers.remove(conn) {
                    peer.reset();
                }
            }
            Step::Close(conn) => {
                self.peers.remove(conn);
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
        }
    }

    fn open(&mut self, conn: &str) {
        if !self.peers.contains_key(conn) {
            self.connect(conn, "listener_0");
        }
    }

    fn connect(&mut self, conn: &str, listener: &str) {
        match self.side.connect(listener) {
            Ok(peer) => {
                self.ports.push(peer.local_port());
                self.peers.insert(conn.to_owned(), peer);
            }
            Err(error) => self.lines.push(format!("{conn} cannot connect: {error}")),
        }
    }

    fn read(&mut self, conn: &str, how: Read, status: u16) {
        self.open(conn);
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let (mut lines, got) = match how {
            Read::Message => response(peer, false),
            Read::HeadOnly => response(peer, true),
            Read::Raw => (raw(peer), 0),
            Read::Nothing(time) => (nothing(peer, time), 0),
        };
        if status != 0 && got != status {
            self.surprises.push(format!("{conn} got status {got}, the case says {status}"));
        }
        lines.iter_mut().for_each(|line| *line = format!("{conn}< {line}"));
        self.lines.append(&mut lines);
    }

    fn state(&mut self, conn: &str) {
        let Some(peer) = self.peers.get_mut(conn) else {
            return self.lines.push(format!("{conn} has no connection"));
        };
        let end = peer.to_end(Instant::now() + SILENCE);
        let extra = if peer.buf.is_empty() {
            String::new()
        } else {
            format!(", with {}", text::body(&std::mem::take(&mut peer.buf)))
        };
        self.lines.push(format!("{conn} is {}{extra}", end.word()));
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
    let text = crate::wire::escape_latin(&bytes);
    let mut lines: Vec<String> = text.split("\r\n").map(|line| format!("| {line}")).collect();
    lines.push(format!("then {}", end.word()));
    lines
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
