//! The operators of Envoy's format strings, compiled.

use super::state::Serialize;
use super::time::TimeFormat;
use super::tls::{End, Fact};

/// Which headers an operator looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
    Trailer,
}

/// A header with an alternative, as in `X-ENVOY-ORIGINAL-PATH?:PATH`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeaderName {
    pub(super) main: Box<str>,
    pub(super) alternative: Option<Box<str>>,
}

/// Which moment a time operator prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    Emit,
}

/// Where a path is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathSource {
    Original,
    Current,
    OriginalOrCurrent,
}

/// How `%GRPC_STATUS%` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrpcFormat {
    Camel,
    Snake,
    Number,
}

/// What `%REQUESTED_SERVER_NAME%` prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerName {
    SniOnly,
    SniFirst,
    HostFirst,
}

/// A point in time of `%COMMON_DURATION%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    DownstreamRxBegin,
    DownstreamRxEnd,
    ConnectStart,
    ConnectEnd,
    HandshakeEnd,
    UpstreamTxBegin,
    UpstreamTxEnd,
    UpstreamRxBegin,
    UpstreamRxEnd,
    DownstreamTxBegin,
    DownstreamTxEnd,
    /// A name that nobody sets.
    Never,
}

/// Which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectLocal,
    DownstreamDirectRemote,
    UpstreamLocal,
    UpstreamRemote,
}

/// What of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    /// Without port; with a prefix length the network it is in.
    WithoutPort(Option<u8>),
    Port,
    EndpointId,
}

/// An operator and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    Text(Box<[u8]>),
    Header(Side, HeaderName),
    HeaderWithoutQuery(HeaderName),
    Time(Moment, TimeFormat),
    Path {
        source: PathSource,
        query: bool,
    },
    QueryParam(Box<str>),
    QueryParams {
        decoded: bool,
    },
    Duration {
        from: Point,
        to: Point,
        ns_per_unit: u64,
    },
    Address(Which, AddressPart),
    Grpc(GrpcFormat),
    ServerName(ServerName, PathSource),
    ResponseCodeDetails {
        whitespace: bool,
    },
    Attempted {
        names: bool,
        port: bool,
    },
    Xfcc(Box<str>),
    Tls(End, Fact),
    Coalesce(Box<[Segment]>),
    Field(Field),
    /// Environment, host name: known when the format is compiled.
    Constant(Box<[u8]>),
    FilterState(Box<str>, Serialize),
    /// Something the proxy has no source for, which is the same as having none to print.
    Absent,
}

/// An operator with its maximal length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) op: Op,
    pub(super) max: Option<usize>,
}

/// Operators without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    AccessLogType,
    BytesReceived,
    BytesSent,
    ConnectionId,
    ConnectionTerminationDetails,
    CustomFlags,
    DownstreamCloseType,
    DownstreamDecompressedHeaderReceived,
    DownstreamDecompressedHeaderSent,
    DownstreamHandshake,
    DownstreamHeaderReceived,
    DownstreamHeaderSent,
    DownstreamLocalCloseReason,
    DownstreamTransportFailure,
    DownstreamWireReceived,
    DownstreamWireSent,
    Duration,
    FilterChainName,
    LocalReplyBody,
    PoolReady,
    Protocol,
    RequestHeaderBytes,
    ResponseCode,
    ResponseFlags,
    ResponseFlagsLong,
    ResponseHeaderBytes,
    ResponseTrailerBytes,
    RouteName,
    SpanId,
    StreamId,
    TraceId,
    UniqueId,
    UpstreamAttemptCount,
    UpstreamCloseType,
    UpstreamCluster,
    UpstreamClusterRaw,
    UpstreamConnectionId,
    UpstreamConnectionIdsAttempted,
    UpstreamDecompressedHeaderReceived,
    UpstreamDecompressedHeaderSent,
    UpstreamHeaderReceived,
    UpstreamHeaderSent,
    UpstreamHost,
    UpstreamHostName,
    UpstreamHostNameWithoutPort,
    UpstreamLocalCloseReason,
    UpstreamProtocol,
    UpstreamServerName,
    UpstreamTransportFailure,
    UpstreamWireReceived,
    UpstreamWireSent,
    VirtualClusterName,
    /// A counter of the kernel that only QUIC connections have: 0.
    Zero,
}

impl Field {
    /// The operator of this name, if it is one without arguments that the proxy has data for.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ACCESS_LOG_TYPE" => Self::AccessLogType,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "BYTES_RETRANSMITTED" | "PACKETS_RETRANSMITTED" => Self::Zero,
            "CONNECTION_ID" => Self::ConnectionId,
            "CONNECTION_TERMINATION_DETAILS" => Self::ConnectionTerminationDetails,
            "CUSTOM_FLAGS" => Self::CustomFlags,
            "DOWNSTREAM_DETECTED_CLOSE_TYPE" => Self::DownstreamCloseType,
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
                Self::DownstreamDecompressedHeaderReceived
            }
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => Self::DownstreamDecompressedHeaderSent,
            "DOWNSTREAM_HANDSHAKE_DURATION" => Self::DownstreamHandshake,
            "DOWNSTREAM_HEADER_BYTES_RECEIVED" => Self::DownstreamHeaderReceived,
            "DOWNSTREAM_HEADER_BYTES_SENT" => Self::DownstreamHeaderSent,
            "DOWNSTREAM_LOCAL_CLOSE_REASON" => Self::DownstreamLocalCloseReason,
            "DOWNSTREAM_TRANSPORT_FAILURE_REASON" => Self::DownstreamTransportFailure,
            "DOWNSTREAM_WIRE_BYTES_RECEIVED" => Self::DownstreamWireReceived,
            "DOWNSTREAM_WIRE_BYTES_SENT" => Self::DownstreamWireSent,
            "DURATION" => Self::Duration,
            "FILTER_CHAIN_NAME" => Self::FilterChainName,
            "LOCAL_REPLY_BODY" => Self::LocalReplyBody,
            "UPSTREAM_CONNECTION_POOL_READY_DURATION" => Self::PoolReady,
            "PROTOCOL" => Self::Protocol,
            "REQUEST_HEADERS_BYTES" => Self::RequestHeaderBytes,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "RESPONSE_FLAGS_LONG" => Self::ResponseFlagsLong,
            "RESPONSE_HEADERS_BYTES" => Self::ResponseHeaderBytes,
            "RESPONSE_TRAILERS_BYTES" => Self::ResponseTrailerBytes,
            "ROUTE_NAME" => Self::RouteName,
            "SPAN_ID" => Self::SpanId,
            "STREAM_ID" => Self::StreamId,
            "TRACE_ID" => Self::TraceId,
            "UNIQUE_ID" => Self::UniqueId,
            _ => return Self::upstream(name),
        })
    }

    fn upstream(name: &str) -> Option<Self> {
        Some(match name {
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::UpstreamAttemptCount,
            "UPSTREAM_DETECTED_CLOSE_TYPE" => Self::UpstreamCloseType,
            "UPSTREAM_CLUSTER" => Self::UpstreamCluster,
            "UPSTREAM_CLUSTER_RAW" => Self::UpstreamClusterRaw,
            "UPSTREAM_CONNECTION_ID" => Self::UpstreamConnectionId,
            "UPSTREAM_CONNECTION_IDS_ATTEMPTED" => Self::UpstreamConnectionIdsAttempted,
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
                Self::UpstreamDecompressedHeaderReceived
            }
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => Self::UpstreamDecompressedHeaderSent,
            "UPSTREAM_HEADER_BYTES_RECEIVED" => Self::UpstreamHeaderReceived,
            "UPSTREAM_HEADER_BYTES_SENT" => Self::UpstreamHeaderSent,
            "UPSTREAM_HOST" => Self::UpstreamHost,
            "UPSTREAM_HOST_NAME" => Self::UpstreamHostName,
            "UPSTREAM_HOST_NAME_WITHOUT_PORT" => Self::UpstreamHostNameWithoutPort,
            "UPSTREAM_LOCAL_CLOSE_REASON" => Self::UpstreamLocalCloseReason,
            "UPSTREAM_SERVER_NAME" => Self::UpstreamServerName,
            "UPSTREAM_PROTOCOL" => Self::UpstreamProtocol,
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => Self::UpstreamTransportFailure,
            "UPSTREAM_WIRE_BYTES_RECEIVED" => Self::UpstreamWireReceived,
            "UPSTREAM_WIRE_BYTES_SENT" => Self::UpstreamWireSent,
            "VIRTUAL_CLUSTER_NAME" => Self::VirtualClusterName,
            _ => return None,
        })
    }
}

/// Operators whose source the proxy does not have: fingerprints of hellos, session ids (sessions
/// are resumed by tickets), round trips of QUIC.
pub(super) const ABSENT: &[&str] = &[
    "DOWNSTREAM_TLS_SESSION_ID",
    "ROUNDTRIP_DURATION",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "UPSTREAM_TLS_SESSION_ID",
];
