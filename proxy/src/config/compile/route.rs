//! `Route` and its actions.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::headers::{self, Rules};
use super::route_table::{Inherited, buffer_limit};
use super::scalar::{data_source, duration, optional_duration, substitution};
use super::set::refuse;
use super::{access_log, per_filter, redirect, retry, route_match, upgrade, weighted};
use crate::plan::route::{
    Action, ClusterChoice, DirectResponse, Forward, ForwardExtra, HostRewrite, MaxStreamDuration,
    PathMatch, PathRewrite, Route, RouteExtra,
};

/// Compiles one route; `None` where an error was recorded that leaves nothing to match or to do.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    route: &api::Route,
    inherited: &Inherited,
) -> Option<(PathMatch, Route)> {
    let api::Route {
        name,
        r#match: matcher,
        // Read by extensions and access-log operators that are refused where they are asked for.
        metadata: _,
        // Names spans, and there is no tracing without a provider, which is refused.
        decorator: _,
        typed_per_filter_config,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        // As `decorator`.
        tracing: _,
        per_request_buffer_limit_bytes,
        stat_prefix,
        request_body_buffer_limit,
        route_specifiers,
        action,
    } = route;
    refuse!(cx, at, route_specifiers);
    let rules = Rules {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let (request_headers, response_headers) = rules.compile(cx, at);
    let limit = buffer_limit(cx, at, *per_request_buffer_limit_bytes, *request_body_buffer_limit);
    let matched = match matcher {
        Some(matcher) => route_match::compile(cx, &at.field("match"), matcher),
        None => {
            cx.invalid(&at.field("match"), "value is required");
            None
        }
    };
    let action = compile_action(cx, at, action.as_ref(), inherited);
    let (path, conditions) = matched?;
    let route = Route {
        name: cx.text(name),
        action: action?,
        conditions: (!conditions.is_empty()).then(|| Box::new(conditions)),
        matched_len: path.literal_len().and_then(|len| u32::try_from(len).ok()),
        extra: RouteExtra {
            request_headers,
            response_headers,
            stat_prefix: (!stat_prefix.is_empty()).then(|| Arc::from(stat_prefix.as_str())),
            retry_buffer_limit: limit.or(inherited.buffer_limit),
        }
        .boxed(),
        filters: per_filter::compile(cx, at, typed_per_filter_config),
    };
    Some((path, route))
}

fn compile_action(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    action: Option<&api::route::Action>,
    inherited: &Inherited,
) -> Option<Action> {
    match action {
        Some(api::route::Action::Route(action)) => {
            let forward = forward(cx, &at.field("route"), action, inherited)?;
            Some(Action::Forward(Box::new(forward)))
        }
        Some(api::route::Action::Redirect(action)) => {
            let redirect = redirect::compile(cx, &at.field("redirect"), action)?;
            Some(Action::Redirect(Box::new(redirect)))
        }
        Some(api::route::Action::DirectResponse(action)) => {
            let at = at.field("direct_response");
            let direct = direct_response(cx, &at, action, inherited.direct_body_bytes_max)?;
            Some(Action::Direct(Box::new(direct)))
        }
        Some(api::route::Action::NonForwardingAction(api::NonForwardingAction {})) => {
            Some(Action::NonForwarding)
        }
        Some(api::route::Action::FilterAction(_)) => {
            cx.unsupported(&at.field("filter_action"));
            None
        }
        None => {
            let allowed = "route, redirect, direct_response, non_forwarding_action";
            cx.invalid_allowed(at, "an action is required", allowed);
            None
        }
    }
}

fn direct_response(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    action: &api::DirectResponseAction,
    bytes_max: u32,
) -> Option<DirectResponse> {
    let api::DirectResponseAction { status, body, body_format } = action;
    let format = body_format
        .clone()
        .and_then(|format| access_log::body_format(cx, &at.field("body_format"), format));
    let body_at = at.field("body");
    let body = match body {
        Some(body) => data_source(cx, &body_at, body)?,
        None => Vec::new(),
    };
    if body.len() > bytes_max as usize {
        let message = format!("response body size is {} bytes; maximum is {bytes_max}", body.len());
        let allowed = "more with max_direct_response_body_size_bytes";
        cx.invalid_allowed(&body_at, message, allowed);
    }
    let status = u16::try_from(*status).unwrap_or_default();
    Some(DirectResponse { status, body: Arc::from(body), format })
}

fn forward(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    action: &api::RouteAction,
    inherited: &Inherited,
) -> Option<Forward> {
    let api::RouteAction {
        cluster_not_found_response_code,
        metadata_match,
        prefix_rewrite,
        regex_rewrite,
        path_rewrite_policy,
        path_rewrite,
        append_x_forwarded_host,
        timeout,
        idle_timeout,
        flush_timeout,
        early_data_policy,
        retry_policy,
        retry_policy_typed_config,
        request_mirror_policies,
        priority,
        rate_limits,
        // Only says whether limits are added to those of this route, and there are none.
        include_vh_rate_limits: _,
        // Read by hashing load balancers, which are refused.
        hash_policy: _,
        cors,
        max_grpc_timeout,
        grpc_timeout_offset,
        upgrade_configs,
        internal_redirect_policy,
        internal_redirect_action,
        max_internal_redirects,
        hedge_policy,
        max_stream_duration,
        cluster_specifier,
        host_rewrite_specifier,
    } = action;
    refuse!(cx, at, metadata_match, path_rewrite_policy, path_rewrite, flush_timeout);
    refuse!(cx, at, early_data_policy, retry_policy_typed_config, request_mirror_policies);
    refuse!(cx, at, rate_limits, cors, hedge_policy);
    refuse!(cx, at, internal_redirect_policy, internal_redirect_action, max_internal_redirects);
    let cluster = cluster_choice(cx, at, cluster_specifier.as_ref(), inherited);
    let rewrite = path_rewrite_of(cx, at, prefix_rewrite, regex_rewrite.as_ref());
    let host = host_rewrite(cx, at, host_rewrite_specifier.as_ref());
    let own = retry_policy.as_ref();
    let own = own.map(|own| Arc::new(retry::compile(cx, &at.field("retry_policy"), own)));
    let retry = own.or_else(|| inherited.retry.clone());
    let idle_timeout = optional_duration(cx, &at.field("idle_timeout"), *idle_timeout);
    let timeout = duration(cx, &at.field("timeout"), *timeout, Duration::from_secs(15));
    let max_grpc_timeout = max_grpc(cx, at, *max_grpc_timeout, *grpc_timeout_offset);
    Some(Forward {
        cluster: cluster?,
        cluster_not_found_status: not_found_status(*cluster_not_found_response_code),
        append_x_forwarded_host: *append_x_forwarded_host,
        timeout,
        retry,
        priority: u8::try_from(*priority).unwrap_or_default(),
        extra: ForwardExtra {
            rewrite,
            host,
            idle_timeout,
            max_stream: max_stream(cx, at, max_stream_duration.as_ref()),
            max_grpc_timeout,
            upgrades: upgrade::of_route(cx, &at.field("upgrade_configs"), upgrade_configs),
        }
        .boxed(),
    })
}

/// `max_grpc_timeout` with `grpc_timeout_offset`, which means nothing without it.
fn max_grpc(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    max: Option<prost_types::Duration>,
    offset: Option<prost_types::Duration>,
) -> Option<(Duration, Duration)> {
    let offset = duration(cx, &at.field("grpc_timeout_offset"), offset, Duration::ZERO);
    let max = optional_duration(cx, &at.field("max_grpc_timeout"), max)?;
    Some((max, offset))
}

/// `cluster_not_found_response_code`, default 503.
fn not_found_status(code: i32) -> u16 {
    use api::route_action::ClusterNotFoundResponseCode as Code;
    match Code::try_from(code) {
        Ok(Code::NotFound) => 404,
        Ok(Code::InternalServerError) => 500,
        Ok(Code::ServiceUnavailable) | Err(_) => 503,
    }
}

fn cluster_choice(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    specifier: Option<&api::route_action::ClusterSpecifier>,
    inherited: &Inherited,
) -> Option<ClusterChoice> {
    use api::route_action::ClusterSpecifier;
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            let id = if inherited.validate_clusters {
                cx.cluster(&at.field("cluster"), name, "route: unknown cluster")?
            } else {
                cx.any_cluster(name)
            };
            Some(ClusterChoice::One(id))
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            Some(ClusterChoice::Header(Arc::from(name.to_ascii_lowercase())))
        }
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted::compile(cx, &at.field("weighted_clusters"), clusters, inherited)
                .map(|weighted| ClusterChoice::Weighted(Box::new(weighted)))
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => {
            cx.unsupported(&at.field("cluster_specifier_plugin"));
            None
        }
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            cx.unsupported(&at.field("inline_cluster_specifier_plugin"));
            None
        }
        None => {
            let allowed = "cluster, cluster_header, weighted_clusters";
            cx.invalid_allowed(at, "a cluster specifier is required", allowed);
            None
        }
    }
}

fn path_rewrite_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    prefix: &str,
    regex: Option<&ringway_xds::api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute>,
) -> PathRewrite {
    match (prefix.is_empty(), regex) {
        (false, Some(_)) => {
            let message =
                "specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy";
            cx.invalid(&at.field("regex_rewrite"), message);
            PathRewrite::None
        }
        (true, Some(regex)) => match substitution(cx, &at.field("regex_rewrite"), regex) {
            Some((regex, text)) => PathRewrite::Regex(regex, text),
            None => PathRewrite::None,
        },
        // With a regex the whole path counts as the prefix, as in Envoy.
        (false, None) => PathRewrite::Prefix(Arc::from(prefix)),
        (true, None) => PathRewrite::None,
    }
}

fn host_rewrite(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    specifier: Option<&api::route_action::HostRewriteSpecifier>,
) -> HostRewrite {
    use api::route_action::HostRewriteSpecifier as Specifier;
    match specifier {
        None | Some(Specifier::AutoHostRewrite(false)) => HostRewrite::None,
        Some(Specifier::AutoHostRewrite(true)) => HostRewrite::Auto,
        Some(Specifier::HostRewriteLiteral(host)) if host.is_empty() => HostRewrite::None,
        Some(Specifier::HostRewriteLiteral(host)) => HostRewrite::Literal(cx.text(host)),
        Some(Specifier::HostRewriteHeader(name)) if name.is_empty() => HostRewrite::None,
        Some(Specifier::HostRewriteHeader(name)) => {
            HostRewrite::Header(Arc::from(name.to_ascii_lowercase()))
        }
        Some(Specifier::HostRewritePathRegex(regex)) => {
            let at = at.field("host_rewrite_path_regex");
            match substitution(cx, &at, regex) {
                Some((regex, text)) => HostRewrite::PathRegex(regex, text),
                None => HostRewrite::None,
            }
        }
        Some(Specifier::HostRewrite(_)) => {
            cx.unsupported(&at.field("host_rewrite"));
            HostRewrite::None
        }
    }
}

fn max_stream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::route_action::MaxStreamDuration>,
) -> Option<MaxStreamDuration> {
    let api::route_action::MaxStreamDuration {
        max_stream_duration,
        grpc_timeout_header_max,
        grpc_timeout_header_offset,
    } = value?;
    let at = at.field("max_stream_duration");
    let mut read = |name, value| optional_duration(cx, &at.field(name), value);
    Some(MaxStreamDuration {
        duration: read("max_stream_duration", *max_stream_duration),
        grpc_max: read("grpc_timeout_header_max", *grpc_timeout_header_max),
        grpc_offset: read("grpc_timeout_header_offset", *grpc_timeout_header_offset)
            .unwrap_or_default(),
    })
}

/// Used by weighted clusters too: names in lower case.
pub(crate) fn header_name(name: &str) -> Arc<str> {
    headers::names(&[name.to_owned()]).pop().unwrap_or_default()
}
