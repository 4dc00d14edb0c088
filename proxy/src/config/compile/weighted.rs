//! `WeightedCluster`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::headers::Rules;
use super::per_filter;
use super::route::header_name;
use super::route_table::Inherited;
use super::set::refuse;
use crate::plan::route::{WeightedCluster, WeightedClusters, WeightedTarget};

/// Compiles the clusters, with the weights the runtime gives them; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::WeightedCluster,
    inherited: &Inherited,
) -> Option<WeightedClusters> {
    use api::weighted_cluster::RandomValueSpecifier;
    let api::WeightedCluster {
        clusters,
        // Deprecated, and without effect in Envoy 1.40: the sum of the weights counts.
        total_weight: _,
        runtime_key_prefix,
        random_value_specifier,
    } = config;
    let header_name = match random_value_specifier {
        None | Some(RandomValueSpecifier::UseHashPolicy(false)) => None,
        Some(RandomValueSpecifier::HeaderName(name)) => Some(header_name(name)),
        Some(RandomValueSpecifier::UseHashPolicy(true)) => {
            cx.unsupported(&at.field("use_hash_policy"));
            None
        }
    };
    let mut total = 0_u64;
    let mut out = Vec::with_capacity(clusters.len());
    for (index, config) in clusters.iter().enumerate() {
        let at = at.field("clusters");
        let at = at.index(index);
        let weight = u64::from(config.weight.unwrap_or_default());
        let weight = match runtime_key_prefix.as_str() {
            "" => weight,
            prefix => cx.runtime.integer(&format!("{prefix}.{}", config.name), weight),
        };
        total = total.saturating_add(weight);
        let cumulative = u32::try_from(total).unwrap_or(u32::MAX);
        out.extend(cluster(cx, &at, config, cumulative, inherited));
    }
    let clusters_at = at.field("clusters");
    let Ok(total) = u32::try_from(total) else {
        let message = "the sum of weights of all weighted clusters exceeds 4294967295";
        cx.invalid(&clusters_at, message);
        return None;
    };
    if total == 0 {
        let message = "sum of weights in the weighted_cluster must be greater than 0";
        cx.invalid(&clusters_at, message);
        return None;
    }
    Some(WeightedClusters { clusters: out, total, header_name })
}

fn cluster(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::weighted_cluster::ClusterWeight,
    cumulative: u32,
    inherited: &Inherited,
) -> Option<WeightedCluster> {
    use api::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let api::weighted_cluster::ClusterWeight {
        name,
        cluster_header,
        // Summed up by the caller.
        weight: _,
        metadata_match,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
    } = config;
    refuse!(cx, at, metadata_match);
    let filters = per_filter::compile(cx, at, typed_per_filter_config);
    let rules = Rules {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let (request_headers, response_headers) = rules.compile(cx, at);
    let target = match (name.as_str(), cluster_header.as_str()) {
        ("", "") => {
            cx.invalid(at, "at least one of name or cluster_header need to be specified");
            return None;
        }
        ("", header) => WeightedTarget::Header(header_name(header)),
        (name, "") if inherited.validate_clusters => WeightedTarget::Cluster(cx.cluster(
            &at.field("name"),
            name,
            "route: unknown weighted cluster",
        )?),
        (name, "") => WeightedTarget::Cluster(cx.any_cluster(name)),
        (_, _) => {
            let message = "only one of name or cluster_header can be specified";
            cx.invalid(&at.field("cluster_header"), message);
            return None;
        }
    };
    let host_rewrite = host_rewrite_specifier.as_ref().and_then(|specifier| {
        let HostRewriteSpecifier::HostRewriteLiteral(host) = specifier;
        (!host.is_empty()).then(|| Arc::from(host.as_str()))
    });
    Some(WeightedCluster {
        cluster: target,
        cumulative,
        request_headers,
        response_headers,
        host_rewrite,
        filters,
    })
}
