//! `config.cluster.v3.Cluster`, compiled, and its hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::change::Needs;
use super::host_page::{DropPages, HostPages};
use super::host_set::{HostSet, Locality};
use super::http2::Http2Options;
use super::istio::{ClusterFacts, InternalFacts, MetadataExchange};
use super::names::ClusterName;
use super::source::ConfigSource;
use super::transport::{SocketIndex, Sockets, UpstreamSocket};
use super::{Address, SocketOption, TcpKeepalive};
use crate::observe::stats::Counter;
use crate::observe::stats::blocks::{
    CircuitBreakersRemaining, ClusterStats, HealthCheckStats, Http2CodecStats,
    OutlierDetectionStats,
};
use crate::upstream::limits::Limits;

/// Index of a cluster name; stable for as long as anything refers to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its slot.
    pub id: ClusterId,
    /// `name`.
    pub name: Arc<str>,
    /// Keeps the slot its own.
    pub lease: Arc<ClusterName>,
    /// `alt_stat_name`, or the name with `:` as Envoy writes it.
    pub stat_name: Arc<str>,
    /// `cluster.<stat_name>.*`.
    pub stats: ClusterStats,
    /// How hosts are found.
    pub discovery: Discovery,
    /// Load balancing policy.
    pub lb: Lb,
    /// `locality_weighted_lb_config`: a locality is chosen by its weight first, then a host in it.
    pub locality_weighted: bool,
    /// `common_lb_config`.
    pub panic_threshold_percent: f64,
    /// `transport_socket`, `transport_socket_matches`.
    pub sockets: Sockets,
    /// `connect_timeout`, default 5 s.
    pub connect_timeout: Duration,
    /// `per_connection_buffer_limit_bytes`, default 1 MiB.
    pub buffer_limit: u32,
    /// Thresholds by priority: default, high.
    pub circuit_breakers: [Thresholds; 2],
    /// What all shards together have taken of them: `Limits::new(&circuit_breakers)`.
    pub limits: Arc<Limits>,
    /// `circuit_breakers.<priority>.remaining_*`, where `track_remaining` is set.
    pub remaining: [Option<CircuitBreakersRemaining>; 2],
    /// Active health checks.
    pub health_checks: Vec<HealthCheck>,
    /// `health_check.*`, where there are active health checks.
    pub health_stats: Option<HealthCheckStats>,
    /// `outlier_detection`.
    pub outlier: Option<Outlier>,
    /// `outlier_detection.*`, where there is outlier detection.
    pub outlier_stats: Option<OutlierDetectionStats>,
    /// HTTP options of the upstream side.
    pub http: UpstreamHttp,
    /// `upstream_bind_config.source_address`.
    pub bind: Option<std::net::SocketAddr>,
    /// `upstream_bind_config.extra_source_addresses`: the source for hosts of the other family.
    pub extra_bind: Option<ExtraBind>,
    /// Socket options (bind config and `upstream_connection_options`).
    pub socket_options: Vec<SocketOption>,
    /// `upstream_connection_options.tcp_keepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `close_connections_on_host_health_failure`.
    pub close_on_health_failure: bool,
    /// `ignore_health_on_host_removal`.
    pub ignore_health_on_removal: bool,
    /// `max_requests_per_connection`; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// Requests that were not sent, for load reports.
    pub dropped: DropPages,
    /// Initial hosts: complete for STATIC, empty for DNS until the first answer.
    pub hosts: Arc<HostSet>,
    /// What has to be there before it is used, besides its hosts.
    pub needs: Option<Box<Needs>>,
    /// What its metadata says to Istio's filters.
    pub istio: Option<Box<ClusterFacts>>,
    /// `istio.metadata_exchange` among its `filters`.
    pub metadata_exchange: Option<Arc<MetadataExchange>>,
    /// Content hash of the resource.
    pub hash: u64,
}

impl Cluster {
    /// Connections to a host without metadata are encrypted: what Envoy asks where the host of a
    /// request is not chosen yet.
    pub fn is_tls(&self) -> bool {
        self.sockets.get(self.sockets.bare).is_secure()
    }

    /// The transport socket of a host.
    #[inline]
    pub fn socket(&self, host: &Host) -> &UpstreamSocket {
        self.sockets.get(host.info.socket)
    }

    /// `<match>.total_match_count` of a transport socket: counts each host that is made, and each
    /// health check that asks for a socket of its own.
    pub fn matched(&self, index: SocketIndex) -> Counter {
        let own = self.sockets.matched(index);
        own.unwrap_or_else(|| self.stats.default_total_match_count())
    }
}

/// How hosts are found.
#[derive(Debug)]
pub enum Discovery {
    /// `STATIC`.
    Static,
    /// `STRICT_DNS`: every address is a host.
    StrictDns(Dns),
    /// `LOGICAL_DNS`: one host whose address changes.
    LogicalDns(Dns),
    /// `ORIGINAL_DST`: hosts come with the connections that want to go there.
    OriginalDst(OriginalDst),
    /// `EDS`: a `ClusterLoadAssignment` says.
    Eds(Eds),
}

/// `eds_cluster_config`.
#[derive(Debug)]
pub struct Eds {
    /// `eds_config`.
    pub source: ConfigSource,
    /// `service_name`, or the cluster's name where that is empty.
    pub name: Arc<str>,
}

/// `original_dst_lb_config`, `cleanup_interval`.
#[derive(Debug)]
pub struct OriginalDst {
    /// `http_header_name` in lower case, with `use_http_header`.
    pub header: Option<Arc<str>>,
    /// `metadata_key`, of which there is one: the waypoint of a host.
    pub waypoint: bool,
    /// `upstream_port_override`.
    pub port: Option<u16>,
    /// `cleanup_interval`, default 5 s.
    pub cleanup: Duration,
}

/// DNS settings of a cluster.
#[derive(Debug)]
pub struct Dns {
    /// Names to resolve, with what their hosts inherit.
    pub targets: Vec<DnsTarget>,
    /// `dns_refresh_rate`, default 5 s.
    pub refresh: Duration,
    /// `dns_failure_refresh_rate` base and maximum; default: `refresh`.
    pub failure_refresh: (Duration, Duration),
    /// `dns_jitter`.
    pub jitter: Duration,
    /// `respect_dns_ttl`.
    pub respect_ttl: bool,
    /// `dns_lookup_family`.
    pub family: DnsFamily,
    /// Resolver addresses of `dns_resolution_config` / c-ares; empty means the system's.
    pub resolvers: Vec<std::net::SocketAddr>,
}

/// One name of a DNS cluster.
#[derive(Debug)]
pub struct DnsTarget {
    /// Host name.
    pub name: Arc<str>,
    /// Port of its hosts.
    pub port: u16,
    /// What the hosts made from it inherit (address aside).
    pub template: HostTemplate,
}

/// `dns_lookup_family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 first, IPv4 where there is none.
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4 first, IPv6 where there is none.
    V4Preferred,
    /// Both.
    All,
}

/// Load balancing policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lb {
    /// `ROUND_ROBIN`, smooth weighted where weights differ.
    RoundRobin,
    /// `LEAST_REQUEST` with `choice_count` (default 2) and `active_request_bias` (default 1.0).
    LeastRequest {
        /// Random candidates when weights are equal.
        choices: u32,
        /// Exponent on active requests when weights differ.
        bias: f64,
    },
    /// `RANDOM`.
    Random,
    /// `CLUSTER_PROVIDED`, of ORIGINAL_DST clusters.
    ClusterProvided,
}

/// `circuit_breakers.thresholds` of one priority.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// `max_connections`, default 1024.
    pub max_connections: u32,
    /// `max_pending_requests`, default 1024.
    pub max_pending: u32,
    /// `max_requests`, default 1024.
    pub max_requests: u32,
    /// `max_retries`, default 3.
    pub max_retries: u32,
    /// `max_connection_pools`; `None` is no limit.
    pub max_pools: Option<u32>,
    /// `track_remaining`.
    pub track_remaining: bool,
    /// `retry_budget`: (percent, minimum concurrency).
    pub retry_budget: Option<(f64, u32)>,
}

/// One active health check.
#[derive(Debug)]
pub struct HealthCheck {
    /// `timeout`.
    pub timeout: Duration,
    /// `interval`.
    pub interval: Duration,
    /// `initial_jitter`.
    pub initial_jitter: Duration,
    /// `interval_jitter`.
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`.
    pub interval_jitter_percent: u32,
    /// `unhealthy_threshold`.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`.
    pub healthy_threshold: u32,
    /// `no_traffic_interval`, default 60 s.
    pub no_traffic_interval: Duration,
    /// `no_traffic_healthy_interval`.
    pub no_traffic_healthy_interval: Duration,
    /// `unhealthy_interval`.
    pub unhealthy_interval: Duration,
    /// `unhealthy_edge_interval`.
    pub unhealthy_edge_interval: Duration,
    /// `healthy_edge_interval`.
    pub healthy_edge_interval: Duration,
    /// `reuse_connection`, default true.
    pub reuse_connection: bool,
    /// `transport_socket_match_criteria`: the socket they ask for, if not that of the host.
    pub socket: Option<SocketIndex>,
    /// `always_log_health_check_failures` and `event_log_path` are refused until they work.
    /// What is asked.
    pub kind: HealthCheckKind,
}

/// What a health check asks.
#[derive(Debug)]
pub enum HealthCheckKind {
    /// `http_health_check`.
    Http(HttpHealthCheck),
    /// `tcp_health_check`: bytes to send; parts that must come back in order.
    Tcp {
        /// Payload.
        send: Option<Vec<u8>>,
        /// Expected parts, in order.
        receive: Vec<Vec<u8>>,
    },
    /// `grpc_health_check`.
    Grpc(GrpcHealthCheck),
}

/// `grpc_health_check`.
#[derive(Debug)]
pub struct GrpcHealthCheck {
    /// `service_name`; empty asks for the server as a whole.
    pub service: Arc<str>,
    /// `authority`; empty means the cluster's name.
    pub authority: Arc<str>,
    /// `initial_metadata`.
    pub metadata: Vec<super::route::HeaderAdd>,
    /// How its connections speak HTTP/2: as the cluster's.
    pub http2: UpstreamHttp2,
}

/// `http_health_check`.
#[derive(Debug)]
pub struct HttpHealthCheck {
    /// `host`; empty means the endpoint's hostname, else the cluster's name.
    pub host: Arc<str>,
    /// `path`.
    pub path: Arc<str>,
    /// `method`, default GET.
    pub method: Arc<str>,
    /// `expected_statuses` as [start, end); empty means 200 only.
    pub expected: Vec<(u16, u16)>,
    /// `retriable_statuses`.
    pub retriable: Vec<(u16, u16)>,
    /// `request_headers_to_add`.
    pub add: Vec<super::route::HeaderAdd>,
    /// `request_headers_to_remove`.
    pub remove: Vec<Arc<str>>,
    /// `send`: the body of the request.
    pub send: Option<Vec<u8>>,
    /// `receive`: parts the body must contain, in order.
    pub receive: Vec<Vec<u8>>,
    /// `response_buffer_size`, default 1024.
    pub response_buffer: usize,
    /// `codec_client_type: HTTP2`: as the cluster's connections do, or by default.
    pub http2: Option<UpstreamHttp2>,
    /// `service_name_matcher`.
    pub service_name: Option<super::route::StringMatch>,
}

/// `outlier_detection`: every field this build acts on; the compiler refuses the others.
#[derive(Debug, Clone)]
pub struct Outlier {
    /// `consecutive_5xx`, default 5.
    pub consecutive_5xx: u32,
    /// `enforcing_consecutive_5xx`, default 100.
    pub enforcing_consecutive_5xx: u32,
    /// `consecutive_gateway_failure`, default 5.
    pub consecutive_gateway: u32,
    /// `enforcing_consecutive_gateway_failure`, default 0.
    pub enforcing_consecutive_gateway: u32,
    /// `split_external_local_origin_errors`.
    pub split_local_origin: bool,
    /// `consecutive_local_origin_failure`, default 5.
    pub consecutive_local_origin: u32,
    /// `enforcing_consecutive_local_origin_failure`, default 100.
    pub enforcing_local_origin: u32,
    /// `interval`, default 10 s.
    pub interval: Duration,
    /// `base_ejection_time`, default 30 s.
    pub base_ejection: Duration,
    /// `max_ejection_time`, default 300 s or base if larger.
    pub max_ejection: Duration,
    /// `max_ejection_time_jitter`.
    pub ejection_jitter: Duration,
    /// `max_ejection_percent`, default 10.
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`.
    pub always_eject_one: bool,
    /// `successful_active_health_check_uneject_host`, default true.
    pub uneject_on_health_check: bool,
    /// `enforcing_success_rate`, default 100.
    pub enforcing_success_rate: u32,
    /// `success_rate_minimum_hosts`, default 5.
    pub success_rate_minimum_hosts: u32,
    /// `success_rate_request_volume`, default 100.
    pub success_rate_request_volume: u32,
    /// `success_rate_stdev_factor` / 1000, default 1.9.
    pub success_rate_stdev_factor: f64,
    /// `enforcing_local_origin_success_rate`, default 100.
    pub enforcing_local_origin_success_rate: u32,
    /// `enforcing_failure_percentage`, default 0.
    pub enforcing_failure_percentage: u32,
    /// `enforcing_failure_percentage_local_origin`, default 0.
    pub enforcing_failure_percentage_local_origin: u32,
    /// `failure_percentage_threshold`, default 85.
    pub failure_percentage_threshold: u32,
    /// `failure_percentage_minimum_hosts`, default 5.
    pub failure_percentage_minimum_hosts: u32,
    /// `failure_percentage_request_volume`, default 50.
    pub failure_percentage_request_volume: u32,
}

/// What an upstream speaks (`upstream_protocol_options`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// `use_downstream_protocol_config`: what the request came over.
    Downstream,
    /// `auto_config`: what ALPN says.
    Auto,
}

/// HTTP/2 of the upstream side.
#[derive(Debug, Clone)]
pub struct UpstreamHttp2 {
    /// Options of its connections.
    pub options: Arc<Http2Options>,
    /// `cluster.<name>.http2.*`.
    pub stats: Http2CodecStats,
}

/// HTTP options of the upstream side (`HttpProtocolOptions`).
#[derive(Debug, Clone)]
pub struct UpstreamHttp {
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// HTTP/2, where it may be spoken.
    pub http2: Option<UpstreamHttp2>,
    /// `common_http_protocol_options.idle_timeout`, default 1 h; zero is none.
    pub idle_timeout: Duration,
    /// `common_http_protocol_options.max_connection_duration`; zero is none.
    pub max_connection_duration: Duration,
    /// `max_headers_count`, default 100.
    pub max_headers_count: u32,
    /// `max_response_headers_kb` in bytes, default 60 KiB.
    pub max_headers_bytes: u32,
    /// `header_key_format`.
    pub header_case: super::http::HeaderCase,
    /// `enable_trailers`.
    pub enable_trailers: bool,
    /// `allow_chunked_length`.
    pub allow_chunked_length: bool,
    /// `send_fully_qualified_url`: request lines name the whole URL, as to a forward proxy.
    pub full_urls: bool,
}

/// What a host is besides its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTemplate {
    /// `endpoint.hostname`.
    pub hostname: Arc<str>,
    /// `load_balancing_weight`, default 1.
    pub weight: u32,
    /// `priority` of its locality.
    pub priority: u32,
    /// `locality` as region, zone, sub_zone.
    pub locality: Arc<Locality>,
    /// `health_check_config.port_value`.
    pub health_port: Option<u16>,
    /// `health_check_config.hostname`.
    pub health_hostname: Arc<str>,
    /// `health_check_config.address`.
    pub health_address: Option<Address>,
    /// `disable_active_health_check`.
    pub no_active_check: bool,
    /// `health_status` of EDS or the static assignment.
    pub eds_health: EdsHealth,
    /// `metadata`, `filter_metadata["envoy.lb"].canary`.
    pub canary: bool,
    /// `metadata`, `filter_metadata["istio"].workload`: who it is to Istio's statistics.
    pub workload: Option<Arc<str>>,
    /// Which transport socket its metadata asks for.
    pub socket: SocketIndex,
    /// `metadata`, for the internal listener it leads to.
    pub internal: Option<Box<InternalFacts>>,
}

/// `HealthStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EdsHealth {
    /// UNKNOWN or HEALTHY.
    #[default]
    Healthy,
    /// UNHEALTHY, TIMEOUT.
    Unhealthy,
    /// DRAINING.
    Draining,
    /// DEGRADED.
    Degraded,
}

impl EdsHealth {
    /// Its bits in [`HostState`].
    fn bits(self) -> u32 {
        match self {
            Self::Healthy => 0,
            Self::Unhealthy => HostState::FAILED_EDS,
            Self::Draining => HostState::EDS_DRAINING,
            Self::Degraded => HostState::DEGRADED_EDS,
        }
    }
}

/// One upstream host as one configuration tells of it, shared by every shard.
///
/// What a discovery service may change while the host stays the same host (weight, health status,
/// metadata, priority) makes another `Host` with the same [`HostShared`]: pools, counters, health
/// and outlier state go on ([`Host::renewed`], [`Host::is_same`]).
#[derive(Debug)]
pub struct Host {
    /// Where it is.
    pub address: Address,
    /// `additional_addresses`, for happy eyeballs.
    pub additional: Vec<Address>,
    /// The rest.
    pub info: HostTemplate,
    /// What outlives a change of the rest; [`Host`] dereferences to it.
    pub shared: Arc<HostShared>,
}

impl std::ops::Deref for Host {
    type Target = HostShared;

    fn deref(&self) -> &HostShared {
        &self.shared
    }
}

/// What a host is for as long as it is the same host. Only the atomics change; they are written
/// rarely.
#[derive(Debug, Default)]
pub struct HostShared {
    /// Health bits, on a cache line of their own.
    pub state: HostState,
    /// What `/clusters` tells about it, by shard.
    pub pages: HostPages,
    /// Where the host of a LOGICAL_DNS cluster is by now, if its name has moved since it was made:
    /// new connections go there, those that exist stay.
    pub moved: ArcSwapOption<Moved>,
}

/// A second source address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraBind {
    /// The address.
    pub source: std::net::SocketAddr,
    /// Socket options of connections from it.
    pub socket_options: Vec<SocketOption>,
}

/// Addresses of a host that has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// As [`Host::address`].
    pub address: Address,
    /// As [`Host::additional`].
    pub additional: Vec<Address>,
}

impl Host {
    /// A host nobody has seen yet. Its health bits are set from `info.eds_health`; where the
    /// cluster has active health checks (`checked`) it fails them until its first pass.
    pub fn new(address: Address, info: HostTemplate, checked: bool) -> Self {
        let shared = Arc::<HostShared>::default();
        shared.state.set(info.eds_health.bits());
        if checked && !info.no_active_check {
            shared.state.set(HostState::FAILED_ACTIVE_HC);
        }
        Self { address, additional: Vec::new(), info, shared }
    }

    /// The same host with another `info`. Its address, its names and where and how it is checked
    /// must be the same: connections and health checks that are up go on. Whoever makes it known
    /// calls [`Host::apply_eds_health`].
    pub fn renewed(&self, info: HostTemplate) -> Self {
        let (address, additional) = (self.address.clone(), self.additional.clone());
        Self { address, additional, info, shared: Arc::clone(&self.shared) }
    }

    /// Whether it is the same host, whatever else has changed about it.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A key for what is kept of a host: equal exactly where [`Host::is_same`] says so, for as
    /// long as one of them lives.
    pub fn identity(&self) -> *const HostShared {
        Arc::as_ptr(&self.shared)
    }

    /// Sets the health bits that come from `eds_health` to what this `info` says. True if they
    /// were others.
    pub fn apply_eds_health(&self) -> bool {
        const ALL: u32 = HostState::FAILED_EDS | HostState::EDS_DRAINING | HostState::DEGRADED_EDS;
        let (now, before) = (self.info.eds_health.bits(), self.state.flags() & ALL);
        self.state.clear(before & !now);
        self.state.set(now & !before);
        now != before
    }

    /// Where it is now.
    pub fn current_address(&self) -> Address {
        match &*self.moved.load() {
            Some(moved) => moved.address.clone(),
            None => self.address.clone(),
        }
    }
}

/// Write-rare state of a host that all shards read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct HostState {
    /// [`HostState::FAILED_ACTIVE_HC`] and the rest.
    flags: AtomicU32,
    /// 5xx answers in a row (touched only by failures, and by the first success after one).
    pub consecutive_5xx: AtomicU32,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway: AtomicU32,
    /// Connect failures and resets in a row.
    pub consecutive_local_origin: AtomicU32,
}

impl HostState {
    /// `/failed_active_hc`
    pub const FAILED_ACTIVE_HC: u32 = 1;
    /// `/failed_outlier_check`
    pub const FAILED_OUTLIER: u32 = 1 << 1;
    /// `/failed_eds_health`
    pub const FAILED_EDS: u32 = 1 << 2;
    /// `/degraded_active_hc`
    pub const DEGRADED_ACTIVE_HC: u32 = 1 << 3;
    /// `/degraded_eds_health`
    pub const DEGRADED_EDS: u32 = 1 << 4;
    /// `/pending_dynamic_removal`
    pub const PENDING_REMOVAL: u32 = 1 << 5;
    /// `/pending_active_hc`
    pub const PENDING_ACTIVE_HC: u32 = 1 << 6;
    /// `/excluded_via_immediate_hc_fail`
    pub const EXCLUDED_IMMEDIATE: u32 = 1 << 7;
    /// `/active_hc_timeout`
    pub const ACTIVE_HC_TIMEOUT: u32 = 1 << 8;
    /// `/eds_status_draining`
    pub const EDS_DRAINING: u32 = 1 << 9;

    /// All bits.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Sets bits; written by the thread that owns the verdict.
    pub fn set(&self, bits: u32) {
        self.flags.fetch_or(bits, Ordering::Relaxed);
    }

    /// Clears bits.
    pub fn clear(&self, bits: u32) {
        self.flags.fetch_and(!bits, Ordering::Relaxed);
    }

    /// Any of these bits makes a host unhealthy.
    pub const UNHEALTHY: u32 =
        Self::FAILED_ACTIVE_HC | Self::FAILED_OUTLIER | Self::FAILED_EDS | Self::EDS_DRAINING;
    /// Any of these makes a host that is not unhealthy degraded.
    pub const DEGRADED: u32 = Self::DEGRADED_ACTIVE_HC | Self::DEGRADED_EDS;
    /// Any of these takes a host out of the count when health is judged as a percentage.
    pub const EXCLUDED: u32 = Self::PENDING_ACTIVE_HC | Self::EXCLUDED_IMMEDIATE;

    /// May it get traffic outside panic mode?
    pub fn is_healthy(&self) -> bool {
        self.flags() & Self::UNHEALTHY == 0
    }
}
