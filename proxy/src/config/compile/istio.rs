//! Istio's own filters, and what its metadata says of clusters and hosts.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct};
use ringway_wire::base64;
use ringway_xds::api::envoy::config::cluster::v3 as cluster;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::tcp::metadataexchange::config as exchange_api;
use ringway_xds::api::envoy::r#type::metadata::v3::{MetadataKey, metadata_key};
use ringway_xds::api::io::istio::http::peer_metadata as peer_api;
use ringway_xds::api::istio::envoy::config::filter::http::alpn::v2alpha1 as alpn_api;
use ringway_xds::api::stats as stats_api;
use xxhash_rust::xxh64::xxh64;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::{duration, type_name};
use super::set::refuse;
use crate::filters::istio_peer_metadata::{self as peer, Discovery, Propagation};
use crate::observe::stats::MetadataExchangeStats;
use crate::plan::istio::{
    AlpnOverrides, ClusterFacts, InternalFacts, Local, METRICS, MetadataExchange, MetricOptions,
    Reporter, StatsOptions, string,
};
use crate::plan::listener::Direction;

/// `istio.stats`
pub(crate) const STATS: &str = "stats.PluginConfig";
/// `istio.metadata_exchange` of connections.
pub(crate) const EXCHANGE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";

/// Where filters leave whom they found at the client's end.
pub(crate) const CLIENT_KEY: &str = "downstream_peer";
/// Likewise, at the server's end.
pub(crate) const SERVER_KEY: &str = "upstream_peer";

/// Where Istio keeps its metadata.
pub(crate) const KEY: &str = "istio";

/// Who the node is.
pub(crate) fn local(node: Option<&core::Node>) -> Local {
    let Some(node) = node else { return Local::default() };
    let locality = node.locality.as_ref();
    let locality = locality.map_or(("", ""), |l| (l.region.as_str(), l.zone.as_str()));
    Local::new(&node.id, node.metadata.clone().unwrap_or_default(), locality)
}

/// What a cluster's metadata says of it; `None` where it says nothing.
pub(crate) fn cluster_facts(metadata: Option<&core::Metadata>) -> Option<Box<ClusterFacts>> {
    let said = metadata?.filter_metadata.get(KEY)?;
    let flag = |key: &str| {
        let value = said.fields.get(key).and_then(|value| value.kind.as_ref());
        matches!(value, Some(Kind::BoolValue(true)))
    };
    let mut out = ClusterFacts {
        external: flag("external"),
        no_exchange: flag("disable_mx"),
        own_alpn: string(said, "alpn_override") == Some("false"),
        ..ClusterFacts::default()
    };
    if let Some(service) = first_service(said) {
        let text = |key| string(service, key).unwrap_or_default();
        out.host = text("host").into();
        out.namespace = text("namespace").into();
        let short = || text("host").split('.').next().unwrap_or_default();
        out.name = string(service, "name").unwrap_or_else(short).into();
    }
    (out != ClusterFacts::default()).then(|| Box::new(out))
}

fn first_service(said: &Struct) -> Option<&Struct> {
    let Kind::ListValue(list) = said.fields.get("services")?.kind.as_ref()? else { return None };
    match list.values.first()?.kind.as_ref()? {
        Kind::StructValue(service) => Some(service),
        _ => None,
    }
}

/// What an endpoint's metadata says of its workload, in Istio's short form.
pub(crate) fn endpoint_workload(metadata: Option<&core::Metadata>) -> Option<Arc<str>> {
    string(metadata?.filter_metadata.get(KEY)?, "workload").map(Arc::from)
}

/// What an endpoint's metadata has for an internal listener.
pub(crate) fn internal(metadata: Option<&core::Metadata>) -> Option<Box<InternalFacts>> {
    let told = metadata?.filter_metadata.get(ORIGINAL_DST)?;
    let address = |key| string(told, key).and_then(|text| text.parse().ok());
    let out = InternalFacts { destination: address("local"), waypoint: address(WAYPOINT) };
    (out != InternalFacts::default()).then(|| Box::new(out))
}

/// `metadata_key` of an ORIGINAL_DST cluster, as Istio has it: a host's waypoint.
pub(crate) fn is_waypoint(key: &MetadataKey) -> bool {
    let MetadataKey { key, path } = key;
    let segment = |segment: &metadata_key::PathSegment| {
        let metadata_key::PathSegment { segment } = segment;
        matches!(segment, Some(metadata_key::path_segment::Segment::Key(key)) if key == WAYPOINT)
    };
    key == ORIGINAL_DST && matches!(path.as_slice(), [only] if segment(only))
}

/// What the listener filter of this name reads of a host's metadata.
pub(crate) const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";
const WAYPOINT: &str = "waypoint";

/// `istio.alpn`
pub(crate) fn alpn(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<AlpnOverrides> {
    let alpn_api::FilterConfig { alpn_override } = cx.unpack(at, any)?;
    let mut out = AlpnOverrides::default();
    for (index, pair) in alpn_override.into_iter().enumerate() {
        let alpn_api::filter_config::AlpnOverride { upstream_protocol, alpn_override } = pair;
        let place = usize::try_from(upstream_protocol).ok();
        let place = place.and_then(|at| out.by_protocol.get_mut(at));
        let at = at.field("alpn_override");
        let at = at.index(index);
        let Some(place) = place else {
            let allowed = "HTTP10, HTTP11, HTTP2";
            cx.invalid_allowed(&at.field("upstream_protocol"), "unknown protocol", allowed);
            continue;
        };
        // A name is written with its length in one byte.
        if alpn_override.iter().any(|name| name.is_empty() || name.len() > 255) {
            let message = "a protocol name has 1 to 255 bytes";
            cx.invalid(&at.field("alpn_override"), message);
            continue;
        }
        // The first of several for one protocol counts, and an empty one is none.
        if place.is_none() && !alpn_override.is_empty() {
            let names = alpn_override.into_iter().map(|name| name.into_bytes().into());
            *place = Some(names.collect());
        }
    }
    Some(out)
}

/// `istio.metadata_exchange` of an HTTP chain.
pub(crate) fn peer_metadata(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<peer::Config> {
    let peer_api::Config {
        downstream_discovery,
        upstream_discovery,
        downstream_propagation,
        upstream_propagation,
        shared_with_upstream,
        additional_labels,
    } = cx.unpack(at, any)?;
    refuse!(cx, at, shared_with_upstream);
    let labels: Vec<Box<str>> = additional_labels.into_iter().map(Into::into).collect();
    let out = peer::Config {
        of_client: discovery(cx, &at.field("downstream_discovery"), &downstream_discovery, true),
        of_server: discovery(cx, &at.field("upstream_discovery"), &upstream_discovery, false),
        to_client: propagation(cx, &downstream_propagation, &labels),
        to_server: propagation(cx, &upstream_propagation, &labels),
        labels,
        client_key: Arc::from(CLIENT_KEY),
        server_key: Arc::from(SERVER_KEY),
    };
    Some(out)
}

fn discovery(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[peer_api::config::DiscoveryMethod],
    of_client: bool,
) -> Vec<Discovery> {
    use peer_api::config::discovery_method::MethodSpecifier as Way;
    use peer_api::config::{Baggage, IstioHeaders, WorkloadDiscovery};
    let mut out = Vec::with_capacity(list.len());
    for (index, method) in list.iter().enumerate() {
        match &method.method_specifier {
            Some(Way::WorkloadDiscovery(WorkloadDiscovery {})) => out.push(Discovery::Service),
            // Says whom to tell, and discovery tells nobody.
            Some(Way::IstioHeaders(IstioHeaders { skip_external_clusters: _ })) => {
                out.push(Discovery::Headers);
            }
            Some(Way::Baggage(Baggage {})) if of_client => out.push(Discovery::Baggage),
            Some(Way::Baggage(Baggage {})) => {
                let message = "baggage is only found in requests: this finds nobody";
                cx.warn(&at.index(index).field("baggage"), message);
            }
            Some(Way::UpstreamFilterState(_)) => {
                cx.unsupported(&at.index(index).field("upstream_filter_state"));
            }
            // As in Istio's proxy.
            None => {}
        }
    }
    out
}

fn propagation(
    cx: &Cx<'_>,
    list: &[peer_api::config::PropagationMethod],
    labels: &[Box<str>],
) -> Vec<Propagation> {
    use peer_api::config::propagation_method::MethodSpecifier as Way;
    use peer_api::config::{Baggage, IstioHeaders};
    let local = &cx.kept.local;
    let ways = list.iter().filter_map(|method| match &method.method_specifier {
        Some(Way::IstioHeaders(IstioHeaders { skip_external_clusters })) => {
            let mut value = Vec::new();
            let told = local.workload_with(labels).to_struct();
            base64::encode(&told.encode_to_vec(), &mut value);
            Some(Propagation::Headers {
                id: (*local.id).into(),
                // Base64 is ASCII.
                value: String::from_utf8(value).unwrap_or_default().into(),
                skip_external: *skip_external_clusters,
            })
        }
        Some(Way::Baggage(Baggage {})) => {
            Some(Propagation::Baggage(local.workload.baggage().into()))
        }
        // As in Istio's proxy.
        None => None,
    });
    ways.collect()
}

/// `istio.stats`
pub(crate) fn stats(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Arc<StatsOptions>> {
    let stats_api::PluginConfig {
        // Of the filter in WebAssembly, which is gone: nobody reads them any more.
        debug: _,
        max_peer_cache_size: _,
        stat_prefix: _,
        field_separator: _,
        value_separator: _,
        disable_host_header_fallback,
        tcp_reporting_duration,
        metrics,
        definitions,
        reporter,
        // When metrics nobody counts any more are let go of; ours are bounded and stay.
        rotation_interval: _,
        graceful_deletion_interval: _,
    } = cx.unpack(at, any)?;
    refuse!(cx, at, definitions);
    let reporter = match stats_api::Reporter::try_from(reporter) {
        Ok(stats_api::Reporter::ServerGateway) => Reporter::Gateway,
        Ok(stats_api::Reporter::Unspecified) | Err(_) => match cx.direction {
            Direction::Inbound => Reporter::Server,
            Direction::Outbound | Direction::Unspecified => Reporter::Client,
        },
    };
    let interval_at = at.field("tcp_reporting_duration");
    Some(Arc::new(StatsOptions {
        reporter,
        no_host_fallback: disable_host_header_fallback,
        interval: duration(cx, &interval_at, tcp_reporting_duration, Duration::from_secs(5)),
        metrics: metrics_of(cx, &at.field("metrics"), &metrics),
        local: Arc::clone(&cx.kept.local),
        id: xxh64(&any.value, reporter as u64),
    }))
}

fn metrics_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[stats_api::MetricConfig],
) -> [MetricOptions; METRICS.len()] {
    let mut out: [MetricOptions; METRICS.len()] = Default::default();
    for (index, metric) in list.iter().enumerate() {
        let at = at.index(index);
        let stats_api::MetricConfig {
            dimensions,
            name,
            tags_to_remove,
            // Not implemented by Istio's proxy either.
            r#match: _,
            drop,
        } = metric;
        // Expressions.
        refuse!(cx, &at, dimensions);
        for (known, options) in METRICS.iter().zip(&mut out) {
            // As in Istio's proxy, a rule that drops needs a name.
            let named = known == name;
            options.dropped |= *drop && named;
            if !*drop && (named || name.is_empty()) {
                options.without.extend(tags_to_remove.iter().map(|tag| tag.as_str().into()));
            }
        }
    }
    out
}

/// `istio.metadata_exchange` of connections.
pub(crate) fn exchange(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Arc<MetadataExchange>> {
    let exchange_api::MetadataExchange {
        protocol,
        // Asks a service that only a bootstrap extension brings, which is refused.
        enable_discovery: _,
        additional_labels,
    } = cx.unpack(at, any)?;
    let labels: Vec<Box<str>> = additional_labels.into_iter().map(Into::into).collect();
    Some(Arc::new(MetadataExchange {
        protocol: protocol.into_bytes().into(),
        hello: cx.kept.local.hello(&labels),
        labels,
        stats: MetadataExchangeStats::new(cx.registry),
    }))
}

/// `Cluster.filters`: network filters of its connections, of which there is one.
pub(crate) fn cluster_filters(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[cluster::Filter],
) -> Option<Arc<MetadataExchange>> {
    let mut out = None;
    for (index, filter) in list.iter().enumerate() {
        let at = at.index(index);
        let cluster::Filter { name, typed_config, config_discovery } = filter;
        refuse!(cx, &at, config_discovery);
        let Some(any) = typed_config else {
            missing_type(cx, &at, name);
            continue;
        };
        let at = at.field("typed_config");
        let Some(any) = cx.typed(&at, any) else { continue };
        match type_name(&any.type_url) {
            EXCHANGE if out.is_none() => out = exchange(cx, &at, &any),
            EXCHANGE => cx.unsupported_value(&at, "a second exchange of metadata"),
            other => cx.unsupported_allowed(&at, other, EXCHANGE),
        }
    }
    out
}
