//! Finding a body in the bytes that follow a head, without copying it.
//!
//! ```text
//! LIFECYCLE of a chunked body
//!   Size --digits--> Size --white space--> Padding --';'--> Extension --CR--> SizeLf
//!   Size and Padding --CR--> SizeLf; Size --';'--> Extension
//!   SizeLf --LF, size > 0--> Data --all read--> DataCr --> DataLf --> Size
//!   SizeLf --LF, size = 0--> Trailers --empty line--> Done
//! A body by length: Length --all read--> Done.   Until close: UntilClose --finish()--> Done.
//! Any error is final: the connection is closed.
//! ```

use std::ops::Range;

use memchr::memchr;

use super::BodyKind;
use super::error::{H1Error, H1Rule};
use super::lines::{Side, header_lines, parse_lines};
use super::options::{HeadLimits, ParseOptions};
use crate::error::Blame;
use crate::headers::HeaderMap;
use crate::path::hex_value;

/// Most digits of a chunk size: below 2^60, so that no sum of sizes can overflow. Envoy accepts
/// 16 digits.
const CHUNK_SIZE_DIGITS_MAX: u8 = 15;

/// Most bytes of one chunk extension. Nobody uses extensions; without a bound they are a way to
/// make a proxy read for ever.
const CHUNK_EXTENSION_BYTES_MAX: u16 = 4096;

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input used up: body and framing. The next call starts behind them.
    pub consumed: usize,
    /// Body bytes, as a range of the input; may be empty.
    pub data: Range<usize>,
    /// The body has ended; the rest of the input belongs to the next message.
    pub done: bool,
}

/// Finds the bytes of one body. See the module for its states.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    limits: HeadLimits,
    blame: Blame,
    keep_trailers: bool,
    /// Trailer lines received so far; empty and unallocated unless there are some.
    trailer_bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length { left: u64 },
    UntilClose,
    Size { size: u64, digits: u8 },
    Padding { size: u64, len: u16 },
    Extension { size: u64, len: u16 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl BodyDecoder {
    /// For the body of a request.
    pub fn request(kind: BodyKind, limits: &HeadLimits, options: &ParseOptions) -> Self {
        Self::new(kind, limits, options, Blame::Downstream)
    }

    /// For the body of a response.
    pub fn response(kind: BodyKind, limits: &HeadLimits, options: &ParseOptions) -> Self {
        Self::new(kind, limits, options, Blame::Upstream)
    }

    fn new(kind: BodyKind, limits: &HeadLimits, options: &ParseOptions, blame: Blame) -> Self {
        let state = match kind {
            BodyKind::None | BodyKind::Length(0) => State::Done,
            BodyKind::Length(left) => State::Length { left },
            BodyKind::Chunked => State::Size { size: 0, digits: 0 },
            BodyKind::UntilClose => State::UntilClose,
        };
        Self {
            state,
            limits: *limits,
            blame,
            keep_trailers: options.enable_trailers,
            trailer_bytes: Vec::new(),
            trailers: None,
        }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes still to come, where that is known: of a body by length all of it, of a chunked one
    /// the rest of the current chunk. What is passed on untouched up to there needs no decoding;
    /// tell with [`skip`](Self::skip).
    pub fn known_left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } | State::Data { left } => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Counts up to `n` body bytes as read which the caller moved itself (splice); at most
    /// [`known_left`](Self::known_left), returns how many.
    pub fn skip(&mut self, n: u64) -> u64 {
        match &mut self.state {
            State::Length { left } => {
                let taken = n.min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::Done;
                }
                taken
            }
            State::Data { left } => {
                let taken = n.min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                taken
            }
            State::UntilClose => n,
            _ => 0,
        }
    }

    /// The peer closed its side. Ends a body that lasts until then; an error in any other.
    pub fn finish(&mut self) -> Result<(), H1Error> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(self.error(H1Rule::Truncated, 0)),
        }
    }

    /// The trailers, once the body is done; `None` when there were none or they are not kept.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Reads on. Returns at the start of the second stretch of data, at the end of the input or
    /// of the body: call again with the rest while input is left and it is not done.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, H1Error> {
        let mut at = 0;
        let mut data = 0..0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::Length { .. } | State::UntilClose | State::Data { .. } => {
                    if !data.is_empty() {
                        break;
                    }
                    let available = (input.len() - at) as u64;
                    let taken = self.skip(available) as usize;
                    data = at..at + taken;
                    at += taken;
                }
                State::Trailers => at += self.trailer_input(input.get(at..).unwrap_or_default())?,
                framing => {
                    let byte = input.get(at).copied().unwrap_or_default();
                    self.state = next(framing, byte).map_err(|rule| self.error(rule, at))?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { consumed: at, data, done: self.is_done() })
    }

    /// Takes trailer lines up to the empty one; returns how many bytes.
    fn trailer_input(&mut self, input: &[u8]) -> Result<usize, H1Error> {
        if self.trailer_bytes.is_empty() && input.starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(2);
        }
        let mut used = 0;
        while let Some(lf) = memchr(b'\n', input.get(used..).unwrap_or_default()) {
            let line_end = used + lf + 1;
            self.keep_trailer_bytes(input.get(used..line_end).unwrap_or_default())?;
            used = line_end;
            if !self.trailer_bytes.ends_with(b"\r\n") {
                return Err(self.error(H1Rule::Trailer, used));
            }
            let bytes = self.trailer_bytes.as_slice();
            if bytes == b"\r\n" || bytes.ends_with(b"\n\r\n") {
                self.parse_trailers()?;
                self.state = State::Done;
                return Ok(used);
            }
        }
        self.keep_trailer_bytes(input.get(used..).unwrap_or_default())?;
        Ok(input.len())
    }

    fn keep_trailer_bytes(&mut self, bytes: &[u8]) -> Result<(), H1Error> {
        self.trailer_bytes.extend_from_slice(bytes);
        if self.trailer_bytes.len() > self.limits.head_bytes_max {
            return Err(self.error(H1Rule::TrailersTooLarge, 0));
        }
        Ok(())
    }

    fn parse_trailers(&mut self) -> Result<(), H1Error> {
        let bytes = std::mem::take(&mut self.trailer_bytes);
        let options = ParseOptions::default();
        let mut map = HeaderMap::new();
        let parsed = header_lines(&bytes, 0, &self.limits, &mut map).and_then(|lines| {
            let Some(lines) = lines else { return Ok(()) };
            parse_lines(&bytes, lines, Side::Trailers, &options, &mut map, &mut Vec::new())
                .map(|_| ())
        });
        parsed.map_err(|e| match e.rule {
            H1Rule::TooManyHeaders => self.error(H1Rule::TrailersTooLarge, e.at),
            _ => self.error(H1Rule::Trailer, e.at),
        })?;
        if self.keep_trailers && !map.is_empty() {
            self.trailers = Some(map);
        }
        Ok(())
    }

    fn error(&self, rule: H1Rule, at: usize) -> H1Error {
        H1Error { rule, at, blame: self.blame }
    }
}

/// The state after a byte of chunk framing.
fn next(state: State, byte: u8) -> Result<State, H1Rule> {
    match (state, byte) {
        (State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
            if digits >= CHUNK_SIZE_DIGITS_MAX {
                return Err(H1Rule::ChunkSize);
            }
            let size = size << 4 | u64::from(hex_value(digit));
            Ok(State::Size { size, digits: digits + 1 })
        }
        (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeLf { size }),
        (State::Size { size, digits: 1.. }, b';') => Ok(State::Extension { size, len: 0 }),
        // Old servers pad the number with spaces; Envoy accepts that too.
        (State::Size { size, digits: 1.. }, b' ' | b'\t') => Ok(State::Padding { size, len: 1 }),
        (State::Size { .. }, _) => Err(H1Rule::ChunkSize),
        (State::Padding { size, .. }, b'\r') => Ok(State::SizeLf { size }),
        (State::Padding { size, len }, b';') => Ok(State::Extension { size, len }),
        (State::Padding { size, len }, b' ' | b'\t') if len < CHUNK_EXTENSION_BYTES_MAX => {
            Ok(State::Padding { size, len: len + 1 })
        }
        (State::Padding { .. }, _) => Err(H1Rule::ChunkSize),
        (State::Extension { size, .. }, b'\r') => Ok(State::SizeLf { size }),
        (State::Extension { size, len }, byte) => {
            let printable = byte == b'\t' || byte >= 0x20 && byte != 0x7f;
            if !printable || len >= CHUNK_EXTENSION_BYTES_MAX {
                return Err(H1Rule::ChunkExtension);
            }
            Ok(State::Extension { size, len: len + 1 })
        }
        (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailers),
        (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
        (State::SizeLf { .. }, _) => Err(H1Rule::ChunkSize),
        (State::DataCr, b'\r') => Ok(State::DataLf),
        (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
        (State::DataCr | State::DataLf, _) => Err(H1Rule::ChunkEnd),
        (other, _) => Ok(other),
    }
}
