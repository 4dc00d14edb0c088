//! Judges what istiod sends, resource by resource: dumps of `/config_dump` and bootstraps.
//!
//! Every resource is put into a bootstrap of its own, with the clusters and the ADS stream that
//! Istio's bootstrap has, and goes the way of a configuration file: schema, rules, compiler.

use anyhow::{Context, Result};
use ringway::config::load_text;
use ringway::observe::stats::Registry;
use ringway_xds::Format;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What was judged.
#[derive(Debug, Default)]
pub struct Report {
    /// Dumps, in order.
    dumps: Vec<String>,
    /// By kind of resource and dump: taken, all, taken without what is asked for.
    counts: BTreeMap<&'static str, BTreeMap<String, (usize, usize, usize)>>,
    /// By what is refused: in how many resources of which dump.
    refused: BTreeMap<String, BTreeMap<String, usize>>,
    /// Bootstraps and what of each is refused.
    bootstraps: Vec<(String, Vec<String>)>,
}

/// The type, what a page calls it, and what puts one into a bootstrap.
type ResourceKind = (&'static str, &'static str, fn(Value) -> Value);

/// Kinds of resources: the type, what a page calls them, and how one is put into a bootstrap.
const KINDS: [ResourceKind; 5] = [
    ("envoy.config.cluster.v3.Cluster", "clusters", |cluster| {
        bootstrap(json!([cluster]), json!([]), json!([]))
    }),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment", "endpoints", |mut assignment| {
        let name = ["clusterName", "cluster_name"].iter().find_map(|key| assignment.get(key));
        let name = name.cloned().unwrap_or_default();
        strip_type(&mut assignment);
        let cluster = json!({ "name": name, "type": "STATIC", "load_assignment": assignment });
        bootstrap(json!([cluster]), json!([]), json!([]))
    }),
    ("envoy.config.listener.v3.Listener", "listeners", |listener| {
        bootstrap(json!([]), json!([listener]), json!([]))
    }),
    ("envoy.config.route.v3.RouteConfiguration", "routes", routes),
    ("envoy.extensions.transport_sockets.tls.v3.Secret", "secrets", |secret| {
        bootstrap(json!([]), json!([]), json!([secret]))
    }),
];

/// No field begins with this.
const NOTHING: &str = "\n";

/// What makes a bootstrap of a resource.
const AROUND: &str = "dynamic_resources.";

/// Extensions that a mesh has only where its operator asks for them: resources are judged without
/// them, too.
const ASKED_FOR: [&str; 9] = [
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
    "envoy.extensions.filters.http.compressor.v3.Compressor",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
];

/// Judges all dumps and bootstraps of a folder.
///
/// # Errors
/// Data that cannot be read.
pub fn judge(folder: &Path) -> Result<Report> {
    let mut report = Report::default();
    for (name, dump) in files(folder, "istiod-dump-")? {
        let name = name.trim_start_matches("istiod-dump-").trim_end_matches(".json").to_owned();
        let configs = dump.get("configs").and_then(Value::as_array).cloned().unwrap_or_default();
        // A bootstrap's own resources are judged with it.
        let is_bootstrap = |config: &Value| type_of(config) == "envoy.admin.v3.BootstrapConfigDump";
        for config in configs.iter().filter(|config| !is_bootstrap(config)) {
            resources(config, &mut |kind, resource| report.resource(&name, kind, resource));
        }
        if let Some(config) = configs.into_iter().find(is_bootstrap)
            && let Some(bootstrap) = config.get("bootstrap")
        {
            report.bootstraps.push((format!("dump of {name}"), findings(bootstrap, NOTHING)));
        }
        report.dumps.push(name);
    }
    for (name, bootstrap) in files(&folder.join("bootstrap"), "")? {
        let name = name.trim_end_matches("_golden.json").to_owned();
        report.bootstraps.push((name, findings(&bootstrap, NOTHING)));
    }
    Ok(report)
}

/// The JSON documents of a folder whose names begin so, in order.
fn files(folder: &Path, prefix: &str) -> Result<Vec<(String, Value)>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(".json") {
            let text = std::fs::read_to_string(entry.path())?;
            out.push((name, serde_json::from_str(&text)?));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// The type an Any names.
fn type_of(value: &Value) -> &str {
    let url = value.get("@type").and_then(Value::as_str).unwrap_or_default();
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

fn strip_type(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.remove("@type");
    }
}

/// Every resource in there, but not the parts of one.
fn resources(value: &Value, found: &mut impl FnMut(usize, &Value)) {
    if let Some(kind) = KINDS.iter().position(|(name, ..)| *name == type_of(value)) {
        return found(kind, value);
    }
    match value {
        // What is static comes from the bootstrap, and is judged with it.
        Value::Object(map) => {
            let dynamic = map.iter().filter(|(key, _)| !key.starts_with("static"));
            dynamic.for_each(|(_, value)| resources(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| resources(value, found)),
        _ => {}
    }
}

/// Takes out what is [`ASKED_FOR`], tracing, and faults of routes.
fn strip(value: &mut Value) {
    let asked_for = |value: &Value| {
        ["typedConfig", "typed_config"].iter().filter_map(|key| value.get(key)).any(|any| {
            let inner = ["typeUrl", "type_url"].iter().find_map(|key| any.get(key)?.as_str());
            let inner =
                inner.map_or_else(|| type_of(any), |url| url.rsplit('/').next().unwrap_or(url));
            ASKED_FOR.contains(&inner)
        })
    };
    match value {
        Value::Object(map) => {
            map.remove("tracing");
            for key in ["typedPerFilterConfig", "typed_per_filter_config"] {
                if let Some(filters) = map.get_mut(key).and_then(Value::as_object_mut) {
                    filters.remove("envoy.filters.http.fault");
                }
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => {
            list.retain(|value| !asked_for(value));
            list.iter_mut().for_each(strip);
        }
        _ => {}
    }
}

const INTERNAL: &str = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.\
                        InternalListener";

/// A bootstrap as Istio's, with these resources.
fn bootstrap(clusters: Value, mut listeners: Value, mut secrets: Value) -> Value {
    let mut all = vec![backend("xds-grpc"), backend("sds-grpc")];
    for mut cluster in clusters.as_array().cloned().unwrap_or_default() {
        strip_type(&mut cluster);
        // A dump of a running proxy has the bootstrap's own clusters, too.
        all.retain(|known| known.get("name") != cluster.get("name"));
        all.push(cluster);
    }
    for list in [&mut listeners, &mut secrets] {
        list.as_array_mut().into_iter().flatten().for_each(strip_type);
    }
    json!({
        "node": { "id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "cluster": "a.b" },
        "dynamic_resources": { "ads_config": {
            "api_type": "DELTA_GRPC", "transport_api_version": "V3",
            "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds-grpc" } } ],
        } },
        "bootstrap_extensions": [ {
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": { "@type": INTERNAL },
        } ],
        "static_resources": { "clusters": all, "listeners": listeners, "secrets": secrets },
    })
}

fn backend(name: &str) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.\
                          HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "load_assignment": { "cluster_name": name, "endpoints": [ { "lb_endpoints": [ {
            "endpoint": { "address": { "pipe": { "path": "./XDS" } } },
        } ] } ] },
    })
}

/// A route table where it would come to by RDS: nobody checks there whether its clusters exist.
fn routes(mut table: Value) -> Value {
    const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
    strip_type(&mut table);
    if let Some(map) = table.as_object_mut() {
        map.remove("validateClusters");
        map.insert("validate_clusters".into(), json!(false));
    }
    let manager = json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s", "route_config": table,
        "http_filters": [ { "name": "r", "typed_config": {
            "@type": format!("{FILTERS}.http.router.v3.Router"),
        } } ],
    });
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let listener = json!({
        "name": "l", "address": address,
        "filter_chains": [ { "filters": [ { "name": "h", "typed_config": manager } ] } ],
    });
    bootstrap(json!([]), json!([listener]), json!([]))
}

/// What is wrong with a bootstrap: field and message, without what differs from resource to
/// resource, and without what is wrong `around` a resource.
fn findings(bootstrap: &Value, around: &str) -> Vec<String> {
    let text = bootstrap.to_string();
    match load_text(&text, "resource", Format::Json, 2, &mut Registry::new(4)) {
        Ok(_) => Vec::new(),
        Err(found) => {
            let errors = found.0.iter().filter(|found| found.is_error());
            let errors = errors.filter(|found| !found.path.starts_with(around));
            let lines =
                errors.map(|found| format!("`{}`: {}", general(&found.path), found.message));
            let lines: BTreeSet<String> = lines.collect();
            lines.into_iter().collect()
        }
    }
}

/// A path without indices, and without what only says where the resource was put.
fn general(path: &str) -> String {
    let mut out = String::new();
    for (index, part) in path.split('[').enumerate() {
        match part.split_once(']').filter(|_| index > 0) {
            Some((inside, rest)) if inside.bytes().all(|b| b.is_ascii_digit()) => {
                out.push_str("[]");
                out.push_str(rest);
            }
            Some((inside, rest)) => {
                let _ = write!(out, "[{inside}]{rest}");
            }
            None => out.push_str(part),
        }
    }
    const TABLE: &str = "static_resources.listeners[].filter_chains[].filters[].typed_config.\
                         route_config.";
    for (before, after) in [
        (TABLE, "route."),
        ("static_resources.clusters[].load_assignment.", "assignment."),
        ("static_resources.listeners[].", "listener."),
        ("static_resources.clusters[].", "cluster."),
        ("static_resources.secrets[].", "secret."),
        ("filter_chains[].", "chain."),
        ("default_filter_chain.", "chain."),
    ] {
        out = out.replace(before, after);
    }
    out
}

impl Report {
    fn resource(&mut self, dump: &str, kind: usize, resource: &Value) {
        let Some((_, kind, wrap)) = KINDS.get(kind) else { return };
        let found = findings(&wrap(resource.clone()), AROUND);
        let mut plain = resource.clone();
        strip(&mut plain);
        let plain = findings(&wrap(plain), AROUND);
        let counts = self.counts.entry(kind).or_default().entry(dump.to_owned()).or_default();
        counts.0 += usize::from(found.is_empty());
        counts.1 += 1;
        counts.2 += usize::from(plain.is_empty());
        for line in found {
            *self.refused.entry(line).or_default().entry(dump.to_owned()).or_default() += 1;
        }
    }

    /// The page for people.
    #[must_use]
    pub fn page(&self) -> String {
        let mut out = String::from(HEAD);
        let names = self.dumps.join(" | ");
        let rule = "|---".repeat(self.dumps.len() + 1);
        let _ = writeln!(out, "\n| resources | {names} |\n{rule}|");
        for (kind, counts) in &self.counts {
            let each = self.dumps.iter().map(|dump| {
                let (taken, all, plain) = counts.get(dump).copied().unwrap_or_default();
                match (all, taken == plain) {
                    (0, _) => String::new(),
                    (_, true) => format!("{taken}/{all}"),
                    (_, false) => format!("{taken}/{all} ({plain})"),
                }
            });
            let _ = writeln!(out, "| {kind} | {} |", each.collect::<Vec<_>>().join(" | "));
        }
        let _ = writeln!(out, "\n## What is refused\n\n| field | {names} |\n{rule}|");
        let mut lines: Vec<_> = self.refused.iter().collect();
        lines.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.values().sum::<usize>()));
        for (line, counts) in lines {
            let each = self
                .dumps
                .iter()
                .map(|dump| counts.get(dump).map_or_else(String::new, usize::to_string));
            let line = line.replace('|', "\\|");
            let _ = writeln!(out, "| {line} | {} |", each.collect::<Vec<_>>().join(" | "));
        }
        let _ = writeln!(out, "\n## Bootstraps\n");
        for (name, found) in &self.bootstraps {
            let verdict = if found.is_empty() { "taken" } else { "refused" };
            let _ = writeln!(out, "- {name}: {verdict}");
            for line in found {
                let _ = writeln!(out, "  - {line}");
            }
        }
        out
    }
}

const HEAD: &str = "\
# What of Istio's configuration is taken

Ringway stands where `istio-proxy` stands. This page lists what it takes of what istiod (Istio 1.30)
sends to a sidecar, a gateway (router) and a waypoint with nearly every feature of Istio in use:
dumps of all resources, judged one by one. What is not taken is refused by name (a NACK that names
field and type); nothing is accepted and ignored. `tests/golden/istio.rs` writes this page and holds
it right.

Taken / all; in brackets: taken where the operator of the mesh asked for no authorization policy, no
rate limit, no tracing, no fault injection and no log server.
";
