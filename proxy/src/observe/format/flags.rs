//! Response flags: what went wrong with a stream, as Envoy abbreviates it.

/// Declares the flags with their Envoy names.
macro_rules! flags {
    ($($(#[$doc:meta])* $Name:ident = $bit:literal, $short:literal;)*) => {
        /// One response flag.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ResponseFlag {
            $($(#[$doc])* $Name = $bit,)*
        }

        impl ResponseFlag {
            /// All flags in Envoy's order, which is the order of printing.
            pub const ALL: &'static [Self] = &[$(Self::$Name,)*];

            /// The abbreviation: `UF`.
            pub fn short(self) -> &'static str {
                match self { $(Self::$Name => $short,)* }
            }

            /// The long name: `UpstreamConnectionFailure`.
            pub fn long(self) -> &'static str {
                match self { $(Self::$Name => stringify!($Name),)* }
            }
        }
    };
}

flags! {
    /// The local service failed its health check.
    FailedLocalHealthCheck = 0, "LH";
    /// No healthy host in the cluster.
    NoHealthyUpstream = 1, "UH";
    /// The request timed out waiting for the upstream.
    UpstreamRequestTimeout = 2, "UT";
    /// Reset by the proxy.
    LocalReset = 3, "LR";
    /// Reset by the upstream.
    UpstreamRemoteReset = 4, "UR";
    /// No connection to the upstream.
    UpstreamConnectionFailure = 5, "UF";
    /// The upstream closed the connection.
    UpstreamConnectionTermination = 6, "UC";
    /// A circuit breaker was open.
    UpstreamOverflow = 7, "UO";
    /// No route matched, or no filter chain.
    NoRouteFound = 8, "NR";
    /// A fault filter delayed the request.
    DelayInjected = 9, "DI";
    /// A fault filter aborted the request.
    FaultInjected = 10, "FI";
    /// Over a rate limit.
    RateLimited = 11, "RL";
    /// Denied by an authorization service.
    UnauthorizedExternalService = 12, "UAEX";
    /// The rate limit service failed.
    RateLimitServiceError = 13, "RLSE";
    /// The downstream closed the connection.
    DownstreamConnectionTermination = 14, "DC";
    /// Out of retries, or of connection attempts.
    UpstreamRetryLimitExceeded = 15, "URX";
    /// Idle for longer than `stream_idle_timeout`.
    StreamIdleTimeout = 16, "SI";
    /// A bad value in a strictly checked `x-envoy-*` header.
    InvalidEnvoyRequestHeaders = 17, "IH";
    /// The downstream broke the protocol.
    DownstreamProtocolError = 18, "DPE";
    /// Longer than `max_stream_duration` at the upstream.
    UpstreamMaxStreamDurationReached = 19, "UMSDR";
    /// Served from a cache.
    ResponseFromCacheFilter = 20, "RFCF";
    /// A filter's configuration did not arrive.
    NoFilterConfigFound = 21, "NFCF";
    /// Longer than `max_connection_duration` or a stream's maximum.
    DurationTimeout = 22, "DT";
    /// The upstream broke the protocol.
    UpstreamProtocolError = 23, "UPE";
    /// The route's cluster does not exist.
    NoClusterFound = 24, "NC";
    /// Ended by the overload manager.
    OverloadManager = 25, "OM";
    /// A name did not resolve.
    DnsResolutionFailed = 26, "DF";
    /// Dropped by the cluster's drop overload.
    DropOverload = 27, "DO";
    /// The downstream reset the stream.
    DownstreamRemoteReset = 28, "DR";
    /// Dropped unconditionally by the cluster's drop overload.
    UnconditionalDropOverload = 29, "UDO";
}

impl ResponseFlag {
    /// The flag with this abbreviation.
    pub fn from_short(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flag| flag.short() == name)
    }
}

/// A set of response flags that remembers in which order they were raised: Envoy prints them so.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseFlags {
    bits: u32,
    /// The flags in order, [`ORDER_BITS`] each, the first lowest.
    order: u64,
    len: u8,
}

/// Bits of one flag's number.
const ORDER_BITS: u32 = 5;
/// How many flags keep their order; further ones are set but not printed.
const ORDER_MAX: u8 = 12;

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self { bits: 0, order: 0, len: 0 };

    /// Adds a flag behind those that are set.
    pub fn insert(&mut self, flag: ResponseFlag) {
        if self.contains(flag) {
            return;
        }
        self.bits |= 1 << flag as u8;
        // A filter may name all flags, and only asks which are set; no stream raises that many.
        if self.len == ORDER_MAX {
            return;
        }
        self.order |= (flag as u64) << (u32::from(self.len) * ORDER_BITS);
        self.len += 1;
    }

    /// Whether the flag is set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.bits & (1 << flag as u8) != 0
    }

    /// Whether any flag of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.bits & other.bits != 0
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The flags in the order they were raised.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        (0..u32::from(self.len)).filter_map(move |at| {
            let number = self.order >> (at * ORDER_BITS) & ((1 << ORDER_BITS) - 1);
            ResponseFlag::ALL.get(number as usize).copied()
        })
    }

    /// Appends the flags separated by commas, `-` for none.
    pub fn write(self, long: bool, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.push(b'-');
            return;
        }
        for (i, flag) in self.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(if long { flag.long() } else { flag.short() }.as_bytes());
        }
    }
}

impl PartialEq for ResponseFlags {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl Eq for ResponseFlags {}

impl From<ResponseFlag> for ResponseFlags {
    fn from(flag: ResponseFlag) -> Self {
        [flag].into_iter().collect()
    }
}

impl FromIterator<ResponseFlag> for ResponseFlags {
    fn from_iter<I: IntoIterator<Item = ResponseFlag>>(flags: I) -> Self {
        let mut set = Self::NONE;
        flags.into_iter().for_each(|flag| set.insert(flag));
        set
    }
}
