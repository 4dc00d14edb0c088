//! Listener filters, compiled: what looks at a connection before its filter chain is known.

use std::ops::Range;
use std::sync::Arc;

use super::extension::ExtensionSlot;
use crate::observe::stats::{
    HttpInspectorStats, ListenerExtensionStats, ProxyProtocolErrorStats, ProxyProtocolStats,
    TlsInspectorStats,
};

/// One listener filter.
#[derive(Debug)]
pub struct ListenerFilter {
    /// What it does.
    pub kind: FilterKind,
    /// `filter_disabled`: connections it does not look at.
    pub disabled: Option<Predicate>,
}

/// The listener filters there are.
#[derive(Debug)]
pub enum FilterKind {
    /// `envoy.filters.listener.original_dst`
    OriginalDst,
    /// `envoy.filters.listener.proxy_protocol`
    ProxyProtocol(ProxyProtocol),
    /// `envoy.filters.listener.tls_inspector`
    TlsInspector(TlsInspector),
    /// `envoy.filters.listener.http_inspector`
    HttpInspector(HttpInspectorStats),
    /// One whose options come by ECDS; connections are closed while they have not.
    Discovered(Arc<ExtensionSlot>, ListenerExtensionStats),
}

/// `ListenerFilterChainMatchPredicate`
#[derive(Debug)]
pub enum Predicate {
    /// `any_match`
    Any,
    /// `or_match`
    Or(Vec<Self>),
    /// `and_match`
    And(Vec<Self>),
    /// `not_match`
    Not(Box<Self>),
    /// `destination_port_range`: from the first to before the last.
    DestinationPort(Range<i32>),
}

impl Predicate {
    /// Whether it holds for a connection to this port; `None` on unix sockets.
    pub fn holds(&self, port: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::Or(list) => list.iter().any(|each| each.holds(port)),
            Self::And(list) => list.iter().all(|each| each.holds(port)),
            Self::Not(inner) => !inner.holds(port),
            Self::DestinationPort(range) => {
                port.is_some_and(|port| range.contains(&i32::from(port)))
            }
        }
    }
}

/// `envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`
#[derive(Debug)]
pub struct ProxyProtocol {
    /// `allow_requests_without_proxy_protocol`
    pub optional: bool,
    /// Version 1 is not among `disallowed_versions`.
    pub v1: bool,
    /// Version 2 is not among `disallowed_versions`.
    pub v2: bool,
    /// `pass_through_tlvs`
    pub kept: KeptTlvs,
    /// `proxy_proto.<stat_prefix>.*`
    pub stats: ProxyProtocolStats,
    /// `downstream_cx_proxy_proto_error`
    pub errors: ProxyProtocolErrorStats,
}

/// Which TLVs are kept for the upstream's PROXY protocol header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptTlvs {
    /// None.
    None,
    /// `INCLUDE_ALL`
    All,
    /// `INCLUDE`: those of these types.
    Types(Box<[u8]>),
}

impl KeptTlvs {
    /// Whether a TLV of this type is kept.
    pub fn keeps(&self, kind: u8) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Types(types) => types.contains(&kind),
        }
    }
}

/// `envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector`
#[derive(Debug)]
pub struct TlsInspector {
    /// `max_client_hello_size` in bytes.
    pub hello_bytes_max: usize,
    /// `close_connection_on_client_hello_parsing_errors`
    pub close_on_error: bool,
    /// `tls_inspector.*`
    pub stats: TlsInspectorStats,
}
