//! `HttpConnectionManager`, compiled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::http2::Http2Options;
use super::mutation::HeaderMutation;
use super::names::RouteName;
use super::reply::LocalReplies;
use super::route::{RouteTable, ScopedRoutes, StringMatch};
use crate::filters::Entry;
use crate::observe::accesslog::AccessLog;
use crate::observe::stats::{Http1CodecSlots, Http2CodecStats, HttpStats};

/// One HTTP connection manager. A duration of zero means "no limit", as in Envoy.
#[derive(Debug)]
pub struct HttpManager {
    /// `stat_prefix`.
    pub stat_prefix: Arc<str>,
    /// `http.<stat_prefix>.*`.
    pub stats: HttpStats,
    /// `http1.*`: the same slots in every manager.
    pub codec_stats: Http1CodecSlots,
    /// `codec_type`.
    pub codec: CodecType,
    /// Options of the HTTP/2 codec.
    pub http2: Arc<Http2Options>,
    /// `http2.*`: the same slots in every manager.
    pub http2_stats: Http2CodecStats,
    /// `route_specifier`.
    pub routes: Routes,
    /// Options of the HTTP/1 codec.
    pub http1: Http1Options,
    /// `access_log`.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// `access_log_options.flush_access_log_on_new_request`: a line when a stream begins, too.
    pub log_new_requests: bool,
    /// `access_log_options.access_log_flush_interval`: a line that often while it lasts.
    pub log_interval: Duration,
    /// `server_name`, default `envoy`.
    pub server_name: Arc<str>,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `scheme_header_transformation.match_upstream`: `:scheme` tells what the upstream's
    /// connection is.
    pub scheme_matches_upstream: bool,
    /// `scheme_header_transformation.scheme_to_overwrite`.
    pub scheme_overwrite: Option<Scheme>,
    /// `via`.
    pub via: Option<Arc<str>>,
    /// `add_user_agent`: adds `x-envoy-downstream-service-cluster` etc.
    pub add_user_agent: bool,
    /// Who the client is and what is told upstream.
    pub forwarding: Forwarding,
    /// `forward_client_cert_details`, `set_current_client_cert_details`.
    pub client_cert: ClientCertRules,
    /// `early_header_mutation_extensions`: before the route is chosen.
    pub early_mutations: Vec<HeaderMutation>,
    /// x-request-id rules.
    pub request_id: RequestId,
    /// Path and host normalisation.
    pub normalise: Normalise,
    /// All time limits.
    pub timeouts: Timeouts,
    /// `common_http_protocol_options.max_requests_per_connection`; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// `proxy_100_continue`.
    pub proxy_100_continue: bool,
    /// `upgrade_configs`.
    pub upgrades: Vec<Upgrade>,
    /// `stream_error_on_invalid_http_message`: keep an HTTP/1 connection after a 4xx where it is
    /// safe.
    pub stream_error_on_invalid: bool,
    /// The HTTP filters before the router, in order.
    pub(crate) filters: Vec<Entry>,
    /// Options of the router filter.
    pub router: RouterOptions,
    /// `local_reply_config`.
    pub local_replies: Option<Box<LocalReplies>>,
    /// `append_x_forwarded_port`.
    pub append_x_forwarded_port: bool,
}

/// `HttpConnectionManager.route_specifier`.
#[derive(Debug, Clone)]
pub enum Routes {
    /// `route_config`.
    Inline(Arc<RouteTable>),
    /// `rds`: the table of this name, once it has come.
    Rds(Arc<RouteName>),
    /// `scoped_routes`: the table of the request's scope.
    Scoped(Arc<ScopedRoutes>),
}

impl Routes {
    /// The table, where it is part of the listener.
    pub fn inline(&self) -> Option<&Arc<RouteTable>> {
        match self {
            Self::Inline(table) => Some(table),
            Self::Rds(_) | Self::Scoped(_) => None,
        }
    }
}

/// One of `HttpConnectionManager.upgrade_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// `upgrade_type`, whose case does not matter; `CONNECT` stands for the method.
    pub kind: Arc<str>,
    /// `enabled`, default true: routes that say nothing of this kind grant it.
    pub enabled: bool,
}

/// `codec_type`: what is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodecType {
    /// What ALPN agreed on; without it HTTP/2 if the connection begins with its preface.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl HttpManager {
    /// Whether an HTTP/1 connection goes on after an answer of 400: the codec's own
    /// `override_stream_error_on_invalid_http_message` counts before the manager's field.
    pub fn keeps_invalid(&self) -> bool {
        self.http1.override_stream_error.unwrap_or(self.stream_error_on_invalid)
    }
}

/// Options of the HTTP/1 codec (`http_protocol_options`, `common_http_protocol_options`).
#[derive(Debug, Clone)]
pub struct Http1Options {
    /// `accept_http_10`.
    pub accept_http_10: bool,
    /// `default_host_for_http_10`.
    pub default_host_for_http_10: Option<Arc<str>>,
    /// `allow_absolute_url`, default true.
    pub allow_absolute_url: bool,
    /// `enable_trailers`.
    pub enable_trailers: bool,
    /// `allow_chunked_length`.
    pub allow_chunked_length: bool,
    /// `header_key_format`.
    pub header_case: HeaderCase,
    /// `max_request_headers_kb` in bytes, default 60 KiB.
    pub max_headers_bytes: u32,
    /// `max_headers_count`, default 100.
    pub max_headers_count: u32,
    /// `headers_with_underscores_action`.
    pub underscores: Underscores,
    /// `override_stream_error_on_invalid_http_message`.
    pub override_stream_error: Option<bool>,
    /// `ignore_http_11_upgrade`: upgrades that are as good as not asked for.
    pub ignored_upgrades: Vec<StringMatch>,
    /// `allow_custom_methods`, default true in 1.40's parser for request methods? See the compiler.
    pub allow_custom_methods: bool,
}

/// How HTTP/1 header names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// As they are kept: lower case.
    #[default]
    Lower,
    /// `proper_case_words`.
    Proper,
    /// `envoy.http.stateful_header_formatters.preserve_case`: as they were received. It counts
    /// where a message comes in, and goes with the message to where it is written.
    Preserve {
        /// `forward_reason_phrase`: the reason of a response is kept as well.
        reason: bool,
        /// `formatter_type_on_envoy_headers: PROPER_CASE`: names the proxy adds.
        proper_added: bool,
    },
}

/// `headers_with_underscores_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// Pass them.
    #[default]
    Allow,
    /// 400.
    RejectRequest,
    /// Drop the header.
    DropHeader,
}

/// `server_header_transformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerHeader {
    /// Always ours.
    #[default]
    Overwrite,
    /// Ours where the upstream sent none.
    AppendIfAbsent,
    /// The upstream's, or none.
    PassThrough,
}

/// A URI scheme a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// x-forwarded-* and who counts as internal.
#[derive(Debug)]
pub struct Forwarding {
    /// `use_remote_address`.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`.
    pub xff_trusted_hops: u32,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// `represent_ipv4_remote_address_as_ipv4_mapped_ipv6`.
    pub represent_v4_as_v6: bool,
    /// `original_ip_detection_extensions`, asked in order without `use_remote_address`.
    pub detection: Vec<IpDetection>,
    /// Who counts as internal.
    pub internal: InternalAddresses,
}

/// Finds out who the client is.
#[derive(Debug)]
pub enum IpDetection {
    /// `envoy.http.original_ip_detection.xff`.
    Xff {
        /// `xff_num_trusted_hops`.
        hops: u32,
        /// `xff_trusted_cidrs`: proxies whose word counts, instead of a number of hops.
        trusted: Option<Vec<(IpAddr, u8)>>,
        /// The reverse of `skip_xff_append`.
        append: bool,
    },
    /// `envoy.http.original_ip_detection.custom_header`.
    Header {
        /// `header_name` (lower case).
        name: Arc<str>,
        /// `allow_extension_to_set_address_as_trusted`: it may make a request internal.
        trusted: bool,
        /// `reject_with_status`: the answer to a request without such an address.
        reject: Option<u16>,
    },
}

/// `internal_address_config`; without it no address is internal.
#[derive(Debug, Default)]
pub struct InternalAddresses {
    /// `unix_sockets`.
    pub unix_sockets: bool,
    /// `cidr_ranges` as (network, prefix length).
    pub cidrs: Vec<(IpAddr, u8)>,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCertRules {
    /// `forward_client_cert_details`.
    pub mode: ClientCertMode,
    /// `set_current_client_cert_details.subject`.
    pub subject: bool,
    /// `set_current_client_cert_details.cert`.
    pub cert: bool,
    /// `set_current_client_cert_details.chain`.
    pub chain: bool,
    /// `set_current_client_cert_details.dns`.
    pub dns: bool,
    /// `set_current_client_cert_details.uri`.
    pub uri: bool,
}

/// `forward_client_cert_details`. All but the last take the header off where the client showed no
/// certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertMode {
    /// It goes.
    #[default]
    Sanitize,
    /// It stays.
    ForwardOnly,
    /// It stays, with an element for this client behind it.
    AppendForward,
    /// It becomes an element for this client.
    SanitizeSet,
    /// It stays whoever sent it.
    AlwaysForwardOnly,
}

/// x-request-id rules.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    /// `generate_request_id`, default true.
    pub generate: bool,
    /// `preserve_external_request_id`.
    pub preserve_external: bool,
    /// `always_set_request_id_in_response`.
    pub always_in_response: bool,
    /// `pack_trace_reason` of the uuid extension, default true.
    pub pack_trace_reason: bool,
}

/// Normalisation of path and host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Normalise {
    /// `normalize_path`.
    pub path: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: EscapedSlashes,
    /// `strip_matching_host_port` / `strip_any_host_port`.
    pub strip_port: StripPort,
    /// `strip_trailing_host_dot`.
    pub strip_trailing_dot: bool,
}

/// `path_with_escaped_slashes_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    /// Leave them.
    #[default]
    Keep,
    /// 400.
    Reject,
    /// Unescape and answer 307 to the new path.
    UnescapeAndRedirect,
    /// Unescape and go on.
    UnescapeAndForward,
}

/// Which ports are taken off the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StripPort {
    /// None.
    #[default]
    None,
    /// The listener's own.
    Matching,
    /// Any.
    Any,
}

/// Time limits; zero is none.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// `common_http_protocol_options.idle_timeout`, default 1 h.
    pub idle: Duration,
    /// `stream_idle_timeout`, default 5 min.
    pub stream_idle: Duration,
    /// `request_timeout`.
    pub request: Duration,
    /// `request_headers_timeout`.
    pub request_headers: Duration,
    /// `drain_timeout`, default 5 s.
    pub drain: Duration,
    /// `delayed_close_timeout`, default 1 s.
    pub delayed_close: Duration,
    /// `common_http_protocol_options.max_connection_duration`.
    pub max_connection: Duration,
    /// `common_http_protocol_options.max_stream_duration`.
    pub max_stream: Duration,
}

/// `envoy.extensions.filters.http.router.v3.Router`.
#[derive(Debug, Clone, Default)]
pub struct RouterOptions {
    /// `dynamic_stats`, default true.
    pub dynamic_stats: bool,
    /// `suppress_envoy_headers`.
    pub suppress_envoy_headers: bool,
    /// `respect_expected_rq_timeout`.
    pub respect_expected_timeout: bool,
    /// `start_child_span` needs tracing: refused until then.
    /// `upstream_log`.
    pub upstream_logs: Vec<Arc<AccessLog>>,
    /// `strict_check_headers`.
    pub strict_check_headers: Vec<Arc<str>>,
    /// `suppress_grpc_request_failure_code_stats`.
    pub suppress_grpc_failure_stats: bool,
}
