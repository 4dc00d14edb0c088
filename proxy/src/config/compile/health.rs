//! `HealthCheck`.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3 as api;
use ringway_xds::api::envoy::r#type::v3 as types;

use super::at::At;
use super::cx::Cx;
use super::headers;
use super::scalar::{duration, hex, string_match};
use super::set::refuse;
use super::sockets;
use crate::observe::stats::Http2CodecStats;
use crate::plan::cluster::{
    GrpcHealthCheck, HealthCheck, HealthCheckKind, HttpHealthCheck, UpstreamHttp, UpstreamHttp2,
    UpstreamProtocol,
};
use crate::plan::transport::Sockets;

/// The cluster's HTTP options, its name in statistics, and its transport sockets.
type Of<'a> = (&'a UpstreamHttp, &'a str, &'a Sockets);

/// How checks speak HTTP/2: as the cluster does, or by default.
fn http2_of(cx: &mut Cx<'_>, (http, stat_name, _): Of<'_>) -> UpstreamHttp2 {
    http.http2.clone().unwrap_or_else(|| UpstreamHttp2 {
        options: Arc::default(),
        stats: Http2CodecStats::new(cx.registry, &format!("cluster.{stat_name}.")),
    })
}

/// Compiles the health checks of a cluster.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::HealthCheck],
    of: Of<'_>,
) -> Vec<HealthCheck> {
    if list.len() > 1 {
        cx.unsupported_value(at, "more than one health check");
    }
    let each = list.iter().enumerate();
    each.filter_map(|(index, config)| health_check(cx, &at.index(index), config, of)).collect()
}

fn health_check(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::HealthCheck,
    of: Of<'_>,
) -> Option<HealthCheck> {
    let api::HealthCheck {
        name,
        timeout,
        interval,
        initial_jitter,
        interval_jitter,
        interval_jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        // Envoy does not implement it; `port_value` of the endpoint is what it reads.
        alt_port: _,
        reuse_connection,
        no_traffic_interval,
        no_traffic_healthy_interval,
        unhealthy_interval,
        unhealthy_edge_interval,
        healthy_edge_interval,
        event_log_path,
        event_logger,
        event_service,
        always_log_health_check_failures,
        always_log_health_check_success,
        tls_options,
        transport_socket_match_criteria,
        health_checker,
    } = config;
    refuse!(cx, at, name, event_log_path, event_logger, event_service, tls_options);
    refuse!(cx, at, always_log_health_check_failures, always_log_health_check_success);
    let kind = kind(cx, at, health_checker.as_ref(), of);
    let zero = Duration::ZERO;
    let mut time = |name, value, default| duration(cx, &at.field(name), value, default);
    let interval = time("interval", *interval, zero);
    let unhealthy_interval = time("unhealthy_interval", *unhealthy_interval, interval);
    let no_traffic = time("no_traffic_interval", *no_traffic_interval, Duration::from_secs(60));
    // Times and thresholds are required: the field rules, checked while reading, see to it.
    Some(HealthCheck {
        timeout: time("timeout", *timeout, zero),
        interval,
        initial_jitter: time("initial_jitter", *initial_jitter, zero),
        interval_jitter: time("interval_jitter", *interval_jitter, zero),
        interval_jitter_percent: *interval_jitter_percent,
        unhealthy_threshold: unhealthy_threshold.unwrap_or_default(),
        healthy_threshold: healthy_threshold.unwrap_or_default(),
        no_traffic_interval: no_traffic,
        no_traffic_healthy_interval: time(
            "no_traffic_healthy_interval",
            *no_traffic_healthy_interval,
            no_traffic,
        ),
        unhealthy_interval,
        unhealthy_edge_interval: time(
            "unhealthy_edge_interval",
            *unhealthy_edge_interval,
            unhealthy_interval,
        ),
        healthy_edge_interval: time("healthy_edge_interval", *healthy_edge_interval, interval),
        reuse_connection: reuse_connection.unwrap_or(true),
        socket: transport_socket_match_criteria
            .as_ref()
            .map(|criteria| sockets::resolve_criteria(of.2, criteria)),
        kind: kind?,
    })
}

fn kind(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    checker: Option<&api::health_check::HealthChecker>,
    of: Of<'_>,
) -> Option<HealthCheckKind> {
    use api::health_check::HealthChecker;
    match checker {
        Some(HealthChecker::HttpHealthCheck(config)) => {
            http(cx, &at.field("http_health_check"), config, of).map(HealthCheckKind::Http)
        }
        Some(HealthChecker::TcpHealthCheck(config)) => {
            let at = at.field("tcp_health_check");
            let api::health_check::TcpHealthCheck { send, receive, proxy_protocol_config } = config;
            refuse!(cx, &at, proxy_protocol_config);
            let send = send.as_ref().and_then(|send| payload(cx, &at.field("send"), send));
            let receive = payloads(cx, &at.field("receive"), receive);
            Some(HealthCheckKind::Tcp { send, receive })
        }
        Some(HealthChecker::GrpcHealthCheck(config)) => {
            grpc(cx, &at.field("grpc_health_check"), config, of).map(HealthCheckKind::Grpc)
        }
        Some(HealthChecker::CustomHealthCheck(_)) => {
            cx.unsupported(&at.field("custom_health_check"));
            None
        }
        None => {
            let allowed = "http_health_check, tcp_health_check, grpc_health_check";
            cx.invalid_allowed(at, "a health checker is required", allowed);
            None
        }
    }
}

fn http(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::health_check::HttpHealthCheck,
    of: Of<'_>,
) -> Option<HttpHealthCheck> {
    let api::health_check::HttpHealthCheck {
        host,
        path,
        send,
        receive,
        response_buffer_size,
        request_headers_to_add,
        request_headers_to_remove,
        expected_statuses,
        retriable_statuses,
        codec_client_type,
        service_name_matcher,
        method,
        use_alpn_protocol,
    } = config;
    refuse!(cx, at, use_alpn_protocol);
    let http2 = match types::CodecClientType::try_from(*codec_client_type) {
        Ok(types::CodecClientType::Http1) => None,
        Ok(types::CodecClientType::Http2) => Some(http2_of(cx, of)),
        Ok(types::CodecClientType::Http3) | Err(_) => {
            let at = at.field("codec_client_type");
            cx.unsupported_allowed(&at, "a health check over HTTP/3", "HTTP1, HTTP2");
            None
        }
    };
    let service = service_name_matcher.as_ref();
    let send_bytes = send.as_ref().and_then(|send| payload(cx, &at.field("send"), send));
    let method = method_of(cx, &at.field("method"), *method, send_bytes.is_some())?;
    Some(HttpHealthCheck {
        host: cx.text(host),
        path: cx.text(path),
        method: Arc::from(method),
        expected: statuses(cx, &at.field("expected_statuses"), expected_statuses),
        retriable: statuses(cx, &at.field("retriable_statuses"), retriable_statuses),
        add: headers::additions(cx, &at.field("request_headers_to_add"), request_headers_to_add),
        remove: headers::names(request_headers_to_remove),
        send: send_bytes,
        receive: payloads(cx, &at.field("receive"), receive),
        http2,
        response_buffer: usize::try_from(response_buffer_size.unwrap_or(1024)).unwrap_or(1024),
        service_name: service
            .and_then(|matcher| string_match(cx, &at.field("service_name_matcher"), matcher)),
    })
}

fn grpc(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::health_check::GrpcHealthCheck,
    of: Of<'_>,
) -> Option<GrpcHealthCheck> {
    let api::health_check::GrpcHealthCheck { service_name, authority, initial_metadata } = config;
    let metadata = headers::additions(cx, &at.field("initial_metadata"), initial_metadata);
    if of.0.protocol == UpstreamProtocol::Http1 {
        let name = of.1;
        let message = format!("{name} cluster must support HTTP/2 for gRPC healthchecking");
        cx.invalid_allowed(at, message, "a cluster with http2_protocol_options");
    }
    Some(GrpcHealthCheck {
        service: cx.text(service_name),
        authority: cx.text(authority),
        metadata,
        http2: http2_of(cx, of),
    })
}

fn method_of(cx: &mut Cx<'_>, at: &At<'_>, method: i32, body: bool) -> Option<&'static str> {
    use api::RequestMethod;
    let name = match RequestMethod::try_from(method) {
        Ok(RequestMethod::MethodUnspecified | RequestMethod::Get) => "GET",
        Ok(RequestMethod::Connect) => {
            cx.invalid(at, "CONNECT is not allowed in a health check");
            return None;
        }
        Ok(method) => method.as_str_name(),
        Err(_) => {
            cx.invalid(at, "unknown method");
            return None;
        }
    };
    if body && matches!(name, "GET" | "HEAD" | "DELETE" | "TRACE") {
        let message = format!("method {name} does not take a body to send");
        cx.invalid_allowed(at, message, "POST, PUT, PATCH, OPTIONS");
    }
    Some(name)
}

fn statuses(cx: &mut Cx<'_>, at: &At<'_>, list: &[types::Int64Range]) -> Vec<(u16, u16)> {
    let mut out = Vec::with_capacity(list.len());
    for (index, types::Int64Range { start, end }) in list.iter().enumerate() {
        let at = at.index(index);
        match (u16::try_from(*start), u16::try_from(*end)) {
            (Ok(first), Ok(last))
                if first < last && (100..=600).contains(&last) && first >= 100 =>
            {
                out.push((first, last));
            }
            _ => {
                let message = format!("invalid http status range: [{start}, {end})");
                cx.invalid_allowed(&at, message, "100 <= start < end <= 600");
            }
        }
    }
    out
}

fn payloads(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::health_check::Payload]) -> Vec<Vec<u8>> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, value)| payload(cx, &at.index(index), value)).collect()
}

/// Hexadecimal text, or bytes.
fn payload(cx: &mut Cx<'_>, at: &At<'_>, payload: &api::health_check::Payload) -> Option<Vec<u8>> {
    use api::health_check::payload::Payload;
    match &payload.payload {
        Some(Payload::Text(text)) => {
            let bytes = hex(text);
            if bytes.is_none() {
                let message = format!("invalid hex string '{text}'");
                cx.invalid_allowed(&at.field("text"), message, "pairs of hexadecimal digits");
            }
            bytes
        }
        Some(Payload::Binary(bytes)) => Some(bytes.clone()),
        None => {
            cx.invalid_allowed(at, "a payload is required", "text, binary");
            None
        }
    }
}
