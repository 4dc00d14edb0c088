//! HTTP/2 as frames, for scripted clients and servers: it keeps what it received in its order, and
//! sends what it is told, right or wrong. It obeys the peer's windows and answers SETTINGS and
//! PING.
//!
//! LIFECYCLE of a connection: preface and SETTINGS sent → frames pumped → the peer's GOAWAY is
//! noted → the socket ends. LIFECYCLE of a stream here: headers received or sent → events noted in
//! order → ended by END_STREAM or reset; what waits for a window is dropped by a reset.

use crate::wire::{End, Peer, escape_latin};
use fluke_hpack::Decoder;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

mod frame;
#[cfg(test)]
mod tests;

use frame::{ACK, END_HEADERS, END_STREAM, MAX_FRAME, PRIORITY, settings_frame, unpadded, word};
pub use frame::{Line, PREFACE, code, code_name, encode, frame, header_frames, kind, setting};

/// Something received on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A header block.
    Headers(Vec<Line>),
    /// Data that came without a header block between.
    Data(Vec<u8>),
}

/// Something to be sent on a stream when its window allows.
#[derive(Clone, Debug)]
enum Out {
    Data(Vec<u8>, bool),
    Headers(Vec<Line>, bool),
}

/// One stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// What was received, in order.
    pub events: Vec<Event>,
    /// The peer has ended it.
    pub ended: bool,
    /// The peer has reset it with this code.
    pub reset: Option<u32>,
    window: i64,
    queue: VecDeque<Out>,
}

/// One connection.
pub struct Conn {
    /// The socket.
    pub peer: Peer,
    decoder: Decoder<'static>,
    streams: BTreeMap<u32, Stream>,
    next: u32,
    window: i64,
    initial_window: i64,
    /// The settings the peer has sent, all together.
    pub settings: Vec<(u16, u32)>,
    /// The last GOAWAY of the peer: last stream and code.
    pub goaway: Option<(u32, u32)>,
    /// Windows are given back by the case.
    pub manual: bool,
    /// Acknowledgements of PING received.
    pub pongs: usize,
    block: Option<(u32, bool, Vec<u8>)>,
    client: bool,
}

impl Conn {
    /// Begins as a client: sends the preface and these settings.
    #[must_use]
    pub fn client(peer: Peer, settings: &[(u16, u32)]) -> Self {
        let mut conn = Self::new(peer, true);
        conn.peer.send(&[PREFACE, &settings_frame(settings)].concat());
        conn
    }

    /// Begins as a server: sends these settings. The preface of the client must be taken already.
    #[must_use]
    pub fn server(peer: Peer, settings: &[(u16, u32)]) -> Self {
        let mut conn = Self::new(peer, false);
        conn.peer.send(&settings_frame(settings));
        conn
    }

    /// A client whose preface and first frames go out as raw bytes.
    #[must_use]
    pub fn raw(peer: Peer) -> Self {
        Self::new(peer, true)
    }

    fn new(peer: Peer, client: bool) -> Self {
        Self {
            peer,
            decoder: Decoder::new(),
            streams: BTreeMap::new(),
            next: 1,
            window: 65_535,
            initial_window: 65_535,
            settings: Vec::new(),
            goaway: None,
            manual: false,
            pongs: 0,
            block: None,
            client,
        }
    }

    /// The next stream of a client.
    pub fn open(&mut self) -> u32 {
        let id = self.next;
        self.next += 2;
        self.stream_mut(id);
        id
    }

    /// What is known of a stream.
    #[must_use]
    pub fn stream(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// A stream, made when there is none.
    pub fn stream_mut(&mut self, id: u32) -> &mut Stream {
        let window = self.initial_window;
        self.streams.entry(id).or_insert_with(|| Stream { window, ..Stream::default() })
    }

    /// All streams by their number.
    pub fn streams(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.streams.iter().map(|(id, stream)| (*id, stream))
    }

    /// Forgets a stream.
    pub fn forget(&mut self, id: u32) {
        self.streams.remove(&id);
    }

    /// Sends a header block, after what waits on the stream.
    pub fn headers(&mut self, id: u32, lines: &[Line], end: bool) {
        self.stream_mut(id).queue.push_back(Out::Headers(lines.to_vec(), end));
        self.flush();
    }

    /// Sends a whole message in one go, as far as the windows allow; `end`: nothing follows.
    pub fn message(
        &mut self,
        id: u32,
        head: &[Line],
        body: Option<&[u8]>,
        trailers: &[Line],
        end: bool,
    ) {
        let bare = body.is_none() && trailers.is_empty();
        let queue = &mut self.stream_mut(id).queue;
        queue.push_back(Out::Headers(head.to_vec(), end && bare));
        if let Some(body) = body {
            queue.push_back(Out::Data(body.to_vec(), end && trailers.is_empty()));
        }
        if !trailers.is_empty() {
            queue.push_back(Out::Headers(trailers.to_vec(), end));
        }
        self.flush();
    }

    /// Sends data as the windows allow.
    pub fn data(&mut self, id: u32, bytes: &[u8], end: bool) {
        self.stream_mut(id).queue.push_back(Out::Data(bytes.to_vec(), end));
        self.flush();
    }

    /// Whether something still waits for a window.
    #[must_use]
    pub fn waits(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.queue.is_empty())
    }

    /// Resets a stream.
    pub fn rst(&mut self, id: u32, code: u32) {
        self.stream_mut(id).queue.clear();
        self.frame(kind::RST_STREAM, 0, id, &code.to_be_bytes());
    }

    /// Sends GOAWAY.
    pub fn send_goaway(&mut self, last: u32, code: u32) {
        self.frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// Sends one frame as it is.
    pub fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        self.peer.send(&frame(kind, flags, id, payload));
    }

    /// Sends SETTINGS.
    pub fn send_settings(&mut self, settings: &[(u16, u32)]) {
        self.peer.send(&settings_frame(settings));
    }

    /// Takes the frames that are here; waits for one when there is none.
    ///
    /// # Errors
    /// How the connection ended, or that nothing came until `deadline`.
    pub fn pump(&mut self, deadline: Instant) -> Result<(), End> {
        let mut any = false;
        loop {
            while let Some((kind, flags, id, payload)) = self.take_frame() {
                any = true;
                self.receive(kind, flags, id, &payload)?;
            }
            if any {
                self.flush();
                return Ok(());
            }
            self.peer.fill(deadline)?;
        }
    }

    fn take_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let [a, b, c, kind, flags, i, j, k, l] = *self.peer.buf.first_chunk::<9>()?;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let payload = self.peer.buf.get(9..9 + len)?.to_vec();
        self.peer.buf.drain(..9 + len);
        Some((kind, flags, u32::from_be_bytes([i & 0x7f, j, k, l]), payload))
    }

    fn receive(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<(), End> {
        match kind {
            kind::DATA => self.receive_data(flags, id, payload)?,
            kind::HEADERS => {
                let mut fragment = unpadded(flags, payload).ok_or(End::Garbage)?;
                if flags & PRIORITY != 0 {
                    fragment = fragment.get(5..).ok_or(End::Garbage)?;
                }
                self.block = Some((id, flags & END_STREAM != 0, fragment.to_vec()));
                self.block_end(flags)?;
            }
            kind::CONTINUATION => {
                if let Some((_, _, block)) = &mut self.block {
                    block.extend_from_slice(payload);
                }
                self.block_end(flags)?;
            }
            kind::RST_STREAM => {
                let stream = self.stream_mut(id);
                stream.reset = Some(word(payload, 0));
                stream.queue.clear();
            }
            kind::SETTINGS if flags & ACK == 0 => self.receive_settings(payload),
            kind::PING if flags & ACK == 0 => self.frame(kind::PING, ACK, 0, payload),
            kind::PING => self.pongs += 1,
            kind::GOAWAY => self.goaway = Some((word(payload, 0) & 0x7fff_ffff, word(payload, 4))),
            kind::WINDOW_UPDATE => {
                let more = i64::from(word(payload, 0) & 0x7fff_ffff);
                match id {
                    0 => self.window += more,
                    id => self.stream_mut(id).window += more,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn receive_data(&mut self, flags: u8, id: u32, payload: &[u8]) -> Result<(), End> {
        let data = unpadded(flags, payload).ok_or(End::Garbage)?;
        let stream = self.stream_mut(id);
        match stream.events.last_mut() {
            Some(Event::Data(last)) => last.extend_from_slice(data),
            _ if data.is_empty() => {}
            _ => stream.events.push(Event::Data(data.to_vec())),
        }
        stream.ended |= flags & END_STREAM != 0;
        let (ended, size) = (stream.ended, payload.len() as u32);
        if !self.manual && size > 0 {
            self.frame(kind::WINDOW_UPDATE, 0, 0, &size.to_be_bytes());
            if !ended {
                self.frame(kind::WINDOW_UPDATE, 0, id, &size.to_be_bytes());
            }
        }
        Ok(())
    }

    fn block_end(&mut self, flags: u8) -> Result<(), End> {
        if flags & END_HEADERS == 0 {
            return Ok(());
        }
        let Some((id, end, block)) = self.block.take() else { return Err(End::Garbage) };
        let lines = self.decoder.decode(&block).map_err(|_| End::Garbage)?;
        let stream = self.stream_mut(id);
        stream.events.push(Event::Headers(lines));
        stream.ended |= end;
        Ok(())
    }

    fn receive_settings(&mut self, payload: &[u8]) {
        for entry in payload.chunks_exact(6) {
            let (id, value) = (u16::from_be_bytes([entry[0], entry[1]]), word(entry, 2));
            self.settings.push((id, value));
            if id == 4 {
                let change = i64::from(value) - self.initial_window;
                self.initial_window = i64::from(value);
                self.streams.values_mut().for_each(|stream| stream.window += change);
            }
        }
        self.frame(kind::SETTINGS, ACK, 0, &[]);
    }

    /// Sends what the windows allow.
    fn flush(&mut self) {
        let mut out = Vec::new();
        for (id, stream) in &mut self.streams {
            while let Some(next) = stream.queue.pop_front() {
                match next {
                    Out::Headers(lines, end) => out.extend(header_frames(*id, &lines, end)),
                    Out::Data(mut bytes, end) => {
                        let room = stream.window.min(self.window).max(0) as usize;
                        let now = bytes.len().min(room).min(MAX_FRAME);
                        let rest = bytes.split_off(now);
                        if now == 0 && !rest.is_empty() {
                            stream.queue.push_front(Out::Data(rest, end));
                            break;
                        }
                        stream.window -= now as i64;
                        self.window -= now as i64;
                        let last = end && rest.is_empty();
                        let flags = if last { END_STREAM } else { 0 };
                        out.extend(frame(kind::DATA, flags, *id, &bytes));
                        if !rest.is_empty() {
                            stream.queue.push_front(Out::Data(rest, end));
                        }
                    }
                }
            }
        }
        if !out.is_empty() {
            self.peer.send(&out);
        }
    }

    /// Whether this end is the client.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.client
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Stream {
    /// Whether the peer has said its last word here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }

    /// Whether a final head is here.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.status().is_some_and(|status| status >= 200)
    }

    /// The last status received.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let status = |event: &Event| match event {
            Event::Headers(lines) => lines
                .iter()
                .find(|(name, _)| name == b":status")
                .and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok()),
            Event::Data(_) => None,
        };
        self.events.iter().rev().find_map(status)
    }

    /// All data received.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let data = |event: &Event| match event {
            Event::Data(data) => data.clone(),
            Event::Headers(_) => vec![],
        };
        self.events.iter().flat_map(data).collect()
    }
}

/// A header block as lines of a transcript. The order of pseudo headers among themselves means
/// nothing: they are sorted.
#[must_use]
pub fn block_lines(block: &[Line]) -> Vec<String> {
    let trailers = !block.iter().any(|(name, _)| name.starts_with(b":"));
    let prefix = if trailers { "trailer " } else { "" };
    let line =
        |(name, value): &Line| format!("{prefix}{}: {}", escape_latin(name), escape_latin(value));
    let pseudo = block.iter().take_while(|(name, _)| name.starts_with(b":")).count();
    let mut lines: Vec<String> = block.iter().map(line).collect();
    lines[..pseudo].sort();
    lines
}
