//! `/clusters`: limits and hosts of every cluster, made one cluster at a time while the client
//! reads.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use regex::Regex;

use super::page::{JSON, Request, Response, TEXT};
use super::{Admin, View, regex_filter, write_address};
use crate::control::json::Json;
use crate::plan::cluster::{Cluster, EdsHealth, Host, HostState, Thresholds};

/// Text: a line per value; JSON: `envoy.admin.v3.Clusters`.
pub(super) fn clusters(request: &Request, admin: &Admin) -> Response {
    let filter = match request.params.non_empty("filter").map(regex_filter::compile) {
        None => None,
        Some(Ok(regex)) => Some(regex),
        Some(Err(_)) => return Response::error(400, "Invalid re2 regex"),
    };
    let walk = Walk { view: admin.view(), filter, next: 0 };
    if request.params.first("format") == Some("json") {
        let pieces = JsonPieces { walk, json: Json::new(), place: Place::Before };
        return Response::pieces(JSON, pieces);
    }
    Response::pieces(TEXT, walk.map(|(cluster, hosts)| as_text(&cluster, &hosts)))
}

/// The clusters a filter lets through, with the hosts they have now.
struct Walk {
    view: Rc<View>,
    filter: Option<Regex>,
    next: usize,
}

impl Iterator for Walk {
    type Item = (Arc<Cluster>, Vec<Arc<Host>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let cluster = self.view.plan.clusters.get(self.next)?;
            self.next += 1;
            let Some(cluster) = cluster else { continue };
            if self.filter.as_ref().is_none_or(|filter| filter.is_match(&cluster.name)) {
                return Some((cluster.clone(), self.view.hosts(cluster).hosts.clone()));
            }
        }
    }
}

const PRIORITIES: [(&str, Option<&str>); 2] = [("default", None), ("high", Some("HIGH"))];

fn limits(thresholds: &Thresholds) -> [(&'static str, u32); 4] {
    [
        ("max_connections", thresholds.max_connections),
        ("max_pending_requests", thresholds.max_pending),
        ("max_requests", thresholds.max_requests),
        ("max_retries", thresholds.max_retries),
    ]
}

fn as_text(cluster: &Cluster, hosts: &[Arc<Host>]) -> String {
    let name = &cluster.name;
    let mut out = String::with_capacity(1024 * (1 + hosts.len()));
    // Writing to a String cannot fail, here and below.
    let _infallible = writeln!(out, "{name}::observability_name::{}", cluster.stat_name);
    if cluster.outlier.is_some() {
        for figure in [
            "success_rate_average",
            "success_rate_ejection_threshold",
            "local_origin_success_rate_average",
            "local_origin_success_rate_ejection_threshold",
        ] {
            let _infallible = writeln!(out, "{name}::outlier::{figure}::-1");
        }
    }
    for ((priority, _), thresholds) in PRIORITIES.iter().zip(&cluster.circuit_breakers) {
        for (limit, value) in limits(thresholds) {
            let _infallible = writeln!(out, "{name}::{priority}_priority::{limit}::{value}");
        }
    }
    let _infallible = writeln!(out, "{name}::added_via_api::false");
    for host in hosts {
        host_text(name, host, &mut out);
    }
    out
}

fn host_text(cluster: &str, host: &Host, out: &mut String) {
    let address = &host.current_address();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _infallible = writeln!(out, "{cluster}::{address}::{name}::{value}");
    };
    let totals = host.pages.totals();
    line("cx_active", &totals.cx_active);
    line("cx_connect_fail", &totals.cx_connect_fail);
    line("cx_total", &totals.cx_total);
    line("rq_active", &totals.rq_active);
    line("rq_error", &totals.rq_error);
    line("rq_pending_active", &totals.rq_pending_active);
    line("rq_success", &totals.rq_success);
    line("rq_timeout", &totals.rq_timeout);
    line("rq_total", &totals.rq_total);
    let (region, zone, sub_zone) = &*host.info.locality;
    line("hostname", &host.info.hostname);
    line("health_flags", &health_flags(host.state.flags()));
    line("weight", &host.info.weight);
    line("region", region);
    line("zone", zone);
    line("sub_zone", sub_zone);
    line("canary", &host.info.canary);
    line("priority", &host.info.priority);
    line("success_rate", &-1);
    line("local_origin_success_rate", &-1);
}

/// Envoy's words for the bits of [`HostState`], in the order of the bits.
fn health_flags(flags: u32) -> String {
    const WORDS: [(u32, &str); 10] = [
        (HostState::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (HostState::FAILED_OUTLIER, "/failed_outlier_check"),
        (HostState::FAILED_EDS, "/failed_eds_health"),
        (HostState::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (HostState::DEGRADED_EDS, "/degraded_eds_health"),
        (HostState::PENDING_REMOVAL, "/pending_dynamic_removal"),
        (HostState::PENDING_ACTIVE_HC, "/pending_active_hc"),
        (HostState::EXCLUDED_IMMEDIATE, "/excluded_via_immediate_hc_fail"),
        (HostState::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (HostState::EDS_DRAINING, "/eds_status_draining"),
    ];
    if flags == 0 {
        return "healthy".to_owned();
    }
    WORDS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect()
}

/// Where [`JsonPieces`] stands.
enum Place {
    Before,
    Within,
    After,
}

struct JsonPieces {
    walk: Walk,
    json: Json,
    place: Place,
}

impl Iterator for JsonPieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let json = &mut self.json;
        match (&self.place, self.walk.next()) {
            (Place::After, _) => return None,
            (Place::Before, None) => {
                json.object().end_object();
                self.place = Place::After;
                return Some(std::mem::take(json).finish());
            }
            (Place::Before, Some((cluster, hosts))) => {
                json.object().key("cluster_statuses").array();
                as_json(&cluster, &hosts, json);
                self.place = Place::Within;
            }
            (Place::Within, Some((cluster, hosts))) => as_json(&cluster, &hosts, json),
            (Place::Within, None) => {
                json.end_array().end_object();
                self.place = Place::After;
                return Some(std::mem::take(json).finish());
            }
        }
        Some(json.take())
    }
}

fn as_json(cluster: &Cluster, hosts: &[Arc<Host>], json: &mut Json) {
    json.object().key("name").string(&cluster.name);
    if !hosts.is_empty() {
        json.key("host_statuses").array();
        for host in hosts {
            host_json(host, json);
        }
        json.end_array();
    }
    json.key("circuit_breakers").object().key("thresholds").array();
    for ((_, priority), thresholds) in PRIORITIES.iter().zip(&cluster.circuit_breakers) {
        json.object();
        if let Some(priority) = priority {
            json.key("priority").string(priority);
        }
        for (limit, value) in limits(thresholds) {
            json.key(limit).value(value);
        }
        json.end_object();
    }
    json.end_array().end_object();
    json.key("observability_name").string(&cluster.stat_name).end_object();
}

fn host_json(host: &Host, json: &mut Json) {
    json.object().key("address");
    write_address(json, &host.current_address());
    json.key("stats").array();
    let totals = host.pages.totals();
    for (name, value, gauge) in [
        ("cx_connect_fail", totals.cx_connect_fail, false),
        ("cx_total", totals.cx_total, false),
        ("rq_error", totals.rq_error, false),
        ("rq_success", totals.rq_success, false),
        ("rq_timeout", totals.rq_timeout, false),
        ("rq_total", totals.rq_total, false),
        ("cx_active", totals.cx_active, true),
        ("rq_active", totals.rq_active, true),
        ("rq_pending_active", totals.rq_pending_active, true),
    ] {
        json.object();
        if gauge {
            json.key("type").string("GAUGE");
        }
        if value != 0 {
            json.key("value").int64(value);
        }
        json.key("name").string(name).end_object();
    }
    json.end_array();
    health_json(host, json);
    json.key("weight").value(host.info.weight);
    if !host.info.hostname.is_empty() {
        json.key("hostname").string(&host.info.hostname);
    }
    if host.info.priority != 0 {
        json.key("priority").value(host.info.priority);
    }
    let (region, zone, sub_zone) = &*host.info.locality;
    json.key("locality").object();
    for (name, value) in [("region", region), ("zone", zone), ("sub_zone", sub_zone)] {
        if !value.is_empty() {
            json.key(name).string(value);
        }
    }
    json.end_object().end_object();
}

/// `envoy.admin.v3.HostHealthStatus`: only what is true, in the order of field numbers.
fn health_json(host: &Host, json: &mut Json) {
    let flags = host.state.flags();
    json.key("health_status").object();
    let bits = |json: &mut Json, names: &[(u32, &str)]| {
        for (_, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
            json.key(name).value(true);
        }
    };
    bits(
        json,
        &[
            (HostState::FAILED_ACTIVE_HC, "failed_active_health_check"),
            (HostState::FAILED_OUTLIER, "failed_outlier_check"),
        ],
    );
    json.key("eds_health_status").string(match host.info.eds_health {
        EdsHealth::Healthy => "HEALTHY",
        EdsHealth::Unhealthy => "UNHEALTHY",
        EdsHealth::Draining => "DRAINING",
        EdsHealth::Degraded => "DEGRADED",
    });
    bits(
        json,
        &[
            (HostState::DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
            (HostState::PENDING_REMOVAL, "pending_dynamic_removal"),
            (HostState::PENDING_ACTIVE_HC, "pending_active_hc"),
            (HostState::EXCLUDED_IMMEDIATE, "excluded_via_immediate_hc_fail"),
            (HostState::ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
        ],
    );
    json.end_object();
}
