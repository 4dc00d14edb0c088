//! `TcpProxy`.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::network::tcp_proxy::v3 as api;
use ringway_xds::api::envoy::r#type::v3 as types;

use super::at::At;
use super::cx::Cx;
use super::scalar::{duration, optional_duration};
use super::set::refuse;
use super::{access_log, on_demand, proxy_protocol};
use crate::observe::accesslog::LogFormat;
use crate::observe::stats::{TcpOnDemandStats, TcpStats};
use crate::plan::ClusterId;
use crate::plan::demand::OnDemandClusters;
use crate::plan::tcp::{ConnectMode, LogWhen, Target, TcpHash, TcpProxy, TlvMerge};

/// Compiles the filter; `None` after an error that leaves nowhere to send connections.
pub(super) fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Arc<TcpProxy>> {
    let config = cx.unpack::<api::TcpProxy>(at, any)?;
    // Several fields in a line: a list, not code.
    #[rustfmt::skip]
    let api::TcpProxy {
        stat_prefix, on_demand, idle_timeout, access_log, max_connect_attempts, backoff_options,
        hash_policy, tunneling_config,
        max_downstream_connection_duration, max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval, flush_access_log_on_connected, access_log_options,
        proxy_protocol_tlvs, upstream_connect_mode, max_early_data_bytes, check_drain_close,
        cluster_specifier, proxy_protocol_tlv_merge_policy,
        // Chooses among subsets of hosts, and clusters with subsets are refused.
        metadata_match: _,
        // Envoy does not act on them.
        downstream_idle_timeout: _, upstream_idle_timeout: _,
    } = &config;
    let clusters_at = at.field("on_demand");
    let from = on_demand.as_ref().and_then(|config| clusters_on_demand(cx, &clusters_at, config));
    let before = cx.begin_named();
    let target = target(cx, at, cluster_specifier.as_ref());
    let clusters = cx.take_named(before);
    let access_logs = access_log::compile(cx, &at.field("access_log"), access_log);
    let deprecated = (*access_log_flush_interval, *flush_access_log_on_connected);
    let log_when = log_when(cx, at, access_log_options.as_ref(), deprecated);
    let connect = connect_mode(cx, at, *upstream_connect_mode, *max_early_data_bytes);
    let idle_at = at.field("idle_timeout");
    let duration_at = at.field("max_downstream_connection_duration");
    let jitter = max_downstream_connection_duration_jitter_percentage.as_ref();
    let jitter_at = at.field("max_downstream_connection_duration_jitter_percentage");
    Some(Arc::new(TcpProxy {
        stats: TcpStats::new(cx.registry, stat_prefix),
        target: target?,
        clusters,
        on_demand: from.map(|from| (from, TcpOnDemandStats::new(cx.registry, stat_prefix))),
        hash: hash(cx, &at.field("hash_policy"), hash_policy),
        idle_timeout: duration(cx, &idle_at, *idle_timeout, Duration::from_secs(3600)),
        max_duration: duration(
            cx,
            &duration_at,
            *max_downstream_connection_duration,
            Duration::ZERO,
        ),
        max_duration_jitter_percent: jitter.map_or(0.0, |value| percent(cx, &jitter_at, value)),
        max_connect_attempts: max_connect_attempts.unwrap_or(1),
        backoff: backoff(cx, &at.field("backoff_options"), backoff_options.as_ref()),
        connect,
        early_data: max_early_data_bytes.map(|bytes| bytes as usize),
        check_drain_close: check_drain_close.unwrap_or_default(),
        tlvs: (
            proxy_protocol::tlvs(cx, &at.field("proxy_protocol_tlvs"), proxy_protocol_tlvs),
            merge(*proxy_protocol_tlv_merge_policy),
        ),
        tunnel: tunneling_config.as_ref().and_then(|config| tunnel(cx, at, config)),
        access_logs,
        log_when,
    }))
}

/// `on_demand`; `None` where it says of no source, too.
fn clusters_on_demand(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::tcp_proxy::OnDemand,
) -> Option<Arc<OnDemandClusters>> {
    let api::tcp_proxy::OnDemand { odcds_config, resources_locator, timeout } = config;
    refuse!(cx, at, resources_locator);
    let default = OnDemandClusters::TCP_TIMEOUT;
    let timeout = duration(cx, &at.field("timeout"), *timeout, default);
    let at = at.field("odcds_config");
    odcds_config.as_ref().and_then(|source| on_demand::from_source(cx, &at, source, timeout))
}

/// `tunneling_config`: CONNECT over HTTP/2, and nothing but the host is said.
fn tunnel(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::tcp_proxy::TunnelingConfig,
) -> Option<LogFormat> {
    let api::tcp_proxy::TunnelingConfig {
        hostname,
        use_post,
        headers_to_add,
        propagate_response_headers,
        post_path,
        propagate_response_trailers,
        request_id_extension,
        request_id_header,
        request_id_metadata_key,
        formatters,
    } = config;
    let at = at.field("tunneling_config");
    refuse!(cx, &at, use_post, headers_to_add, propagate_response_headers, post_path);
    refuse!(cx, &at, propagate_response_trailers, request_id_extension, request_id_header);
    refuse!(cx, &at, request_id_metadata_key, formatters);
    access_log::text_format(cx, &at.field("hostname"), hostname)
}

fn target(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    specifier: Option<&api::tcp_proxy::ClusterSpecifier>,
) -> Option<Target> {
    use api::tcp_proxy::ClusterSpecifier;
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => Some(Target::Cluster(cx.any_cluster(name))),
        Some(ClusterSpecifier::WeightedClusters(config)) => {
            let api::tcp_proxy::WeightedCluster { clusters } = config;
            let mut sum = 0;
            let sums: Vec<(ClusterId, u64)> = clusters
                .iter()
                .map(|config| {
                    let api::tcp_proxy::weighted_cluster::ClusterWeight {
                        name,
                        weight,
                        // As that of the filter.
                        metadata_match: _,
                    } = config;
                    sum += u64::from(*weight);
                    (cx.any_cluster(name), sum)
                })
                .collect();
            Some(Target::Weighted(sums))
        }
        None => {
            cx.invalid_allowed(at, "a cluster is required", "cluster, weighted_clusters");
            None
        }
    }
}

/// `access_log_options`, before the two fields it took the place of.
fn log_when(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    options: Option<&api::tcp_proxy::TcpAccessLogOptions>,
    (old_interval, old_connected): (Option<prost_types::Duration>, bool),
) -> LogWhen {
    let Some(options) = options else {
        let at = at.field("access_log_flush_interval");
        let interval = duration(cx, &at, old_interval, Duration::ZERO);
        return LogWhen { start: false, connected: old_connected, interval };
    };
    let api::tcp_proxy::TcpAccessLogOptions {
        access_log_flush_interval,
        flush_access_log_on_connected,
        flush_access_log_on_start,
    } = options;
    if old_interval.is_some() || old_connected {
        let message = "only one of access_log_flush_interval or access_log_options can be \
                       specified";
        cx.invalid(&at.field("access_log_options"), message);
    }
    let at = at.field("access_log_options");
    let interval_at = at.field("access_log_flush_interval");
    LogWhen {
        start: *flush_access_log_on_start,
        connected: *flush_access_log_on_connected,
        interval: duration(cx, &interval_at, *access_log_flush_interval, Duration::ZERO),
    }
}

fn connect_mode(cx: &mut Cx<'_>, at: &At<'_>, mode: i32, early_data: Option<u32>) -> ConnectMode {
    let mode_at = at.field("upstream_connect_mode");
    let mode = match api::UpstreamConnectMode::try_from(mode) {
        Ok(api::UpstreamConnectMode::OnDownstreamData) => ConnectMode::OnDownstreamData,
        // The handshake is done before any network filter gets the connection.
        Ok(api::UpstreamConnectMode::OnDownstreamTlsHandshake) => ConnectMode::Immediate,
        Ok(api::UpstreamConnectMode::Immediate) => return ConnectMode::Immediate,
        Err(_) => {
            cx.invalid(&mode_at, "unknown upstream_connect_mode");
            return ConnectMode::Immediate;
        }
    };
    if early_data.is_none() {
        let message =
            "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE";
        cx.invalid(&mode_at, message);
    }
    mode
}

fn merge(policy: i32) -> TlvMerge {
    use api::ProxyProtocolTlvMergePolicy as Policy;
    match Policy::try_from(policy) {
        Ok(Policy::AddIfAbsent) | Err(_) => TlvMerge::AddIfAbsent,
        Ok(Policy::OverwriteByTypeIfExistsOrAdd) => TlvMerge::Overwrite,
        Ok(Policy::AppendIfExistsOrAdd) => TlvMerge::Append,
    }
}

/// `Percent`.
fn percent(cx: &mut Cx<'_>, at: &At<'_>, value: &types::Percent) -> f64 {
    let types::Percent { value } = *value;
    if !(0.0..=100.0).contains(&value) {
        cx.invalid_allowed(&at.field("value"), "not a percentage", "0 to 100");
    }
    value
}

fn backoff(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&core::BackoffStrategy>,
) -> Option<(Duration, Duration)> {
    let core::BackoffStrategy { base_interval, max_interval } = config?;
    let base = optional_duration(cx, &at.field("base_interval"), *base_interval)?;
    let max_at = at.field("max_interval");
    let max = duration(cx, &max_at, *max_interval, base.saturating_mul(10));
    if max < base {
        cx.invalid(&max_at, "max_interval must be greater than or equal to base_interval");
    }
    Some((base, max))
}

fn hash(cx: &mut Cx<'_>, at: &At<'_>, policies: &[types::HashPolicy]) -> Option<TcpHash> {
    use types::hash_policy::PolicySpecifier;
    let types::HashPolicy { policy_specifier } = policies.first()?;
    let at = at.index(0);
    match policy_specifier {
        Some(PolicySpecifier::SourceIp(types::hash_policy::SourceIp {})) => Some(TcpHash::SourceIp),
        Some(PolicySpecifier::FilterState(types::hash_policy::FilterState { key: _ })) => {
            cx.unsupported_allowed(&at.field("filter_state"), "filter_state", "source_ip");
            None
        }
        None => {
            cx.invalid_allowed(&at, "a policy is required", "source_ip");
            None
        }
    }
}
