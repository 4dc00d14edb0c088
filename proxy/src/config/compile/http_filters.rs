//! HTTP filters and the router behind them.

use std::sync::Arc;

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::http::router::v3 as router;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::type_name;
use super::set::refuse;
use super::{access_log, extension, headers};
use crate::filters::{Config, Entry, Options, kind, type_names};
use crate::plan::extension::ExtensionKind;
use crate::plan::http::RouterOptions;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const UPSTREAM_CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// Compiles the filter chain of a connection manager: the filters, and the router at its end.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filters: &[api::HttpFilter],
) -> (Vec<Entry>, Option<RouterOptions>) {
    let (mut entries, mut found) = (Vec::with_capacity(filters.len()), None);
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        if let Some(api::http_filter::ConfigType::ConfigDiscovery(config)) = &filter.config_type {
            entries.extend(discovered(cx, &at, filter, config));
            continue;
        }
        let Some((filter_at, any)) = typed_config(cx, &at, filter) else { continue };
        let config_at = filter_at.field("typed_config");
        let name = &filter.name;
        let Some(any) = cx.typed(&config_at, any) else { continue };
        let (any, wanted) = (&*any, type_name(&any.type_url));
        if wanted != ROUTER {
            let Some(kind) = kind(wanted) else {
                unknown(cx, &config_at, filter, wanted);
                continue;
            };
            let name = Arc::from(name.as_str());
            if let Some(config) = (kind.compile)(cx, &config_at, any) {
                let options = Options::Here(config);
                entries.push(Entry { name, disabled: filter.disabled, options });
            }
            continue;
        }
        if index + 1 != filters.len() {
            let message = format!(
                "terminal filter named {name} of type {name} must be the last filter in a http \
                 filter chain"
            );
            cx.invalid(&config_at, message);
        }
        if filter.disabled {
            let message = format!("Error: terminal filter '{name}' cannot be disabled by default");
            cx.invalid(&filter_at.field("disabled"), message);
        }
        if let Some(config) = cx.unpack::<router::Router>(&config_at, any) {
            found = Some(router_options(cx, &config_at, &config));
        }
    }
    if let Some(last) = filters.last()
        && found.is_none()
    {
        not_terminal(cx, &at.index(filters.len() - 1), last);
    }
    if filters.is_empty() {
        let message = "a filter chain without a router";
        cx.unsupported_allowed(at, message, ROUTER);
    }
    (entries, found)
}

/// A filter whose options come by ECDS.
fn discovered(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filter: &api::HttpFilter,
    config: &core::ExtensionConfigSource,
) -> Option<Entry> {
    let api::HttpFilter { name, is_optional, disabled, config_type: _ } = filter;
    refuse!(cx, at, is_optional);
    let at = at.field("config_discovery");
    let slot = extension::slot(cx, &at, name, ExtensionKind::Http, config)?;
    let options = Options::Discovered(slot);
    Some(Entry { name: Arc::from(name.as_str()), disabled: *disabled, options })
}

/// Compiles the options of a filter that is not the router.
pub(super) fn options(cx: &mut Cx<'_>, at: &At<'_>, any: &prost_types::Any) -> Option<Config> {
    let wanted = type_name(&any.type_url);
    let Some(kind) = kind(wanted) else {
        cx.unsupported_allowed(at, wanted, &type_names(false).join(", "));
        return None;
    };
    (kind.compile)(cx, at, any)
}

fn unknown(cx: &mut Cx<'_>, at: &At<'_>, filter: &api::HttpFilter, wanted: &str) {
    if filter.is_optional {
        cx.warn(at, format!("{wanted} is not supported yet and is left out: it is optional"));
        return;
    }
    let mut allowed = type_names(false);
    allowed.push(ROUTER);
    cx.unsupported_allowed(at, wanted, &allowed.join(", "));
}

/// A chain that ends in one of our filters, where a router belongs.
fn not_terminal(cx: &mut Cx<'_>, at: &At<'_>, last: &api::HttpFilter) {
    let ours = match &last.config_type {
        Some(api::http_filter::ConfigType::TypedConfig(any)) => {
            kind(type_name(&any.type_url)).is_some()
        }
        Some(api::http_filter::ConfigType::ConfigDiscovery(config)) => {
            config.type_urls.iter().all(|url| kind(type_name(url)).is_some())
        }
        None => false,
    };
    if ours {
        let name = &last.name;
        let message = format!(
            "non-terminal filter named {name} of type {name} is the last filter in a http filter \
             chain"
        );
        cx.invalid_allowed(at, message, ROUTER);
    }
}

/// The typed configuration of a filter that runs; `None` after an error.
fn typed_config<'v, 'a>(
    cx: &mut Cx<'_>,
    at: &'a At<'a>,
    filter: &'v api::HttpFilter,
) -> Option<(At<'a>, &'v prost_types::Any)> {
    let api::HttpFilter { name, is_optional, disabled: _, config_type } = filter;
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
        if filter.disabled {
            cx.unsupported(&at.field("disabled"));
        }
        if type_name(&any.type_url) != UPSTREAM_CODEC {
            let at = at.field("typed_config");
            cx.unsupported_allowed(&at, type_name(&any.type_url), UPSTREAM_CODEC);
        }
    }
}
