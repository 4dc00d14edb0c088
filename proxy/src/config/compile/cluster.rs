//! `Cluster`.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use xxhash_rust::xxh64::xxh64;

use super::address::{keepalive, socket_address, socket_options};
use super::at::At;
use super::cx::Cx;
use super::listener::BUFFER_LIMIT_DEFAULT;
use super::scalar::duration;
use super::set::refuse;
use super::{breakers, discovery, health, istio, lb, outlier, sockets, upstream_http};
use crate::observe::stats::{
    CircuitBreakersRemaining, ClusterStats, HealthCheckStats, OutlierDetectionStats,
};
use crate::plan::cluster::{Discovery, ExtraBind, Thresholds};
use crate::plan::host_page::DropPages;
use crate::plan::{Cluster, ClusterName, HostSet, Needs, SocketOption};
use crate::upstream::limits::Limits;

/// Compiles a cluster; `None` after an error that leaves nothing to connect to.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    lease: Arc<ClusterName>,
    cluster: &api::Cluster,
) -> Option<Arc<Cluster>> {
    cx.needs = Needs::default();
    check(cx, at, cluster);
    check_values(cx, at, cluster);
    #[rustfmt::skip]
    let api::Cluster {
        name, alt_stat_name, connect_timeout,
        per_connection_buffer_limit_bytes, health_checks, circuit_breakers, outlier_detection,
        upstream_bind_config, common_lb_config, upstream_connection_options,
        ignore_health_on_host_removal, close_connections_on_host_health_failure,
        ..
    } = cluster;
    let stat_name = stat_name_of(name, alt_stat_name);
    let sockets = sockets::compile(cx, at, cluster, &stat_name);
    let discovery = discovery::compile(cx, at, cluster, &sockets);
    check_eds(cx, at, cluster, discovery.as_ref().map(|(discovery, _)| discovery));
    let bind = bind_config(cx, &at.field("upstream_bind_config"), upstream_bind_config.as_ref());
    let tcp_keepalive = connection_options(cx, at, upstream_connection_options.as_ref());
    let circuit_breakers = breakers::compile(cx, at, name, circuit_breakers.as_ref());
    let remaining = remaining(cx, &stat_name, &circuit_breakers);
    let http = upstream_http::compile(cx, at, cluster, &stat_name);
    let of = (&http, &*stat_name, &sockets);
    let health_checks = health::compile(cx, &at.field("health_checks"), health_checks, of);
    let outlier = outlier_detection.as_ref();
    let outlier = outlier.map(|o| outlier::compile(cx, &at.field("outlier_detection"), o));
    let lb = lb::compile(cx, at, cluster, is_original_dst(discovery.as_ref()));
    let ((discovery, hosts), (lb, by_locality)) = discovery.zip(lb)?;
    let (health_stats, outlier_stats) =
        check_stats(cx, &stat_name, !health_checks.is_empty(), outlier.is_some());
    Some(Arc::new(Cluster {
        id: lease.id,
        name: Arc::clone(&lease.name),
        lease,
        stats: ClusterStats::new(cx.registry, &stat_name),
        discovery,
        lb,
        locality_weighted: by_locality,
        panic_threshold_percent: lb::common(cx, at, common_lb_config.as_ref()),
        sockets,
        connect_timeout: connect_timeout_of(cx, at, *connect_timeout),
        buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT_DEFAULT),
        limits: Arc::new(Limits::new(&circuit_breakers)),
        remaining,
        circuit_breakers,
        health_stats,
        health_checks,
        outlier_stats,
        outlier,
        stat_name,
        max_requests_per_connection: upstream_http::max_requests(cx, at, cluster),
        http,
        bind: bind.source,
        extra_bind: bind.extra,
        socket_options: bind.options,
        tcp_keepalive,
        close_on_health_failure: *close_connections_on_host_health_failure,
        ignore_health_on_removal: *ignore_health_on_host_removal,
        needs: (!cx.needs.is_empty()).then(|| Box::new(std::mem::take(&mut cx.needs))),
        dropped: DropPages::default(),
        hosts: Arc::new(hosts),
        istio: istio::cluster_facts(cluster.metadata.as_ref()),
        metadata_exchange: istio::cluster_filters(cx, &at.field("filters"), &cluster.filters),
        hash: xxh64(&cluster.encode_to_vec(), 0),
    }))
}

/// Such a cluster chooses by itself.
fn is_original_dst(discovery: Option<&(Discovery, HostSet)>) -> bool {
    matches!(discovery, Some((Discovery::OriginalDst(_), _)))
}

/// Statistics of what looks after hosts, where it does.
fn check_stats(
    cx: &mut Cx<'_>,
    stat_name: &str,
    checked: bool,
    detects: bool,
) -> (Option<HealthCheckStats>, Option<OutlierDetectionStats>) {
    let health = checked.then(|| HealthCheckStats::new(cx.registry, stat_name));
    (health, detects.then(|| OutlierDetectionStats::new(cx.registry, stat_name)))
}

/// `eds_cluster_config` belongs to EDS clusters.
fn check_eds(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster, discovery: Option<&Discovery>) {
    let is_eds = matches!(discovery, None | Some(Discovery::Eds(_)));
    if cluster.eds_cluster_config.is_some() && !is_eds {
        cx.invalid(&at.field("eds_cluster_config"), "eds_cluster_config set in a non-EDS cluster");
    }
}

/// Fields of which some values are refused and the others are what happens without.
fn check_values(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) {
    track_stats(cx, at, cluster.track_cluster_stats.as_ref());
    preconnect(cx, at, cluster.preconnect_policy.as_ref());
    subsets(cx, at, cluster.lb_subset_config.as_ref());
    warming(cx, at, cluster.wait_for_warm_on_init);
}

/// `alt_stat_name`, or the name, as statistics spell it.
fn stat_name_of(name: &str, alternative: &str) -> Arc<str> {
    let name = if alternative.is_empty() { name } else { alternative };
    Arc::from(name.replace(':', "_"))
}

/// Names every field: refused here, read elsewhere, or of no effect.
fn check(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) {
    #[rustfmt::skip]
    let api::Cluster {
        // Refused.
        transport_socket_matcher, stats_matcher,
        per_connection_buffer_high_watermark_timeout, lrs_server, track_timeout_budgets,
        upstream_config, connection_pool_per_downstream_connection, queuing_policies,
        // Read by `compile`.
        name: _, alt_stat_name: _, eds_cluster_config: _, connect_timeout: _,
        per_connection_buffer_limit_bytes: _, health_checks: _, circuit_breakers: _,
        wait_for_warm_on_init: _, outlier_detection: _, upstream_bind_config: _,
        lb_subset_config: _, common_lb_config: _, transport_socket: _,
        transport_socket_matches: _,
        upstream_connection_options: _, ignore_health_on_host_removal: _, track_cluster_stats: _,
        close_connections_on_host_health_failure: _, preconnect_policy: _,
        // Read by `lb`.
        lb_policy: _, lb_config: _, load_balancing_policy: _,
        // Read by `upstream_http`.
        max_requests_per_connection: _, upstream_http_protocol_options: _, protocol_selection: _,
        common_http_protocol_options: _, http_protocol_options: _, http2_protocol_options: _,
        typed_extension_protocol_options: _,
        // Read by `discovery`.
        cluster_discovery_type: _, load_assignment: _, cleanup_interval: _,
        // Read by `discovery`; other types do not look at them, in Envoy neither.
        dns_refresh_rate: _, dns_jitter: _, dns_failure_refresh_rate: _, respect_dns_ttl: _,
        dns_lookup_family: _, dns_resolvers: _, use_tcp_for_dns_lookups: _,
        dns_resolution_config: _, typed_dns_resolver_config: _,
        // Read for Istio's filters; others that read it are refused where they are asked for.
        metadata: _,
        // Read by `istio`.
        filters: _,
        // What to report to `lrs_server`.
        lrs_report_endpoint_metrics: _,
    } = cluster;
    refuse!(cx, at, transport_socket_matcher, stats_matcher);
    refuse!(cx, at, per_connection_buffer_high_watermark_timeout, lrs_server);
    refuse!(cx, at, track_timeout_budgets, upstream_config, queuing_policies);
    refuse!(cx, at, connection_pool_per_downstream_connection);
}

/// `connect_timeout`, default 5 s.
fn connect_timeout_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<prost_types::Duration>,
) -> Duration {
    duration(cx, &at.field("connect_timeout"), value, Duration::from_secs(5))
}

/// `circuit_breakers.<priority>.remaining_*` of the priorities that track it.
fn remaining(
    cx: &mut Cx<'_>,
    stat_name: &str,
    breakers: &[Thresholds; 2],
) -> [Option<CircuitBreakersRemaining>; 2] {
    let [normal, high] = breakers.map(|thresholds| thresholds.track_remaining);
    [(normal, "default"), (high, "high")].map(|(tracked, priority)| {
        tracked.then(|| CircuitBreakersRemaining::new(cx.registry, stat_name, priority))
    })
}

/// Waiting for the first answer of DNS is what happens without the field.
fn warming(cx: &mut Cx<'_>, at: &At<'_>, wait: Option<bool>) {
    if wait == Some(false) {
        let at = at.field("wait_for_warm_on_init");
        cx.unsupported_allowed(&at, "wait_for_warm_on_init: false", "true");
    }
}

fn track_stats(cx: &mut Cx<'_>, at: &At<'_>, config: Option<&api::TrackClusterStats>) {
    let Some(config) = config else { return };
    let api::TrackClusterStats { timeout_budgets, request_response_sizes, per_endpoint_stats } =
        config;
    let at = at.field("track_cluster_stats");
    refuse!(cx, &at, timeout_budgets, request_response_sizes, per_endpoint_stats);
}

/// Ratios of 1 are what happens without the field.
fn preconnect(cx: &mut Cx<'_>, at: &At<'_>, config: Option<&api::cluster::PreconnectPolicy>) {
    let Some(config) = config else { return };
    let api::cluster::PreconnectPolicy {
        per_upstream_preconnect_ratio,
        predictive_preconnect_ratio,
        preconnect_enabled_metadata,
    } = config;
    let at = at.field("preconnect_policy");
    let per_upstream_preconnect_ratio = per_upstream_preconnect_ratio.filter(|r| *r != 1.0);
    let predictive_preconnect_ratio =
        predictive_preconnect_ratio.filter(|r| *r != 1.0 && *r != 0.0);
    refuse!(cx, &at, per_upstream_preconnect_ratio, predictive_preconnect_ratio);
    refuse!(cx, &at, preconnect_enabled_metadata);
}

/// Without selectors there are no subsets, and Envoy does not look further.
fn subsets(cx: &mut Cx<'_>, at: &At<'_>, config: Option<&api::cluster::LbSubsetConfig>) {
    if config.is_some_and(|config| !config.subset_selectors.is_empty()) {
        cx.unsupported(&at.field("lb_subset_config"));
    }
}

/// `upstream_bind_config`.
#[derive(Default)]
struct Bind {
    source: Option<std::net::SocketAddr>,
    options: Vec<SocketOption>,
    extra: Option<ExtraBind>,
}

fn bind_config(cx: &mut Cx<'_>, at: &At<'_>, config: Option<&core::BindConfig>) -> Bind {
    let usual = cx.kept.bind.clone();
    let Some(config) = config.or(usual.as_ref()) else { return Bind::default() };
    let core::BindConfig {
        source_address,
        freebind,
        socket_options: list,
        extra_source_addresses,
        additional_source_addresses,
        local_address_selector,
        // Looks at the namespace of `source_address`, which is refused.
        validate_network_namespaces: _,
    } = config;
    refuse!(cx, at, local_address_selector);
    let address = source_address.as_ref();
    let source = address.and_then(|a| socket_address(cx, &at.field("source_address"), a));
    let free = freebind.unwrap_or_default();
    let own = socket_options(cx, &at.field("socket_options"), list);
    let mut options = own.clone();
    options.extend(source.filter(|_| free).map(free_bind));
    let plain = |address: &core::SocketAddress| core::ExtraSourceAddress {
        address: Some(address.clone()),
        socket_options: None,
    };
    let (name, all) = match additional_source_addresses.is_empty() {
        true => ("extra_source_addresses", extra_source_addresses.clone()),
        // The deprecated form.
        false => {
            ("additional_source_addresses", additional_source_addresses.iter().map(plain).collect())
        }
    };
    let at = at.field(name);
    if !extra_source_addresses.is_empty() && name != "extra_source_addresses" {
        let message = "can't specify both extra_source_addresses and additional_source_addresses";
        cx.invalid(&at, message);
    } else if all.len() > 1 {
        cx.invalid_allowed(&at, "more than one extra source address", "one");
    } else if !all.is_empty() && address.is_none() {
        cx.invalid(&at, "extra source addresses need a source_address");
    }
    let extra = all.first().and_then(|extra| extra_bind(cx, &at.index(0), extra, (own, free)));
    if let (Some(extra), Some(source)) = (&extra, source)
        && extra.source.is_ipv4() == source.is_ipv4()
    {
        let message = "two source addresses of the same IP version: one of each is supported";
        cx.invalid(&at.index(0).field("address"), message);
    }
    Bind { source, options, extra }
}

/// `own`: the options of the bind config, which count where the address has none.
fn extra_bind(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    extra: &core::ExtraSourceAddress,
    (own, free): (Vec<SocketOption>, bool),
) -> Option<ExtraBind> {
    let core::ExtraSourceAddress { address, socket_options: over } = extra;
    let options_at = at.field("socket_options");
    let mut options = match over {
        Some(core::SocketOptionsOverride { socket_options: list }) => {
            socket_options(cx, &options_at.field("socket_options"), list)
        }
        None => own,
    };
    let Some(address) = address else {
        cx.invalid(&at.field("address"), "value is required");
        return None;
    };
    let source = socket_address(cx, &at.field("address"), address)?;
    options.extend(free.then(|| free_bind(source)));
    Some(ExtraBind { source, socket_options: options })
}

/// `freebind`: the address need not be ours yet.
fn free_bind(source: std::net::SocketAddr) -> SocketOption {
    // SOL_IP and IP_FREEBIND; SOL_IPV6 and IPV6_FREEBIND.
    let (level, name) = if source.is_ipv4() { (0, 15) } else { (41, 78) };
    SocketOption { level, name, value: 1i32.to_ne_bytes().to_vec() }
}

fn connection_options(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    options: Option<&api::UpstreamConnectionOptions>,
) -> Option<crate::plan::TcpKeepalive> {
    let api::UpstreamConnectionOptions {
        tcp_keepalive,
        set_local_interface_name_on_upstream_connections,
        happy_eyeballs_config,
    } = options?;
    let at = at.field("upstream_connection_options");
    refuse!(cx, &at, set_local_interface_name_on_upstream_connections, happy_eyeballs_config);
    keepalive(tcp_keepalive.as_ref())
}
