//! What a peer broke: codes for the wire, words for the access log, sentences for the operator.

/// An error code (RFC 9113 section 7). Codes nobody defined stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Graceful end.
    pub const NO_ERROR: Self = Self(0x0);
    /// Anything against the protocol without a code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// This end failed.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More data than a window had room for, or a window beyond its maximum.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that is half closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of the wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was never processed: safe to send again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// The compression state cannot be kept.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection made for CONNECT was reset or broken.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes more load than it may.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not secure enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// The request has to come over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name of RFC 9113, `UNKNOWN` for any other code.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "UNKNOWN",
        }
    }
}

impl std::fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:#x})", self.name(), self.0)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `%RESPONSE_CODE_DETAILS%` of a message that is not put together as HTTP/2 demands.
pub const MESSAGING_RULE: &str = "http2.violation.of.messaging.rule";

/// The connection cannot go on: send GOAWAY with [`code`](Self::code) and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ConnectionError {
    /// For the GOAWAY frame.
    pub code: ErrorCode,
    /// What is wrong and what is allowed; also fit for GOAWAY's debug data.
    pub reason: &'static str,
}

impl ConnectionError {
    /// An error with this code.
    pub const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(crate) const fn frame_size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(crate) const fn compression(reason: &'static str) -> Self {
        Self::new(ErrorCode::COMPRESSION_ERROR, reason)
    }
}

/// One stream broke a rule: reset it with [`code`](Self::code); the connection is in step.
///
/// Envoy ends the connection on those with [`is_messaging`](Self::is_messaging) unless
/// `override_stream_error_on_invalid_http_message` is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.rule.text())]
pub struct StreamError {
    /// The rule broken.
    pub rule: H2Rule,
}

/// A rule about one stream's frames or messages. One variant per thing a person can fix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum H2Rule {
    /// A name is empty, no token, or has upper case.
    HeaderName = 1,
    /// A value has control characters.
    HeaderValue,
    /// A name has an underscore and the settings refuse that.
    Underscore,
    /// More bytes than the limit.
    HeadersTooLarge,
    /// More lines than the limit.
    TooManyHeaders,
    /// A pseudo-header nobody defined, or not in this kind of message.
    UnknownPseudo,
    /// A pseudo-header twice.
    RepeatedPseudo,
    /// A pseudo-header behind a regular one.
    LatePseudo,
    /// A pseudo-header is missing.
    MissingPseudo,
    /// Method is no token or too long.
    Method,
    /// `:scheme` has characters no scheme has.
    Scheme,
    /// `:path` is empty, does not start with `/`, or has other than visible ASCII.
    Path,
    /// `:path` has a fragment.
    Fragment,
    /// `:authority` or `host` has characters no authority has, or is empty.
    Authority,
    /// `:status` is no number of three digits, or 101.
    Status,
    /// An interim response ends the stream.
    InterimEnd,
    /// A field that belongs to one HTTP/1.1 connection.
    ConnectionField,
    /// `te` other than `trailers`.
    Te,
    /// `content-length` is no plain number, or comes twice, or in trailers.
    ContentLength,
    /// CONNECT with `:scheme` or `:path` but no `:protocol`.
    Connect,
    /// `:protocol` without CONNECT, or where it was not allowed.
    Protocol,
    /// A stream depends on itself.
    SelfDependency,
    /// A PRIORITY frame that is not five bytes long.
    PrioritySize,
    /// A WINDOW_UPDATE of zero.
    ZeroIncrement,
}

impl StreamError {
    pub(crate) const fn new(rule: H2Rule) -> Self {
        Self { rule }
    }

    /// For the RST_STREAM frame.
    pub const fn code(&self) -> ErrorCode {
        match self.rule {
            H2Rule::PrioritySize => ErrorCode::FRAME_SIZE_ERROR,
            // As Envoy resets what breaks its own limits rather than the protocol.
            H2Rule::HeadersTooLarge | H2Rule::TooManyHeaders | H2Rule::Underscore => {
                ErrorCode::INTERNAL_ERROR
            }
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// `%RESPONSE_CODE_DETAILS%` as Envoy words it.
    pub const fn details(&self) -> &'static str {
        match self.rule {
            H2Rule::HeadersTooLarge => "http2.header_list_size_too_large",
            H2Rule::TooManyHeaders => "http2.too_many_headers",
            H2Rule::Underscore => "http2.unexpected_underscore",
            H2Rule::Fragment => "path_normalization_failed",
            H2Rule::HeaderName
            | H2Rule::HeaderValue
            | H2Rule::UnknownPseudo
            | H2Rule::Method
            | H2Rule::Scheme
            | H2Rule::Path
            | H2Rule::Authority
            | H2Rule::ConnectionField
            | H2Rule::Te
            | H2Rule::ContentLength => "http2.invalid.header.field",
            _ => MESSAGING_RULE,
        }
    }

    /// The status Envoy answers with instead of resetting the stream, if it does.
    pub const fn status(&self) -> Option<u16> {
        if matches!(self.rule, H2Rule::Fragment) { Some(400) } else { None }
    }

    /// Whether it is a malformed message (RFC 9113 section 8.1.1), counted by Envoy as
    /// `rx_messaging_error`; otherwise a limit or a frame.
    pub const fn is_messaging(&self) -> bool {
        !matches!(
            self.rule,
            H2Rule::HeadersTooLarge
                | H2Rule::TooManyHeaders
                | H2Rule::Underscore
                | H2Rule::Fragment
                | H2Rule::SelfDependency
                | H2Rule::PrioritySize
                | H2Rule::ZeroIncrement
        )
    }
}

impl H2Rule {
    /// What is wrong and what is allowed.
    pub const fn text(self) -> &'static str {
        match self {
            Self::HeaderName => "a header name must be a lower-case token",
            Self::HeaderValue => "a header value holds a control character",
            Self::Underscore => {
                "a header name holds an underscore: headers_with_underscores_action refuses it"
            }
            Self::HeadersTooLarge => "the headers are larger than max_request_headers_kb",
            Self::TooManyHeaders => "there are more headers than max_headers_count",
            Self::UnknownPseudo => "a pseudo-header that this kind of message does not have",
            Self::RepeatedPseudo => "a pseudo-header comes twice",
            Self::LatePseudo => "a pseudo-header comes behind a regular header",
            Self::MissingPseudo => {
                "a request needs :method, :scheme, :path and :authority (or host), a response \
                 :status"
            }
            Self::Method => "the method must be a token of at most 30 characters",
            Self::Scheme => "the scheme holds characters that no scheme has",
            Self::Path => {
                "the path must start with '/' (or be '*' with OPTIONS) and hold visible ASCII only"
            }
            Self::Fragment => "the path must not have a fragment",
            Self::Authority => "the authority is empty or holds characters that no authority has",
            Self::Status => "the status must be a number from 100 to 999 and not 101",
            Self::InterimEnd => "an interim response must not end the stream",
            Self::ConnectionField => {
                "connection, keep-alive, proxy-connection, transfer-encoding and upgrade do not \
                 exist in HTTP/2"
            }
            Self::Te => "te must be 'trailers'",
            Self::ContentLength => {
                "content-length must come once, not in trailers, and be a plain decimal number \
                 without leading zeros"
            }
            Self::Connect => "CONNECT must not have :scheme or :path, unless it has :protocol",
            Self::Protocol => {
                "only CONNECT has :protocol, and only where the settings allow extended CONNECT"
            }
            Self::SelfDependency => "a stream must not depend on itself",
            Self::PrioritySize => "a PRIORITY frame must be 5 bytes long",
            Self::ZeroIncrement => "a WINDOW_UPDATE must add at least 1",
        }
    }
}
