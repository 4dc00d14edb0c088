//! Load balancing: `lb_policy` with its configuration, or `load_balancing_policy`; what is common.

use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::load_balancing_policies as policies;

use super::at::At;
use super::cx::Cx;
use super::scalar::{runtime_double, type_name};
use super::set::refuse;
use crate::plan::cluster::Lb;

const ROUND_ROBIN: &str = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
const RANDOM: &str = "envoy.extensions.load_balancing_policies.random.v3.Random";
const SUPPORTED: &str = "ROUND_ROBIN, LEAST_REQUEST, RANDOM";

/// The policy of a cluster, and whether localities are chosen by weight first; `None` after an
/// error. `provided`: the cluster chooses by itself.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &api::Cluster,
    provided: bool,
) -> Option<(Lb, bool)> {
    let by_weight = |lb| (lb, is_locality_weighted(cluster));
    if provided {
        return by_cluster(cx, at, cluster).map(by_weight);
    }
    match &cluster.load_balancing_policy {
        Some(policy) => {
            check_common(cx, &at.field("common_lb_config"), cluster);
            typed(cx, &at.field("load_balancing_policy"), policy)
        }
        None => named(cx, at, cluster).map(by_weight),
    }
}

/// `lb_policy`, with its configuration.
fn named(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> Option<Lb> {
    use api::cluster::LbPolicy;
    match LbPolicy::try_from(cluster.lb_policy).ok()? {
        LbPolicy::RoundRobin => {
            if let Some(api::cluster::LbConfig::RoundRobinLbConfig(config)) = &cluster.lb_config {
                let api::cluster::RoundRobinLbConfig { slow_start_config } = config;
                refuse!(cx, &at.field("round_robin_lb_config"), slow_start_config);
            }
            Some(Lb::RoundRobin)
        }
        LbPolicy::LeastRequest => {
            let mut lb = least_request(cx, None, None);
            if let Some(api::cluster::LbConfig::LeastRequestLbConfig(config)) = &cluster.lb_config {
                let api::cluster::LeastRequestLbConfig {
                    choice_count,
                    active_request_bias,
                    slow_start_config,
                } = config;
                refuse!(cx, &at.field("least_request_lb_config"), slow_start_config);
                lb = least_request(cx, *choice_count, active_request_bias.as_ref());
            }
            Some(lb)
        }
        LbPolicy::Random => Some(Lb::Random),
        // The type itself is refused.
        LbPolicy::ClusterProvided
            if matches!(
                cluster.cluster_discovery_type,
                Some(api::cluster::ClusterDiscoveryType::ClusterType(_))
            ) =>
        {
            None
        }
        LbPolicy::ClusterProvided => {
            let message = format!(
                "cluster manager: cluster provided LB specified but cluster '{}' did not provide \
                 one. Check cluster documentation.",
                cluster.name
            );
            cx.invalid_allowed(&at.field("lb_policy"), message, SUPPORTED);
            None
        }
        LbPolicy::LoadBalancingPolicyConfig => {
            let message = "cluster: field load_balancing_policy need to be set";
            cx.invalid(&at.field("load_balancing_policy"), message);
            None
        }
        other => {
            let at = at.field("lb_policy");
            cx.unsupported_allowed(&at, other.as_str_name(), SUPPORTED);
            None
        }
    }
}

/// The policy of a cluster that chooses by itself.
fn by_cluster(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) -> Option<Lb> {
    use api::cluster::LbPolicy;
    let policy = LbPolicy::try_from(cluster.lb_policy).ok()?;
    if policy != LbPolicy::ClusterProvided {
        let message = format!(
            "cluster: LB policy {} is not valid for Cluster type ORIGINAL_DST. Only \
             'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'",
            policy.as_str_name()
        );
        cx.invalid_allowed(&at.field("lb_policy"), message, "CLUSTER_PROVIDED");
    }
    Some(Lb::ClusterProvided)
}

fn least_request(cx: &Cx<'_>, choices: Option<u32>, bias: Option<&core::RuntimeDouble>) -> Lb {
    Lb::LeastRequest {
        choices: choices.unwrap_or(2),
        bias: bias.map_or(1.0, |bias| runtime_double(cx, bias)),
    }
}

/// The first policy of the list, for all that Envoy knows are known here by name.
fn typed(cx: &mut Cx<'_>, at: &At<'_>, policy: &api::LoadBalancingPolicy) -> Option<(Lb, bool)> {
    let api::LoadBalancingPolicy { policies } = policy;
    let policies_at = at.field("policies");
    let Some(api::load_balancing_policy::Policy { typed_extension_config }) = policies.first()
    else {
        let message = "cluster: didn't find a registered load balancer factory: no policies";
        cx.invalid(&policies_at, message);
        return None;
    };
    let at = policies_at.index(0);
    let at = at.field("typed_extension_config");
    let any = typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref());
    let Some(any) = any else {
        cx.invalid(&at, "value is required");
        return None;
    };
    let at = at.field("typed_config");
    match type_name(&any.type_url) {
        ROUND_ROBIN => {
            let config = cx.unpack::<policies::round_robin::v3::RoundRobin>(&at, any)?;
            let policies::round_robin::v3::RoundRobin { slow_start_config, locality_lb_config } =
                config;
            refuse!(cx, &at, slow_start_config);
            Some((Lb::RoundRobin, is_weighted(locality_lb_config.as_ref())))
        }
        LEAST_REQUEST => typed_least_request(cx, &at, any),
        RANDOM => {
            let config = cx.unpack::<policies::random::v3::Random>(&at, any)?;
            let policies::random::v3::Random { locality_lb_config } = config;
            Some((Lb::Random, is_weighted(locality_lb_config.as_ref())))
        }
        other => {
            cx.unsupported_allowed(&at, other, SUPPORTED);
            None
        }
    }
}

fn typed_least_request(cx: &mut Cx<'_>, at: &At<'_>, any: &prost_types::Any) -> Option<(Lb, bool)> {
    let config = cx.unpack::<policies::least_request::v3::LeastRequest>(at, any)?;
    let policies::least_request::v3::LeastRequest {
        choice_count,
        active_request_bias,
        slow_start_config,
        locality_lb_config,
        enable_full_scan,
        selection_method,
    } = config;
    let enable_full_scan = enable_full_scan.unwrap_or_default();
    refuse!(cx, at, slow_start_config, enable_full_scan, selection_method);
    let lb = least_request(cx, choice_count, active_request_bias.as_ref());
    Some((lb, is_weighted(locality_lb_config.as_ref())))
}

/// Zone-aware routing needs `local_cluster_name`, which is refused: its settings change nothing.
fn is_weighted(config: Option<&policies::common::v3::LocalityLbConfig>) -> bool {
    use policies::common::v3::locality_lb_config::LocalityConfigSpecifier as Specifier;
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        None | Some(Specifier::ZoneAwareLbConfig(_)) => false,
        // It has no field.
        Some(Specifier::LocalityWeightedLbConfig(_)) => true,
    }
}

/// The same in `common_lb_config`.
fn is_locality_weighted(cluster: &api::Cluster) -> bool {
    use api::cluster::common_lb_config::LocalityConfigSpecifier as Specifier;
    let config = cluster.common_lb_config.as_ref();
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        None | Some(Specifier::ZoneAwareLbConfig(_)) => false,
        Some(Specifier::LocalityWeightedLbConfig(_)) => true,
    }
}

/// A policy has such settings itself.
fn check_common(cx: &mut Cx<'_>, at: &At<'_>, cluster: &api::Cluster) {
    let config = cluster.common_lb_config.as_ref();
    let has_any = |config: &api::cluster::CommonLbConfig| {
        config.locality_config_specifier.is_some() || config.consistent_hashing_lb_config.is_some()
    };
    if config.is_some_and(has_any) {
        let message = "cluster: load_balancing_policy cannot be combined with partial fields \
                       (zone_aware_lb_config, locality_weighted_lb_config, \
                       consistent_hashing_lb_config) of common_lb_config";
        cx.invalid(at, message);
    }
}

/// `common_lb_config`; answers the panic threshold.
pub(crate) fn common(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::cluster::CommonLbConfig>,
) -> f64 {
    const DEFAULT: f64 = 50.0;
    let key = "upstream.healthy_panic_threshold";
    let Some(config) = config else { return cx.runtime.double(key, DEFAULT) };
    let at = at.field("common_lb_config");
    let api::cluster::CommonLbConfig {
        healthy_panic_threshold,
        // Envoy gathers updates of hosts for this time; ours are small messages that need it not.
        update_merge_window: _,
        ignore_new_hosts_until_first_hc,
        close_connections_on_host_set_change,
        // Read by hashing policies, which are refused.
        consistent_hashing_lb_config: _,
        // Read by the policy of stateful sessions, which is refused.
        override_host_status: _,
        // Read by `is_locality_weighted`.
        locality_config_specifier: _,
    } = config;
    refuse!(cx, &at, ignore_new_hosts_until_first_hc, close_connections_on_host_set_change);
    let threshold = healthy_panic_threshold.as_ref().map_or(DEFAULT, |percent| percent.value);
    cx.runtime.double(key, threshold)
}
