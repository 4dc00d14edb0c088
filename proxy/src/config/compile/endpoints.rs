//! `ClusterLoadAssignment`: hosts, or names to resolve.

use std::sync::Arc;

use ringway_xds::api::envoy::config::cluster::v3::Cluster;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as api;

use super::address::{address, host_and_port};
use super::at::At;
use super::cx::Cx;
use super::set::refuse;
use crate::plan::cluster::{DnsTarget, EdsHealth, HostTemplate};
use crate::plan::{Address, Host, HostSet};

/// What the endpoints of a cluster are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// IP addresses and pipes.
    Addresses,
    /// Names.
    Names,
    /// Exactly one name.
    OneName,
}

/// What a load assignment comes to.
pub(crate) struct Endpoints {
    /// Hosts whose address is known.
    pub(crate) hosts: HostSet,
    /// Names to resolve.
    pub(crate) targets: Vec<DnsTarget>,
    /// Hosts wait for their first active health check.
    checked: bool,
}

/// Compiles the cluster's `load_assignment`; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &Cluster,
    kind: Hosts,
) -> Option<Endpoints> {
    let empty = api::ClusterLoadAssignment::default();
    let at = at.field("load_assignment");
    let assignment = cluster.load_assignment.as_ref().unwrap_or(&empty);
    let api::ClusterLoadAssignment {
        // Names the assignment for EDS; here it is part of its cluster.
        cluster_name: _,
        endpoints,
        named_endpoints,
        policy,
    } = assignment;
    refuse!(cx, &at, named_endpoints);
    let overprovisioning_percent = policy_of(cx, &at, policy.as_ref());
    let one = matches!(endpoints.as_slice(), [locality] if locality.lb_endpoints.len() == 1);
    if kind == Hosts::OneName && !one {
        let message = "LOGICAL_DNS clusters must have a single host";
        cx.invalid(&at.field("endpoints"), message);
        return None;
    }
    let mut out = Endpoints {
        hosts: HostSet { version: 1, hosts: Vec::new(), overprovisioning_percent },
        targets: Vec::new(),
        checked: !cluster.health_checks.is_empty(),
    };
    for (index, locality) in endpoints.iter().enumerate() {
        let at = at.field("endpoints");
        locality_endpoints(cx, &at.index(index), locality, kind, &mut out);
    }
    Some(out)
}

fn policy_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    policy: Option<&api::cluster_load_assignment::Policy>,
) -> u32 {
    let Some(policy) = policy else { return 140 };
    let api::cluster_load_assignment::Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health,
    } = policy;
    let at = at.field("policy");
    refuse!(cx, &at, drop_overloads, endpoint_stale_after, weighted_priority_health);
    overprovisioning_factor.unwrap_or(140)
}

fn locality_endpoints(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    locality: &api::LocalityLbEndpoints,
    kind: Hosts,
    out: &mut Endpoints,
) {
    let api::LocalityLbEndpoints {
        locality,
        // Read by extensions that are refused where they are asked for.
        metadata: _,
        lb_endpoints,
        // Read by locality-weighted load balancing, which is refused.
        load_balancing_weight: _,
        priority,
        // Envoy does not implement it.
        proximity: _,
        lb_config,
    } = locality;
    refuse!(cx, at, lb_config);
    let core::Locality { region, zone, sub_zone } = locality.clone().unwrap_or_default();
    let locality = Arc::new((region, zone, sub_zone));
    let mut sum = 0_u64;
    for (index, endpoint) in lb_endpoints.iter().enumerate() {
        let at = at.field("lb_endpoints");
        let at = at.index(index);
        sum += u64::from(endpoint.load_balancing_weight.unwrap_or(1));
        let template = HostTemplate {
            hostname: cx.text(""),
            weight: 1,
            priority: *priority,
            locality: Arc::clone(&locality),
            health_port: None,
            health_hostname: cx.text(""),
            health_address: None,
            no_active_check: false,
            eds_health: EdsHealth::Healthy,
            canary: false,
        };
        lb_endpoint(cx, &at, endpoint, template, kind, out);
    }
    if sum > u64::from(u32::MAX) {
        let message = "the sum of weights of all upstream hosts in a locality exceeds 4294967295";
        cx.invalid(&at.field("lb_endpoints"), message);
    }
}

fn lb_endpoint(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    endpoint: &api::LbEndpoint,
    template: HostTemplate,
    kind: Hosts,
    out: &mut Endpoints,
) {
    let api::LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } =
        endpoint;
    let endpoint = match host_identifier {
        Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(api::lb_endpoint::HostIdentifier::EndpointName(_)) => {
            cx.unsupported_allowed(&at.field("endpoint_name"), "endpoint_name", "endpoint");
            return;
        }
        None => {
            cx.invalid_allowed(at, "an endpoint is required", "endpoint");
            return;
        }
    };
    let at = at.field("endpoint");
    let api::Endpoint {
        address: endpoint_address,
        health_check_config,
        hostname,
        additional_addresses,
        observability_name,
    } = endpoint;
    refuse!(cx, &at, observability_name);
    let additional = additional(cx, &at, additional_addresses);
    if !additional.is_empty() && kind != Hosts::Addresses {
        let message = "additional_addresses in a DNS cluster";
        cx.unsupported_value(&at.field("additional_addresses"), message);
    }
    let template = HostTemplate {
        hostname: cx.text(hostname),
        weight: load_balancing_weight.unwrap_or(1),
        eds_health: eds_health(*health_status),
        canary: is_canary(metadata.as_ref()),
        ..template
    };
    let template = health_check_config_of(cx, &at, health_check_config.as_ref(), template);
    match kind {
        Hosts::Addresses => {
            let found = address(cx, &at.field("address"), endpoint_address.as_ref());
            out.hosts.hosts.extend(found.map(|address| {
                Arc::new(Host { additional, ..Host::new(address, template, out.checked) })
            }));
        }
        Hosts::Names | Hosts::OneName => {
            let target = dns_target(cx, &at.field("address"), endpoint_address.as_ref(), template);
            out.targets.extend(target);
        }
    }
}

/// `additional_addresses`, which a connection tries after the first.
fn additional(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::endpoint::AdditionalAddress],
) -> Vec<Address> {
    let mut out = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let at = at.field("additional_addresses");
        let at = at.index(index);
        let api::endpoint::AdditionalAddress { address: value } = value;
        out.extend(address(cx, &at.field("address"), value.as_ref()));
    }
    out
}

fn dns_target(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    address: Option<&core::Address>,
    template: HostTemplate,
) -> Option<DnsTarget> {
    let Some(core::address::Address::SocketAddress(value)) =
        address.and_then(|address| address.address.as_ref())
    else {
        let what = "an address of another kind in a DNS cluster";
        cx.unsupported_allowed(at, what, "socket_address");
        return None;
    };
    let (name, port) = host_and_port(cx, &at.field("socket_address"), value)?;
    Some(DnsTarget { name: Arc::from(name), port, template })
}

fn health_check_config_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::endpoint::HealthCheckConfig>,
    template: HostTemplate,
) -> HostTemplate {
    let Some(config) = config else { return template };
    let at = at.field("health_check_config");
    let api::endpoint::HealthCheckConfig {
        port_value,
        hostname,
        address: check_address,
        disable_active_health_check,
    } = config;
    let health_port = match u16::try_from(*port_value) {
        Ok(port) => (port != 0).then_some(port),
        Err(_) => {
            cx.invalid_allowed(&at.field("port_value"), "not a port", "0 to 65535");
            None
        }
    };
    HostTemplate {
        health_port,
        health_hostname: cx.text(hostname),
        health_address: check_address
            .as_ref()
            .and_then(|value| address(cx, &at.field("address"), Some(value))),
        no_active_check: *disable_active_health_check,
        ..template
    }
}

fn eds_health(status: i32) -> EdsHealth {
    use core::HealthStatus;
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => EdsHealth::Unhealthy,
        Ok(HealthStatus::Draining) => EdsHealth::Draining,
        Ok(HealthStatus::Degraded) => EdsHealth::Degraded,
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) | Err(_) => EdsHealth::Healthy,
    }
}

/// `filter_metadata["envoy.lb"].canary`; other metadata is read by what is refused elsewhere.
fn is_canary(metadata: Option<&core::Metadata>) -> bool {
    let canary = metadata
        .and_then(|metadata| metadata.filter_metadata.get("envoy.lb"))
        .and_then(|lb| lb.fields.get("canary"))
        .and_then(|canary| canary.kind.as_ref());
    matches!(canary, Some(prost_types::value::Kind::BoolValue(true)))
}
