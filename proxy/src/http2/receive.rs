//! From the connection to the streams: what each frame does (RFC 9113 sections 5 and 6).

mod headers;

use ringway_runtime::{Chunk, Instant};
use ringway_wire::http2::{
    ConnectionError, ErrorCode, Event, HeaderBlock, MESSAGING_RULE, Role, SettingsChange,
    StreamError, frame,
};

use headers::Arrived;

use super::StreamEnd;
use super::closed::How;
use super::state::{Fail, Setup, State};
use super::stream::{Key, StreamState};

/// Above this a leftover is copied out of its buffer rather than keeping the buffer.
const PINNED_MAX: usize = 4;

type Outcome = Result<(), Fail>;

const STREAM_CLOSED: Fail =
    Fail::violation(ErrorCode::STREAM_CLOSED, "a frame for a stream that was closed before");
const IDLE: Fail =
    Fail::violation(ErrorCode::PROTOCOL_ERROR, "a frame for a stream that was never opened");

impl From<ConnectionError> for Fail {
    fn from(error: ConnectionError) -> Self {
        Self::violation(error.code, error.reason)
    }
}

impl State {
    /// Takes in what was received.
    pub(super) fn received(&mut self, setup: &Setup, chunk: Chunk, now: Instant) -> Outcome {
        self.rx_bytes += chunk.len() as u64;
        self.timers.heard(now);
        let begun = std::mem::take(&mut self.inbox);
        let mut input = crate::http::down::join(begun, chunk);
        let heads = std::rc::Rc::clone(&setup.env.heads);
        let mut block = heads.block.borrow_mut();
        while let Some(step) = self.decoder.decode(&input, &mut block)? {
            match step.event {
                Event::Data { stream, data, flow, frame, first, end } => {
                    let piece = Piece { data: input.slice(data), flow, first, end };
                    if first && !self.guard.payload(&setup.options, payload(&piece, frame), end) {
                        return Err(empty_flood(setup));
                    }
                    self.data(setup, stream, piece)?;
                }
                event => self.event(setup, event, &mut block, now)?,
            }
            input.advance(step.consumed);
            if let Some(fail) = self.failure.take() {
                return Err(fail);
            }
            self.check_outbound(setup)?;
        }
        drop(block);
        // A few bytes must not keep a large buffer.
        let keep = input.capacity_held() <= input.len().saturating_mul(PINNED_MAX);
        self.inbox = if keep { input } else { Chunk::copy_from(&input) };
        Ok(())
    }

    fn event(
        &mut self,
        setup: &Setup,
        event: Event,
        block: &mut HeaderBlock,
        now: Instant,
    ) -> Outcome {
        match event {
            Event::Fragment { len, .. } => {
                let fits = self.guard.payload(&setup.options, len, false);
                fits.then_some(()).ok_or_else(|| empty_flood(setup))
            }
            Event::Headers { stream, end, len, verdict } => {
                if !self.guard.payload(&setup.options, len, end) {
                    return Err(empty_flood(setup));
                }
                self.headers(setup, Arrived { id: stream, end, len, verdict, now }, block)
            }
            Event::Priority { .. } => self.priority(setup),
            Event::Reset { stream, code } => self.peer_reset(setup, stream, code, now),
            Event::Settings(change) => self.settings(setup, &change),
            Event::SettingsAck => {
                self.settings_acknowledged(setup);
                Ok(())
            }
            Event::Ping { ack: true, payload } => {
                self.pong(setup, payload, now);
                Ok(())
            }
            Event::Ping { ack: false, payload } => {
                self.out.count_control();
                frame::ping(payload, true, &mut self.out);
                Ok(())
            }
            Event::GoAway { last, .. } => {
                self.peer_goes_away(setup, last);
                Ok(())
            }
            Event::WindowUpdate { stream, increment } => {
                self.window_update(setup, stream, increment)
            }
            Event::Malformed { stream, error } => self.malformed(setup, stream, error),
            Event::Data { .. } | Event::Nothing | Event::Unknown { .. } => Ok(()),
        }
    }

    /// Replies pile up for a peer that asks for them and does not read them.
    fn check_outbound(&self, setup: &Setup) -> Outcome {
        let ((sent, sent_control), (new, new_control)) = (self.backlog.counts(), self.out.counts());
        let codec = &setup.env.codec;
        if sent_control + new_control > setup.options.max_outbound_control_frames {
            setup.env.stats.inc(codec.outbound_control_flood());
            return Err(Fail::flood("http2.outbound_control_flood"));
        }
        if sent + new > setup.options.max_outbound_frames {
            setup.env.stats.inc(codec.outbound_flood());
            return Err(Fail::flood("http2.outbound_frames_flood"));
        }
        Ok(())
    }

    // --- DATA ---

    fn data(&mut self, setup: &Setup, id: u32, piece: Piece) -> Outcome {
        if !self.recv.take(piece.flow) {
            let reason = "more DATA than the connection's window had room for";
            return Err(Fail::violation(ErrorCode::FLOW_CONTROL_ERROR, reason));
        }
        let Some(key) = self.streams.find(id) else {
            self.give_connection(piece.flow);
            return self.data_astray(setup, id, &piece);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let len = piece.data.len() as u32;
        let header = if piece.first { frame::HEADER_LEN as u64 } else { 0 };
        stream.wire_received += u64::from(piece.flow) + header;
        let wrong = if stream.remote_ended {
            Some((ErrorCode::STREAM_CLOSED, MESSAGING_RULE))
        } else if !stream.recv.take(piece.flow) {
            Some((ErrorCode::FLOW_CONTROL_ERROR, MESSAGING_RULE))
        } else {
            check_length(stream, u64::from(len), piece.end)
                .then_some((ErrorCode::PROTOCOL_ERROR, MESSAGING_RULE))
        };
        if let Some((code, details)) = wrong {
            self.give_connection(piece.flow);
            return self.break_rule(setup, key, code, details);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let forsaken = !stream.held;
        if piece.end {
            stream.remote_ended = true;
        }
        if !forsaken {
            stream.inbox.push(piece.data);
            stream.wake_reader();
        }
        // Padding is consumed by arriving, and so is what nobody is left to read.
        let consumed = if forsaken { piece.flow } else { piece.flow - len };
        self.give_connection(consumed);
        self.give_stream(key, consumed);
        if piece.end {
            self.ended_there(setup, key);
        }
        Ok(())
    }

    /// DATA for a stream that is not open.
    fn data_astray(&mut self, setup: &Setup, id: u32, piece: &Piece) -> Outcome {
        if self.is_idle_id(setup, id) {
            return Err(IDLE);
        }
        if self.recent.find(id) != Some(How::ResetHere) && piece.first && id <= self.last_allowed {
            self.write_reset(setup, id, ErrorCode::STREAM_CLOSED, true);
        }
        Ok(())
    }

    /// The peer has ended the stream for its side.
    fn ended_there(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.remote_ended = true;
        stream.wake_reader();
        if stream.local_ended {
            self.stream_closed(setup, key, How::ByPeer, false);
        }
    }

    /// Ends a stream, or by `override_stream_error_on_invalid_http_message: false` the connection.
    fn break_rule(
        &mut self,
        setup: &Setup,
        key: Key,
        code: ErrorCode,
        details: &'static str,
    ) -> Outcome {
        if code == ErrorCode::PROTOCOL_ERROR {
            setup.env.stats.inc(setup.env.codec.rx_messaging_error());
            if setup.options.close_on_invalid_message {
                return Err(Fail::violation(code, details));
            }
        }
        self.reset(setup, key, code, StreamEnd::Violation(details));
        Ok(())
    }

    fn priority(&mut self, setup: &Setup) -> Outcome {
        if self.guard.priority(&setup.options) {
            return Ok(());
        }
        setup.env.stats.inc(setup.env.codec.inbound_priority_frames_flood());
        Err(Fail::flood("http2.inbound_priority_frames_flood"))
    }

    fn peer_reset(&mut self, setup: &Setup, id: u32, code: ErrorCode, now: Instant) -> Outcome {
        // A server may have reasons to reset many streams; nghttp2 limits clients only, too.
        if setup.role == Role::Server && !self.guard.reset(&setup.options, now) {
            let reason = "too many RST_STREAM frames in a short time";
            return Err(Fail::violation(ErrorCode::ENHANCE_YOUR_CALM, reason));
        }
        let Some(key) = self.streams.find(id) else {
            return if self.is_idle_id(setup, id) { Err(IDLE) } else { Ok(()) };
        };
        setup.env.stats.inc(setup.env.codec.rx_reset());
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let refused = setup.role == Role::Client && code == ErrorCode::REFUSED_STREAM;
        let end = if refused { StreamEnd::Refused } else { StreamEnd::Reset(code) };
        let early = !stream.head_sent;
        stream.end.get_or_insert(end);
        stream.wake();
        self.stream_closed(setup, key, How::ByPeer, early);
        Ok(())
    }

    fn settings(&mut self, setup: &Setup, change: &SettingsChange) -> Outcome {
        let window = i64::from(self.peer.initial_window_size);
        self.peer.apply(change);
        self.peer_known = true;
        if let (Some(least), Some(last)) = (change.header_table_size_min, change.header_table_size)
        {
            let max = setup.options.hpack_table_size;
            self.encoder.set_peer_table_size(least.min(max), last.min(max));
        }
        let difference = i64::from(self.peer.initial_window_size) - window;
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if difference == 0 || !stream.open {
                continue;
            }
            if !stream.send.add(difference) {
                let reason = "INITIAL_WINDOW_SIZE makes the window of a stream too large";
                return Err(Fail::violation(ErrorCode::FLOW_CONTROL_ERROR, reason));
            }
            self.schedule(key);
        }
        self.out.count_control();
        frame::settings_ack(&mut self.out);
        Ok(())
    }

    fn settings_acknowledged(&mut self, setup: &Setup) {
        if std::mem::replace(&mut self.acknowledged, true) {
            return;
        }
        self.decoder.set_header_table_size(setup.options.hpack_table_size);
        self.stream_window = setup.options.initial_stream_window;
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.open) else {
                continue;
            };
            let increment = stream.recv.resize(self.stream_window);
            if let Some(increment) = increment.filter(|_| !stream.remote_ended) {
                self.out.count_frame();
                frame::window_update(stream.id, increment, &mut self.out);
            }
        }
    }

    fn peer_goes_away(&mut self, setup: &Setup, last: u32) {
        if setup.role == Role::Server {
            // It takes no pushed streams, which we never send.
            return;
        }
        self.draining = true;
        self.peer_leaves = true;
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if stream.open && stream.id > last {
                stream.end.get_or_insert(StreamEnd::Refused);
                stream.wake();
                self.stream_closed(setup, key, How::ByPeer, false);
            }
        }
    }

    fn window_update(&mut self, setup: &Setup, id: u32, increment: u32) -> Outcome {
        if !self.guard.window_update(&setup.options) {
            setup.env.stats.inc(setup.env.codec.inbound_window_update_frames_flood());
            return Err(Fail::flood("http2.inbound_window_update_frames_flood"));
        }
        if id == 0 {
            if !self.send.add(i64::from(increment)) {
                let reason = "WINDOW_UPDATE makes the connection's window larger than 2147483647";
                return Err(Fail::violation(ErrorCode::FLOW_CONTROL_ERROR, reason));
            }
            return Ok(());
        }
        let Some(key) = self.streams.find(id) else {
            return if self.is_idle_id(setup, id) { Err(IDLE) } else { Ok(()) };
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if !stream.send.add(i64::from(increment)) {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return self.break_rule(setup, key, code, MESSAGING_RULE);
        }
        self.schedule(key);
        Ok(())
    }

    /// A frame that is wrong for its stream only.
    fn malformed(&mut self, setup: &Setup, id: u32, error: StreamError) -> Outcome {
        if let Some(key) = self.streams.find(id) {
            self.reset(setup, key, error.code(), StreamEnd::Violation(error.details()));
            return Ok(());
        }
        // PRIORITY may name streams that do not exist yet; a reset of those is an error itself.
        if self.is_idle_id(setup, id) {
            return Err(Fail::violation(error.code(), error.rule.text()));
        }
        Ok(())
    }

    /// Whether no stream of this number was ever opened.
    fn is_idle_id(&self, setup: &Setup, id: u32) -> bool {
        match (setup.role, id.is_multiple_of(2)) {
            (Role::Client, false) => id >= self.next_id,
            (Role::Server, false) => id > self.last_peer,
            // Streams a server opens: there are none.
            (_, true) => true,
        }
    }
}

/// A piece of a DATA frame.
struct Piece {
    data: Chunk,
    flow: u32,
    first: bool,
    end: bool,
}

/// Body bytes a DATA frame promises; of padding only, it is as good as empty.
fn payload(piece: &Piece, frame: u32) -> u32 {
    // A frame that is here whole shows what it has; one that is not has more to come.
    if piece.flow >= frame { piece.data.len() as u32 } else { frame }
}

fn empty_flood(setup: &Setup) -> Fail {
    setup.env.stats.inc(setup.env.codec.inbound_empty_frames_flood());
    Fail::flood("http2.inbound_empty_frames_flood")
}

/// Counts body bytes against `content-length`: true if there are too many, or at the end too few.
fn check_length(stream: &mut StreamState, bytes: u64, end: bool) -> bool {
    let early = !stream.head_received;
    let Some(expected) = &mut stream.expected else { return early };
    match expected.checked_sub(bytes) {
        Some(left) => {
            *expected = left;
            early || (end && left > 0)
        }
        None => true,
    }
}
