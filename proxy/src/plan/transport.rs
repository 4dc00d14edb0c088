//! Transport sockets, compiled.

use std::sync::Arc;

use super::tls::{ClientContext, ServerContext};

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
