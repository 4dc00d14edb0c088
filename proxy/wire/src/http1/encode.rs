//! Writing heads and chunk framing. A forwarded head is a handful of copies: lines that lie next
//! to each other in the arena go out as one piece.

use super::options::HeaderKeyFormat;
use crate::chars::Decimal;
use crate::headers::HeaderMap;
use crate::message::{Method, RequestHead, ResponseHead, Version};
use crate::names::KnownName;
use crate::status::reason;

/// Where bytes are written: a `Vec<u8>`, or a chunk of the caller's send queue.
pub trait Sink {
    /// Adds `bytes` at the end.
    fn put(&mut self, bytes: &[u8]);

    /// About that many bytes come next.
    fn reserve(&mut self, _bytes: usize) {}
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn reserve(&mut self, bytes: usize) {
        Self::reserve(self, bytes);
    }
}

/// The framing line added behind the headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Framing {
    /// None: the headers say it, or there is no body, or it ends with the connection.
    AsIs,
    /// `transfer-encoding: chunked`, and the body is written in chunks.
    Chunked,
    /// `transfer-encoding: chunked` on the answer to HEAD, which has no body.
    ChunkedNoBody,
    /// `content-length: 0`.
    Empty,
}

impl Framing {
    /// Whether body bytes have to be written in chunks.
    pub const fn is_chunked(self) -> bool {
        matches!(self, Self::Chunked)
    }

    const fn line(self) -> Option<(KnownName, &'static [u8])> {
        match self {
            Self::AsIs => None,
            Self::Chunked | Self::ChunkedNoBody => Some((KnownName::TransferEncoding, b"chunked")),
            Self::Empty => Some((KnownName::ContentLength, b"0")),
        }
    }
}

/// How a request is framed towards the server. `end_stream`: nothing follows the head.
///
/// As Envoy's codec: a `content-length` in the headers stays and rules; without one, an empty
/// request gets `content-length: 0` unless its method usually has no body (GET, HEAD, DELETE,
/// TRACE, CONNECT); anything else is chunked, except CONNECT and upgrades, which become a tunnel.
pub fn request_framing(head: &RequestHead, end_stream: bool, upgrade: bool) -> Framing {
    let bodiless = matches!(
        head.method,
        Method::Get | Method::Head | Method::Delete | Method::Trace | Method::Connect
    );
    if head.headers.contains(KnownName::ContentLength) {
        return Framing::AsIs;
    }
    match (end_stream, bodiless) {
        (true, true) => Framing::AsIs,
        (true, false) => Framing::Empty,
        (false, _) if upgrade || head.method == Method::Connect => Framing::AsIs,
        (false, _) => Framing::Chunked,
    }
}

/// How a response is framed towards a client that speaks `version` and asked with `method`.
///
/// As Envoy's codec: a `content-length` in the headers stays and rules; 1xx and 204 get nothing;
/// HTTP/1.0 gets a body until the connection closes; a HEAD answer without length is announced as
/// chunked.
pub fn response_framing(
    head: &ResponseHead,
    method: &Method,
    version: Version,
    end_stream: bool,
    upgrade: bool,
) -> Framing {
    let bare = head.status < 200 || head.status == 204;
    if bare || head.headers.contains(KnownName::ContentLength) {
        return Framing::AsIs;
    }
    let is_head = *method == Method::Head;
    if end_stream && !is_head {
        return if head.status == 304 { Framing::AsIs } else { Framing::Empty };
    }
    let tunnel = upgrade || *method == Method::Connect && head.status < 300;
    match version {
        _ if tunnel => Framing::AsIs,
        Version::Http10 => Framing::AsIs,
        _ if is_head => Framing::ChunkedNoBody,
        _ => Framing::Chunked,
    }
}

/// Writes a request head: `METHOD path HTTP/1.1`, `host` first, the headers in order, the framing
/// line. CONNECT writes its authority as the target.
pub fn encode_request_head(
    head: &RequestHead,
    framing: Framing,
    format: HeaderKeyFormat,
    sink: &mut impl Sink,
) {
    let target: &[u8] = if head.method == Method::Connect { &head.authority } else { &head.path };
    sink.reserve(96 + target.len() + head.authority.len() + head.headers.wire_size());
    sink.put(head.method.as_bytes());
    sink.put(b" ");
    sink.put(target);
    match format {
        HeaderKeyFormat::LowerCase => sink.put(b" HTTP/1.1\r\nhost: "),
        HeaderKeyFormat::ProperCase => sink.put(b" HTTP/1.1\r\nHost: "),
        HeaderKeyFormat::PreserveCase | HeaderKeyFormat::PreserveCaseProper => {
            sink.put(b" HTTP/1.1\r\n");
            sink.put(&head.host_name.0);
            sink.put(b": ");
        }
    }
    sink.put(&head.authority);
    sink.put(b"\r\n");
    finish(&head.headers, framing, format, sink);
}

/// Writes a response head for a client that speaks `version`. The reason phrase is Envoy's for the
/// status, or with `forward_reason` the one received, if there was one.
pub fn encode_response_head(
    head: &ResponseHead,
    version: Version,
    framing: Framing,
    format: HeaderKeyFormat,
    forward_reason: bool,
    sink: &mut impl Sink,
) {
    sink.reserve(96 + head.reason.len() + head.headers.wire_size());
    if head.status == 200 && version != Version::Http10 && !forward_reason {
        sink.put(b"HTTP/1.1 200 OK\r\n");
    } else {
        sink.put(if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        sink.put(Decimal::new(u64::from(head.status)).as_bytes());
        sink.put(b" ");
        let received = forward_reason && !head.reason.is_empty();
        sink.put(if received { &head.reason } else { reason(head.status).as_bytes() });
        sink.put(b"\r\n");
    }
    finish(&head.headers, framing, format, sink);
}

/// Writes the end of a chunked body with trailers: last chunk, lines, empty line.
pub fn encode_trailers(trailers: &HeaderMap, format: HeaderKeyFormat, sink: &mut impl Sink) {
    sink.reserve(8 + trailers.wire_size());
    sink.put(b"0\r\n");
    finish(trailers, Framing::AsIs, format, sink);
}

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What goes before the data of a chunk: its length in hexadecimal, CRLF. The data is followed by
/// CRLF ([`ChunkHeader::END`]).
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; 18],
    start: u8,
}

impl ChunkHeader {
    /// What goes behind the data of a chunk.
    pub const END: &'static [u8] = b"\r\n";

    /// For `len` bytes of data; zero would end the body, so do not write empty chunks.
    pub fn new(len: u64) -> Self {
        let mut bytes = *b"0000000000000000\r\n";
        let mut start = 16;
        let mut rest = len;
        loop {
            start -= 1;
            bytes[start] = match (rest & 15) as u8 {
                n @ 0..=9 => b'0' + n,
                n => b'a' + n - 10,
            };
            rest >>= 4;
            if rest == 0 {
                return Self { bytes, start: start as u8 };
            }
        }
    }

    /// The bytes to write.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or_default()
    }
}

/// Header lines, framing line, empty line.
fn finish(headers: &HeaderMap, framing: Framing, format: HeaderKeyFormat, sink: &mut impl Sink) {
    match format {
        HeaderKeyFormat::LowerCase => headers.for_each_run(|run| sink.put(run)),
        HeaderKeyFormat::ProperCase => {
            for (name, value) in headers.iter() {
                proper_case(name, sink);
                line_rest(value, sink);
            }
        }
        HeaderKeyFormat::PreserveCase | HeaderKeyFormat::PreserveCaseProper => {
            for (name, original, value) in headers.iter_cased() {
                match original {
                    Some(original) => sink.put(original),
                    None if format == HeaderKeyFormat::PreserveCase => sink.put(name),
                    None => proper_case(name, sink),
                }
                line_rest(value, sink);
            }
        }
    }
    if let Some((name, value)) = framing.line() {
        match format {
            HeaderKeyFormat::ProperCase | HeaderKeyFormat::PreserveCaseProper => {
                proper_case(name.as_bytes(), sink);
            }
            _ => sink.put(name.as_bytes()),
        }
        line_rest(value, sink);
    }
    sink.put(b"\r\n");
}

fn line_rest(value: &[u8], sink: &mut impl Sink) {
    sink.put(b": ");
    sink.put(value);
    sink.put(b"\r\n");
}

/// Upper case for the first letter and for each letter after a character that is neither letter
/// nor digit: Envoy's `proper_case_words`.
fn proper_case(name: &[u8], sink: &mut impl Sink) {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        sink.put(&[first.to_ascii_uppercase()]);
        let end = tail.iter().position(|b| !b.is_ascii_alphanumeric());
        let end = if first.is_ascii_alphanumeric() { end.map_or(tail.len(), |e| e + 1) } else { 0 };
        let (word, next) = tail.split_at(end);
        sink.put(word);
        rest = next;
    }
}
