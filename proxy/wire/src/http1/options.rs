//! What a parser is told: limits and Envoy's `Http1ProtocolOptions`.

/// Limits on a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes from the first of the message to the end of its empty line
    /// (`max_request_headers_kb` × 1024, `max_response_headers_kb` × 1024).
    pub head_bytes_max: usize,
    /// Header lines (`max_headers_count`; Envoy's default is 100).
    pub headers_count_max: usize,
}

impl HeadLimits {
    /// Envoy's defaults for responses: 80 KiB, 100 lines.
    pub const RESPONSE: Self = Self { head_bytes_max: 80 * 1024, headers_count_max: 100 };
}

/// The name used where a request is parsed.
pub type RequestLimits = HeadLimits;

/// Envoy's defaults for requests: 60 KiB, 100 lines.
impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 60 * 1024, headers_count_max: 100 }
    }
}

/// How names are written (`header_key_format`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum HeaderKeyFormat {
    /// `content-type`: Envoy's default.
    #[default]
    LowerCase,
    /// `Content-Type`: first letter and each after a non-letter in upper case
    /// (`proper_case_words`).
    ProperCase,
    /// As received; names added by the proxy in lower case (`preserve_case`).
    PreserveCase,
    /// As received; names added by the proxy in proper case (`formatter_type_on_envoy_headers`).
    PreserveCaseProper,
}

impl HeaderKeyFormat {
    /// Whether a parser has to keep the spelling of names.
    pub const fn keeps_case(self) -> bool {
        matches!(self, Self::PreserveCase | Self::PreserveCaseProper)
    }
}

/// What happens to names with an underscore (`headers_with_underscores_action`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum UnderscoreAction {
    /// They pass: Envoy's default.
    #[default]
    Allow,
    /// The request is refused with 400.
    RejectRequest,
    /// The line is dropped.
    DropHeader,
}

/// Settings of a parser, from `Http1ProtocolOptions` and `HttpProtocolOptions`. `Default` is
/// Envoy's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Accept HTTP/1.0 and older; otherwise 426.
    pub accept_http_10: bool,
    /// `Host` of an HTTP/1.0 request that has none (`default_host_for_http_10`); empty: 400.
    pub default_host_for_http_10: Vec<u8>,
    /// Accept `GET http://host/path` and let its authority replace `Host`; otherwise the target
    /// is taken as it is, which is refused with 400 because it is no path.
    pub allow_absolute_url: bool,
    /// Accept `Content-Length` beside `Transfer-Encoding: chunked` and drop the former;
    /// otherwise 400.
    pub allow_chunked_length: bool,
    /// Keep trailers; otherwise they are checked and dropped.
    pub enable_trailers: bool,
    /// `preserve_case` makes the parser keep the original spelling of names.
    pub header_key_format: HeaderKeyFormat,
    /// What happens to names with an underscore.
    pub headers_with_underscores_action: UnderscoreAction,
    /// Accept methods outside the registered ones.
    pub allow_custom_methods: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            accept_http_10: false,
            default_host_for_http_10: Vec::new(),
            allow_absolute_url: true,
            allow_chunked_length: false,
            enable_trailers: false,
            header_key_format: HeaderKeyFormat::LowerCase,
            headers_with_underscores_action: UnderscoreAction::Allow,
            allow_custom_methods: false,
        }
    }
}
