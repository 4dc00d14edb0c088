//! `ClusterLoadAssignment`: hosts, or names to resolve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::cluster::v3::Cluster;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as api;

use super::address::{address, host_address, host_and_port};
use super::at::At;
use super::cx::Cx;
use super::istio;
use super::scalar::{fractional_percent, optional_duration};
use super::set::refuse;
use super::sockets;
use crate::plan::cluster::{DnsTarget, EdsHealth, HostTemplate};
use crate::plan::host_set::{DropOverload, Locality, LocalityWeights};
use crate::plan::route::Fraction;
use crate::plan::transport::Sockets;
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
#[derive(Default)]
pub(crate) struct Endpoints {
    /// Hosts whose address is known.
    pub(crate) hosts: Vec<Found>,
    /// Names to resolve.
    pub(crate) targets: Vec<DnsTarget>,
    /// `overprovisioning_factor`, default 140.
    pub(crate) overprovisioning_percent: u32,
    /// `load_balancing_weight` of localities.
    pub(crate) localities: LocalityWeights,
    /// `drop_overloads`.
    pub(crate) drop: Option<Arc<DropOverload>>,
    /// `endpoint_stale_after`.
    pub(crate) stale_after: Option<Duration>,
}

/// A host to be.
pub(crate) struct Found {
    pub(crate) address: Address,
    pub(crate) additional: Vec<Address>,
    pub(crate) info: HostTemplate,
}

impl Endpoints {
    /// The hosts as the first set of their cluster. Where it has active health checks (`checked`)
    /// they wait for the first.
    pub(crate) fn host_set(self, checked: bool) -> HostSet {
        let host = |found: Found| {
            let Found { address, additional, info } = found;
            Arc::new(Host { additional, ..Host::new(address, info, checked) })
        };
        HostSet {
            version: 1,
            hosts: self.hosts.into_iter().map(host).collect(),
            overprovisioning_percent: self.overprovisioning_percent,
            localities: weights(self.localities),
            drop: self.drop,
        }
    }
}

/// The weights of localities, if there are any.
pub(crate) fn weights(localities: LocalityWeights) -> Option<Arc<LocalityWeights>> {
    (!localities.is_empty()).then(|| Arc::new(localities))
}

/// Compiles the cluster's `load_assignment`; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &Cluster,
    sockets: &Sockets,
    kind: Hosts,
) -> Option<Endpoints> {
    let empty = api::ClusterLoadAssignment::default();
    let at = at.field("load_assignment");
    let assignment = cluster.load_assignment.as_ref().unwrap_or(&empty);
    let endpoints = &assignment.endpoints;
    let one = matches!(endpoints.as_slice(), [locality] if locality.lb_endpoints.len() == 1);
    if kind == Hosts::OneName && !one {
        let message = "LOGICAL_DNS clusters must have a single host";
        cx.invalid(&at.field("endpoints"), message);
        return None;
    }
    Some(assignment_of(cx, &at, assignment, sockets, kind))
}

/// Compiles an assignment.
pub(crate) fn assignment_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    assignment: &api::ClusterLoadAssignment,
    sockets: &Sockets,
    kind: Hosts,
) -> Endpoints {
    let api::ClusterLoadAssignment {
        // Names the assignment for EDS, which has looked at it.
        cluster_name: _,
        endpoints,
        named_endpoints,
        policy,
    } = assignment;
    let mut out = Endpoints { overprovisioning_percent: 140, ..Endpoints::default() };
    if let Some(policy) = policy {
        policy_of(cx, &at.field("policy"), policy, &mut out);
    }
    let endpoints_at = at.field("endpoints");
    for (index, locality) in endpoints.iter().enumerate() {
        let at = endpoints_at.index(index);
        let kinds = Kinds { kind, named: named_endpoints, sockets };
        locality_endpoints(cx, &at, locality, kinds, &mut out);
    }
    if out.localities.is_too_heavy() {
        let message =
            "The sum of weights of all localities at the same priority exceeds 4294967295";
        cx.invalid(&endpoints_at, message);
    }
    out
}

fn policy_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    policy: &api::cluster_load_assignment::Policy,
    out: &mut Endpoints,
) {
    let api::cluster_load_assignment::Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health,
    } = policy;
    refuse!(cx, at, weighted_priority_health);
    out.overprovisioning_percent = overprovisioning_factor.unwrap_or(140);
    // Only EDS can bring an update that does not come; others do not look at it, in Envoy neither.
    out.stale_after =
        optional_duration(cx, &at.field("endpoint_stale_after"), *endpoint_stale_after);
    let at = at.field("drop_overloads");
    match drop_overloads.as_slice() {
        [] => {}
        [one] => out.drop = drop_overload(cx, &at.index(0), one),
        more => {
            let message = format!(
                "Cluster drop_overloads config has {} categories. Envoy only support one.",
                more.len()
            );
            cx.invalid(&at, message);
        }
    }
}

/// A category of requests to drop; the runtime may have it dropped less often.
fn drop_overload(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::cluster_load_assignment::policy::DropOverload,
) -> Option<Arc<DropOverload>> {
    const LIMIT: &str = "load_balancing_policy.drop_overload_limit";
    let api::cluster_load_assignment::policy::DropOverload { category, drop_percentage } = config;
    let at = at.field("drop_percentage");
    let Fraction { numerator, denominator } =
        fractional_percent(cx, &at, &drop_percentage.unwrap_or_default());
    if numerator > denominator {
        let ratio = f64::from(numerator) / f64::from(denominator);
        let message = format!(
            "Cluster drop_overloads config is invalid. drop_ratio={ratio}(Numerator {numerator} / \
             Denominator {denominator}). The valid range is 0~1."
        );
        cx.invalid(&at, message);
        return None;
    }
    let limit = cx.runtime.integer(LIMIT, 100);
    if limit > 100 {
        let message =
            format!("{LIMIT} runtime key config {limit} is invalid. The valid range is 0~100");
        cx.invalid(&at, message);
        return None;
    }
    let ratio = (numerator as f32 / denominator as f32).min(limit as f32 / 100.0);
    (ratio > 0.0).then(|| Arc::new(DropOverload { category: cx.text(category), ratio }))
}

/// What the endpoints are.
#[derive(Clone, Copy)]
struct Kinds<'a> {
    kind: Hosts,
    /// Those that others refer to by name.
    named: &'a BTreeMap<String, api::Endpoint>,
    /// The transport sockets of their cluster.
    sockets: &'a Sockets,
}

fn locality_endpoints(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    locality: &api::LocalityLbEndpoints,
    kinds: Kinds<'_>,
    out: &mut Endpoints,
) {
    let api::LocalityLbEndpoints {
        locality,
        // But for the transport socket, extensions read it that are refused where they are asked
        // for.
        metadata,
        lb_endpoints,
        load_balancing_weight,
        priority,
        // Envoy does not implement it.
        proximity: _,
        lb_config,
    } = locality;
    refuse!(cx, at, lb_config);
    let named = locality.is_some();
    let locality = locality_of(cx, locality.as_ref());
    // What has no locality cannot weigh anything, as in Envoy.
    if let Some(weight) = load_balancing_weight.filter(|_| named) {
        out.localities.set(*priority, Arc::clone(&locality), weight);
    }
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
            workload: None,
            socket: sockets::resolve(kinds.sockets, endpoint.metadata.as_ref(), metadata.as_ref()),
            internal: None,
        };
        lb_endpoint(cx, &at, endpoint, template, kinds, out);
    }
    if sum > u64::from(u32::MAX) {
        let message = "the sum of weights of all upstream hosts in a locality exceeds 4294967295";
        cx.invalid(&at.field("lb_endpoints"), message);
    }
}

/// The locality of endpoints; those of one place share it, as a rule across clusters.
fn locality_of(cx: &mut Cx<'_>, locality: Option<&core::Locality>) -> Arc<Locality> {
    let (region, zone, sub_zone) = match locality {
        Some(core::Locality { region, zone, sub_zone }) => (&**region, &**zone, &**sub_zone),
        None => ("", "", ""),
    };
    let last = &mut cx.kept.locality;
    if (&*last.0, &*last.1, &*last.2) != (region, zone, sub_zone) {
        *last = Arc::new((region.to_owned(), zone.to_owned(), sub_zone.to_owned()));
    }
    Arc::clone(last)
}

fn lb_endpoint(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    endpoint: &api::LbEndpoint,
    template: HostTemplate,
    Kinds { kind, named, sockets: _ }: Kinds<'_>,
    out: &mut Endpoints,
) {
    let api::LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } =
        endpoint;
    let endpoint = match host_identifier {
        Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(api::lb_endpoint::HostIdentifier::EndpointName(name)) => match named.get(name) {
            Some(endpoint) => endpoint,
            None => {
                let message = format!("there is no endpoint '{name}' in named_endpoints");
                cx.invalid(&at.field("endpoint_name"), message);
                return;
            }
        },
        None => {
            cx.invalid_allowed(at, "an endpoint is required", "endpoint, endpoint_name");
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
        workload: istio::endpoint_workload(metadata.as_ref()),
        internal: istio::internal(metadata.as_ref()),
        ..template
    };
    let template = health_check_config_of(cx, &at, health_check_config.as_ref(), template);
    match kind {
        Hosts::Addresses => {
            let found = host_address(cx, &at.field("address"), endpoint_address.as_ref());
            out.hosts.extend(found.map(|address| Found { address, additional, info: template }));
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
