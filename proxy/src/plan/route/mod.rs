//! Route configuration, compiled: virtual hosts by domain, routes by path tries that keep
//! first-match order.

mod domains;
mod index;
mod matcher;
mod scoped;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::cluster::ClusterId;
use super::reply::BodyFormat;
use crate::filters::Overrides;
use crate::observe::format::Format;

pub use domains::{DomainError, without_port};
pub use index::{PathMatch, without_query};
pub use matcher::{Conditions, Fraction, QueryMatch, QueryMatcher, RouteRequest};
pub use scoped::{
    Element, FoundKey, FragmentBuilder, Scope, ScopeKey, ScopeSet, ScopeTable, ScopedRoutes, Scopes,
};
pub use table::{Lookup, RequireTls, Route, RouteExtra, RouteId, RouteTable, VirtualHost};

/// What a matched route does.
#[derive(Debug)]
pub enum Action {
    /// `route`.
    Forward(Box<Forward>),
    /// `redirect`.
    Redirect(Box<Redirect>),
    /// `direct_response`.
    Direct(Box<DirectResponse>),
    /// `non_forwarding_action`: Envoy answers 404 from its router.
    NonForwarding,
}

/// `RouteAction`.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub cluster: ClusterChoice,
    /// `cluster_not_found_response_code`, default 503.
    pub cluster_not_found_status: u16,
    /// `append_x_forwarded_host`.
    pub append_x_forwarded_host: bool,
    /// `timeout`: the whole exchange from the end of the request; default 15 s, zero is none.
    pub timeout: Duration,
    /// `retry_policy` (own or the virtual host's).
    pub retry: Option<Arc<RetryPolicy>>,
    /// `priority`: 0 default, 1 high.
    pub priority: u8,
    /// `None`: none of it is said.
    pub extra: Option<Box<ForwardExtra>>,
}

impl Forward {
    /// What few routes say, or its defaults.
    pub fn extra(&self) -> &ForwardExtra {
        static NONE: ForwardExtra = ForwardExtra::NONE;
        self.extra.as_deref().unwrap_or(&NONE)
    }
}

/// What few routes say of how they forward: apart, because there may be very many routes.
#[derive(Debug)]
pub struct ForwardExtra {
    /// Path rewrite.
    pub rewrite: PathRewrite,
    /// Host rewrite.
    pub host: HostRewrite,
    /// `idle_timeout` of the route; `None` means the manager's `stream_idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// `max_stream_duration`, which takes the place of `timeout`.
    pub max_stream: Option<MaxStreamDuration>,
    /// `max_grpc_timeout`, `grpc_timeout_offset`: gRPC requests say themselves how long they may
    /// take, up to the first, less the second.
    pub max_grpc_timeout: Option<(Duration, Duration)>,
    /// `upgrade_configs`, which go before the manager's.
    pub upgrades: Vec<RouteUpgrade>,
}

impl ForwardExtra {
    const NONE: Self = Self {
        rewrite: PathRewrite::None,
        host: HostRewrite::None,
        idle_timeout: None,
        max_stream: None,
        max_grpc_timeout: None,
        upgrades: Vec::new(),
    };

    /// In a box of its own, unless it says nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        let Self { rewrite, host, idle_timeout, max_stream, max_grpc_timeout, upgrades } = &self;
        let nothing = matches!(rewrite, PathRewrite::None)
            && matches!(host, HostRewrite::None)
            && idle_timeout.is_none()
            && max_stream.is_none()
            && max_grpc_timeout.is_none()
            && upgrades.is_empty();
        (!nothing).then(|| Box::new(self))
    }
}

/// One of `RouteAction.upgrade_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteUpgrade {
    /// `upgrade_type`, whose case does not matter; `CONNECT` stands for the method.
    pub kind: Arc<str>,
    /// `enabled`, default true.
    pub enabled: bool,
    /// `connect_config` is there: a CONNECT ends here, and its payload goes to the upstream.
    pub terminates_connect: bool,
}

/// `RouteAction.MaxStreamDuration`; a duration of zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxStreamDuration {
    /// `max_stream_duration`; `None` means the manager's.
    pub duration: Option<Duration>,
    /// `grpc_timeout_header_max`: the request's `grpc-timeout` counts, up to this.
    pub grpc_max: Option<Duration>,
    /// `grpc_timeout_header_offset`, taken off what the request says.
    pub grpc_offset: Duration,
}

/// How a cluster is chosen.
#[derive(Debug)]
pub enum ClusterChoice {
    /// `cluster`.
    One(ClusterId),
    /// `cluster_header` (lower case).
    Header(Arc<str>),
    /// `weighted_clusters`: cumulative weights ascending; a random number below the total picks.
    Weighted(Box<WeightedClusters>),
}

/// `weighted_clusters`.
#[derive(Debug)]
pub struct WeightedClusters {
    /// In order.
    pub clusters: Vec<WeightedCluster>,
    /// Sum of weights; the compiler guarantees it is > 0.
    pub total: u32,
    /// `header_name`: a header whose value is the random number.
    pub header_name: Option<Arc<str>>,
}

impl WeightedClusters {
    /// Position of a random number's cluster: the remainder by the total falls into its share.
    pub fn pick(&self, random: u64) -> usize {
        let value = random % u64::from(self.total.max(1));
        self.clusters.partition_point(|c| u64::from(c.cumulative) <= value)
    }
}

/// One of `weighted_clusters.clusters`.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Target, by name or from a header.
    pub cluster: WeightedTarget,
    /// Sum of weights up to and including this one.
    pub cumulative: u32,
    /// Request header rules of this cluster.
    pub request_headers: HeaderRules,
    /// Response header rules of this cluster.
    pub response_headers: HeaderRules,
    /// `host_rewrite_literal`.
    pub host_rewrite: Option<Arc<str>>,
    /// `typed_per_filter_config`.
    pub(crate) filters: Overrides,
}

/// Name or header of a weighted cluster.
#[derive(Debug)]
pub enum WeightedTarget {
    /// `name`.
    Cluster(ClusterId),
    /// `cluster_header`.
    Header(Arc<str>),
}

/// `prefix_rewrite`, `regex_rewrite`.
#[derive(Debug)]
pub enum PathRewrite {
    /// None.
    None,
    /// The matched prefix (or whole exact path) is replaced.
    Prefix(Arc<str>),
    /// All matches are replaced; `\1` groups already translated to the regex crate's syntax.
    Regex(Arc<regex::bytes::Regex>, Arc<[u8]>),
}

/// `host_rewrite_*`.
#[derive(Debug)]
pub enum HostRewrite {
    /// None.
    None,
    /// `host_rewrite_literal`.
    Literal(Arc<str>),
    /// `auto_host_rewrite`: the chosen host's name.
    Auto,
    /// `host_rewrite_header`.
    Header(Arc<str>),
    /// `host_rewrite_path_regex`.
    PathRegex(Arc<regex::bytes::Regex>, Arc<[u8]>),
}

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    /// `https_redirect` / `scheme_redirect`.
    pub scheme: Option<Arc<str>>,
    /// `host_redirect`.
    pub host: Option<Arc<str>>,
    /// `port_redirect`.
    pub port: Option<u16>,
    /// Path part.
    pub path: RedirectPath,
    /// 301, 302, 303, 307, 308.
    pub status: u16,
    /// `strip_query`.
    pub strip_query: bool,
}

impl Redirect {
    /// To the very URL that was asked for.
    pub fn to_itself(status: u16) -> Self {
        let path = RedirectPath::Keep;
        Self { scheme: None, host: None, port: None, path, status, strip_query: false }
    }
}

/// Path part of a redirect.
#[derive(Debug)]
pub enum RedirectPath {
    /// As requested.
    Keep,
    /// `path_redirect`.
    Path(Arc<str>),
    /// `prefix_rewrite`.
    Prefix(Arc<str>),
    /// `regex_rewrite`.
    Regex(Arc<regex::bytes::Regex>, Arc<[u8]>),
}

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    /// Status.
    pub status: u16,
    /// Body (from inline, file or environment), already read.
    pub body: Arc<[u8]>,
    /// `body_format`.
    pub format: Option<BodyFormat>,
}

/// `RetryPolicy`, compiled.
#[derive(Debug)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// `num_retries`, default 1.
    pub num_retries: u32,
    /// `per_try_timeout`; zero is none.
    pub per_try_timeout: Duration,
    /// `per_try_idle_timeout`; zero is none.
    pub per_try_idle_timeout: Duration,
    /// `retriable_status_codes`.
    pub status_codes: Vec<u16>,
    /// `retriable_headers` (of the response).
    pub response_headers: Vec<HeaderMatcher>,
    /// `retriable_request_headers`.
    pub request_headers: Vec<HeaderMatcher>,
    /// `retry_back_off.base_interval`, default 25 ms.
    pub backoff_base: Duration,
    /// `retry_back_off.max_interval`, default 10 × base.
    pub backoff_max: Duration,
    /// `host_selection_retry_max_attempts`, default 1.
    pub host_selection_attempts: u32,
    /// `retry_host_predicate` previous_hosts.
    pub previous_hosts: bool,
}

/// Bits of `retry_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// `5xx`
    pub const R5XX: u32 = 1;
    /// `gateway-error`
    pub const GATEWAY_ERROR: u32 = 1 << 1;
    /// `connect-failure`
    pub const CONNECT_FAILURE: u32 = 1 << 2;
    /// `retriable-4xx`
    pub const RETRIABLE_4XX: u32 = 1 << 3;
    /// `refused-stream`
    pub const REFUSED_STREAM: u32 = 1 << 4;
    /// `retriable-status-codes`
    pub const RETRIABLE_STATUS_CODES: u32 = 1 << 5;
    /// `reset`
    pub const RESET: u32 = 1 << 6;
    /// `retriable-headers`
    pub const RETRIABLE_HEADERS: u32 = 1 << 7;
    /// `envoy-ratelimited`
    pub const ENVOY_RATELIMITED: u32 = 1 << 8;
    /// `reset-before-request`
    pub const RESET_BEFORE_REQUEST: u32 = 1 << 9;
    /// gRPC `cancelled`
    pub const GRPC_CANCELLED: u32 = 1 << 10;
    /// gRPC `deadline-exceeded`
    pub const GRPC_DEADLINE_EXCEEDED: u32 = 1 << 11;
    /// gRPC `internal`
    pub const GRPC_INTERNAL: u32 = 1 << 12;
    /// gRPC `resource-exhausted`
    pub const GRPC_RESOURCE_EXHAUSTED: u32 = 1 << 13;
    /// gRPC `unavailable`
    pub const GRPC_UNAVAILABLE: u32 = 1 << 14;
    /// `http3-post-connect-failure` (accepted, never met without HTTP/3).
    pub const HTTP3_POST_CONNECT_FAILURE: u32 = 1 << 15;

    /// All gRPC conditions.
    pub const GRPC: u32 = Self::GRPC_CANCELLED
        | Self::GRPC_DEADLINE_EXCEEDED
        | Self::GRPC_INTERNAL
        | Self::GRPC_RESOURCE_EXHAUSTED
        | Self::GRPC_UNAVAILABLE;

    /// The words of `retry_on`, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
    pub const WORDS: [(&'static str, u32); 16] = [
        ("5xx", Self::R5XX),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-status-codes", Self::RETRIABLE_STATUS_CODES),
        ("reset", Self::RESET),
        ("retriable-headers", Self::RETRIABLE_HEADERS),
        ("envoy-ratelimited", Self::ENVOY_RATELIMITED),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("cancelled", Self::GRPC_CANCELLED),
        ("deadline-exceeded", Self::GRPC_DEADLINE_EXCEEDED),
        ("internal", Self::GRPC_INTERNAL),
        ("resource-exhausted", Self::GRPC_RESOURCE_EXHAUSTED),
        ("unavailable", Self::GRPC_UNAVAILABLE),
        ("http3-post-connect-failure", Self::HTTP3_POST_CONNECT_FAILURE),
    ];

    /// The condition a word names.
    pub fn word(word: &str) -> Option<u32> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, bit)| *bit)
    }
}

/// Header rules of one level (route, virtual host, table, weighted cluster).
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// `*_headers_to_add`, in order.
    pub add: Vec<HeaderAdd>,
    /// `*_headers_to_remove` (lower case).
    pub remove: Vec<Arc<str>>,
}

impl HeaderRules {
    /// No rules.
    pub(super) const NONE: Self = Self { add: Vec::new(), remove: Vec::new() };

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// One `HeaderValueOption`.
#[derive(Debug)]
pub struct HeaderAdd {
    /// Lower-case name.
    pub name: Arc<str>,
    /// Value, a format string.
    pub value: Format,
    /// `append_action`.
    pub action: AppendAction,
    /// `keep_empty_value`.
    pub keep_empty: bool,
}

/// `HeaderValueOption.append_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAction {
    /// Another line, or the first.
    AppendIfExistsOrAdd,
    /// Only where absent.
    AddIfAbsent,
    /// Replace or add.
    OverwriteIfExistsOrAdd,
    /// Replace where present.
    OverwriteIfExists,
}

/// `HeaderMatcher`.
#[derive(Debug)]
pub struct HeaderMatcher {
    /// Lower-case name (or pseudo header such as `:method`).
    pub name: Arc<str>,
    /// Condition on the value (several lines are joined by commas).
    pub value: ValueMatch,
    /// `invert_match`.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub missing_as_empty: bool,
}

/// Condition on a string value.
#[derive(Debug)]
pub enum ValueMatch {
    /// Present or absent.
    Present(bool),
    /// A `StringMatcher`.
    String(StringMatch),
    /// `range_match`: `[start, end)`.
    Range(i64, i64),
}

/// `StringMatcher`.
#[derive(Debug, Clone)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>, CaseSensitivity),
    /// Begins with.
    Prefix(Arc<str>, CaseSensitivity),
    /// Ends with.
    Suffix(Arc<str>, CaseSensitivity),
    /// Contains.
    Contains(Arc<str>, CaseSensitivity),
    /// Whole value matches.
    Regex(Arc<regex::bytes::Regex>),
}

/// `ignore_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseSensitivity {
    /// Bytes must be equal.
    Sensitive,
    /// ASCII case is ignored.
    Insensitive,
}
