//! A client's HTTP/2 connection: streams by label, what came on each, in the words of a transcript.

use super::PATIENCE;
use crate::diff::case::{ClientKind, H2Step, Read};
use crate::diff::text;
use crate::h2::{Conn, Event, Line, Stream, block_lines, code_name, kind};
use crate::wire::{End, Peer};
use std::collections::BTreeMap;
use std::time::Instant;

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    conn: Conn,
    labels: BTreeMap<String, u32>,
    end: Option<End>,
}

/// What a step led to.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) label: String,
    pub(super) lines: Vec<String>,
    /// Wanted and got status.
    pub(super) surprise: Option<(u16, u16)>,
}

impl Session {
    pub(super) fn new(peer: Peer, kind: &ClientKind) -> Self {
        let mut conn = Conn::client(peer, &kind.settings);
        conn.manual = kind.manual;
        Self { conn, labels: BTreeMap::new(), end: None }
    }

    pub(super) fn peer(&mut self) -> &mut Peer {
        &mut self.conn.peer
    }

    pub(super) fn into_peer(self) -> Peer {
        self.conn.peer
    }

    pub(super) fn step(&mut self, step: &H2Step) -> Noted {
        match step {
            H2Step::Open { label, lines, body, trailers, end } => {
                self.open(label, lines, body.as_deref(), trailers, *end);
            }
            H2Step::Data(label, bytes, end) => {
                let id = self.id(label);
                self.conn.data(id, bytes, *end);
            }
            H2Step::Trailers(label, lines) => {
                let id = self.id(label);
                self.conn.headers(id, lines, true);
            }
            H2Step::Rst(label, code) => {
                let id = self.id(label);
                self.conn.rst(id, *code);
            }
            H2Step::Read(label, how, status) => return self.read(label, *how, *status),
            H2Step::Goaway(code) => self.conn.send_goaway(0, *code),
            H2Step::Ping => return self.ping(),
            H2Step::Settings(settings) => self.conn.send_settings(settings),
            H2Step::Window(label, more) => {
                let id = self.id(label);
                self.conn.frame(kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            }
            H2Step::Frame(kind, flags, stream, payload) => {
                let id = self.id(stream);
                self.conn.frame(*kind, *flags, id, payload);
            }
        }
        Noted::default()
    }

    /// The stream of a label, or of a number that is no label.
    fn id(&self, label: &str) -> u32 {
        let known = self.labels.get(label).copied();
        known.unwrap_or_else(|| label.parse().unwrap_or(0))
    }

    fn open(
        &mut self,
        label: &str,
        lines: &[Line],
        body: Option<&[u8]>,
        trailers: &[Line],
        end: bool,
    ) {
        // SETTINGS of the peer may change what may be sent: they come first.
        if self.conn.settings.is_empty() {
            let soon = Instant::now() + std::time::Duration::from_millis(20);
            self.pump(soon);
        }
        let id = self.conn.open();
        self.labels.insert(label.to_owned(), id);
        // In one piece: how much of it a proxy has seen must not depend on the scheduler.
        self.conn.message(id, lines, body, trailers, end);
    }

    /// Receives something; false when nothing more will come until `deadline`.
    fn pump(&mut self, deadline: Instant) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.conn.pump(deadline) {
            Ok(()) => true,
            Err(End::Timeout) => false,
            Err(end) => {
                self.end = Some(end);
                false
            }
        }
    }

    fn wait(&mut self, id: u32, deadline: Instant, enough: impl Fn(&Stream) -> bool) -> bool {
        loop {
            if self.conn.stream(id).is_some_and(&enough) {
                return true;
            }
            if !self.pump(deadline) {
                return self.conn.stream(id).is_some_and(&enough);
            }
        }
    }

    fn read(&mut self, label: &str, how: Read, wanted: u16) -> Noted {
        let id = self.id(label);
        let deadline = Instant::now() + PATIENCE;
        let mut noted = Noted { label: label.to_owned(), ..Noted::default() };
        match how {
            Read::Message | Read::Raw => {
                let whole = self.wait(id, deadline, Stream::is_over);
                let got = self.conn.stream(id).and_then(Stream::status).unwrap_or(0);
                if wanted != 0 && got != wanted {
                    noted.surprise = Some((wanted, got));
                }
                noted.lines = self.take(id, whole);
            }
            Read::HeadOnly => {
                self.wait(id, deadline, |s| s.has_head() || s.is_over());
                let got = self.conn.stream(id).and_then(Stream::status).unwrap_or(0);
                if wanted != 0 && got != wanted {
                    noted.surprise = Some((wanted, got));
                }
                noted.lines = self.take_heads(id);
            }
            Read::Bytes(n) => {
                self.wait(id, deadline, |s| s.body().len() >= n || s.is_over());
                noted.lines = self.take_bytes(id, n);
            }
            Read::Nothing(time) => {
                self.wait(id, Instant::now() + time, |s| !s.events.is_empty() || s.is_over());
                let silent = self
                    .conn
                    .stream(id)
                    .is_none_or(|stream| stream.events.is_empty() && !stream.is_over());
                noted.lines = vec![if silent { "nothing" } else { "something" }.to_owned()];
            }
        }
        noted
    }

    /// Everything noted on a stream, and how it ended.
    fn take(&mut self, id: u32, whole: bool) -> Vec<String> {
        let stream = self.conn.stream_mut(id);
        let mut lines: Vec<String> = stream.events.drain(..).flat_map(event_lines).collect();
        match stream.reset {
            // Says only that the rest of the request is not wanted; whether it comes depends on how
            // much of the request was there already.
            Some(_) if stream.ended => {}
            Some(code) => lines.push(format!("reset {}", code_name(code))),
            None => {}
        }
        if whole {
            self.conn.forget(id);
        } else {
            lines.push(format!("(incomplete: {})", self.end_word()));
        }
        lines
    }

    fn take_heads(&mut self, id: u32) -> Vec<String> {
        let stream = self.conn.stream_mut(id);
        let mut lines = Vec::new();
        while let Some(Event::Headers(block)) = stream.events.first() {
            lines.extend(block_lines(block));
            stream.events.remove(0);
        }
        if lines.is_empty() {
            match stream.reset {
                Some(code) => lines.push(format!("reset {}", code_name(code))),
                None => lines.push(format!("no head: {}", self.end_word())),
            }
        }
        lines
    }

    fn take_bytes(&mut self, id: u32, n: usize) -> Vec<String> {
        let stream = self.conn.stream_mut(id);
        let mut bytes = Vec::new();
        while let Some(Event::Data(data)) = stream.events.first_mut() {
            let now = data.len().min(n - bytes.len());
            bytes.extend(data.drain(..now));
            if !data.is_empty() {
                break;
            }
            stream.events.remove(0);
        }
        let mut line = text::body(&bytes);
        if bytes.len() < n {
            let reset = stream.reset.map(code_name);
            let why = reset.unwrap_or_else(|| self.end_word());
            line.push_str(&format!(" and no more: {why}"));
        }
        vec![line]
    }

    fn end_word(&self) -> String {
        let goaway = self
            .conn
            .goaway
            .map(|(last, code)| format!(", goaway {} last {last}", code_name(code)));
        let end = self.end.map_or("open", End::word);
        format!("{end}{}", goaway.unwrap_or_default())
    }

    fn ping(&mut self) -> Noted {
        let before = self.conn.pongs;
        self.conn.frame(kind::PING, 0, 0, b"ringping");
        let deadline = Instant::now() + PATIENCE;
        while self.conn.pongs == before && self.pump(deadline) {}
        let answered = self.conn.pongs > before;
        let line =
            if answered { "pong".to_owned() } else { format!("no pong: {}", self.end_word()) };
        Noted { lines: vec![line], ..Noted::default() }
    }

    /// Reads to silence; says how the connection is, and what came on streams nobody read.
    pub(super) fn state(&mut self, deadline: Instant) -> (String, Vec<Noted>) {
        while self.pump(deadline) {}
        let names: BTreeMap<u32, String> =
            self.labels.iter().map(|(label, id)| (*id, label.clone())).collect();
        let unread: Vec<u32> = self
            .conn
            .streams()
            .filter(|(_, s)| !s.events.is_empty() || s.is_over())
            .map(|(id, _)| id)
            .collect();
        let mut more = Vec::new();
        for id in unread {
            let label = names.get(&id).cloned().unwrap_or_else(|| id.to_string());
            let lines = self.take(id, true);
            more.push(Noted { label, lines, surprise: None });
        }
        (format!("is {}", self.end_word()), more)
    }
}

fn event_lines(event: Event) -> Vec<String> {
    match event {
        Event::Headers(block) => block_lines(&block),
        Event::Data(data) => text::body_lines("body", &data),
    }
}
