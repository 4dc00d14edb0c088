//! `HttpConnectionManager`.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;
use ringway_xds::api::envoy::extensions::http::early_header_mutation::header_mutation::v3 as early;
use ringway_xds::api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::{duration, type_name};
use super::set::refuse;
use super::{
    access_log, forwarding, headers, http_filters, http1, http2, local_reply, route_table, scoped,
    source, upgrade,
};
use crate::observe::stats::{Http1CodecStats, Http2CodecStats, HttpStats};
use crate::plan::http::{
    CodecType, EscapedSlashes, Http1Options, HttpManager, Normalise, RequestId, Routes, Scheme,
    ServerHeader, StripPort, Timeouts,
};
use crate::plan::http2::Http2Options;
use crate::plan::mutation::HeaderMutation;

/// Compiles a connection manager; `None` where there is no route table or no router to run.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
) -> Option<HttpManager> {
    check(cx, at, config);
    #[rustfmt::skip]
    let api::HttpConnectionManager {
        codec_type, stat_prefix, http_filters, add_user_agent, common_http_protocol_options,
        http_protocol_options, server_name, server_header_transformation,
        scheme_header_transformation, max_request_headers_kb, access_log, via,
        proxy_100_continue, local_reply_config,
        append_x_forwarded_port, route_specifier,
        ..
    } = config;
    let (log_new_requests, log_interval) = access_log_options_of(cx, at, config);
    let replies_at = at.field("local_reply_config");
    let local_replies = local_reply::compile(cx, &replies_at, local_reply_config.as_ref());
    let common = common_http_protocol_options.unwrap_or_default();
    let http1 = http_protocol_options.clone().unwrap_or_default();
    let limit = max_request_headers_kb.unwrap_or(60).saturating_mul(1024);
    let http1 = http1::downstream(cx, at, &http1, &common, limit);
    let http2 = http2_of(cx, at, config, &http1);
    let timeouts = timeouts(cx, at, config, &common);
    cx.http_prefix = format!("http.{stat_prefix}");
    let (filters, router) = http_filters::compile(cx, &at.field("http_filters"), http_filters);
    let routes = routes(cx, at, route_specifier.as_ref());
    let access_logs = access_log::compile(cx, &at.field("access_log"), access_log);
    let (scheme_overwrite, server_header) =
        (scheme(cx, at, scheme_header_transformation.as_ref()), *server_header_transformation);
    Some(HttpManager {
        stats: HttpStats::new(cx.registry, stat_prefix),
        codec: codec(cx, at, *codec_type),
        codec_stats: Http1CodecStats::new(cx.registry).slots(),
        http2,
        upgrades: upgrade::of_manager(cx, &at.field("upgrade_configs"), &config.upgrade_configs),
        http2_stats: Http2CodecStats::new(cx.registry, ""),
        stat_prefix: Arc::from(stat_prefix.as_str()),
        http1,
        access_logs,
        server_name: Arc::from(if server_name.is_empty() { "envoy" } else { server_name }),
        server_header: server_header_of(server_header),
        scheme_overwrite,
        scheme_matches_upstream: scheme_header_transformation
            .as_ref()
            .is_some_and(|scheme| scheme.match_upstream && scheme.transformation.is_none()),
        log_new_requests,
        log_interval,
        via: (!via.is_empty()).then(|| Arc::from(via.as_str())),
        add_user_agent: add_user_agent.unwrap_or_default(),
        forwarding: forwarding::compile(cx, at, config),
        client_cert: forwarding::client_cert(cx, at, config),
        early_mutations: early_mutations(cx, at, config),
        request_id: request_id(cx, at, config),
        normalise: normalise(cx, at, config),
        timeouts,
        max_requests_per_connection: common.max_requests_per_connection.unwrap_or_default(),
        proxy_100_continue: *proxy_100_continue,
        stream_error_on_invalid: config.stream_error_on_invalid_http_message == Some(true),
        local_replies,
        append_x_forwarded_port: *append_x_forwarded_port,
        filters,
        router: router?,
        routes: routes?,
    })
}

/// Names every field: refused here, read elsewhere, or of no effect.
fn check(cx: &mut Cx<'_>, at: &At<'_>, config: &api::HttpConnectionManager) {
    #[rustfmt::skip]
    let api::HttpConnectionManager {
        // Refused.
        record_route_resolution_stats, tracing, http1_safe_max_connection_duration,
        http3_protocol_options, stream_flush_timeout, drain_timeout_jitter,
        forward_client_cert_matcher,
        path_normalization_options, proxy_status_config, typed_header_validation_config,
        forward_proto_config,
        // Read by `access_log_options_of`.
        access_log_options: _, access_log_flush_interval: _, flush_access_log_on_new_request: _,
        // Read by `compile`.
        stream_error_on_invalid_http_message: _,
        codec_type: _, stat_prefix: _, http_filters: _, add_user_agent: _,
        common_http_protocol_options: _, http_protocol_options: _, http2_protocol_options: _,
        server_name: _, server_header_transformation: _, scheme_header_transformation: _,
        max_request_headers_kb: _, access_log: _, via: _,
        proxy_100_continue: _, local_reply_config: _,
        append_x_forwarded_port: _, route_specifier: _, upgrade_configs: _,
        // Read by `timeouts`.
        stream_idle_timeout: _, request_timeout: _, request_headers_timeout: _, drain_timeout: _,
        delayed_close_timeout: _,
        // Read in `early_mutations`.
        early_header_mutation_extensions: _,
        // Read in `forwarding`.
        forward_client_cert_details: _, set_current_client_cert_details: _,
        original_ip_detection_extensions: _, use_remote_address: _, xff_num_trusted_hops: _,
        skip_xff_append: _,
        internal_address_config: _, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: _,
        // Read by `request_id`.
        generate_request_id: _, preserve_external_request_id: _,
        always_set_request_id_in_response: _, request_id_extension: _,
        // Read by `normalise`.
        normalize_path: _, merge_slashes: _, path_with_escaped_slashes_action: _,
        strip_matching_host_port: _, strip_trailing_host_dot: _, strip_port_mode: _,
        // Marks replies of an overload manager, which is refused.
        append_local_overload: _,
        // Tells of a PROXY protocol header, whose listener filter is refused.
        add_proxy_protocol_connection_state: _,
    } = config;
    refuse!(cx, at, record_route_resolution_stats);
    refuse!(cx, at, tracing, http1_safe_max_connection_duration, stream_flush_timeout);
    refuse!(cx, at, drain_timeout_jitter);
    refuse!(cx, at, forward_client_cert_matcher);
    refuse!(cx, at, path_normalization_options, proxy_status_config, forward_proto_config);
    refuse!(cx, at, typed_header_validation_config, http3_protocol_options);
}

/// What the codec of new connections speaks.
fn codec(cx: &mut Cx<'_>, at: &At<'_>, codec_type: i32) -> CodecType {
    use api::http_connection_manager::CodecType as Api;
    match Api::try_from(codec_type) {
        Ok(Api::Http1) => CodecType::Http1,
        Ok(Api::Http2) => CodecType::Http2,
        Ok(Api::Http3) => {
            let allowed = "AUTO, HTTP1, HTTP2";
            cx.unsupported_allowed(&at.field("codec_type"), "HTTP3", allowed);
            CodecType::Auto
        }
        _ => CodecType::Auto,
    }
}

/// Options of HTTP/2 connections, with what the manager says of heads.
fn http2_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
    http1: &Http1Options,
) -> Arc<Http2Options> {
    let heads = http2::Heads {
        bytes_max: http1.max_headers_bytes,
        count_max: Some(http1.max_headers_count),
        underscores: http1.underscores,
    };
    let at = at.field("http2_protocol_options");
    let options = config.http2_protocol_options.clone().unwrap_or_default();
    let stream_error = config.stream_error_on_invalid_http_message;
    Arc::new(http2::downstream(cx, &at, &options, &heads, stream_error))
}

fn access_log_options_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
) -> (bool, Duration) {
    let Some(options) = &config.access_log_options else {
        let at = at.field("access_log_flush_interval");
        let interval = duration(cx, &at, config.access_log_flush_interval, Duration::ZERO);
        return (config.flush_access_log_on_new_request, interval);
    };
    for (set, name) in [
        (config.flush_access_log_on_new_request, "flush_access_log_on_new_request"),
        (config.access_log_flush_interval.is_some(), "access_log_flush_interval"),
    ] {
        if set {
            let message = format!("Only one of {name} or access_log_options can be specified.");
            cx.invalid_allowed(&at.field(name), message, "access_log_options alone");
        }
    }
    let api::http_connection_manager::HcmAccessLogOptions {
        access_log_flush_interval,
        flush_access_log_on_new_request,
        flush_log_on_tunnel_successfully_established,
    } = options;
    let at = at.field("access_log_options");
    refuse!(cx, &at, flush_log_on_tunnel_successfully_established);
    let interval = duration(
        cx,
        &at.field("access_log_flush_interval"),
        *access_log_flush_interval,
        Duration::ZERO,
    );
    (*flush_access_log_on_new_request, interval)
}

fn routes(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    specifier: Option<&api::http_connection_manager::RouteSpecifier>,
) -> Option<Routes> {
    use api::http_connection_manager::RouteSpecifier;
    match specifier {
        Some(RouteSpecifier::RouteConfig(config)) => {
            let at = at.field("route_config");
            if config.vhds.is_some() {
                // Envoy wants such a table to come by RDS.
                cx.unsupported_value(&at.field("vhds"), "vhds of an inline table");
            }
            Some(Routes::Inline(route_table::compile(cx, &at, config, &[])))
        }
        Some(RouteSpecifier::Rds(config)) => {
            let at = at.field("rds");
            let api::Rds { config_source, route_config_name } = config;
            let source_at = at.field("config_source");
            let source = source::compile(cx, &source_at, config_source.as_ref())?;
            let lease = cx.kept.routes.lease(&(route_config_name, &source));
            cx.needs.routes.push(Arc::clone(&lease));
            Some(Routes::Rds(lease))
        }
        Some(RouteSpecifier::ScopedRoutes(config)) => {
            scoped::compile(cx, &at.field("scoped_routes"), config)
        }
        None => {
            let allowed = "route_config, rds, scoped_routes";
            cx.invalid_allowed(at, "a route specifier is required", allowed);
            None
        }
    }
}

fn server_header_of(value: i32) -> ServerHeader {
    use api::http_connection_manager::ServerHeaderTransformation as Value;
    match Value::try_from(value) {
        Ok(Value::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
        Ok(Value::PassThrough) => ServerHeader::PassThrough,
        Ok(Value::Overwrite) | Err(_) => ServerHeader::Overwrite,
    }
}

fn scheme(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&core::SchemeHeaderTransformation>,
) -> Option<Scheme> {
    use core::scheme_header_transformation::Transformation;
    let core::SchemeHeaderTransformation { match_upstream, transformation } = value?;
    let at = at.field("scheme_header_transformation");
    // Read by the caller.
    let _ = match_upstream;
    match transformation {
        Some(Transformation::SchemeToOverwrite(scheme)) if scheme == "https" => Some(Scheme::Https),
        Some(Transformation::SchemeToOverwrite(scheme)) if scheme == "http" => Some(Scheme::Http),
        Some(Transformation::SchemeToOverwrite(scheme)) => {
            let message = format!("'{scheme}' is no scheme");
            cx.invalid_allowed(&at.field("scheme_to_overwrite"), message, "http, https");
            None
        }
        None => None,
    }
}

fn timeouts(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
    common: &core::HttpProtocolOptions,
) -> Timeouts {
    let zero = Duration::ZERO;
    let seconds = Duration::from_secs;
    let common_at = at.field("common_http_protocol_options");
    let mut read = |name, value, default| duration(cx, &at.field(name), value, default);
    let stream_idle = read("stream_idle_timeout", config.stream_idle_timeout, seconds(300));
    let request = read("request_timeout", config.request_timeout, zero);
    let request_headers = read("request_headers_timeout", config.request_headers_timeout, zero);
    let drain = read("drain_timeout", config.drain_timeout, seconds(5));
    let delayed_close = read("delayed_close_timeout", config.delayed_close_timeout, seconds(1));
    let mut read = |name, value, default| duration(cx, &common_at.field(name), value, default);
    Timeouts {
        idle: read("idle_timeout", common.idle_timeout, seconds(3600)),
        stream_idle,
        request,
        request_headers,
        drain,
        delayed_close,
        max_connection: read("max_connection_duration", common.max_connection_duration, zero),
        max_stream: read("max_stream_duration", common.max_stream_duration, zero),
    }
}

/// `early_header_mutation_extensions`, one behind the other.
fn early_mutations(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HttpConnectionManager,
) -> Vec<HeaderMutation> {
    const TYPE: &str =
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
    let mut out = Vec::new();
    for (index, extension) in config.early_header_mutation_extensions.iter().enumerate() {
        let at = at.field("early_header_mutation_extensions");
        let at = at.index(index);
        let core::TypedExtensionConfig { name, typed_config } = extension;
        let Some(any) = typed_config else {
            missing_type(cx, &at, name);
            continue;
        };
        let at = at.field("typed_config");
        if type_name(&any.type_url) != TYPE {
            cx.unsupported_allowed(&at, type_name(&any.type_url), TYPE);
            continue;
        }
        let Some(config) = cx.unpack::<early::HeaderMutation>(&at, any) else { continue };
        let early::HeaderMutation { mutations } = config;
        out.extend(headers::mutations(cx, &at.field("mutations"), &mutations));
    }
    out
}

fn request_id(cx: &mut Cx<'_>, at: &At<'_>, config: &api::HttpConnectionManager) -> RequestId {
    const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
    let mut pack_trace_reason = true;
    if let Some(api::RequestIdExtension { typed_config: Some(any) }) = &config.request_id_extension
    {
        let at = at.field("request_id_extension");
        let at = at.field("typed_config");
        if type_name(&any.type_url) == UUID {
            let uuid = cx.unpack::<UuidRequestIdConfig>(&at, any).unwrap_or_default();
            // Sampling by request id is part of tracing, which is refused.
            let UuidRequestIdConfig {
                pack_trace_reason: pack,
                use_request_id_for_trace_sampling: _,
            } = uuid;
            pack_trace_reason = pack.unwrap_or(true);
        } else {
            cx.unsupported_allowed(&at, type_name(&any.type_url), UUID);
        }
    }
    RequestId {
        generate: config.generate_request_id.unwrap_or(true),
        preserve_external: config.preserve_external_request_id,
        always_in_response: config.always_set_request_id_in_response,
        pack_trace_reason,
    }
}

fn normalise(cx: &mut Cx<'_>, at: &At<'_>, config: &api::HttpConnectionManager) -> Normalise {
    use api::http_connection_manager::{PathWithEscapedSlashesAction as Action, StripPortMode};
    let any = matches!(config.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    if any && config.strip_matching_host_port {
        let message = "only one of `strip_matching_host_port` or `strip_any_host_port` can be set";
        cx.invalid(&at.field("strip_matching_host_port"), message);
    }
    let strip_port = match (any, config.strip_matching_host_port) {
        (true, _) => StripPort::Any,
        (false, true) => StripPort::Matching,
        (false, false) => StripPort::None,
    };
    let by_runtime = cx.runtime.integer("http_connection_manager.normalize_path", 0) >= 100;
    Normalise {
        path: config.normalize_path.unwrap_or(by_runtime),
        merge_slashes: config.merge_slashes,
        escaped_slashes: match Action::try_from(config.path_with_escaped_slashes_action) {
            Ok(Action::RejectRequest) => EscapedSlashes::Reject,
            Ok(Action::UnescapeAndRedirect) => EscapedSlashes::UnescapeAndRedirect,
            Ok(Action::UnescapeAndForward) => EscapedSlashes::UnescapeAndForward,
            Ok(Action::KeepUnchanged | Action::ImplementationSpecificDefault) | Err(_) => {
                EscapedSlashes::Keep
            }
        },
        strip_port,
        strip_trailing_dot: config.strip_trailing_host_dot,
    }
}
