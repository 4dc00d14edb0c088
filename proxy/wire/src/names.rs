//! Names of the headers the proxy itself reads or writes, each known by a one-byte id.
//!
//! A name is resolved once, while its line is parsed; every later lookup compares one integer.

/// Lists the known names once: the enum, its spelling and its count all come from here.
macro_rules! known_names {
    ($($(#[$meta:meta])* $id:ident = $text:literal,)+) => {
        /// A header (or pseudo-header) name the proxy touches. Its numeric value is its id.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the spelling beside each variant says it all")]
        pub enum KnownName {
            $($(#[$meta])* $id,)+
        }

        /// Every known name, by id.
        const ALL: &[KnownName] = &[$(KnownName::$id,)+];
        /// The lower-case spelling of every known name, by id.
        const TEXT: &[&str] = &[$($text,)+];
    };
}

known_names! {
    Authority = ":authority",
    Method = ":method",
    Path = ":path",
    Scheme = ":scheme",
    Status = ":status",
    Protocol = ":protocol",
    Host = "host",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    Age = "age",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    B3 = "b3",
    Baggage = "baggage",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    Expires = "expires",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcEncoding = "grpc-encoding",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Http2Settings = "http2-settings",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    Origin = "origin",
    Pragma = "pragma",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    ProxyStatus = "proxy-status",
    Range = "range",
    Referer = "referer",
    RetryAfter = "retry-after",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    XB3Flags = "x-b3-flags",
    XB3ParentSpanId = "x-b3-parentspanid",
    XB3Sampled = "x-b3-sampled",
    XB3SpanId = "x-b3-spanid",
    XB3TraceId = "x-b3-traceid",
    XClientTraceId = "x-client-trace-id",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDegraded = "x-envoy-degraded",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyIsTimeoutRetry = "x-envoy-is-timeout-retry",
    XEnvoyLocalReplyBody = "x-envoy-local-reply-body",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalDstHost = "x-envoy-original-dst-host",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalMethod = "x-envoy-original-method",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalUrl = "x-envoy-original-url",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyPeerMetadata = "x-envoy-peer-metadata",
    XEnvoyPeerMetadataId = "x-envoy-peer-metadata-id",
    XEnvoyRateLimited = "x-envoy-ratelimited",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamAltStatName = "x-envoy-upstream-alt-stat-name",
    XEnvoyUpstreamCanary = "x-envoy-upstream-canary",
    XEnvoyUpstreamHealthcheckedCluster = "x-envoy-upstream-healthchecked-cluster",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XEnvoyUpstreamStreamDurationMs = "x-envoy-upstream-stream-duration-ms",
    XForwardedClientCert = "x-forwarded-client-cert",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XOtSpanContext = "x-ot-span-context",
    XRequestId = "x-request-id",
}

/// Presence of known names is kept as 128 bits, and 255 means no known name.
const _: () = assert!(TEXT.len() <= 128, "a 129th known name needs a wider presence set");

/// Slots of the hash table: sparse enough for the seed search below to end soon.
const SLOT_BITS: u32 = 11;
const EMPTY: u8 = u8::MAX;

/// Words of eight bytes in the longest known name. The parser lower-cases names a word at a time,
/// so that hashing and comparing them works on registers and never reads back fresh stores.
pub(crate) const NAME_WORDS: usize = 5;

/// A name of at most `NAME_WORDS` × 8 bytes, little-endian, padded with zeros.
pub(crate) type NameWords = [u64; NAME_WORDS];

struct Table {
    seed: u64,
    slots: [u8; 1 << SLOT_BITS],
    words: [NameWords; TEXT.len()],
}

/// Found at compile time, so that a lookup is a few multiplications and one comparison.
static TABLE: Table = build_table();

const fn words_of(name: &[u8]) -> NameWords {
    assert!(name.len() <= NAME_WORDS * 8, "a longer known name needs more words");
    let mut words = [0; NAME_WORDS];
    let mut i = 0;
    while i < name.len() {
        words[i / 8] |= (name[i] as u64) << (i % 8 * 8);
        i += 1;
    }
    words
}

/// What a word adds to the hash of a name. The words of a name are mixed independently of each
/// other, so that the processor can multiply them at once, and a zero adds nothing.
#[inline]
const fn mix(word: u64, index: u32, seed: u64) -> u64 {
    word.wrapping_mul(seed.rotate_left(index * 11) | 1)
}

#[inline]
const fn slot(mixed: u64) -> usize {
    (mixed >> (64 - SLOT_BITS)) as usize
}

const fn slot_of(words: &NameWords, seed: u64) -> usize {
    let mut mixed = 0u64;
    let mut i = 0;
    while i < NAME_WORDS {
        mixed = mixed.wrapping_add(mix(words[i], i as u32, seed));
        i += 1;
    }
    slot(mixed)
}

const fn build_table() -> Table {
    let mut words = [[0; NAME_WORDS]; TEXT.len()];
    let mut i = 0;
    while i < TEXT.len() {
        words[i] = words_of(TEXT[i].as_bytes());
        i += 1;
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    loop {
        let mut slots = [EMPTY; 1 << SLOT_BITS];
        let mut i = 0;
        while i < TEXT.len() {
            let at = slot_of(&words[i], seed);
            if slots[at] != EMPTY {
                break;
            }
            slots[at] = i as u8;
            i += 1;
        }
        if i == TEXT.len() {
            return Table { seed, slots, words };
        }
        seed = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(2);
    }
}

impl KnownName {
    /// How many names are known; ids are below it.
    pub const COUNT: usize = TEXT.len();

    /// Resolves a lower-case name.
    #[inline]
    pub fn lookup(lower: &[u8]) -> Option<Self> {
        let mut words = [0; NAME_WORDS];
        let (whole, rest) = lower.as_chunks::<8>();
        for (word, bytes) in words.iter_mut().zip(whole) {
            *word = u64::from_le_bytes(*bytes);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.get_mut(..rest.len())?.copy_from_slice(rest);
            *words.get_mut(whole.len())? = u64::from_le_bytes(last);
        }
        if lower.len() > NAME_WORDS * 8 {
            return None;
        }
        Self::candidate(slot_of(&words, TABLE.seed), &words)
    }

    /// The name at a slot, if its words are these.
    #[inline]
    fn candidate(slot: usize, words: &NameWords) -> Option<Self> {
        let id = usize::from(*TABLE.slots.get(slot)?);
        let found = TABLE.words.get(id)?;
        // Word by word: what was just computed is not read back in larger pieces.
        let same = found[0] == words[0]
            && found[1] == words[1]
            && found[2] == words[2]
            && found[3] == words[3]
            && found[4] == words[4];
        if same { ALL.get(id).copied() } else { None }
    }

    /// The name of an id.
    #[inline]
    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        if (id as usize) < ALL.len() { Some(ALL[id as usize]) } else { None }
    }

    /// The lower-case spelling.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        TEXT[self as usize]
    }

    /// The lower-case spelling as bytes.
    #[inline]
    pub const fn as_bytes(self) -> &'static [u8] {
        self.as_str().as_bytes()
    }

    /// `:method` and its like: carried outside the header map (RFC 9113 section 8.3).
    pub const fn is_pseudo(self) -> bool {
        self.as_str().as_bytes()[0] == b':'
    }
}

/// A lower-case name put together word by word.
#[derive(Default)]
pub(crate) struct NameHash {
    words: NameWords,
    mixed: u64,
}

impl NameHash {
    /// Adds the word at `index`, padded with zeros if it is the last.
    #[inline]
    pub(crate) fn push(&mut self, index: usize, word: u64) {
        if let Some(place) = self.words.get_mut(index) {
            *place = word;
            self.mixed = self.mixed.wrapping_add(mix(word, index as u32, TABLE.seed));
        }
    }

    /// The known name of these words.
    #[inline]
    pub(crate) fn finish(&self) -> Option<KnownName> {
        KnownName::candidate(slot(self.mixed), &self.words)
    }
}

impl std::fmt::Display for KnownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name as an argument: known by id, or by its lower-case bytes.
///
/// Made from a `&str` or `&[u8]` it is resolved on the spot; keep a [`HeaderName`] or a
/// [`KnownName`] where the same name is used again and again. Bytes must be lower-case: a name in
/// mixed case matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// Known by id.
    Known(KnownName),
    /// Anything else, lower-case.
    Other(&'a [u8]),
}

impl<'a> Name<'a> {
    /// The lower-case spelling.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Known(known) => known.as_bytes(),
            Self::Other(bytes) => bytes,
        }
    }
}

impl From<KnownName> for Name<'_> {
    #[inline]
    fn from(known: KnownName) -> Self {
        Self::Known(known)
    }
}

impl<'a> From<&'a [u8]> for Name<'a> {
    #[inline]
    fn from(lower: &'a [u8]) -> Self {
        KnownName::lookup(lower).map_or(Self::Other(lower), Self::Known)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    #[inline]
    fn from(lower: &'a str) -> Self {
        Self::from(lower.as_bytes())
    }
}

impl<'a> From<&'a HeaderName> for Name<'a> {
    #[inline]
    fn from(name: &'a HeaderName) -> Self {
        match name {
            HeaderName::Known(known) => Self::Known(*known),
            HeaderName::Other(bytes) => Self::Other(bytes),
        }
    }
}

/// A name kept by configuration: lower-cased and resolved once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderName {
    /// Known by id.
    Known(KnownName),
    /// Anything else, lower-case.
    Other(Box<[u8]>),
}

impl HeaderName {
    /// Takes a name in any case. `None` when it is no token (RFC 9110 section 5.1) and no
    /// pseudo-header the proxy knows.
    pub fn new(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase().into_bytes();
        if let Some(known) = KnownName::lookup(&lower) {
            return Some(Self::Known(known));
        }
        crate::chars::is_token(&lower).then(|| Self::Other(lower.into()))
    }

    /// The lower-case spelling.
    pub fn as_bytes(&self) -> &[u8] {
        Name::from(self).as_bytes()
    }
}

#[cfg(test)]
mod tests;
