//! Request and response heads, independent of the protocol version they came in.

use crate::chars::is_token;
use crate::headers::HeaderMap;
use crate::names::{KnownName, Name};

/// Protocol version of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Version {
    /// HTTP/1.0, and whatever else a client writes that is not 1.1: Envoy's codec asks only
    /// whether the line ends in `HTTP/1.1` (so `HTTP/2.0` in a request line gets 426 as well).
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As in `%PROTOCOL%` and on a start line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Scheme of a request, as far as anything told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Longest method outside the registered ones that is carried; longer ones are refused with 400.
pub const METHOD_BYTES_MAX: usize = 30;

/// A method by its bytes, for those without a variant in [`Method`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtherMethod {
    len: u8,
    bytes: [u8; METHOD_BYTES_MAX],
}

impl OtherMethod {
    fn new(name: &[u8]) -> Option<Self> {
        if !is_token(name) {
            return None;
        }
        let mut bytes = [0; METHOD_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self { len: name.len() as u8, bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for OtherMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Request method (RFC 9110 section 9; case matters).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[allow(missing_docs, reason = "named as on the wire")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token of at most [`METHOD_BYTES_MAX`] bytes.
    Other(OtherMethod),
}

/// Methods besides the variants of [`Method`] that Envoy lets through without
/// `allow_custom_methods`: the list of its HTTP/1 codec.
const REGISTERED: &[&[u8]] = &[
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"MSEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

impl Method {
    /// Reads a method; `None` when it is no token or longer than [`METHOD_BYTES_MAX`].
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other(OtherMethod::new(name)?),
        })
    }

    /// As on the wire.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Get => b"GET",
            Self::Head => b"HEAD",
            Self::Post => b"POST",
            Self::Put => b"PUT",
            Self::Delete => b"DELETE",
            Self::Connect => b"CONNECT",
            Self::Options => b"OPTIONS",
            Self::Trace => b"TRACE",
            Self::Patch => b"PATCH",
            Self::Other(other) => other.as_bytes(),
        }
    }

    /// As text; methods are tokens, hence ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether Envoy's HTTP/1 codec knows it; others need `allow_custom_methods`.
    #[inline]
    pub fn is_registered(&self) -> bool {
        match self {
            Self::Other(other) => REGISTERED.contains(&other.as_bytes()),
            _ => true,
        }
    }

    /// Whether it promises to change nothing (RFC 9110 section 9.2.1).
    pub const fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }
}

/// The head of a request. Keep one and parse into it again and again: its buffers are reused.
///
/// What HTTP/2 calls pseudo-headers lives in the named fields, never in [`headers`](Self::headers);
/// `Host` is [`authority`](Self::authority).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// `:path`: path and query as received (`/a?b`), `*` for `OPTIONS *`, empty for `CONNECT`.
    pub path: Vec<u8>,
    /// `:authority`: the `Host` value, or what an absolute-form target said instead.
    pub authority: Vec<u8>,
    /// `:scheme`, when the target was absolute; otherwise the connection manager decides.
    pub scheme: Option<Scheme>,
    /// Version on the request line.
    pub version: Version,
    /// How the `Host` name was spelled; written back under `preserve_case` only.
    pub host_name: HostName,
    /// Header lines but `Host`.
    pub headers: HeaderMap,
}

/// The spelling of the word `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostName(pub(crate) [u8; 4]);

impl Default for HostName {
    fn default() -> Self {
        Self(*b"host")
    }
}

impl RequestHead {
    /// Empties it and keeps its buffers.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.path.clear();
        self.authority.clear();
        self.scheme = None;
        self.version = Version::Http11;
        self.host_name = HostName::default();
        self.headers.clear();
    }

    /// A header or pseudo-header, first line of that name. `host` and `:authority` are the same.
    pub fn get<'n>(&self, name: impl Into<Name<'n>>) -> Option<&[u8]> {
        let present = |bytes: &'_ [u8]| !bytes.is_empty();
        match name.into() {
            Name::Known(KnownName::Method) => Some(self.method.as_bytes()),
            Name::Known(KnownName::Path) => Some(self.path.as_slice()).filter(|p| present(p)),
            Name::Known(KnownName::Authority | KnownName::Host) => {
                Some(self.authority.as_slice()).filter(|a| present(a))
            }
            Name::Known(KnownName::Scheme) => self.scheme.map(|s| s.as_str().as_bytes()),
            other => self.headers.get(other),
        }
    }

    /// Bytes of all names and values, pseudo-headers included, as Envoy's `HeaderMap::byteSize`
    /// counts for `%REQUEST_HEADERS_BYTES%` and `downstream_rq_headers_size`.
    pub fn byte_size(&self) -> usize {
        let field = |name: KnownName, len: usize| name.as_str().len() + len;
        let path = if self.path.is_empty() { 0 } else { field(KnownName::Path, self.path.len()) };
        let scheme = self.scheme.map_or(0, |s| field(KnownName::Scheme, s.as_str().len()));
        field(KnownName::Method, self.method.as_bytes().len())
            + field(KnownName::Authority, self.authority.len())
            + path
            + scheme
            + self.headers.byte_size()
    }
}

/// The head of a response. Reused like [`RequestHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status, 100 to 999.
    pub status: u16,
    /// Version on the status line.
    pub version: Version,
    /// Reason phrase as received; empty when there was none or the message was made here. It is
    /// sent on only when the encoder is told to (`forward_reason_phrase`).
    pub reason: Vec<u8>,
    /// Header lines.
    pub headers: HeaderMap,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new(200)
    }
}

impl ResponseHead {
    /// A response of this status without headers.
    pub fn new(status: u16) -> Self {
        Self { status, version: Version::Http11, reason: Vec::new(), headers: HeaderMap::default() }
    }

    /// Empties it and keeps its buffers.
    pub fn clear(&mut self) {
        self.status = 200;
        self.version = Version::Http11;
        self.reason.clear();
        self.headers.clear();
    }

    /// Whether this is an interim response (1xx but 101, which ends the exchange).
    pub const fn is_interim(&self) -> bool {
        self.status >= 100 && self.status < 200 && self.status != 101
    }

    /// Bytes of all names and values with `:status`, as Envoy counts them.
    pub fn byte_size(&self) -> usize {
        KnownName::Status.as_str().len() + 3 + self.headers.byte_size()
    }
}

#[cfg(test)]
mod tests;
