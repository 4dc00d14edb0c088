//! HTTP/2 of the scripted server: every stream acts out a script of its own, at the same time as
//! the others.
//!
//! LIFECYCLE of a stream: its head is here → (the request is whole → noted) → its script runs, an
//! action at a time → script over, and the stream ended or reset → forgotten.

use super::{Notes, Shared, far};
use crate::diff::case::Action;
use crate::diff::text;
use crate::h2::{Conn, Event, Line, Stream, block_lines, code_name, kind};
use crate::wire::{End, Peer};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A stream and what is left of its script.
struct Running<'a> {
    notes: Notes<'a>,
    script: VecDeque<Action>,
    /// Nothing is noted: it belongs to a rule.
    silent: bool,
    noted: bool,
    head_request: bool,
    wake: Option<Instant>,
    /// The proxy's reset has been dealt with.
    reset: bool,
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Goes,
    Closes,
    Resets,
}

/// What a script does after an action.
enum Next {
    Another,
    Waits,
    Ends(Flow),
}

impl Shared {
    /// Serves HTTP/2 to the end of the connection.
    pub(super) fn serve_h2(&self, connection: usize, peer: Peer) -> Peer {
        let mut settings = vec![(8, 1)];
        settings.extend(&self.options.settings);
        let mut conn = Conn::server(peer, &settings);
        conn.manual = self.options.manual;
        let mut running: BTreeMap<u32, Running<'_>> = BTreeMap::new();
        loop {
            let wake = running.values().filter_map(|r| r.wake).min().unwrap_or_else(far);
            let end = match conn.pump(wake.max(Instant::now() + Duration::from_micros(100))) {
                Ok(()) | Err(End::Timeout) => None,
                Err(end) => Some(end),
            };
            self.begin_streams(connection, &conn, &mut running);
            if let Some(end) = end {
                for (id, stream) in &mut running {
                    stream.lost(conn.stream(*id), end);
                }
                return conn.peer;
            }
            for (id, stream) in &mut running {
                match stream.advance(*id, &mut conn) {
                    Flow::Goes => {}
                    Flow::Closes => return conn.peer,
                    Flow::Resets => {
                        if let Ok(socket) = conn.peer.try_clone_socket() {
                            socket.set_linger(Some(Duration::ZERO)).ok();
                        }
                        return conn.peer;
                    }
                }
            }
            running.retain(|id, stream| {
                let over = conn.stream(*id).is_none_or(Stream::is_over);
                let done = stream.script.is_empty() && stream.noted && over && !conn.waits(*id);
                if done {
                    conn.forget(*id);
                }
                !done
            });
        }
    }

    fn begin_streams<'a>(
        &'a self,
        connection: usize,
        conn: &Conn,
        running: &mut BTreeMap<u32, Running<'a>>,
    ) {
        for (id, stream) in conn.streams() {
            let Some(Event::Headers(head)) = stream.events.first() else { continue };
            if running.contains_key(&id) {
                continue;
            }
            let value = |name: &[u8]| {
                let found = head.iter().find(|(n, _)| n == name);
                String::from_utf8_lossy(found.map(|(_, v)| v.as_slice()).unwrap_or_default())
                    .into_owned()
            };
            let rule = self.rule(&value(b":path"));
            let script = match rule {
                Some(rule) => rule.script.clone(),
                None => self
                    .next_script()
                    .unwrap_or_else(|| vec![Action::Reply(200, b"ok".to_vec(), vec![])]),
            };
            let stream = Running {
                notes: self.notes(connection),
                script: script.into(),
                silent: rule.is_some(),
                noted: false,
                head_request: value(b":method") == "HEAD",
                wake: None,
                reset: false,
            };
            running.insert(id, stream);
        }
    }
}

impl Running<'_> {
    fn note(&self, line: String) {
        if !self.silent {
            self.notes.add(vec![line], false);
        }
    }

    /// The connection has ended under the stream.
    fn lost(&mut self, stream: Option<&Stream>, end: End) {
        if !self.noted {
            let mut lines = request_lines(stream);
            lines.push(super::ending("incomplete", end));
            self.notes.add(lines, true);
        } else if self.script.front() == Some(&Action::Hang) {
            self.note("the proxy ended the connection".to_owned());
        }
    }

    fn advance(&mut self, id: u32, conn: &mut Conn) -> Flow {
        self.note_request(id, conn);
        if let Some(code) = conn.stream(id).and_then(|stream| stream.reset)
            && !self.reset
        {
            self.reset = true;
            let complete = conn.stream(id).is_some_and(|stream| stream.ended);
            if !(self.script.is_empty() && complete) {
                self.note(format!("the proxy reset the stream: {}", code_name(code)));
            }
            self.script.clear();
        }
        if !self.noted {
            return Flow::Goes;
        }
        while let Some(action) = self.script.front().cloned() {
            match self.act(id, conn, &action) {
                Next::Another => {
                    self.script.pop_front();
                }
                Next::Waits => return Flow::Goes,
                Next::Ends(flow) => return flow,
            }
        }
        Flow::Goes
    }

    /// Notes the request once it is whole, or at once when the script is early.
    fn note_request(&mut self, id: u32, conn: &mut Conn) {
        if self.noted {
            return;
        }
        let stream = conn.stream(id);
        let early = self.script.front() == Some(&Action::Early);
        let over = stream.is_none_or(Stream::is_over);
        if !early && !over {
            return;
        }
        self.noted = true;
        let mut lines = if early { head_lines(stream) } else { request_lines(stream) };
        if early {
            lines.push("(body not waited for)".into());
        }
        if !self.silent {
            self.notes.add(lines, true);
        }
        if !early {
            conn.stream_mut(id).events.clear();
        } else {
            conn.stream_mut(id).events.remove(0);
        }
    }

    fn act(&mut self, id: u32, conn: &mut Conn, action: &Action) -> Next {
        let over = conn.stream(id).is_none_or(Stream::is_over);
        match action {
            Action::Early => {}
            Action::Wait(time) => match self.wake {
                None => {
                    self.wake = Some(Instant::now() + *time);
                    return Next::Waits;
                }
                Some(wake) if Instant::now() < wake => return Next::Waits,
                Some(_) => self.wake = None,
            },
            Action::Body | Action::RecvAll => {
                if !over {
                    return Next::Waits;
                }
                let lines = event_lines(&conn.stream_mut(id).events);
                conn.stream_mut(id).events.clear();
                if !self.silent {
                    self.notes.add(lines, false);
                }
            }
            Action::Recv(n) => {
                if !over && conn.stream(id).is_some_and(|stream| stream.body().len() < *n) {
                    return Next::Waits;
                }
                let bytes = take_bytes(conn.stream_mut(id), *n);
                self.note(format!("got {}", text::body(&bytes)));
            }
            Action::Echo => {
                let bytes = take_bytes(conn.stream_mut(id), usize::MAX);
                if !bytes.is_empty() || over {
                    conn.data(id, &bytes, over);
                }
                if !over {
                    return Next::Waits;
                }
            }
            Action::Hang => return Next::Waits,
            Action::Close => return Next::Ends(Flow::Closes),
            Action::Reset => return Next::Ends(Flow::Resets),
            Action::Fin => conn.peer.fin(),
            other => self.answer(id, conn, other),
        }
        Next::Another
    }

    fn answer(&self, id: u32, conn: &mut Conn, action: &Action) {
        match action {
            Action::Reply(status, body, headers) => {
                let mut lines = headers.clone();
                if !matches!(status, 100..200 | 204 | 304) {
                    lines.insert(0, format!("content-length: {}", body.len()));
                }
                let bare = self.head_request || body.is_empty();
                conn.headers(id, &head(*status, &lines), bare);
                if !bare {
                    conn.data(id, body, true);
                }
            }
            Action::Chunked(status, data, headers, trailers) => {
                let bare = self.head_request || (data.is_empty() && trailers.is_empty());
                conn.headers(id, &head(*status, headers), bare);
                for (at, part) in data.iter().enumerate().filter(|_| !bare) {
                    conn.data(id, part, trailers.is_empty() && at + 1 == data.len());
                }
                if !trailers.is_empty() && !bare {
                    conn.headers(id, &lines(trailers), true);
                }
            }
            Action::Head(status, headers) => conn.headers(id, &head(*status, headers), false),
            Action::Send(bytes) => conn.data(id, bytes, false),
            Action::Trailers(trailers) => conn.headers(id, &lines(trailers), true),
            Action::End => conn.data(id, b"", true),
            Action::Rst(code) => conn.rst(id, *code),
            Action::Goaway(last, code) => conn.send_goaway(*last, *code),
            _ => conn.frame(kind::PING, 0, 0, b"scripted"),
        }
    }
}

fn lines(lines: &[String]) -> Vec<Line> {
    let split = |line: &String| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (name.as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    lines.iter().map(split).collect()
}

fn head(status: u16, headers: &[String]) -> Vec<Line> {
    let status: Line = (b":status".to_vec(), status.to_string().into_bytes());
    std::iter::once(status).chain(lines(headers)).collect()
}

fn take_bytes(stream: &mut Stream, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Event::Data(data)) = stream.events.first_mut() {
        let now = data.len().min(most - bytes.len());
        bytes.extend(data.drain(..now));
        if !data.is_empty() {
            break;
        }
        stream.events.remove(0);
    }
    bytes
}

fn head_lines(stream: Option<&Stream>) -> Vec<String> {
    match stream.and_then(|stream| stream.events.first()) {
        Some(event) => event_lines(std::slice::from_ref(event)),
        None => vec![],
    }
}

/// A request as lines: what came, and how it ended when that is no end.
fn request_lines(stream: Option<&Stream>) -> Vec<String> {
    let Some(stream) = stream else { return vec![] };
    let mut lines = event_lines(&stream.events);
    if let Some(code) = stream.reset.filter(|_| !stream.ended) {
        lines.push(format!("(incomplete: reset {})", code_name(code)));
    }
    lines
}

fn event_lines(events: &[Event]) -> Vec<String> {
    let lines = |event: &Event| match event {
        Event::Headers(block) => block_lines(block),
        Event::Data(data) => text::body_lines("body", data),
    };
    events.iter().flat_map(lines).collect()
}
