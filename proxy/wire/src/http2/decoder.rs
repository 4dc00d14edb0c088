//! Bytes of one direction of a connection to [`Event`]s.

use std::ops::Range;

use super::block::HeaderBlock;
use super::error::{ConnectionError, ErrorCode, H2Rule, StreamError};
use super::frame::{self, FrameHeader, HEADER_LEN, Kind};
use super::hpack;
use super::settings::SettingsChange;
use super::{Limits, PREFACE, Role};

/// What a piece of the input says. Ranges are relative to the input of that call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes that mean nothing by themselves: the preface.
    Nothing,
    /// A piece of a DATA frame, as much of it as is here.
    Data {
        /// Its stream, never 0.
        stream: u32,
        /// Body bytes; empty for an empty frame or when only padding is left.
        data: Range<usize>,
        /// Bytes this piece takes from the windows, padding included. What it has above `data`
        /// can be given back at once.
        flow: u32,
        /// On the first piece of a frame: the length of its payload, which is the sum of `flow`
        /// over its pieces. Zero on later pieces.
        frame: u32,
        /// Whether this is the first piece of its frame.
        first: bool,
        /// Whether the stream ends: only on the last piece of a frame with END_STREAM.
        end: bool,
    },
    /// A part of a header block that goes on in a CONTINUATION frame.
    Fragment {
        /// Its stream.
        stream: u32,
        /// Bytes of payload.
        len: u32,
    },
    /// A whole header block: it is in the [`HeaderBlock`].
    Headers {
        /// Its stream, never 0.
        stream: u32,
        /// Whether the stream ends.
        end: bool,
        /// Bytes of payload of the frame that ended the block.
        len: u32,
        /// Whether the block is valid, as far as all kinds of messages have the same rules; the
        /// rest is found when it is taken out. With an error the block holds nothing of use.
        verdict: Result<(), StreamError>,
    },
    /// A PRIORITY frame. Its advice is deprecated and not followed.
    Priority {
        /// Its stream, which may be in any state, idle too.
        stream: u32,
    },
    /// The peer ended a stream.
    Reset {
        /// Its stream, never 0.
        stream: u32,
        /// Why.
        code: ErrorCode,
    },
    /// The peer's settings: apply them and acknowledge.
    Settings(SettingsChange),
    /// The peer acknowledged ours, the oldest not yet acknowledged.
    SettingsAck,
    /// An echo is asked for, or with `ack` given.
    Ping {
        /// Whether it answers ours.
        ack: bool,
        /// To be echoed.
        payload: [u8; 8],
    },
    /// The peer goes away.
    GoAway {
        /// The last stream it has processed or may yet process.
        last: u32,
        /// Why.
        code: ErrorCode,
        /// Text for the operator.
        debug: Range<usize>,
    },
    /// Room for more data.
    WindowUpdate {
        /// Its stream, 0 for the connection.
        stream: u32,
        /// Bytes, at least 1.
        increment: u32,
    },
    /// A frame that broke a rule on its stream; reset it, unless it is closed or idle.
    Malformed {
        /// Its stream, never 0.
        stream: u32,
        /// What is wrong.
        error: StreamError,
    },
    /// A frame of a type nobody knows, skipped as it comes (RFC 9113 section 5.5); told once.
    Unknown {
        /// Its type.
        kind: Kind,
    },
}

/// One step of a [`Decoder`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes to cut from the front of the input, once the event is dealt with.
    pub consumed: usize,
    /// What they say.
    pub event: Event,
}

/// Reads one direction of a connection.
///
/// LIFECYCLE: `Preface` (servers only) → `Settings` (the first frame must be that) → `Frames`,
/// from where a frame leads to `Data` (until its payload has come), `Block` (until END_HEADERS) or
/// `Skip` (an unknown frame, until its payload has come) and back. An error is final: the decoder
/// must not be asked again.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    state: State,
    hpack: hpack::Decoder,
    /// A block that comes in several frames; empty between blocks.
    fragments: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Preface,
    Settings,
    Frames,
    Data(Data),
    Block(Block),
    Skip(u32),
}

/// The rest of a DATA frame.
#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    data: u32,
    padding: u32,
    end: bool,
}

/// A block waiting for CONTINUATION.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    end: bool,
    continuations: u32,
    verdict: Result<(), StreamError>,
}

/// Capacity of the fragment buffer that is kept between blocks, in bytes.
const FRAGMENTS_KEPT: usize = 1024;

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(role: Role, limits: Limits) -> Self {
        let state = if role == Role::Server { State::Preface } else { State::Settings };
        let hpack = hpack::Decoder::default();
        Self { role, limits, state, hpack, fragments: Vec::new() }
    }

    /// The size of dynamic table the peer may use, once it has acknowledged the SETTINGS that said
    /// so; or, if it is above 4096, from when they are sent.
    pub fn set_header_table_size(&mut self, bytes: u32) {
        self.hpack.set_limit(bytes as usize);
    }

    /// Whether a frame or a block is only half here, so that an end of the connection cuts it.
    pub fn is_inside(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Block(_) | State::Skip(_))
    }

    /// Reads the next event from the front of `input`; `block` receives header blocks.
    ///
    /// `None`: more bytes are needed. At most one frame has to be kept for that, that is 9 bytes
    /// and `max_frame_size`; DATA and unknown frames are handed out piece by piece.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn decode(
        &mut self,
        input: &[u8],
        block: &mut HeaderBlock,
    ) -> Result<Option<Step>, ConnectionError> {
        match self.state {
            State::Preface => return self.preface(input),
            State::Data(data) => return Ok(self.data_piece(data, input, 0, 0)),
            State::Skip(left) => return Ok(self.skip(left, input, 0)),
            State::Settings | State::Frames | State::Block(_) => {}
        }
        let Some((head, rest)) = input.split_first_chunk() else { return Ok(None) };
        let header = FrameHeader::parse(*head);
        self.check_order(header)?;
        match header.kind {
            Kind::DATA => return self.data_frame(header, input),
            Kind(0x0a..) => {
                let step = self.skip(header.len, input, HEADER_LEN);
                return Ok(step.map(|s| Step { event: Event::Unknown { kind: header.kind }, ..s }));
            }
            _ => {}
        }
        let Some(payload) = rest.get(..header.len as usize) else { return Ok(None) };
        let event = match header.kind {
            Kind::HEADERS => self.headers(header, payload, block)?,
            Kind::CONTINUATION => self.continuation(header, payload, block)?,
            Kind::PRIORITY => priority(header, payload)?,
            Kind::RST_STREAM => reset(header, payload)?,
            Kind::SETTINGS => self.settings(header, payload)?,
            Kind::PING => ping(header, payload)?,
            Kind::GOAWAY => goaway(header, payload)?,
            Kind::WINDOW_UPDATE => window_update(header, payload)?,
            _ => return Err(ConnectionError::protocol("no PUSH_PROMISE was allowed here")),
        };
        Ok(Some(Step { consumed: HEADER_LEN + payload.len(), event }))
    }

    fn preface(&mut self, input: &[u8]) -> Result<Option<Step>, ConnectionError> {
        let here = input.get(..PREFACE.len()).unwrap_or(input);
        if !PREFACE.starts_with(here) {
            return Err(ConnectionError::protocol("the connection preface is not that of HTTP/2"));
        }
        if here.len() < PREFACE.len() {
            return Ok(None);
        }
        self.state = State::Settings;
        Ok(Some(Step { consumed: PREFACE.len(), event: Event::Nothing }))
    }

    /// What may come now, and how long it may be.
    fn check_order(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        match self.state {
            State::Settings if header.kind != Kind::SETTINGS || header.has(frame::ACK) => {
                return Err(ConnectionError::protocol("the first frame must be SETTINGS"));
            }
            State::Block(open)
                if header.kind != Kind::CONTINUATION || header.stream != open.stream =>
            {
                return Err(OPEN_BLOCK);
            }
            State::Settings | State::Block(_) => {}
            _ if header.kind == Kind::CONTINUATION => {
                return Err(ConnectionError::protocol(
                    "CONTINUATION must follow HEADERS without END_HEADERS",
                ));
            }
            _ => {}
        }
        if header.len > self.limits.max_frame_size {
            return Err(ConnectionError::frame_size("a frame is larger than MAX_FRAME_SIZE"));
        }
        Ok(())
    }

    fn data_frame(
        &mut self,
        header: FrameHeader,
        input: &[u8],
    ) -> Result<Option<Step>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("DATA needs a stream"));
        }
        let (mut data, mut padding, mut at) = (header.len, 0, HEADER_LEN);
        if header.has(frame::PADDED) {
            data = data.checked_sub(1).ok_or(NO_PAD_LENGTH)?;
            let Some(length) = input.get(at) else { return Ok(None) };
            padding = u32::from(*length);
            data = data.checked_sub(padding).ok_or(PADDING_TOO_LONG)?;
            at += 1;
        }
        let end = header.has(frame::END_STREAM);
        let open = Data { stream: header.stream, data, padding, end };
        Ok(self.data_piece(open, input, at, header.len))
    }

    /// Hands out what is here of a DATA frame; `at`: bytes of its header, if this is the first
    /// piece.
    #[inline]
    fn data_piece(&mut self, open: Data, input: &[u8], at: usize, frame: u32) -> Option<Step> {
        let here = input.len().checked_sub(at)?;
        let here = u32::try_from(here).unwrap_or(u32::MAX);
        let data = open.data.min(here);
        let padding = if data == open.data { open.padding.min(here - data) } else { 0 };
        if data + padding == 0 && open.data + open.padding > 0 {
            return None;
        }
        let rest = Data { data: open.data - data, padding: open.padding - padding, ..open };
        let done = rest.data + rest.padding == 0;
        self.state = if done { State::Frames } else { State::Data(rest) };
        let pad_length = u32::from(at > HEADER_LEN);
        let start = at..at + data as usize;
        Some(Step {
            consumed: start.end + padding as usize,
            event: Event::Data {
                stream: open.stream,
                data: start,
                flow: data + padding + pad_length,
                frame,
                first: at > 0,
                end: open.end && done,
            },
        })
    }

    /// Passes over what is here of an unknown frame.
    fn skip(&mut self, left: u32, input: &[u8], at: usize) -> Option<Step> {
        let here = u32::try_from(input.len().checked_sub(at)?).unwrap_or(u32::MAX);
        let now = left.min(here);
        if at == 0 && now == 0 {
            return None;
        }
        let rest = left - now;
        self.state = if rest == 0 { State::Frames } else { State::Skip(rest) };
        Some(Step { consumed: at + now as usize, event: Event::Nothing })
    }

    fn headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        block: &mut HeaderBlock,
    ) -> Result<Event, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("HEADERS needs a stream"));
        }
        let mut fragment = payload;
        if header.has(frame::PADDED) {
            let (length, rest) = fragment.split_first().ok_or(NO_PAD_LENGTH)?;
            let len = rest.len().checked_sub(usize::from(*length)).ok_or(PADDING_TOO_LONG)?;
            fragment = rest.get(..len).ok_or(PADDING_TOO_LONG)?;
        }
        let mut verdict = Ok(());
        if header.has(frame::PRIORITY) {
            let (fields, rest) = fragment.split_first_chunk::<5>().ok_or(
                ConnectionError::frame_size("HEADERS is too short for its priority fields"),
            )?;
            if depends_on(*fields) == header.stream {
                verdict = Err(StreamError::new(H2Rule::SelfDependency));
            }
            fragment = rest;
        }
        let end = header.has(frame::END_STREAM);
        let open = Block { stream: header.stream, end, continuations: 0, verdict };
        if header.has(frame::END_HEADERS) {
            return self.finish_block(open, header.len, fragment, block);
        }
        self.fragments.clear();
        self.keep_fragment(open, header, fragment)
    }

    fn continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        block: &mut HeaderBlock,
    ) -> Result<Event, ConnectionError> {
        let State::Block(mut open) = self.state else {
            return Err(ConnectionError::protocol("CONTINUATION without HEADERS"));
        };
        open.continuations += 1;
        if open.continuations > self.limits.continuations_max {
            return Err(ConnectionError::new(
                ErrorCode::ENHANCE_YOUR_CALM,
                "a header block has too many CONTINUATION frames",
            ));
        }
        let event = self.keep_fragment(open, header, payload)?;
        if !header.has(frame::END_HEADERS) {
            return Ok(event);
        }
        let mut fragments = std::mem::take(&mut self.fragments);
        let event = self.finish_block(open, header.len, &fragments, block);
        if fragments.capacity() <= FRAGMENTS_KEPT {
            fragments.clear();
            self.fragments = fragments;
        }
        event
    }

    fn keep_fragment(
        &mut self,
        open: Block,
        header: FrameHeader,
        fragment: &[u8],
    ) -> Result<Event, ConnectionError> {
        // Coded, a block may be somewhat longer than its lines; what is far longer only wastes
        // time and memory.
        let bytes_max = self.limits.header_list_bytes_max.saturating_mul(2) + (16 << 10);
        if self.fragments.len() + fragment.len() > bytes_max {
            return Err(ConnectionError::new(
                ErrorCode::ENHANCE_YOUR_CALM,
                "a header block is more than twice as long as the limit on headers",
            ));
        }
        self.fragments.extend_from_slice(fragment);
        self.state = State::Block(open);
        Ok(Event::Fragment { stream: header.stream, len: header.len })
    }

    fn finish_block(
        &mut self,
        open: Block,
        len: u32,
        bytes: &[u8],
        block: &mut HeaderBlock,
    ) -> Result<Event, ConnectionError> {
        self.state = State::Frames;
        block.begin(self.role, &self.limits);
        self.hpack.decode(bytes, block)?;
        if let Err(error) = open.verdict {
            block.refuse(error.rule);
        }
        let verdict = block.verdict();
        Ok(Event::Headers { stream: open.stream, end: open.end, len, verdict })
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS must be on stream 0"));
        }
        if !header.has(frame::ACK) {
            self.state = State::Frames;
            return SettingsChange::parse(payload, self.role).map(Event::Settings);
        }
        if payload.is_empty() {
            Ok(Event::SettingsAck)
        } else {
            Err(ConnectionError::frame_size("SETTINGS with ACK must be empty"))
        }
    }
}

const NO_PAD_LENGTH: ConnectionError =
    ConnectionError::frame_size("a padded frame is too short for the length of its padding");
const PADDING_TOO_LONG: ConnectionError =
    ConnectionError::protocol("the padding of a frame is longer than the frame");

const OPEN_BLOCK: ConnectionError =
    ConnectionError::protocol("a header block must not be interrupted: CONTINUATION was expected");

/// The stream that priority fields name.
fn depends_on(fields: [u8; 5]) -> u32 {
    let [s0, s1, s2, s3, _weight] = fields;
    u32::from_be_bytes([s0 & 0x7f, s1, s2, s3])
}

fn priority(header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
    let stream = header.stream;
    if stream == 0 {
        return Err(ConnectionError::protocol("PRIORITY needs a stream"));
    }
    let rule = match payload.as_array::<5>() {
        None => H2Rule::PrioritySize,
        Some(fields) if depends_on(*fields) == stream => H2Rule::SelfDependency,
        Some(_) => return Ok(Event::Priority { stream }),
    };
    Ok(Event::Malformed { stream, error: StreamError::new(rule) })
}

fn reset(header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
    if header.stream == 0 {
        return Err(ConnectionError::protocol("RST_STREAM needs a stream"));
    }
    let code =
        payload.as_array().ok_or(ConnectionError::frame_size("RST_STREAM must be 4 bytes long"))?;
    Ok(Event::Reset { stream: header.stream, code: ErrorCode(u32::from_be_bytes(*code)) })
}

fn ping(header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
    if header.stream != 0 {
        return Err(ConnectionError::protocol("PING must be on stream 0"));
    }
    let payload =
        payload.as_array().ok_or(ConnectionError::frame_size("PING must be 8 bytes long"))?;
    Ok(Event::Ping { ack: header.has(frame::ACK), payload: *payload })
}

fn goaway(header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
    if header.stream != 0 {
        return Err(ConnectionError::protocol("GOAWAY must be on stream 0"));
    }
    let Some((&[l0, l1, l2, l3, code @ ..], _)) = payload.split_first_chunk::<8>() else {
        return Err(ConnectionError::frame_size("GOAWAY must be at least 8 bytes long"));
    };
    Ok(Event::GoAway {
        last: u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]),
        code: ErrorCode(u32::from_be_bytes(code)),
        debug: HEADER_LEN + 8..HEADER_LEN + payload.len(),
    })
}

fn window_update(header: FrameHeader, payload: &[u8]) -> Result<Event, ConnectionError> {
    let stream = header.stream;
    let &[i0, i1, i2, i3] = payload
        .as_array()
        .ok_or(ConnectionError::frame_size("WINDOW_UPDATE must be 4 bytes long"))?;
    let increment = u32::from_be_bytes([i0 & 0x7f, i1, i2, i3]);
    match (increment, stream) {
        (0, 0) => Err(ConnectionError::protocol("a WINDOW_UPDATE must add at least 1")),
        (0, _) => Ok(Event::Malformed { stream, error: StreamError::new(H2Rule::ZeroIncrement) }),
        _ => Ok(Event::WindowUpdate { stream, increment }),
    }
}
