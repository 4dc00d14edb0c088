//! `config.listener.v3.Listener`, compiled.

use std::sync::Arc;
use std::time::Duration;

use super::ceiling::Ceiling;
use super::chain_match::ChainMatcher;
use super::change::Needs;
use super::http::HttpManager;
use super::istio::{MetadataExchange, StatsOptions};
use super::listener_filter::ListenerFilter;
use super::network::ConnectionLimit;
use super::tcp::TcpProxy;
use super::transport;
use super::{Address, SocketOption, TcpKeepalive};
use crate::observe::accesslog::AccessLog;
use crate::observe::stats::{ListenerHttpStats, ListenerStats, WorkerListenerStats};

/// `traffic_direction`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Nothing is said.
    #[default]
    Unspecified,
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// One listener: where it listens and what it does with a connection.
#[derive(Debug)]
pub struct Listener {
    /// `name`, or Envoy's generated one where it is empty.
    pub name: Arc<str>,
    /// Prefix of its statistics: `listener.<this>.`; the address with `:` as Envoy writes it.
    pub stat_prefix: Arc<str>,
    /// `listener.<stat_prefix>.*`.
    pub stats: ListenerStats,
    /// `listener.<stat_prefix>.worker_<n>.*`, one for every shard.
    pub workers: Vec<WorkerListenerStats>,
    /// `address` and `additional_addresses`.
    pub addresses: Vec<Address>,
    /// `ipv4_compat` of each: an IPv6 socket that takes IPv4 connections as well.
    pub ipv4_compat: Vec<bool>,
    /// Socket options of each, where it has its own.
    pub own_options: Vec<OwnOptions>,
    /// `per_connection_buffer_limit_bytes`, default 1 MiB.
    pub buffer_limit: u32,
    /// `bind_to_port`, default true.
    pub bind_to_port: bool,
    /// `internal_listener`: clusters of the same shard connect to it by its name.
    pub internal: bool,
    /// `enable_reuse_port`, default true: a socket of its own for every shard.
    pub reuse_port: bool,
    /// `tcp_fast_open_queue_length`.
    pub fast_open: Option<u32>,
    /// `tcp_backlog_size`.
    pub backlog: Option<u32>,
    /// `socket_options`.
    pub socket_options: Vec<SocketOption>,
    /// `tcp_keepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `transparent`.
    pub transparent: bool,
    /// `freebind`.
    pub freebind: bool,
    /// `max_connections_to_accept_per_socket_event`.
    pub max_accept: Option<u32>,
    /// `traffic_direction`
    pub direction: Direction,
    /// `drain_type: MODIFY_ONLY`: `/healthcheck/fail` does not drain it.
    pub drain_modify_only: bool,
    /// How many connections may be open.
    pub ceiling: Arc<Ceiling>,
    /// `ignore_global_conn_limit`: its connections are let in all the same.
    pub ignores_ceiling: bool,
    /// `listener_filters`.
    pub filters: Vec<ListenerFilter>,
    /// `listener_filters_timeout`, default 15 s; zero is none.
    pub filters_timeout: Duration,
    /// `continue_on_listener_filters_timeout`.
    pub continue_on_filters_timeout: bool,
    /// `use_original_dst`: a connection with a restored destination is served by the listener of
    /// that address, if there is one.
    pub use_original_dst: bool,
    /// `connection_balance_config.exact_balance`: every connection goes to the shard with the
    /// fewest, instead of staying where it was accepted while that is not far above.
    pub exact_balance: bool,
    /// `filter_chains` in order, then `default_filter_chain` if there is one.
    pub chains: Vec<Arc<FilterChain>>,
    /// Which of them takes a connection.
    pub matcher: ChainMatcher,
    /// Access logs of the listener itself (connections that no chain took).
    pub access_logs: Vec<Arc<AccessLog>>,
    /// What has to be there before it accepts.
    pub needs: Needs,
    /// Content hash of the resource, to find out what changed.
    pub hash: u64,
    /// The same of the resource without its filter chains.
    pub frame_hash: u64,
}

impl Listener {
    /// Whether it differs from `other` in its filter chains at the most: it can take its place
    /// while chains that are the same go on.
    pub fn differs_in_chains_only(&self, other: &Self) -> bool {
        self.frame_hash == other.frame_hash && self.name == other.name
    }
}

/// What an additional address has in place of the listener's own.
#[derive(Debug, Default)]
pub struct OwnOptions {
    /// `socket_options`.
    pub socket_options: Option<Vec<SocketOption>>,
    /// `tcp_keepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// `name`.
    pub name: Arc<str>,
    /// `transport_socket`.
    pub transport: transport::Downstream,
    /// `transport_socket_connect_timeout`; zero is none.
    pub transport_connect_timeout: Duration,
    /// The filters before the terminal one, in order.
    pub network: Vec<NetworkFilter>,
    /// The last filter, which serves the connection.
    pub terminal: Terminal,
    /// Content hash of the message: chains of one listener with the same are the same.
    pub hash: u64,
    /// Digest of the values of the runtime it was compiled with.
    pub answers: u64,
}

/// A network filter that looks at a connection before the terminal filter gets it.
#[derive(Debug)]
pub enum NetworkFilter {
    /// `envoy.filters.network.connection_limit`
    ConnectionLimit(ConnectionLimit),
    /// `envoy.filters.network.sni_cluster`: the server name is the cluster.
    SniCluster,
    /// `istio.metadata_exchange`: after the handshake, if ALPN agreed on it.
    MetadataExchange(Arc<MetadataExchange>),
    /// `istio.stats`: the last filter reports by it.
    IstioStats(Arc<StatsOptions>),
}

/// A network filter that serves connections.
#[derive(Debug)]
pub enum Terminal {
    /// `envoy.filters.network.http_connection_manager`, with `listener.<l>.http.<stat_prefix>.*`.
    Http(Arc<HttpManager>, ListenerHttpStats),
    /// `envoy.filters.network.tcp_proxy`.
    TcpProxy(Arc<TcpProxy>),
    /// `envoy.filters.network.echo`.
    Echo,
    /// `envoy.filters.network.direct_response`: what it says.
    DirectResponse(Arc<[u8]>),
    /// A chain without filters: its connections are closed at once.
    Nothing,
}
