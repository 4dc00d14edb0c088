//! One end of an HTTP/2 connection, as far as generator and upstream have it in common: frames in,
//! frames out, settings, pings and the connection's windows.
//!
//! Windows for receiving are as large as they can be and given back rarely, so that the proxy
//! under test is never held back by them.

use ringway_runtime::Chunk;
use ringway_wire::http2::{
    ConnectionError, Decoder, Encoder, Event, FRAME_SIZE_MIN, HeaderBlock, INITIAL_WINDOW, Limits,
    PREFACE, Role, Settings, WINDOW_MAX, frame,
};
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

/// Bytes taken before a window is given back.
const GIVE_BACK: u32 = 1 << 30;
/// Streams a peer may have open.
const STREAMS_MAX: u32 = 1 << 20;

/// What came, as far as it concerns a stream.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A piece of a body.
    Data { stream: u32, bytes: Chunk, end: bool },
    /// A head or trailers: take them by [`Connection::request`] and its sisters at once.
    Head { stream: u32, end: bool },
    /// The peer gave the stream up, or broke a rule on it.
    Reset { stream: u32 },
    /// No new streams.
    GoAway { last: u32 },
    /// More room to send on a stream.
    Window { stream: u32, bytes: u32 },
    /// More room (or less) to send on every open stream; with [`Connection::window`] that of the
    /// connection may have grown too.
    Windows { change: i64 },
}

/// One end of a connection.
pub(crate) struct Connection {
    decoder: Decoder,
    encoder: Encoder,
    block: HeaderBlock,
    /// Received, not decoded yet.
    input: Chunk,
    /// What the peer allows.
    peer: Settings,
    /// Bytes that may be sent on all streams together.
    window: i64,
    /// Bytes received since the connection's window was given back.
    taken: u32,
    /// Frames to be sent.
    out: Vec<u8>,
}

impl Connection {
    /// With what has to be sent first.
    pub(crate) fn new(role: Role) -> Self {
        let limits = Limits { headers_count_max: 1000, ..Limits::default() };
        let mut out = Vec::new();
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        let ours = Settings {
            initial_window_size: WINDOW_MAX,
            enable_push: role == Role::Server,
            max_concurrent_streams: (role == Role::Server).then_some(STREAMS_MAX),
            ..Settings::default()
        };
        frame::settings(ours.entries(), &mut out);
        frame::window_update(0, WINDOW_MAX - INITIAL_WINDOW, &mut out);
        Self {
            decoder: Decoder::new(role, limits),
            encoder: Encoder::new(),
            block: HeaderBlock::new(),
            input: Chunk::new(),
            peer: Settings::default(),
            window: INITIAL_WINDOW.into(),
            taken: 0,
            out,
        }
    }

    /// Adds received bytes.
    pub(crate) fn feed(&mut self, chunk: Chunk) {
        // What is left is less than a frame.
        self.input = match self.input.is_empty() {
            true => chunk,
            false => Chunk::from([&self.input[..], &chunk].concat()),
        };
    }

    /// The next thing that came; `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Seen>, ConnectionError> {
        while let Some(step) = self.decoder.decode(&self.input, &mut self.block)? {
            let seen = match step.event {
                Event::Data { stream, data, flow, end, .. } => {
                    self.take(flow);
                    Some(Seen::Data { stream, bytes: self.input.slice(data), end })
                }
                Event::Headers { stream, end, verdict: Ok(()), .. } => {
                    Some(Seen::Head { stream, end })
                }
                Event::Headers { stream, .. }
                | Event::Reset { stream, .. }
                | Event::Malformed { stream, .. } => Some(Seen::Reset { stream }),
                Event::GoAway { last, .. } => Some(Seen::GoAway { last }),
                Event::WindowUpdate { stream: 0, increment } => {
                    self.window += i64::from(increment);
                    Some(Seen::Windows { change: 0 })
                }
                Event::WindowUpdate { stream, increment } => {
                    Some(Seen::Window { stream, bytes: increment })
                }
                Event::Settings(change) => {
                    let before = i64::from(self.peer.initial_window_size);
                    self.peer.apply(&change);
                    if let Some(last) = change.header_table_size {
                        let least = change.header_table_size_min.unwrap_or(last);
                        self.encoder.set_peer_table_size(least, last);
                    }
                    frame::settings_ack(&mut self.out);
                    Some(Seen::Windows { change: self.window_of_streams() - before })
                }
                Event::Ping { ack: false, payload } => {
                    frame::ping(payload, true, &mut self.out);
                    None
                }
                Event::Nothing
                | Event::Fragment { .. }
                | Event::Priority { .. }
                | Event::SettingsAck
                | Event::Ping { .. }
                | Event::Unknown { .. } => None,
            };
            self.input.advance(step.consumed);
            if seen.is_some() {
                return Ok(seen);
            }
        }
        Ok(None)
    }

    /// The head that was just seen, if it is a valid request.
    pub(crate) fn request(&mut self, head: &mut RequestHead) -> bool {
        self.block.into_request(head).is_ok()
    }

    /// The head that was just seen, if it is a valid response.
    pub(crate) fn response(&mut self, head: &mut ResponseHead, end: bool) -> bool {
        self.block.into_response(head, end).is_ok()
    }

    /// The trailers that were just seen, if they are valid.
    pub(crate) fn trailers(&mut self, trailers: &mut HeaderMap) -> bool {
        self.block.into_trailers(trailers).is_ok()
    }

    /// Streams the peer lets us have open at once.
    pub(crate) fn streams_max(&self) -> u32 {
        self.peer.max_concurrent_streams.unwrap_or(u32::MAX)
    }

    /// Bytes that may be sent on a new stream.
    pub(crate) fn window_of_streams(&self) -> i64 {
        self.peer.initial_window_size.into()
    }

    /// Bytes that may be sent now on a stream that itself may send `stream`: of one frame at most.
    pub(crate) fn room(&self, stream: i64) -> usize {
        let room = stream.min(self.window).min(self.peer.max_frame_size.into());
        usize::try_from(room).unwrap_or(0)
    }

    /// Sends the head of a request.
    pub(crate) fn send_request(&mut self, stream: u32, head: &RequestHead, end: bool) {
        self.encoder.request_head(stream, head, None, end, FRAME_SIZE_MIN, &mut self.out);
    }

    /// Sends the head of a response.
    pub(crate) fn send_response(&mut self, stream: u32, head: &ResponseHead, end: bool) {
        self.encoder.response_head(stream, head, end, FRAME_SIZE_MIN, &mut self.out);
    }

    /// Sends trailers, the end of the stream.
    pub(crate) fn send_trailers(&mut self, stream: u32, trailers: &HeaderMap) {
        self.encoder.trailers(stream, trailers, FRAME_SIZE_MIN, &mut self.out);
    }

    /// Sends a frame of body bytes, no more than [`Connection::room`] says.
    pub(crate) fn send_data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.send_data_header(stream, bytes.len(), end);
        self.out.extend_from_slice(bytes);
    }

    /// Sends the header of such a frame; the bytes have to follow the next [`Connection::out`].
    pub(crate) fn send_data_header(&mut self, stream: u32, len: usize, end: bool) {
        self.window -= len as i64;
        self.out.extend_from_slice(&frame::data_header(len as u32, stream, end));
    }

    /// Gives up a stream.
    pub(crate) fn send_reset(&mut self, stream: u32) {
        frame::rst_stream(stream, ringway_wire::http2::ErrorCode::CANCEL, &mut self.out);
    }

    /// Gives a stream's window back, once enough was `taken` from it.
    pub(crate) fn give_back(&mut self, stream: u32, taken: &mut u32) {
        if *taken >= GIVE_BACK {
            frame::window_update(stream, *taken, &mut self.out);
            *taken = 0;
        }
    }

    /// Says that the connection ends because of this error.
    pub(crate) fn send_goaway(&mut self, error: &ConnectionError) {
        frame::goaway(0, error.code, error.reason.as_bytes(), &mut self.out);
    }

    /// What is to be sent, if anything.
    pub(crate) fn out(&mut self) -> Option<Chunk> {
        if self.out.is_empty() {
            return None;
        }
        let chunk = Chunk::copy_from(&self.out);
        self.out.clear();
        Some(chunk)
    }

    fn take(&mut self, flow: u32) {
        self.taken += flow;
        let mut taken = self.taken;
        self.give_back(0, &mut taken);
        self.taken = taken;
    }
}
