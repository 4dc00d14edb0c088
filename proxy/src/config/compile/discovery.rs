//! How a cluster finds its hosts: `type`, `cluster_type`, DNS settings, `load_assignment`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost_types::Any;
use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::cluster::v3::cluster::OriginalDstLbConfig;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::clusters::dns::v3 as dns;
use ringway_xds::api::envoy::extensions::clusters::original_dst::v3::OriginalDstCluster;
use ringway_xds::api::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use ringway_xds::api::envoy::extensions::network::dns_resolver::getaddrinfo;

use super::at::At;
use super::cx::Cx;
use super::endpoints;
use super::istio;
use super::listener::missing_type;
use super::scalar::{duration, type_name};
use super::set::refuse;
use super::source;
use crate::plan::HostSet;
use crate::plan::cluster::{Discovery, Dns, DnsFamily, Eds, OriginalDst};
use crate::plan::transport::Sockets;

const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";
const ORIGINAL_DST_CLUSTER: &str = "envoy.extensions.clusters.original_dst.v3.OriginalDstCluster";
const CARES: &str = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig";
const GETADDRINFO: &str =
    "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig";

/// Discovery and the hosts known from the start; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    sockets: &Sockets,
) -> Option<(Discovery, HostSet)> {
    use api::cluster::{ClusterDiscoveryType, DiscoveryType};
    let kind = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).ok()?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return custom_type(cx, at, (cluster, sockets), custom);
        }
        None => DiscoveryType::Static,
    };
    match kind {
        DiscoveryType::Static => {
            let kind = endpoints::Hosts::Addresses;
            let endpoints = endpoints::compile(cx, at, cluster, sockets, kind);
            Some((Discovery::Static, endpoints?.host_set(!cluster.health_checks.is_empty())))
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let dns = legacy_dns(cx, at, cluster);
            finish_dns(cx, at, (cluster, sockets), dns, kind == DiscoveryType::LogicalDns)
        }
        DiscoveryType::Eds => eds(cx, at, cluster),
        DiscoveryType::OriginalDst => original_dst(cx, at, cluster),
    }
}

/// `cluster_type`: `envoy.cluster.dns` and the names of the built-in types that DNS has there.
fn custom_type(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    (cluster, sockets): (&api::Cluster, &Sockets),
    custom: &api::cluster::CustomClusterType,
) -> Option<(Discovery, HostSet)> {
    let api::cluster::CustomClusterType { name, typed_config } = custom;
    let custom_at = at.field("cluster_type");
    // It has no options of its own.
    if name == "envoy.cluster.eds" {
        return eds(cx, at, cluster);
    }
    let Some(any) = typed_config else {
        missing_type(cx, &custom_at, name);
        return None;
    };
    let config_at = custom_at.field("typed_config");
    match type_name(&any.type_url) {
        DNS_CLUSTER => dns_cluster(cx, at, (cluster, sockets), &config_at, any),
        ORIGINAL_DST_CLUSTER => {
            let config = cx.unpack::<OriginalDstCluster>(&config_at, any)?;
            let OriginalDstCluster {
                use_http_header,
                http_header_name,
                upstream_port_override,
                metadata_key,
            } = config;
            let options = OriginalDstLbConfig {
                use_http_header,
                http_header_name,
                upstream_port_override,
                metadata_key,
            };
            original_dst_with(cx, at, cluster, &config_at, &options)
        }
        other => {
            let allowed = format!("{DNS_CLUSTER}, {ORIGINAL_DST_CLUSTER}");
            cx.unsupported_allowed(&config_at, other, &allowed);
            None
        }
    }
}

/// `envoy.cluster.dns`, with DNS settings of its own.
fn dns_cluster(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    of: (&api::Cluster, &Sockets),
    config_at: &At<'_>,
    any: &Any,
) -> Option<(Discovery, HostSet)> {
    let config = cx.unpack::<dns::DnsCluster>(config_at, any)?;
    let dns::DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        typed_dns_resolver_config,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        dns_min_refresh_rate,
    } = config;
    refuse!(cx, config_at, dns_min_refresh_rate);
    use ringway_xds::api::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
    let family = match DnsLookupFamily::try_from(dns_lookup_family) {
        Ok(DnsLookupFamily::V4Only) => DnsFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => DnsFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => DnsFamily::All,
        Ok(DnsLookupFamily::Unspecified | DnsLookupFamily::Auto) | Err(_) => DnsFamily::Auto,
    };
    let failure = dns_failure_refresh_rate.map(|rate| {
        let dns::dns_cluster::RefreshRate { base_interval, max_interval } = rate;
        (base_interval, max_interval)
    });
    let times = Times { refresh: dns_refresh_rate, failure, jitter: dns_jitter };
    let resolver_at = config_at.field("typed_dns_resolver_config");
    let resolvers = match &typed_dns_resolver_config {
        Some(typed) => typed_resolvers(cx, &resolver_at, Some(typed)),
        None => cx.kept.resolvers.clone(),
    };
    let dns = dns_settings(cx, config_at, &times, respect_dns_ttl, family, resolvers);
    finish_dns(cx, at, of, dns, all_addresses_in_single_endpoint)
}

/// An EDS cluster: its hosts come later.
fn eds(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> Option<(Discovery, HostSet)> {
    let at = at.field("eds_cluster_config");
    let empty = api::cluster::EdsClusterConfig::default();
    let config = cluster.eds_cluster_config.as_ref().unwrap_or(&empty);
    let api::cluster::EdsClusterConfig { eds_config, service_name } = config;
    let source = source::compile(cx, &at.field("eds_config"), eds_config.as_ref())?;
    let name = if service_name.is_empty() { &cluster.name } else { service_name };
    let discovery = Discovery::Eds(Eds { source, name: Arc::from(name.as_str()) });
    Some((discovery, HostSet::default()))
}

/// An ORIGINAL_DST cluster with the options of its `lb_config`.
fn original_dst(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
) -> Option<(Discovery, HostSet)> {
    let options = match &cluster.lb_config {
        Some(api::cluster::LbConfig::OriginalDstLbConfig(options)) => options.clone(),
        _ => OriginalDstLbConfig::default(),
    };
    original_dst_with(cx, at, cluster, &at.field("original_dst_lb_config"), &options)
}

fn original_dst_with(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    config_at: &At<'_>,
    options: &OriginalDstLbConfig,
) -> Option<(Discovery, HostSet)> {
    let OriginalDstLbConfig {
        use_http_header,
        http_header_name,
        upstream_port_override,
        metadata_key,
    } = options;
    let waypoint = metadata_key.as_ref().is_some_and(istio::is_waypoint);
    let metadata_key = metadata_key.as_ref().filter(|_| !waypoint);
    refuse!(cx, config_at, metadata_key);
    if cluster.load_assignment.is_some() {
        let message = "ORIGINAL_DST clusters must have no load assignment configured";
        cx.invalid(&at.field("load_assignment"), message);
    }
    if !use_http_header && !http_header_name.is_empty() {
        let message = format!(
            "ORIGINAL_DST cluster: invalid config http_header_name={http_header_name} and \
             use_http_header is false. Set use_http_header to true if http_header_name is desired."
        );
        cx.invalid(&config_at.field("http_header_name"), message);
    }
    let name = match http_header_name.as_str() {
        "" => "x-envoy-original-dst-host".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    let cleanup_at = at.field("cleanup_interval");
    let options = OriginalDst {
        header: use_http_header.then(|| Arc::from(name)),
        waypoint,
        port: upstream_port_override.and_then(|port| u16::try_from(port).ok()),
        cleanup: duration(cx, &cleanup_at, cluster.cleanup_interval, Duration::from_secs(5)),
    };
    let hosts = HostSet { version: 1, ..HostSet::default() };
    Some((Discovery::OriginalDst(options), hosts))
}

/// The hosts of a DNS cluster, and its settings with the names to resolve.
fn finish_dns(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    (cluster, sockets): (&api::Cluster, &Sockets),
    dns: Dns,
    logical: bool,
) -> Option<(Discovery, HostSet)> {
    let kind = if logical { endpoints::Hosts::OneName } else { endpoints::Hosts::Names };
    let mut endpoints = endpoints::compile(cx, at, cluster, sockets, kind)?;
    let dns = Dns { targets: std::mem::take(&mut endpoints.targets), ..dns };
    let hosts = endpoints.host_set(false);
    let discovery = if logical { Discovery::LogicalDns(dns) } else { Discovery::StrictDns(dns) };
    Some((discovery, hosts))
}

/// DNS settings in the cluster's own fields.
fn legacy_dns(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> Dns {
    use api::cluster::DnsLookupFamily;
    let family = match DnsLookupFamily::try_from(cluster.dns_lookup_family) {
        Ok(DnsLookupFamily::V4Only) => DnsFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => DnsFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => DnsFamily::All,
        Ok(DnsLookupFamily::Auto) | Err(_) => DnsFamily::Auto,
    };
    let failure = cluster.dns_failure_refresh_rate.map(|rate| {
        let api::cluster::RefreshRate { base_interval, max_interval } = rate;
        (base_interval, max_interval)
    });
    let times = Times { refresh: cluster.dns_refresh_rate, failure, jitter: cluster.dns_jitter };
    let resolvers = cluster_resolvers(cx, at, cluster);
    dns_settings(cx, at, &times, cluster.respect_dns_ttl, family, resolvers)
}

/// Resolvers of a cluster: the typed configuration first, then the two deprecated forms.
fn cluster_resolvers(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> Vec<SocketAddr> {
    if let Some(typed) = &cluster.typed_dns_resolver_config {
        return typed_resolvers(cx, &at.field("typed_dns_resolver_config"), Some(typed));
    }
    if let Some(config) = &cluster.dns_resolution_config {
        return resolvers(cx, &at.field("dns_resolution_config"), config);
    }
    // The newer fields have options of their own, and this one is not looked at then.
    let use_tcp_for_dns_lookups = cluster.use_tcp_for_dns_lookups;
    refuse!(cx, at, use_tcp_for_dns_lookups);
    if cluster.dns_resolvers.is_empty() {
        return cx.kept.resolvers.clone();
    }
    resolver_addresses(cx, &at.field("dns_resolvers"), &cluster.dns_resolvers)
}

/// Resolver addresses of a `DnsResolutionConfig`.
pub(crate) fn resolvers(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &core::DnsResolutionConfig,
) -> Vec<SocketAddr> {
    let core::DnsResolutionConfig { resolvers, dns_resolver_options } = config;
    resolver_options(cx, at, dns_resolver_options.as_ref());
    resolver_addresses(cx, &at.field("resolvers"), resolvers)
}

/// Resolver addresses of a typed DNS resolver; none means the system's.
pub(crate) fn typed_resolvers(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&core::TypedExtensionConfig>,
) -> Vec<SocketAddr> {
    let Some(core::TypedExtensionConfig { name, typed_config }) = config else {
        return Vec::new();
    };
    let Some(any) = typed_config else {
        missing_type(cx, at, name);
        return Vec::new();
    };
    let at = at.field("typed_config");
    match type_name(&any.type_url) {
        CARES => cares(cx, &at, any),
        GETADDRINFO => {
            let config = cx
                .unpack::<getaddrinfo::v3::GetAddrInfoDnsResolverConfig>(&at, any)
                .unwrap_or_default();
            // How many threads look names up is not to be seen from outside.
            let getaddrinfo::v3::GetAddrInfoDnsResolverConfig {
                num_retries,
                num_resolver_threads: _,
            } = config;
            refuse!(cx, &at, num_retries);
            Vec::new()
        }
        other => {
            cx.unsupported_allowed(&at, other, &format!("{CARES}, {GETADDRINFO}"));
            Vec::new()
        }
    }
}

fn cares(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Vec<SocketAddr> {
    let config = cx.unpack::<CaresDnsResolverConfig>(at, any).unwrap_or_default();
    let CaresDnsResolverConfig {
        resolvers,
        use_resolvers_as_fallback,
        filter_unroutable_families,
        dns_resolver_options,
        // Limits of one resolver's sockets; ours asks with a fresh socket each time.
        udp_max_queries: _,
        query_timeout_seconds,
        query_tries,
        rotate_nameservers,
        edns0_max_payload_size,
        max_udp_channel_duration: _,
        reinit_channel_on_timeout: _,
        qcache_max_ttl,
    } = config;
    refuse!(cx, at, use_resolvers_as_fallback, filter_unroutable_families, rotate_nameservers);
    refuse!(cx, at, query_timeout_seconds, query_tries, edns0_max_payload_size);
    // Zero switches the cache off, and there is none here.
    let qcache_max_ttl = qcache_max_ttl.filter(|ttl| *ttl > 0);
    refuse!(cx, at, qcache_max_ttl);
    resolver_options(cx, at, dns_resolver_options.as_ref());
    resolver_addresses(cx, &at.field("resolvers"), &resolvers)
}

fn resolver_options(cx: &mut Cx<'_>, at: &At<'_>, options: Option<&core::DnsResolverOptions>) {
    let Some(options) = options else { return };
    let core::DnsResolverOptions { use_tcp_for_dns_lookups, no_default_search_domain } = options;
    let at = at.field("dns_resolver_options");
    refuse!(cx, &at, use_tcp_for_dns_lookups, no_default_search_domain);
}

fn resolver_addresses(cx: &mut Cx<'_>, at: &At<'_>, list: &[core::Address]) -> Vec<SocketAddr> {
    let mut out = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let at = at.index(index);
        match super::address::address(cx, &at, Some(value)) {
            Some(crate::plan::Address::Ip(address)) => out.push(address),
            Some(_) => {
                cx.invalid(&at, "a DNS resolver needs an IP address");
            }
            None => {}
        }
    }
    out
}

/// Intervals of a DNS cluster, as configured.
struct Times {
    refresh: Option<prost_types::Duration>,
    failure: Option<(Option<prost_types::Duration>, Option<prost_types::Duration>)>,
    jitter: Option<prost_types::Duration>,
}

fn dns_settings(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    times: &Times,
    respect_ttl: bool,
    family: DnsFamily,
    resolvers: Vec<SocketAddr>,
) -> Dns {
    let refresh_at = at.field("dns_refresh_rate");
    let refresh = duration(cx, &refresh_at, times.refresh, Duration::from_secs(5));
    let failure_refresh = match times.failure {
        None => (refresh, refresh),
        Some((base, max)) => {
            let at = at.field("dns_failure_refresh_rate");
            let base = duration(cx, &at.field("base_interval"), base, refresh);
            let max_at = at.field("max_interval");
            let max = duration(cx, &max_at, max, base * 10);
            if max < base {
                let message = "dns_failure_refresh_rate must have max_interval greater than or \
                               equal to the base_interval";
                cx.invalid(&max_at, message);
            }
            (base, max)
        }
    };
    let jitter = duration(cx, &at.field("dns_jitter"), times.jitter, Duration::ZERO);
    Dns { targets: Vec::new(), refresh, failure_refresh, jitter, respect_ttl, family, resolvers }
}
