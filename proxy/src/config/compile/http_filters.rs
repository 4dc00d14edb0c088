//! HTTP filters: the router, so far.

use ringway_xds::api::envoy::extensions::filters::http::router::v3 as router;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;
use super::set::refuse;
use super::{access_log, headers};
use crate::plan::http::RouterOptions;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const UPSTREAM_CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// Compiles the filter chain of a connection manager: a router at its end.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filters: &[api::HttpFilter],
) -> Option<RouterOptions> {
    let mut found = None;
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        let Some((at, any)) = typed_config(cx, &at, filter) else { continue };
        let at = at.field("typed_config");
        let last = index + 1 == filters.len();
        if type_name(&any.type_url) != ROUTER {
            cx.unsupported_allowed(&at, type_name(&any.type_url), ROUTER);
            continue;
        }
        let name = &filter.name;
        if !last {
            let message = format!(
                "terminal filter named {name} of type {name} must be the last filter in a http \
                 filter chain"
            );
            cx.invalid(&at, message);
        }
        if let Some(config) = cx.unpack::<router::Router>(&at, any) {
            found = Some(router_options(cx, &at, &config));
        }
    }
    if filters.is_empty() {
        let message = "a filter chain without a router";
        cx.unsupported_allowed(at, message, ROUTER);
    }
    found
}

/// The typed configuration of a filter that runs; `None` after an error.
fn typed_config<'v, 'a>(
    cx: &mut Cx<'_>,
    at: &'a At<'a>,
    filter: &'v api::HttpFilter,
) -> Option<(At<'a>, &'v prost_types::Any)> {
    let api::HttpFilter { name, is_optional, disabled, config_type } = filter;
    refuse!(cx, at, disabled);
    match config_type {
        Some(api::http_filter::ConfigType::TypedConfig(any)) => Some((*at, any)),
        Some(api::http_filter::ConfigType::ConfigDiscovery(_)) => {
            cx.unsupported(&at.field("config_discovery"));
            None
        }
        // Excused, as in Envoy, which does not find a filter without a type either.
        None if *is_optional => {
            cx.warn(at, format!("filter '{name}' has no typed_config and is left out"));
            None
        }
        None => {
            missing_type(cx, at, name);
            None
        }
    }
}

fn router_options(cx: &mut Cx<'_>, at: &At<'_>, config: &router::Router) -> RouterOptions {
    let router::Router {
        dynamic_stats,
        start_child_span,
        upstream_log,
        upstream_log_options,
        suppress_envoy_headers,
        strict_check_headers,
        respect_expected_rq_timeout,
        suppress_grpc_request_failure_code_stats,
        upstream_http_filters,
        reject_connect_request_early_data,
    } = config;
    let reject_connect_request_early_data = reject_connect_request_early_data.unwrap_or_default();
    refuse!(cx, at, start_child_span, upstream_log_options, reject_connect_request_early_data);
    refuse!(cx, at, upstream_log);
    codec_only(cx, &at.field("upstream_http_filters"), upstream_http_filters);
    RouterOptions {
        dynamic_stats: dynamic_stats.unwrap_or(true),
        suppress_envoy_headers: *suppress_envoy_headers,
        respect_expected_timeout: *respect_expected_rq_timeout,
        upstream_logs: access_log::compile(cx, &at.field("upstream_log"), upstream_log),
        strict_check_headers: headers::names(strict_check_headers),
        suppress_grpc_failure_stats: *suppress_grpc_request_failure_code_stats,
    }
}

/// A chain of upstream filters may say what happens anyway: the codec alone.
pub(crate) fn codec_only(cx: &mut Cx<'_>, at: &At<'_>, filters: &[api::HttpFilter]) {
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        let Some((at, any)) = typed_config(cx, &at, filter) else { continue };
        if type_name(&any.type_url) != UPSTREAM_CODEC {
            let at = at.field("typed_config");
            cx.unsupported_allowed(&at, type_name(&any.type_url), UPSTREAM_CODEC);
        }
    }
}
