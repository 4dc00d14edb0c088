//! Frames and header blocks as bytes, and their names.

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header line as bytes.
pub type Line = (Vec<u8>, Vec<u8>);

/// Frame types (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;
pub(super) const MAX_FRAME: usize = 16_384;

/// Names of error codes (RFC 9113 section 7), by their number.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error code.
#[must_use]
pub fn code_name(code: u32) -> String {
    CODES.get(code as usize).map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// The error code of that name, or number.
#[must_use]
pub fn code(name: &str) -> Option<u32> {
    let known = CODES.iter().position(|n| *n == name).map(|at| at as u32);
    known.or_else(|| name.parse().ok())
}

/// The identifier of a setting (RFC 9113 section 6.5.2, RFC 8441), or a number.
#[must_use]
pub fn setting(name: &str) -> Option<u16> {
    const NAMES: [(&str, u16); 7] = [
        ("header_table_size", 1),
        ("enable_push", 2),
        ("max_concurrent_streams", 3),
        ("initial_window_size", 4),
        ("max_frame_size", 5),
        ("max_header_list_size", 6),
        ("enable_connect_protocol", 8),
    ];
    let known = NAMES.iter().find(|(n, _)| *n == name).map(|(_, id)| *id);
    known.or_else(|| name.parse().ok())
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_be_bytes)
}

pub(super) fn unpadded(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &settings.iter().flat_map(entry).collect::<Vec<u8>>())
}

/// HEADERS and as many CONTINUATION as it takes.
#[must_use]
pub fn header_frames(id: u32, lines: &[Line], end: bool) -> Vec<u8> {
    let block = encode(lines);
    let mut out = Vec::new();
    let parts: Vec<&[u8]> =
        if block.is_empty() { vec![&[]] } else { block.chunks(MAX_FRAME).collect() };
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let end_stream = if at == 0 && end { END_STREAM } else { 0 };
        let end_headers = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        out.extend(frame(kind, end_stream | end_headers, id, part));
    }
    out
}

/// HPACK without compression: literals that are not indexed (RFC 7541 section 6.2.2).
#[must_use]
pub fn encode(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in lines {
        out.push(0);
        for text in [name, value] {
            integer(text.len(), &mut out);
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn integer(mut n: usize, out: &mut Vec<u8>) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    n -= 127;
    while n >= 128 {
        out.push((n % 128 + 128) as u8);
        n /= 128;
    }
    out.push(n as u8);
}
