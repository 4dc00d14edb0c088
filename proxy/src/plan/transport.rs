//! Transport sockets, compiled.

use std::sync::Arc;

use super::metadata::Map;
use super::tls::{ClientContext, ServerContext};
use crate::observe::stats::{BlockHandle, Counter};

/// What a filter chain does to the bytes of a downstream connection.
#[derive(Debug, Clone, Default)]
pub enum Downstream {
    /// `envoy.transport_sockets.raw_buffer`, or none: nothing.
    #[default]
    Raw,
    /// `envoy.transport_sockets.tls` with a `DownstreamTlsContext`.
    Tls(Arc<ServerContext>),
}

/// What a cluster does to the bytes of its connections.
#[derive(Debug, Clone, Default)]
pub enum Upstream {
    /// `envoy.transport_sockets.raw_buffer`, or none: nothing.
    #[default]
    Raw,
    /// `envoy.transport_sockets.tls` with an `UpstreamTlsContext`.
    Tls(Arc<ClientContext>),
}

/// What a cluster does to its connections.
#[derive(Debug, Clone, Default)]
pub struct UpstreamSocket {
    /// `envoy.transport_sockets.upstream_proxy_protocol`, around what else the socket is.
    pub proxy_protocol: Option<Box<ProxyProtocol>>,
    /// What is done to the bytes.
    pub transport: Upstream,
    /// Of hosts that are internal listeners.
    pub internal: Internal,
}

/// How a socket leads to internal listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Internal {
    /// `passthrough_metadata` of `envoy.transport_sockets.internal_upstream` lists
    /// `envoy.filters.listener.original_dst` of hosts: the listener is told what theirs says.
    pub passes_destination: bool,
    /// `buffer_size_kb` of the bootstrap's extension, in bytes.
    pub buffer: Option<u32>,
}

impl UpstreamSocket {
    /// Whether requests on it are `https`.
    pub fn is_secure(&self) -> bool {
        matches!(self.transport, Upstream::Tls(_))
    }
}

/// Which of a cluster's transport sockets is for a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketIndex(u16);

impl SocketIndex {
    /// `transport_socket`.
    pub const DEFAULT: Self = Self(0);

    /// The match at this place of `transport_socket_matches`; the compiler sees to it that there
    /// are not more than can be counted.
    pub fn of_match(place: usize) -> Self {
        Self(u16::try_from(place + 1).unwrap_or(0))
    }
}

/// The transport sockets of a cluster.
#[derive(Debug, Default)]
pub struct Sockets {
    /// `transport_socket`: for hosts that none of the matches is for.
    pub default: UpstreamSocket,
    /// `transport_socket_matches`, in order.
    pub matches: Box<[SocketMatch]>,
    /// For hosts without metadata.
    pub bare: SocketIndex,
}

/// One of `transport_socket_matches`.
#[derive(Debug)]
pub struct SocketMatch {
    /// `match`: what `envoy.transport_socket_match` of a host's metadata must hold, at least.
    pub criteria: Map,
    /// `transport_socket`.
    pub socket: UpstreamSocket,
    /// `<name>.total_match_count`.
    pub matched: (BlockHandle, Counter),
}

impl Sockets {
    /// The socket at a place.
    #[inline]
    pub fn get(&self, index: SocketIndex) -> &UpstreamSocket {
        match usize::from(index.0).checked_sub(1).and_then(|place| self.matches.get(place)) {
            Some(found) => &found.socket,
            None => &self.default,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &UpstreamSocket> {
        std::iter::once(&self.default).chain(self.matches.iter().map(|one| &one.socket))
    }

    /// The counter of hosts that a match is for; `None` for the default's, which is of the cluster.
    pub fn matched(&self, index: SocketIndex) -> Option<Counter> {
        let place = usize::from(index.0).checked_sub(1)?;
        self.matches.get(place).map(|found| found.matched.1)
    }
}

/// A TLV of the PROXY protocol: type and value.
pub type Tlv = (u8, Box<[u8]>);

/// `envoy.transport_sockets.upstream_proxy_protocol`: a header before all else on a connection,
/// whatever the transport socket inside does to the rest.
#[derive(Debug, Clone)]
pub struct ProxyProtocol {
    /// `version`.
    pub version: ringway_wire::proxy_protocol::Version,
    /// `pass_through_tlvs`.
    pub pass: PassTlvs,
    /// `added_tlvs`.
    pub added: Vec<Tlv>,
}

/// Which TLVs are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassTlvs {
    /// None: nothing is said.
    None,
    /// `INCLUDE_ALL`.
    All,
    /// `INCLUDE`: those of these types.
    Types(Vec<u8>),
}
