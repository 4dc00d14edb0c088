//! `RouteConfiguration` and `VirtualHost`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::headers::{self, Rules};
use super::set::refuse;
use super::{per_filter, retry, route, source};
use crate::plan::ConfigSource;
use crate::plan::route::{RequireTls, RetryPolicy, RouteTable, VirtualHost};
use crate::plan::source::Origin;

/// What routes take from the levels above them.
pub(crate) struct Inherited {
    /// `validate_clusters`, which is on for a table in a listener.
    pub(crate) validate_clusters: bool,
    /// `max_direct_response_body_size_bytes`, default 4096.
    pub(crate) direct_body_bytes_max: u32,
    /// `retry_policy` of the virtual host.
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    /// `request_body_buffer_limit` or `per_request_buffer_limit_bytes` of the virtual host.
    pub(crate) buffer_limit: Option<u64>,
}

/// Compiles a route table; `more` are virtual hosts that came by VHDS, whose findings have paths
/// of their own.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::RouteConfiguration,
    more: &[api::VirtualHost],
) -> Arc<RouteTable> {
    let api::RouteConfiguration {
        name,
        virtual_hosts,
        vhds,
        internal_only_headers,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_add,
        request_headers_to_remove,
        most_specific_header_mutations_wins,
        validate_clusters,
        max_direct_response_body_size_bytes,
        cluster_specifier_plugins,
        request_mirror_policies,
        ignore_port_in_host_matching,
        vhost_header,
        ignore_path_parameters_in_path_matching,
        typed_per_filter_config,
        // Read by extensions and access-log operators that are refused where they are asked for.
        metadata: _,
        route_specifiers,
    } = config;
    refuse!(cx, at, cluster_specifier_plugins, request_mirror_policies, vhost_header);
    refuse!(cx, at, route_specifiers);
    let rules = Rules {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let mut table = RouteTable::new(cx.text(name));
    (table.request_headers, table.response_headers) = rules.compile(cx, at);
    table.filters = per_filter::compile(cx, at, typed_per_filter_config);
    table.internal_only_headers = headers::names(internal_only_headers);
    table.most_specific_wins = *most_specific_header_mutations_wins;
    table.ignore_port = *ignore_port_in_host_matching;
    table.ignore_path_parameters = *ignore_path_parameters_in_path_matching;
    let mut inherited = Inherited {
        validate_clusters: validate_clusters.unwrap_or(cx.kept.in_listener),
        direct_body_bytes_max: max_direct_response_body_size_bytes.unwrap_or(4096),
        retry: None,
        buffer_limit: None,
    };
    let before = cx.begin_named();
    for (index, host) in virtual_hosts.iter().enumerate() {
        let at = at.field("virtual_hosts");
        let at = at.index(index);
        let compiled = virtual_host(cx, &at, host, &mut inherited);
        for (index, error) in table.add_host(compiled, host.domains.iter().map(String::as_str)) {
            cx.invalid(&at.field("domains").index(index), error.to_string());
        }
    }
    for host in more {
        let at = At::root();
        let at = at.key(&host.name);
        let compiled = virtual_host(cx, &at, host, &mut inherited);
        for (index, error) in table.add_host(compiled, host.domains.iter().map(String::as_str)) {
            cx.invalid(&at.field("domains").index(index), error.to_string());
        }
    }
    table.vhds = vhds.as_ref().and_then(|vhds| vhds_of(cx, &at.field("vhds"), vhds));
    table.clusters = cx.take_named(before).into();
    Arc::new(table)
}

/// Where further virtual hosts come from.
fn vhds_of(cx: &mut Cx<'_>, at: &At<'_>, config: &api::Vhds) -> Option<ConfigSource> {
    let api::Vhds { config_source } = config;
    let at = at.field("config_source");
    let source = source::compile(cx, &at, config_source.as_ref())?;
    if matches!(&source.origin, Origin::Grpc(grpc) if grpc.delta) || source.origin == Origin::Ads {
        return Some(source);
    }
    let message = "vhds: only 'DELTA_GRPC' is supported as an api_type.";
    cx.invalid_allowed(&at, message, "ads, DELTA_GRPC");
    None
}

/// Checks a virtual host by itself, as it comes by VHDS.
pub(crate) fn check_host(cx: &mut Cx<'_>, at: &At<'_>, host: &api::VirtualHost) {
    let mut inherited = Inherited {
        validate_clusters: false,
        direct_body_bytes_max: 4096,
        retry: None,
        buffer_limit: None,
    };
    virtual_host(cx, at, host, &mut inherited);
}

fn virtual_host(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    host: &api::VirtualHost,
    inherited: &mut Inherited,
) -> VirtualHost {
    let api::VirtualHost {
        name,
        // Added by the caller, who knows the other virtual hosts.
        domains: _,
        routes,
        matcher,
        require_tls,
        virtual_clusters,
        rate_limits,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        cors,
        typed_per_filter_config,
        include_request_attempt_count,
        include_attempt_count_in_response,
        retry_policy,
        retry_policy_typed_config,
        hedge_policy,
        include_is_timeout_retry_header,
        per_request_buffer_limit_bytes,
        request_body_buffer_limit,
        request_mirror_policies,
        // See RouteConfiguration.
        metadata: _,
        route_specifiers,
    } = host;
    refuse!(cx, at, matcher, virtual_clusters, rate_limits, cors);
    refuse!(cx, at, retry_policy_typed_config, hedge_policy, request_mirror_policies);
    refuse!(cx, at, route_specifiers);
    let rules = Rules {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let (request_headers, response_headers) = rules.compile(cx, at);
    inherited.retry = retry_policy
        .as_ref()
        .map(|policy| Arc::new(retry::compile(cx, &at.field("retry_policy"), policy)));
    inherited.buffer_limit =
        buffer_limit(cx, at, *per_request_buffer_limit_bytes, *request_body_buffer_limit);
    let compiled = routes.iter().enumerate().filter_map(|(index, route)| {
        let at = at.field("routes");
        route::compile(cx, &at.index(index), route, inherited)
    });
    let mut out = VirtualHost::new(Arc::from(name.as_str()), compiled.collect());
    out.require_tls = match api::virtual_host::TlsRequirementType::try_from(*require_tls) {
        Ok(api::virtual_host::TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
        Ok(api::virtual_host::TlsRequirementType::All) => RequireTls::All,
        Ok(api::virtual_host::TlsRequirementType::None) | Err(_) => RequireTls::None,
    };
    out.filters = per_filter::compile(cx, at, typed_per_filter_config);
    out.request_headers = request_headers;
    out.response_headers = response_headers;
    out.attempt_count_in_request = *include_request_attempt_count;
    out.attempt_count_in_response = *include_attempt_count_in_response;
    out.is_timeout_retry_header = *include_is_timeout_retry_header;
    out
}

/// The deprecated 32-bit limit or the one that took its place; not both.
pub(crate) fn buffer_limit(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    old: Option<u32>,
    new: Option<u64>,
) -> Option<u64> {
    if old.is_some() && new.is_some() {
        let message =
            "only one of per_request_buffer_limit_bytes and request_body_buffer_limit can be set";
        cx.invalid(&at.field("per_request_buffer_limit_bytes"), message);
    }
    new.or_else(|| old.map(u64::from))
}
