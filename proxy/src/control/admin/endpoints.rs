//! The hosts of a cluster as an `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use super::write_address;
use crate::control::json::Json;
use crate::plan::HostSet;
use crate::plan::cluster::{Cluster, EdsHealth, Host, HostState};

/// The assignment as JSON at depth 0: a group per locality and priority, in the order in which
/// they first appear.
pub(super) fn assignment(cluster: &Cluster, set: &HostSet) -> String {
    let mut groups: Vec<(&Host, Vec<&Host>)> = Vec::new();
    for host in &set.hosts {
        let same = |first: &Host| {
            first.info.locality == host.info.locality && first.info.priority == host.info.priority
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, hosts)) => hosts.push(host),
            None => groups.push((host, vec![host])),
        }
    }
    let mut json = Json::new();
    json.object().key("cluster_name").string(&cluster.name);
    if !groups.is_empty() {
        json.key("endpoints").array();
        for (first, hosts) in &groups {
            group(set, first, hosts, &mut json);
        }
        json.end_array();
    }
    json.key("policy").object();
    if let Some(drop) = &set.drop {
        json.key("drop_overloads").array().object().key("category").string(&drop.category);
        json.key("drop_percentage").object();
        json.key("numerator").value((drop.ratio * 1_000_000.0) as u32);
        json.key("denominator").string("MILLION").end_object().end_object().end_array();
    }
    json.key("overprovisioning_factor").value(set.overprovisioning_percent);
    json.end_object().end_object();
    json.finish()
}

fn group(set: &HostSet, first: &Host, hosts: &[&Host], json: &mut Json) {
    json.object().key("locality").object();
    let (region, zone, sub_zone) = &*first.info.locality;
    for (name, value) in [("region", region), ("zone", zone), ("sub_zone", sub_zone)] {
        if !value.is_empty() {
            json.key(name).string(value);
        }
    }
    json.end_object().key("lb_endpoints").array();
    for host in hosts {
        endpoint(host, json);
    }
    json.end_array();
    let localities = set.localities.as_deref();
    let weight = localities.map_or(0, |l| l.of(first.info.priority, &first.info.locality));
    json.key("load_balancing_weight").value(weight);
    if first.info.priority != 0 {
        json.key("priority").value(first.info.priority);
    }
    json.end_object();
}

fn endpoint(host: &Host, json: &mut Json) {
    json.object().key("endpoint").object().key("address");
    write_address(json, &host.current_address());
    json.key("health_check_config").object();
    if let Some(port) = host.info.health_port {
        json.key("port_value").value(port);
    }
    if !host.info.health_hostname.is_empty() {
        json.key("hostname").string(&host.info.health_hostname);
    }
    json.end_object();
    if !host.info.hostname.is_empty() {
        json.key("hostname").string(&host.info.hostname);
    }
    json.end_object().key("health_status").string(health(host));
    json.key("load_balancing_weight").value(host.info.weight).end_object();
}

/// What the host counts as now: its bits, then what was configured.
fn health(host: &Host) -> &'static str {
    let flags = host.state.flags();
    let failed = HostState::FAILED_ACTIVE_HC | HostState::FAILED_OUTLIER | HostState::FAILED_EDS;
    if flags & HostState::EDS_DRAINING != 0 {
        "DRAINING"
    } else if flags & failed != 0 {
        "UNHEALTHY"
    } else if flags & (HostState::DEGRADED_ACTIVE_HC | HostState::DEGRADED_EDS) != 0 {
        "DEGRADED"
    } else {
        match host.info.eds_health {
            EdsHealth::Healthy => "HEALTHY",
            EdsHealth::Unhealthy => "UNHEALTHY",
            EdsHealth::Draining => "DRAINING",
            EdsHealth::Degraded => "DEGRADED",
        }
    }
}
