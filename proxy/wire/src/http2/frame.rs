//! Frame headers (RFC 9113 section 4.1), and the frames that are written without compression.

use super::error::ErrorCode;
use super::settings::SettingId;
use crate::http1::Sink;

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 9;

/// Type of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Body bytes.
    pub const DATA: Self = Self(0x0);
    /// The start of a header block.
    pub const HEADERS: Self = Self(0x1);
    /// Deprecated advice.
    pub const PRIORITY: Self = Self(0x2);
    /// The end of a stream.
    pub const RST_STREAM: Self = Self(0x3);
    /// Settings, or their acknowledgement.
    pub const SETTINGS: Self = Self(0x4);
    /// Announces a pushed stream.
    pub const PUSH_PROMISE: Self = Self(0x5);
    /// Asks for, or is, an echo.
    pub const PING: Self = Self(0x6);
    /// The end of the connection.
    pub const GOAWAY: Self = Self(0x7);
    /// Room for more data.
    pub const WINDOW_UPDATE: Self = Self(0x8);
    /// More of a header block.
    pub const CONTINUATION: Self = Self(0x9);
}

/// Flag: the stream ends with this frame (DATA, HEADERS).
pub const END_STREAM: u8 = 0x1;
/// Flag: SETTINGS or PING of the other end are acknowledged.
pub const ACK: u8 = 0x1;
/// Flag: the header block ends with this frame (HEADERS, CONTINUATION).
pub const END_HEADERS: u8 = 0x4;
/// Flag: the payload starts with the length of the padding at its end (DATA, HEADERS).
pub const PADDED: u8 = 0x8;
/// Flag: the payload has priority fields (HEADERS).
pub const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Bytes of payload behind it, less than 2^24.
    pub len: u32,
    /// Type.
    pub kind: Kind,
    /// Flags; what they mean depends on the type.
    pub flags: u8,
    /// Stream, 0 for the connection. The reserved bit is cut off.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads nine bytes.
    #[inline]
    pub const fn parse(bytes: [u8; HEADER_LEN]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind(kind),
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// The nine bytes.
    #[inline]
    pub const fn bytes(self) -> [u8; HEADER_LEN] {
        let [_, l0, l1, l2] = self.len.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind.0, self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    #[inline]
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The header of a DATA frame of `len` bytes without padding; the bytes go behind it. `len` must
/// not be above the peer's `max_frame_size`.
#[inline]
pub const fn data_header(len: u32, stream: u32, end: bool) -> [u8; HEADER_LEN] {
    let flags = if end { END_STREAM } else { 0 };
    FrameHeader { len, kind: Kind::DATA, flags, stream }.bytes()
}

/// Writes SETTINGS: pairs as [`Settings::entries`](super::Settings::entries) gives them.
pub fn settings(entries: impl Iterator<Item = (SettingId, u32)>, out: &mut impl Sink) {
    const ENTRIES_MAX: usize = 16;
    let mut payload = [0; ENTRIES_MAX * 6];
    let mut count = 0u32;
    let (places, _) = payload.as_chunks_mut::<6>();
    for (place, (id, value)) in places.iter_mut().zip(entries) {
        let ([i0, i1], [v0, v1, v2, v3]) = (id.0.to_be_bytes(), value.to_be_bytes());
        *place = [i0, i1, v0, v1, v2, v3];
        count += 1;
    }
    let len = count * 6;
    out.put(&FrameHeader { len, kind: Kind::SETTINGS, flags: 0, stream: 0 }.bytes());
    out.put(payload.get(..len as usize).unwrap_or_default());
}

/// Writes the acknowledgement of the peer's SETTINGS.
pub fn settings_ack(out: &mut impl Sink) {
    out.put(&FrameHeader { len: 0, kind: Kind::SETTINGS, flags: ACK, stream: 0 }.bytes());
}

/// Writes PING, or with `ack` the echo of one.
pub fn ping(payload: [u8; 8], ack: bool, out: &mut impl Sink) {
    let flags = if ack { ACK } else { 0 };
    let mut bytes = [0; HEADER_LEN + 8];
    let (head, rest) = bytes.split_at_mut(HEADER_LEN);
    head.copy_from_slice(&FrameHeader { len: 8, kind: Kind::PING, flags, stream: 0 }.bytes());
    rest.copy_from_slice(&payload);
    out.put(&bytes);
}

/// Writes GOAWAY: streams above `last` have not been and will not be processed. `debug` is cut at
/// 256 bytes.
pub fn goaway(last: u32, code: ErrorCode, debug: &[u8], out: &mut impl Sink) {
    let debug = debug.get(..256).unwrap_or(debug);
    let len = 8 + debug.len() as u32;
    out.put(&FrameHeader { len, kind: Kind::GOAWAY, flags: 0, stream: 0 }.bytes());
    out.put(&last.to_be_bytes());
    out.put(&code.0.to_be_bytes());
    out.put(debug);
}

/// Writes RST_STREAM.
pub fn rst_stream(stream: u32, code: ErrorCode, out: &mut impl Sink) {
    word(Kind::RST_STREAM, stream, code.0, out);
}

/// Writes WINDOW_UPDATE; stream 0 is the connection. `increment` is 1 to 2^31 - 1.
pub fn window_update(stream: u32, increment: u32, out: &mut impl Sink) {
    debug_assert!((1..1 << 31).contains(&increment), "a window update of {increment}");
    word(Kind::WINDOW_UPDATE, stream, increment, out);
}

/// A frame whose payload is one number.
fn word(kind: Kind, stream: u32, value: u32, out: &mut impl Sink) {
    let mut bytes = [0; HEADER_LEN + 4];
    let (head, rest) = bytes.split_at_mut(HEADER_LEN);
    head.copy_from_slice(&FrameHeader { len: 4, kind, flags: 0, stream }.bytes());
    rest.copy_from_slice(&value.to_be_bytes());
    out.put(&bytes);
}
