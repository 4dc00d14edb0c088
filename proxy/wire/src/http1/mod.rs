//! HTTP/1.0 and HTTP/1.1 (RFC 9112): heads, bodies, and the rules around them.
//!
//! Strictness is at least that of Envoy 1.40 (its default codec with default settings). Where Envoy
//! is lax in ways that let two parties disagree about where a message ends, this parser refuses
//! with 400: a bare CR or bare LF, folded lines, several `Host` lines, a `Content-Length` with a
//! leading zero, an oversized chunk size, `Connection` nominating a framing header.

mod body;
mod encode;
mod error;
pub(crate) mod fields;
mod lines;
mod options;
mod request;
mod response;
mod semantics;

pub use body::{BodyDecoder, Decoded};
pub use encode::{
    ChunkHeader, Framing, LAST_CHUNK, Sink, encode_request_head, encode_response_head,
    encode_trailers, request_framing, response_framing,
};
pub use error::{H1Error, H1Rule};
pub use options::{HeadLimits, HeaderKeyFormat, ParseOptions, RequestLimits, UnderscoreAction};
pub use request::parse_request;
pub use response::{parse_response, response_body};
pub use semantics::{
    connection_has, is_upgrade, keep_alive, sanitize_te, strip_request_hop_by_hop,
    strip_response_hop_by_hop,
};

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BodyKind {
    /// There is none.
    None,
    /// That many bytes, at least one.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything until the connection closes; responses, and any direction after an upgrade.
    UntilClose,
}

/// What a parsed head says about the rest of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedHead {
    /// Bytes of the input that were the head, its empty line and leading empty lines included.
    pub head_len: usize,
    /// The body behind it.
    pub body: BodyKind,
    /// Whether the peer lets the connection go on after this message: version and `Connection`.
    pub keep_alive: bool,
    /// Whether `Connection` names `upgrade` and an `Upgrade` header is there; or CONNECT.
    pub upgrade: bool,
}

#[cfg(test)]
mod tests;
