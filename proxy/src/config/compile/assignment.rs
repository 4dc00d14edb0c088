//! `ClusterLoadAssignment` as it comes by EDS: the next set of a cluster's hosts.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use ringway_xds::api::envoy::config::endpoint::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::endpoints::{self, Found};
use crate::plan::cluster::{Discovery, HostTemplate};
use crate::plan::{Address, Cluster, Host, HostSet};

/// What an assignment comes to.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The hosts. The very set there was, if nothing has changed.
    pub hosts: Arc<HostSet>,
    /// `endpoint_stale_after`: the hosts are gone if nothing is said of them for so long.
    pub stale_after: Option<Duration>,
}

/// Sets up to this long are searched from end to end.
const SHORT: usize = 8;

/// Compiles an assignment against the hosts there are. One that has not changed is the same `Arc`;
/// one of which only that has changed what may change keeps its pools, counts and state.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    cluster: &Cluster,
    assignment: &api::ClusterLoadAssignment,
    old: &Arc<HostSet>,
) -> Option<Assignment> {
    let at = At::root();
    let Discovery::Eds(eds) = &cluster.discovery else {
        cx.invalid(&at, format!("cluster '{}' does not get its hosts by EDS", cluster.name));
        return None;
    };
    if *eds.name != *assignment.cluster_name {
        let (expected, found) = (&eds.name, &assignment.cluster_name);
        let message = format!("Unexpected EDS cluster (expecting {expected}): {found}");
        cx.invalid(&at.field("cluster_name"), message);
        return None;
    }
    let kind = endpoints::Hosts::Addresses;
    let endpoints = endpoints::assignment_of(cx, &at, assignment, &cluster.sockets, kind);
    let checked = !cluster.health_checks.is_empty();
    let hosts = merged(endpoints.hosts, old, checked);
    let percent = endpoints.overprovisioning_percent;
    let localities = endpoints::weights(endpoints.localities);
    let same = old.version > 0
        && percent == old.overprovisioning_percent
        && localities == old.localities
        && endpoints.drop == old.drop
        && hosts.len() == old.hosts.len()
        && hosts.iter().zip(&old.hosts).all(|(new, old)| Arc::ptr_eq(new, old));
    let hosts = match same {
        true => Arc::clone(old),
        false => Arc::new(HostSet {
            version: old.version + 1,
            hosts,
            overprovisioning_percent: percent,
            localities,
            drop: endpoints.drop,
        }),
    };
    Some(Assignment { hosts, stale_after: endpoints.stale_after })
}

/// The hosts found, those that were there before in their old place. Of those with one address
/// the first counts, as in Envoy.
fn merged(found: Vec<Found>, old: &HostSet, checked: bool) -> Vec<Arc<Host>> {
    let index: Option<HashMap<&Address, &Arc<Host>, RandomState>> = (old.hosts.len() > SHORT)
        .then(|| old.hosts.iter().map(|host| (&host.address, host)).collect());
    let before = |address: &Address| match &index {
        Some(index) => index.get(address).copied(),
        None => old.hosts.iter().find(|host| host.address == *address),
    };
    let mut seen: Option<HashSet<Address, RandomState>> =
        (found.len() > SHORT).then(HashSet::default);
    let mut out: Vec<Arc<Host>> = Vec::with_capacity(found.len());
    for Found { address, additional, info } in found {
        let twice = match &mut seen {
            Some(seen) => !seen.insert(address.clone()),
            None => out.iter().any(|host| host.address == address),
        };
        if twice {
            continue;
        }
        let host = match before(&address) {
            Some(host) if host.additional == additional && host.info == info => Arc::clone(host),
            Some(host) if host.additional == additional && keeps(&host.info, &info) => {
                Arc::new(host.renewed(info))
            }
            _ => Arc::new(Host { additional, ..Host::new(address, info, checked) }),
        };
        out.push(host);
    }
    out
}

/// Whether a host of which `old` was known is the same host with `new`: connections to it, and
/// checks of it, are what they would be anyway.
fn keeps(old: &HostTemplate, new: &HostTemplate) -> bool {
    let HostTemplate {
        hostname,
        health_port,
        health_hostname,
        health_address,
        no_active_check,
        locality,
        // No connection in plain text outlives the change to TLS.
        socket,
        // What may change.
        weight: _,
        priority: _,
        eds_health: _,
        canary: _,
        workload: _,
        internal,
    } = old;
    *hostname == new.hostname
        && *health_port == new.health_port
        && *health_hostname == new.health_hostname
        && *health_address == new.health_address
        && *no_active_check == new.no_active_check
        && *locality == new.locality
        && *socket == new.socket
        && *internal == new.internal
}
