//! HTTP options of a cluster: `HttpProtocolOptions`, or the deprecated fields of the cluster.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::upstreams::http::v3 as typed;
use ringway_xds::api::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;

use super::at::At;
use super::cx::Cx;
use super::http_filters::codec_only;
use super::http1::{self, HEADERS_COUNT_DEFAULT};
use super::http2;
use super::scalar::{duration, type_name};
use super::set::refuse;
use super::sockets;
use crate::observe::stats::Http2CodecStats;
use crate::plan::cluster::{UpstreamHttp, UpstreamHttp2, UpstreamProtocol};
use crate::plan::http::Underscores;
use crate::plan::tls::AutoNames;

/// Key of the typed options, and their type.
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

const TCP: &str = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";

/// What a cluster speaks, and the options of it with the place of each.
struct Choice<'v> {
    protocol: UpstreamProtocol,
    http1: (String, Option<&'v core::Http1ProtocolOptions>),
    http2: (String, Option<&'v core::Http2ProtocolOptions>),
}

/// Compiles the options. `stat_name` is the cluster's.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    stat_name: &str,
) -> UpstreamHttp {
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
        Some(any) if type_name(&any.type_url) != KEY => legacy(cx, at, cluster, stat_name),
        Some(any) => {
            let at = typed_at.key(KEY);
            let options = cx.unpack::<typed::HttpProtocolOptions>(&at, any).unwrap_or_default();
            typed_options_of(cx, &at, cluster, &options, stat_name)
        }
        None => legacy(cx, at, cluster, stat_name),
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

/// `upstream_http_protocol_options`: of the typed options, or of the cluster itself.
pub(crate) fn auto_names(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> AutoNames {
    let any = cluster.typed_extension_protocol_options.get(KEY);
    let typed = any.and_then(|any| {
        let at = at.field("typed_extension_protocol_options");
        cx.unpack::<typed::HttpProtocolOptions>(&at.key(KEY), any)
    });
    let options = match typed {
        Some(typed) => typed.upstream_http_protocol_options,
        None => cluster.upstream_http_protocol_options.clone(),
    };
    let core::UpstreamHttpProtocolOptions {
        auto_sni,
        auto_san_validation,
        override_auto_sni_header,
    } = options.unwrap_or_default();
    let header = override_auto_sni_header.to_ascii_lowercase();
    AutoNames {
        sni: auto_sni,
        san: auto_san_validation,
        header: (!header.is_empty()).then(|| header.into()),
    }
}

fn typed_options_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    options: &typed::HttpProtocolOptions,
    stat_name: &str,
) -> UpstreamHttp {
    let typed::HttpProtocolOptions {
        common_http_protocol_options,
        // Read by `auto_names`.
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
    let choice = chosen(cx, at, cluster, upstream_protocol_options.as_ref());
    let common = common_http_protocol_options.unwrap_or_default();
    options_of(cx, &at.field("common_http_protocol_options"), &choice, &common, stat_name)
}

fn chosen<'v>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    options: Option<&'v typed::http_protocol_options::UpstreamProtocolOptions>,
) -> Choice<'v> {
    use typed::http_protocol_options::UpstreamProtocolOptions as Protocol;
    use typed::http_protocol_options::{AutoHttpConfig, UseDownstreamHttpConfig};
    match options {
        Some(Protocol::ExplicitHttpConfig(config)) => {
            explicit(cx, &at.field("explicit_http_config"), config)
        }
        Some(Protocol::UseDownstreamProtocolConfig(config)) => {
            let UseDownstreamHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                // No client speaks it.
                http3_protocol_options: _,
            } = config;
            let at = at.field("use_downstream_protocol_config");
            Choice::both(
                UpstreamProtocol::Downstream,
                &at,
                http_protocol_options.as_ref(),
                http2_protocol_options.as_ref(),
            )
        }
        Some(Protocol::AutoConfig(config)) => {
            let AutoHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
                alternate_protocols_cache_options,
            } = config;
            let at = at.field("auto_config");
            refuse!(cx, &at, http3_protocol_options, alternate_protocols_cache_options);
            let mut sockets = cluster.transport_socket_matches.iter();
            if cluster.transport_socket.is_none()
                || sockets.any(|one| !sockets::may_negotiate(one.transport_socket.as_ref()))
            {
                let message = format!(
                    "ALPN configured for cluster {} which has a non-ALPN transport socket",
                    cluster.name
                );
                cx.invalid_allowed(&at, message, "a transport_socket of TLS");
            }
            Choice::both(
                UpstreamProtocol::Auto,
                &at,
                http_protocol_options.as_ref(),
                http2_protocol_options.as_ref(),
            )
        }
        None => {
            let allowed = "explicit_http_config, use_downstream_protocol_config, auto_config";
            cx.invalid_allowed(at, "upstream_protocol_options is required", allowed);
            Choice::both(UpstreamProtocol::Http1, at, None, None)
        }
    }
}

impl<'v> Choice<'v> {
    fn both(
        protocol: UpstreamProtocol,
        at: &At<'_>,
        http1: Option<&'v core::Http1ProtocolOptions>,
        http2: Option<&'v core::Http2ProtocolOptions>,
    ) -> Self {
        Self {
            protocol,
            http1: (at.field("http_protocol_options").to_string(), http1),
            http2: (at.field("http2_protocol_options").to_string(), http2),
        }
    }
}

fn explicit<'v>(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &'v typed::http_protocol_options::ExplicitHttpConfig,
) -> Choice<'v> {
    use typed::http_protocol_options::explicit_http_config::ProtocolConfig;
    const ALLOWED: &str = "http_protocol_options, http2_protocol_options";
    match &config.protocol_config {
        Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
            Choice::both(UpstreamProtocol::Http1, at, Some(http1), None)
        }
        Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
            Choice::both(UpstreamProtocol::Http2, at, None, Some(http2))
        }
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            let http3 = at.field("http3_protocol_options");
            cx.unsupported_allowed(&http3, "HTTP/3 to an upstream", ALLOWED);
            Choice::both(UpstreamProtocol::Http1, at, None, None)
        }
        None => {
            cx.invalid_allowed(at, "a protocol is required", ALLOWED);
            Choice::both(UpstreamProtocol::Http1, at, None, None)
        }
    }
}

fn legacy(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster, stat_name: &str) -> UpstreamHttp {
    use api::cluster::ClusterProtocolSelection as Selection;
    let downstream = cluster.protocol_selection == Selection::UseDownstreamProtocol as i32;
    let (http1, http2) =
        (cluster.http_protocol_options.as_ref(), cluster.http2_protocol_options.as_ref());
    if http1.is_some() && http2.is_some() && !downstream {
        let message = "cluster: both HTTP1 and HTTP2 options may only be configured with \
                       non-default 'protocol_selection' values";
        cx.invalid(&at.field("http2_protocol_options"), message);
    }
    let protocol = match http2 {
        _ if downstream => UpstreamProtocol::Downstream,
        Some(_) => UpstreamProtocol::Http2,
        None => UpstreamProtocol::Http1,
    };
    let choice = Choice::both(protocol, at, http1, http2);
    let common = cluster.common_http_protocol_options.unwrap_or_default();
    options_of(cx, &at.field("common_http_protocol_options"), &choice, &common, stat_name)
}

fn options_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    choice: &Choice<'_>,
    common: &core::HttpProtocolOptions,
    stat_name: &str,
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
    let (root, empty) = (At::root(), core::Http1ProtocolOptions::default());
    let (http1_at, http1) = (root.field(&choice.http1.0), choice.http1.1.unwrap_or(&empty));
    let http1 = http1::upstream(cx, &http1_at, http1);
    let http1::Shared { header_case, enable_trailers, allow_chunked_length, full_urls } = http1;
    let max_headers_bytes = max_response_headers_kb.unwrap_or(60).saturating_mul(1024);
    let heads = http2::Heads {
        bytes_max: max_headers_bytes,
        count_max: *max_headers_count,
        underscores: Underscores::Allow,
    };
    UpstreamHttp {
        protocol: choice.protocol,
        http2: http2_of(cx, choice, &heads, stat_name),
        idle_timeout: duration(cx, &at.field("idle_timeout"), *idle_timeout, hour),
        max_connection_duration: duration(
            cx,
            &at.field("max_connection_duration"),
            *max_connection_duration,
            Duration::ZERO,
        ),
        max_headers_count: max_headers_count.unwrap_or(HEADERS_COUNT_DEFAULT),
        max_headers_bytes,
        header_case,
        enable_trailers,
        allow_chunked_length,
        full_urls,
    }
}

/// HTTP/2, where it may come to that.
fn http2_of(
    cx: &mut Cx<'_>,
    choice: &Choice<'_>,
    heads: &http2::Heads,
    stat_name: &str,
) -> Option<UpstreamHttp2> {
    if choice.protocol == UpstreamProtocol::Http1 {
        return None;
    }
    let (root, empty) = (At::root(), core::Http2ProtocolOptions::default());
    let (at, options) = (root.field(&choice.http2.0), choice.http2.1.unwrap_or(&empty));
    let options = http2::upstream(cx, &at, options, heads);
    let stats = Http2CodecStats::new(cx.registry, &format!("cluster.{stat_name}."));
    Some(UpstreamHttp2 { options: Arc::new(options), stats })
}
