//! Why a message was refused, in words for the peer, the access log and the operator.

use crate::error::{Blame, Blast};

/// The rule a message broke. One variant per thing a person can fix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum H1Rule {
    /// First line of a request: three words, one space between each, ended by CRLF.
    RequestLine,
    /// Method is no token, too long, or not registered.
    Method,
    /// Request target is no path, URL or asterisk, or has characters outside visible ASCII.
    Target,
    /// The URL or authority in a request target has a bad host or port.
    Url,
    /// Request target has a fragment.
    Fragment,
    /// Version is not `HTTP/` digit `.` digit.
    Version,
    /// HTTP/1.0 or older while only HTTP/1.1 is accepted.
    Http10,
    /// First line of a response.
    StatusLine,
    /// A line ends in LF without CR.
    BareLf,
    /// A line starts with a space or tab (obsolete folding, RFC 9112 section 5.2).
    Folded,
    /// A header name is empty or no token.
    HeaderName,
    /// A NUL in a header name, or a control character in the target.
    Control,
    /// A header value has a control character.
    HeaderValue,
    /// A header name has an underscore and the settings refuse that.
    Underscore,
    /// Head longer than the limit.
    HeadTooLarge,
    /// More header lines than the limit.
    TooManyHeaders,
    /// Several `Host` lines.
    SeveralHosts,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// `Host` or authority has characters no authority has.
    Authority,
    /// `Content-Length` is no plain number, or several differ.
    ContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// `Transfer-Encoding` other than exactly `chunked`.
    TransferCoding,
    /// `Transfer-Encoding` on a response that has no body.
    TransferCodingNotAllowed,
    /// `Transfer-Encoding` in HTTP/1.0.
    TransferCodingHttp10,
    /// `Connection` names a header that frames or routes the message, or too many.
    Nominated,
    /// A body on CONNECT.
    ConnectBody,
    /// QUERY without `Content-Type`.
    QueryWithoutType,
    /// A length on a response that has no body.
    LengthNotAllowed,
    /// A chunk-size line is malformed or its number is too large.
    ChunkSize,
    /// A chunk extension has control characters or is too long.
    ChunkExtension,
    /// A chunk's data is not followed by CRLF.
    ChunkEnd,
    /// Trailers longer than the limit, or too many.
    TrailersTooLarge,
    /// A trailer line is malformed, or a field that must not be a trailer.
    Trailer,
    /// The connection ended inside a message.
    Truncated,
}

/// A refused message. The connection it came on is closed: its framing cannot be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} (near byte {at} of the message)", self.rule.text())]
pub struct H1Error {
    /// The rule broken.
    pub rule: H1Rule,
    /// About where, in bytes from the start of the input.
    pub at: usize,
    /// Who broke it.
    pub blame: Blame,
}

impl H1Error {
    /// An error of the client near byte `at` of the input.
    pub const fn new(rule: H1Rule, at: usize) -> Self {
        Self { rule, at, blame: Blame::Downstream }
    }

    /// The same, of the server.
    pub(crate) const fn upstream(self) -> Self {
        Self { blame: Blame::Upstream, ..self }
    }

    /// Status Envoy answers a request with; 502 when the server is to blame.
    pub const fn status(&self) -> u16 {
        if matches!(self.blame, Blame::Upstream) {
            return 502;
        }
        match self.rule {
            H1Rule::Http10 => 426,
            H1Rule::HeadTooLarge | H1Rule::TooManyHeaders | H1Rule::TrailersTooLarge => 431,
            H1Rule::TransferCoding => 501,
            _ => 400,
        }
    }

    /// `%RESPONSE_CODE_DETAILS%` as Envoy words it.
    pub const fn details(&self) -> &'static str {
        match self.rule {
            H1Rule::Http10 => "low_version",
            H1Rule::MissingHost => "missing_host_header",
            H1Rule::HeadTooLarge | H1Rule::TrailersTooLarge => "http1.headers_too_large",
            H1Rule::TooManyHeaders => "http1.too_many_headers",
            H1Rule::TransferCoding => "http1.invalid_transfer_encoding",
            H1Rule::TransferCodingHttp10 | H1Rule::TransferCodingNotAllowed => {
                "http1.transfer_encoding_not_allowed"
            }
            H1Rule::LengthAndCoding => "http1.content_length_and_chunked_not_allowed",
            H1Rule::LengthNotAllowed => "http1.content_length_not_allowed",
            H1Rule::HeaderValue | H1Rule::Control => "http1.invalid_characters",
            H1Rule::Underscore => "http1.unexpected_underscore",
            H1Rule::Nominated => "http1.connection_header_rejected",
            H1Rule::Authority => "http.invalid_authority",
            H1Rule::Url => "http1.invalid_url",
            H1Rule::Fragment => "path_normalization_failed",
            H1Rule::ConnectBody => "http1.body_disallowed",
            H1Rule::QueryWithoutType => "query_missing_content_type",
            _ => "http1.codec_error",
        }
    }

    /// Whether Envoy finds this in its codec: the access log then has flag `DPE` and no request
    /// fields, and the reply has the reason phrase of the status as its `text/plain` body. What
    /// its connection manager finds is logged with the request and answered without a body.
    pub const fn is_codec_error(&self) -> bool {
        !matches!(self.rule, H1Rule::MissingHost | H1Rule::Fragment | H1Rule::QueryWithoutType)
    }

    /// What it destroys: always the connection it came on.
    pub const fn blast(&self) -> Blast {
        match self.blame {
            Blame::Upstream => Blast::UPSTREAM,
            Blame::Downstream | Blame::Internal => Blast::DOWNSTREAM,
        }
    }
}

impl H1Rule {
    /// What is wrong and what is allowed.
    pub const fn text(self) -> &'static str {
        match self {
            Self::RequestLine => {
                "malformed request line: expected METHOD SP TARGET SP HTTP/1.1 CRLF"
            }
            Self::Method => {
                "unknown method: allowed are the registered ones, in upper case; any token of at \
                 most 30 bytes with allow_custom_methods"
            }
            Self::Target => {
                "invalid request target: expected a path starting with '/', an http or https URL, \
                 or '*' for OPTIONS, of visible ASCII characters"
            }
            Self::Url => {
                "invalid host or port in the request target: expected host or host:port with a \
                 port up to 65535; CONNECT needs the port"
            }
            Self::Fragment => "a request target must not have a fragment ('#')",
            Self::Version => "malformed version: expected HTTP/1.1",
            Self::Http10 => "HTTP/1.0 is not accepted here: use HTTP/1.1, or set accept_http_10",
            Self::StatusLine => "malformed status line: expected HTTP/1.1 SP 3DIGIT SP [reason]",
            Self::BareLf => "a line ends in LF alone: lines end in CRLF",
            Self::Folded => "a header line starts with white space: folded lines are obsolete",
            Self::Control => "the head has a control character where only text may stand",
            Self::HeaderName => "a header name is empty or no token: expected name ':' value",
            Self::HeaderValue => "a header value holds a control character",
            Self::Underscore => {
                "a header name holds an underscore: headers_with_underscores_action refuses it"
            }
            Self::HeadTooLarge => "the head is larger than max_request_headers_kb",
            Self::TooManyHeaders => "there are more headers than max_headers_count",
            Self::SeveralHosts => "there are several Host headers: send one",
            Self::MissingHost => "an HTTP/1.1 request needs a Host header",
            Self::Authority => "the Host or authority holds characters that no authority has",
            Self::ContentLength => {
                "Content-Length must come once and be a plain decimal number without leading zeros"
            }
            Self::LengthAndCoding => {
                "Content-Length and Transfer-Encoding must not come together, unless \
                 allow_chunked_length"
            }
            Self::TransferCoding => "the only Transfer-Encoding supported is exactly 'chunked'",
            Self::TransferCodingHttp10 => "HTTP/1.0 has no Transfer-Encoding",
            Self::TransferCodingNotAllowed => "this response must not have a Transfer-Encoding",
            Self::Nominated => {
                "Connection names a header that frames or routes the message (which the next hop \
                 would then not see), or more than 9 names"
            }
            Self::ConnectBody => "CONNECT has no body: send no Content-Length",
            Self::QueryWithoutType => "QUERY needs a Content-Type",
            Self::LengthNotAllowed => "this message must not have a body length",
            Self::ChunkSize => "malformed chunk size: expected up to 15 hexadecimal digits",
            Self::ChunkExtension => "a chunk extension is too long or holds a control character",
            Self::ChunkEnd => "chunk data must be followed by CRLF",
            Self::TrailersTooLarge => "the trailers are larger or more than the limits on a head",
            Self::Trailer => "a trailer is malformed or must not be a trailer",
            Self::Truncated => "the connection ended inside a message",
        }
    }
}
