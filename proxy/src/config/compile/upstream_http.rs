//! HTTP options of a cluster: `HttpProtocolOptions`, or the deprecated fields of the cluster.

use std::time::Duration;

use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::upstreams::http::v3 as typed;
use ringway_xds::api::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;

use super::at::At;
use super::cx::Cx;
use super::http_filters::codec_only;
use super::http1::{self, HEADERS_COUNT_DEFAULT};
use super::scalar::{duration, type_name};
use super::set::refuse;
use crate::plan::cluster::UpstreamHttp;

/// Key of the typed options, and their type.
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

const TCP: &str = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";

/// Compiles the options; HTTP/1.1 is what all of them must come to.
pub(crate) fn compile(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> UpstreamHttp {
    let typed_at = at.field("typed_extension_protocol_options");
    for (key, any) in &cluster.typed_extension_protocol_options {
        let found = type_name(&any.type_url);
        if found == TCP && key == TCP {
            tcp_options(cx, &typed_at.key(key), any);
        } else if found != KEY {
            cx.unsupported_allowed(&typed_at.key(key), found, KEY);
        } else if key != KEY {
            let message = format!(
                "didn't find a registered network or http filter or protocol options \
                 implementation for name: '{key}'"
            );
            cx.invalid_allowed(&typed_at.key(key), message, KEY);
        }
    }
    match cluster.typed_extension_protocol_options.get(KEY) {
        Some(any) if type_name(&any.type_url) != KEY => legacy(cx, at, cluster),
        Some(any) => {
            let at = typed_at.key(KEY);
            let options = cx.unpack::<typed::HttpProtocolOptions>(&at, any).unwrap_or_default();
            typed_options_of(cx, &at, &options)
        }
        None => legacy(cx, at, cluster),
    }
}

/// `TcpProtocolOptions`.
fn tcp_options(cx: &mut Cx<'_>, at: &At<'_>, any: &prost_types::Any) {
    let options = cx.unpack::<TcpProtocolOptions>(at, any).unwrap_or_default();
    // A connection of TCP proxying is made for one client and ends with it: none is ever kept
    // unused, which is what this would limit.
    let TcpProtocolOptions { idle_timeout } = options;
    let _checked = duration(cx, &at.field("idle_timeout"), idle_timeout, Duration::ZERO);
}

/// `max_requests_per_connection`: the cluster's deprecated field, or the one that took its place.
pub(crate) fn max_requests(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> u32 {
    let any = cluster.typed_extension_protocol_options.get(KEY);
    let typed = any.and_then(|any| {
        let at = at.field("typed_extension_protocol_options");
        let options = cx.unpack::<typed::HttpProtocolOptions>(&at.key(KEY), any)?;
        options.common_http_protocol_options?.max_requests_per_connection
    });
    let common = cluster.common_http_protocol_options.as_ref();
    typed
        .or_else(|| common.and_then(|common| common.max_requests_per_connection))
        .or(cluster.max_requests_per_connection)
        .unwrap_or_default()
}

fn typed_options_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    options: &typed::HttpProtocolOptions,
) -> UpstreamHttp {
    use typed::http_protocol_options::UpstreamProtocolOptions as Protocol;
    let typed::HttpProtocolOptions {
        common_http_protocol_options,
        // SNI and names in certificates: only TLS, which is refused, reads them.
        upstream_http_protocol_options: _,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    } = options;
    refuse!(cx, at, header_validation_config, outlier_detection, request_mirror_policies);
    refuse!(cx, at, hash_policy, retry_policy);
    codec_only(cx, &at.field("http_filters"), http_filters);
    let empty = core::Http1ProtocolOptions::default();
    let (at1, http1) = match upstream_protocol_options {
        Some(Protocol::ExplicitHttpConfig(config)) => {
            let at = at.field("explicit_http_config");
            (at.field("http_protocol_options").to_string(), explicit(cx, &at, config))
        }
        // Only HTTP/1 comes from downstream, so what is said of the others is never read.
        Some(Protocol::UseDownstreamProtocolConfig(config)) => {
            let typed::http_protocol_options::UseDownstreamHttpConfig {
                http_protocol_options,
                http2_protocol_options: _,
                http3_protocol_options: _,
            } = config;
            let at = at.field("use_downstream_protocol_config");
            (at.field("http_protocol_options").to_string(), http_protocol_options.as_ref())
        }
        Some(Protocol::AutoConfig(_)) => {
            let allowed = "explicit_http_config.http_protocol_options";
            cx.unsupported_allowed(&at.field("auto_config"), "auto_config", allowed);
            (String::new(), None)
        }
        None => {
            let allowed = "explicit_http_config, use_downstream_protocol_config";
            cx.invalid_allowed(at, "upstream_protocol_options is required", allowed);
            (String::new(), None)
        }
    };
    let root = At::root();
    let http1 = http1::upstream(cx, &root.field(&at1), http1.unwrap_or(&empty));
    let common = common_http_protocol_options.unwrap_or_default();
    options_of(cx, &at.field("common_http_protocol_options"), http1, &common)
}

fn explicit<'v>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &'v typed::http_protocol_options::ExplicitHttpConfig,
) -> Option<&'v core::Http1ProtocolOptions> {
    use typed::http_protocol_options::explicit_http_config::ProtocolConfig;
    const ALLOWED: &str = "http_protocol_options";
    match &config.protocol_config {
        Some(ProtocolConfig::HttpProtocolOptions(http1)) => Some(http1),
        Some(ProtocolConfig::Http2ProtocolOptions(_)) => {
            let at = at.field("http2_protocol_options");
            cx.unsupported_allowed(&at, "HTTP/2 to an upstream", ALLOWED);
            None
        }
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            let at = at.field("http3_protocol_options");
            cx.unsupported_allowed(&at, "HTTP/3 to an upstream", ALLOWED);
            None
        }
        None => {
            cx.invalid_allowed(at, "a protocol is required", ALLOWED);
            None
        }
    }
}

fn legacy(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> UpstreamHttp {
    use api::cluster::ClusterProtocolSelection as Selection;
    // SNI and names in certificates: see above.
    let _ = &cluster.upstream_http_protocol_options;
    let downstream = cluster.protocol_selection == Selection::UseDownstreamProtocol as i32;
    if cluster.http2_protocol_options.is_some() && !downstream {
        let at = at.field("http2_protocol_options");
        if cluster.http_protocol_options.is_some() {
            let message = "cluster: both HTTP1 and HTTP2 options may only be configured with \
                           non-default 'protocol_selection' values";
            cx.invalid(&at, message);
        }
        cx.unsupported_value(&at, "HTTP/2 to an upstream");
    }
    let http1 = cluster.http_protocol_options.clone().unwrap_or_default();
    let http1 = http1::upstream(cx, &at.field("http_protocol_options"), &http1);
    let common = cluster.common_http_protocol_options.unwrap_or_default();
    options_of(cx, &at.field("common_http_protocol_options"), http1, &common)
}

fn options_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    http1: http1::Shared,
    common: &core::HttpProtocolOptions,
) -> UpstreamHttp {
    let core::HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration,
        // Of requests only.
        headers_with_underscores_action: _,
        // Read by `max_requests`.
        max_requests_per_connection: _,
    } = common;
    refuse!(cx, at, max_connection_duration_jitter, max_stream_duration);
    let hour = Duration::from_secs(3600);
    let http1::Shared { header_case, enable_trailers, allow_chunked_length } = http1;
    UpstreamHttp {
        idle_timeout: duration(cx, &at.field("idle_timeout"), *idle_timeout, hour),
        max_connection_duration: duration(
            cx,
            &at.field("max_connection_duration"),
            *max_connection_duration,
            Duration::ZERO,
        ),
        max_headers_count: max_headers_count.unwrap_or(HEADERS_COUNT_DEFAULT),
        max_headers_bytes: max_response_headers_kb.unwrap_or(60).saturating_mul(1024),
        header_case,
        enable_trailers,
        allow_chunked_length,
    }
}
