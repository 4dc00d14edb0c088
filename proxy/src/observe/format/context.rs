//! What a format string can be evaluated against: borrowed views of one stream.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::flags::ResponseFlags;
use super::state::StateSource;
use super::write::{Text, number};
use crate::transport::tls::TlsInfo;

/// Headers of a message. `name` is in lower case; pseudo-headers (`:method`, `:path`,
/// `:authority`, `:scheme`, `:status`) are found under their names in any protocol.
pub trait HeaderSource {
    /// The first value of a header.
    fn get(&self, name: &str) -> Option<&[u8]>;

    /// Every value of a header, line by line.
    fn each(&self, name: &str, line: &mut dyn FnMut(&[u8])) {
        if let Some(value) = self.get(name) {
            line(value);
        }
    }
}

/// A list of pairs is a header source, the slow way.
impl HeaderSource for [(&str, &str)] {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes())
    }
}

impl<const N: usize> HeaderSource for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<&[u8]> {
        HeaderSource::get(self.as_slice(), name)
    }
}

/// An HTTP version, as `%PROTOCOL%` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// `HTTP/2`
    Http2,
    /// `HTTP/3`
    Http3,
}

impl Protocol {
    /// Envoy's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// An address of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Address<'a> {
    /// Not known: prints `-`.
    #[default]
    Unset,
    /// An IP address and port.
    Ip(SocketAddr),
    /// The path of a unix socket.
    Pipe(&'a str),
}

impl<'a> From<&'a ringway_runtime::SockAddr> for Address<'a> {
    fn from(address: &'a ringway_runtime::SockAddr) -> Self {
        address.as_inet().map_or(Self::Pipe(""), Self::Ip)
    }
}

impl<'a> From<&'a crate::plan::Address> for Address<'a> {
    fn from(address: &'a crate::plan::Address) -> Self {
        match address {
            crate::plan::Address::Ip(inet) => Self::Ip(*inet),
            crate::plan::Address::Pipe { path, .. } => Self::Pipe(path.to_str().unwrap_or("")),
            crate::plan::Address::Internal { endpoint, .. } => Self::Pipe(endpoint),
        }
    }
}

impl Address<'_> {
    /// The IP address, if it is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// Appends it with its port; false if unset.
    pub(super) fn write(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Unset => return false,
            Self::Ip(SocketAddr::V4(address)) => {
                write_v4(*address.ip(), out);
                out.push(b':');
                number(address.port().into(), out);
            }
            Self::Ip(address) => drop(write!(Text(out), "{address}")),
            Self::Pipe(path) => out.extend_from_slice(path.as_bytes()),
        }
        true
    }

    /// Appends it without port; false if unset.
    pub(super) fn write_without_port(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Ip(SocketAddr::V4(address)) => write_v4(*address.ip(), out),
            Self::Ip(address) => drop(write!(Text(out), "{}", address.ip())),
            _ => return self.write(out),
        }
        true
    }
}

/// The common case, several times faster than `Display`.
fn write_v4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    for (i, octet) in ip.octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        number(octet.into(), out);
    }
}

/// Points in the life of a stream, in nanoseconds since its first byte arrived (`DS_RX_BEG`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Last byte of the request received.
    pub downstream_rx_end: Option<u64>,
    /// Connecting to the upstream began.
    pub upstream_connect_start: Option<u64>,
    /// The upstream connection was there.
    pub upstream_connect_end: Option<u64>,
    /// Its TLS handshake was done.
    pub upstream_handshake_end: Option<u64>,
    /// First byte of the request sent upstream.
    pub upstream_tx_begin: Option<u64>,
    /// Last byte of the request sent upstream.
    pub upstream_tx_end: Option<u64>,
    /// First byte of the response received.
    pub upstream_rx_begin: Option<u64>,
    /// Last byte of the response received.
    pub upstream_rx_end: Option<u64>,
    /// First byte of the response sent downstream.
    pub downstream_tx_begin: Option<u64>,
    /// Last byte of the response sent downstream.
    pub downstream_tx_end: Option<u64>,
    /// The stream ended.
    pub complete: Option<u64>,
    /// How long the pool took to give a connection (a duration, not a point).
    pub pool_ready: Option<u64>,
    /// How long the downstream TLS handshake took (a duration, not a point).
    pub downstream_handshake: Option<u64>,
}

/// Bytes of one side of a stream, as on the wire and of headers only.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByteMeter {
    /// Bytes received, with framing.
    pub wire_received: u64,
    /// Bytes sent, with framing.
    pub wire_sent: u64,
    /// Header bytes received.
    pub header_received: u64,
    /// Header bytes sent.
    pub header_sent: u64,
    /// Header bytes received, after HPACK or QPACK.
    pub decompressed_header_received: u64,
    /// Header bytes sent, before HPACK or QPACK.
    pub decompressed_header_sent: u64,
}

/// The client's side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Downstream<'a> {
    /// Local address, as the client sees it (original destination).
    pub local: Address<'a>,
    /// Address of the client, from XFF or PROXY protocol if these are trusted.
    pub remote: Address<'a>,
    /// Local address of the socket.
    pub direct_local: Address<'a>,
    /// Remote address of the socket.
    pub direct_remote: Address<'a>,
    /// Number of the connection, unique in the process.
    pub connection_id: Option<u64>,
    /// Bytes.
    pub bytes: ByteMeter,
    /// The server name of the TLS hello.
    pub server_name: Option<&'a str>,
    /// Facts of the TLS session, if it is one.
    pub(crate) tls: Option<&'a TlsInfo>,
    /// Why TLS failed.
    pub transport_failure_reason: Option<&'a str>,
    /// Why the proxy closed the connection.
    pub local_close_reason: Option<&'a str>,
    /// How the connection was closed: `Normal`, `LocalReset`, `RemoteReset`.
    pub close_type: Option<&'a str>,
}

/// A host that was tried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt<'a> {
    /// Its address.
    pub address: Address<'a>,
    /// Its name, if it has one.
    pub host_name: Option<&'a str>,
    /// The connection, if there was one.
    pub connection_id: Option<u64>,
}

/// The server's side. [`Default`] where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upstream<'a> {
    /// The cluster's name for people (`alt_stat_name`).
    pub cluster: Option<&'a str>,
    /// The cluster's name.
    pub cluster_raw: Option<&'a str>,
    /// Address of the chosen host, connected or not.
    pub host: Address<'a>,
    /// Name of the chosen host, where it was resolved from one.
    pub host_name: Option<&'a str>,
    /// Remote address of the connection.
    pub remote: Address<'a>,
    /// Local address of the connection.
    pub local: Address<'a>,
    /// Protocol of the connection.
    pub protocol: Option<Protocol>,
    /// Number of the connection; 0 if none.
    pub connection_id: u64,
    /// Attempts, retries included; 0 before the first.
    pub attempt_count: u32,
    /// The hosts tried so far.
    pub attempts: &'a [Attempt<'a>],
    /// Bytes.
    pub bytes: ByteMeter,
    /// Facts of the TLS session, if it is one.
    pub(crate) tls: Option<&'a TlsInfo>,
    /// Why there is no connection.
    pub transport_failure_reason: Option<&'a str>,
    /// Why the proxy closed the connection.
    pub local_close_reason: Option<&'a str>,
    /// How the connection was closed: `Normal`, `LocalReset`, `RemoteReset`.
    pub close_type: Option<&'a str>,
}

/// When in a stream's life it is logged, as `%ACCESS_LOG_TYPE%` prints it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLogType {
    /// Not said.
    #[default]
    NotSet,
    /// A TCP connection was accepted.
    TcpConnectionStart,
    /// A TCP connection got an upstream.
    TcpUpstreamConnected,
    /// A TCP connection, from time to time.
    TcpPeriodic,
    /// A TCP connection ended.
    TcpConnectionEnd,
    /// A stream began.
    DownstreamStart,
    /// A stream, from time to time.
    DownstreamPeriodic,
    /// A stream ended.
    DownstreamEnd,
    /// An upstream request got a connection.
    UpstreamPoolReady,
    /// An upstream request, from time to time.
    UpstreamPeriodic,
    /// An upstream request ended.
    UpstreamEnd,
    /// A tunnel was opened.
    DownstreamTunnelSuccessfullyEstablished,
}

impl AccessLogType {
    /// Envoy's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSet => "NotSet",
            Self::TcpConnectionStart => "TcpConnectionStart",
            Self::TcpUpstreamConnected => "TcpUpstreamConnected",
            Self::TcpPeriodic => "TcpPeriodic",
            Self::TcpConnectionEnd => "TcpConnectionEnd",
            Self::DownstreamStart => "DownstreamStart",
            Self::DownstreamPeriodic => "DownstreamPeriodic",
            Self::DownstreamEnd => "DownstreamEnd",
            Self::UpstreamPoolReady => "UpstreamPoolReady",
            Self::UpstreamPeriodic => "UpstreamPeriodic",
            Self::UpstreamEnd => "UpstreamEnd",
            Self::DownstreamTunnelSuccessfullyEstablished => {
                "DownstreamTunnelSuccessfullyEstablished"
            }
        }
    }
}

/// One stream (or connection) as a format string sees it. Made where a line is written, from
/// borrowed parts: everything has a default that prints as absent.
#[derive(Clone, Copy, Default)]
pub struct LogContext<'a> {
    /// Headers of the request, as they are after the filters.
    pub request_headers: Option<&'a dyn HeaderSource>,
    /// Headers of the response.
    pub response_headers: Option<&'a dyn HeaderSource>,
    /// Trailers of the response.
    pub response_trailers: Option<&'a dyn HeaderSource>,
    /// When the first byte arrived, in ns since 1970.
    pub start_unix_ns: u64,
    /// Now, in ns since 1970.
    pub emit_unix_ns: u64,
    /// Points in between.
    pub timings: Timings,
    /// Protocol of the downstream.
    pub protocol: Option<Protocol>,
    /// Code of the response; 0 if none was sent.
    pub response_code: u16,
    /// Who decided on the code, in Envoy's words (`via_upstream`, `route_not_found`).
    pub response_code_details: Option<&'a str>,
    /// Why a connection was ended (L4).
    pub connection_termination_details: Option<&'a str>,
    /// What went wrong.
    pub flags: ResponseFlags,
    /// Body bytes received.
    pub bytes_received: u64,
    /// Body bytes sent.
    pub bytes_sent: u64,
    /// Sum of names and values of the request's headers.
    pub request_header_bytes: u64,
    /// Sum of names and values of the response's headers.
    pub response_header_bytes: u64,
    /// Sum of names and values of the response's trailers.
    pub response_trailer_bytes: u64,
    /// The client's side.
    pub downstream: Downstream<'a>,
    /// The server's side.
    pub upstream: Upstream<'a>,
    /// The route's name.
    pub route_name: Option<&'a str>,
    /// The virtual cluster's name.
    pub virtual_cluster_name: Option<&'a str>,
    /// The filter chain's name.
    pub filter_chain_name: Option<&'a str>,
    /// The request id.
    pub stream_id: Option<&'a str>,
    /// Trace id, in hex.
    pub trace_id: Option<&'a str>,
    /// Span id, in hex.
    pub span_id: Option<&'a str>,
    /// Body of a local reply.
    pub local_reply_body: &'a str,
    /// Why this line is written.
    pub log_type: AccessLogType,
    /// Random bits for `%UNIQUE_ID%` and sampling.
    pub random: u128,
    /// What filters left on the stream.
    pub filter_state: Option<&'a dyn StateSource>,
    /// Whether the stream is a health check.
    pub health_check: bool,
    /// Whether the stream is traced.
    pub traced: bool,
}

impl<'a> LogContext<'a> {
    pub(super) fn request(&self, name: &str) -> Option<&'a [u8]> {
        self.request_headers?.get(name)
    }

    pub(super) fn response(&self, name: &str) -> Option<&'a [u8]> {
        self.response_headers?.get(name)
    }

    pub(super) fn trailer(&self, name: &str) -> Option<&'a [u8]> {
        self.response_trailers?.get(name)
    }
}

impl std::fmt::Debug for LogContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogContext")
            .field("response_code", &self.response_code)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
