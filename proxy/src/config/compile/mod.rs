//! Envoy's messages to the plan: pure, but for the slots of statistics it asks for and the files
//! that a field names.
//!
//! Every message is taken apart field by field, so that a field cannot be forgotten: it is acted
//! on, or refused if it is set ([`set::refuse`]), or let be with a comment that says why it changes
//! nothing here. A second pattern with `..` only follows one without. All findings of one run are
//! collected.

// Envoy takes its deprecated fields, and so do we; whoever reads the file warns of them.
#![allow(deprecated)]

pub(crate) mod access_log;
mod address;
mod assignment;
mod at;
mod bootstrap;
mod breakers;
mod chain_match;
mod cluster;
mod compiler;
mod cx;
mod discovery;
mod endpoints;
mod extension;
mod filter_chain;
mod forwarding;
mod grpc_log;
pub(crate) mod headers;
mod health;
mod http;
mod http1;
mod http2;
mod http_filters;
pub(crate) mod istio;
mod lb;
mod listener;
mod listener_filters;
mod local_reply;
mod log_filter;
mod on_demand;
mod otlp_log;
mod outlier;
mod overload;
mod per_filter;
mod proxy_protocol;
pub(crate) mod re2;
mod redirect;
mod retry;
mod route;
mod route_match;
mod route_table;
pub(crate) mod scalar;
mod scoped;
pub(crate) mod set;
mod sockets;
pub(crate) mod source;
mod stats;
mod tcp_proxy;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upgrade;
mod upstream_http;
mod weighted;

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use ringway_xds::api::envoy::config::bootstrap::v3 as api;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3::Secret;

pub(crate) use at::At;
pub(crate) use cx::Cx;

pub use assignment::Assignment;
pub(crate) use bootstrap::runtime_key_is_refused;
pub use bootstrap::{Dynamic, RtdsLayer};
pub use compiler::{Compiler, Taken, reasons};
pub use cx::{Invalid, Kind};
pub(crate) use on_demand::compile as on_demand_clusters;
pub use tls::SecretStore;

use super::{Admin, Node};
use crate::observe::stats::Registry;
use crate::plan::{Address, Listener, Plan};

/// A bootstrap, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What shards work by.
    pub plan: Plan,
    /// Where admin listens; `None` without `admin`.
    pub admin: Option<Admin>,
    /// Who we are.
    pub node: Node,
    /// `stats_flush_interval`, default 5 s.
    pub stats_flush_interval: Duration,
    /// What comes later, and from where.
    pub dynamic: Dynamic,
    /// `application_log_config.log_format`
    pub log_format: Option<String>,
    /// Compiles what comes later.
    pub compiler: Compiler,
}

impl Compiler {
    /// Compiles the bootstrap, which is the first thing it is given. Names of statistics go into
    /// `registry`, which [`Compiler::own`] takes for all that comes later.
    ///
    /// Answers what it came to, if nothing is wrong, and all findings, warnings among them.
    pub fn bootstrap(
        mut self,
        bootstrap: &api::Bootstrap,
        registry: &mut Registry,
    ) -> (Option<Compiled>, Vec<Invalid>) {
        use api::runtime_layer::LayerSpecifier;
        let layers = bootstrap.layered_runtime.as_ref().map_or(&[][..], |layers| &layers.layers);
        for layer in layers {
            let values = match &layer.layer_specifier {
                Some(LayerSpecifier::StaticLayer(values)) => values.clone(),
                // Empty until they are filled, and they keep their place.
                _ => prost_types::Struct::default(),
            };
            self.put_layer(&layer.name, values);
        }
        std::mem::swap(&mut self.registry, registry);
        let (parts, findings, _) = self.with(|cx| all_of(cx, bootstrap));
        std::mem::swap(&mut self.registry, registry);
        if findings.iter().any(|finding| finding.kind != Kind::Warning) {
            return (None, findings);
        }
        let (bootstrap::Rest { node, admin, stats_flush_interval, dynamic, log_format }, plan) =
            parts;
        let compiler = self;
        let compiled =
            Compiled { plan, admin, node, stats_flush_interval, dynamic, log_format, compiler };
        (Some(compiled), findings)
    }
}

/// Everything in a bootstrap.
fn all_of(cx: &mut Cx<'_>, bootstrap: &api::Bootstrap) -> (bootstrap::Rest, Plan) {
    cx.kept.local = Arc::new(istio::local(bootstrap.node.as_ref()));
    bootstrap::check_runtime(cx, bootstrap);
    bootstrap::primary_clusters(cx, bootstrap);
    let rest = bootstrap::compile(cx, bootstrap);
    let empty = api::bootstrap::StaticResources::default();
    let resources = bootstrap.static_resources.as_ref().unwrap_or(&empty);
    let api::bootstrap::StaticResources { listeners, clusters, secrets } = resources;
    let root = At::root();
    let at = root.field("static_resources");
    define_secrets(cx, &at.field("secrets"), secrets);
    let manager = bootstrap.cluster_manager.as_ref();
    cx.kept.bind = manager.and_then(|manager| manager.upstream_bind_config.clone());
    let mut compiled = Vec::with_capacity(clusters.len());
    let clusters_at = at.field("clusters");
    for (index, cluster) in clusters.iter().enumerate() {
        let at = clusters_at.index(index);
        match cx.define_cluster(&cluster.name) {
            Some(name) => compiled.extend(cluster::compile(cx, &at, name, cluster)),
            None => {
                let message = format!("cluster manager: duplicate cluster '{}'", cluster.name);
                cx.invalid(&at.field("name"), message);
            }
        }
    }
    let listeners = listeners_of(cx, &at.field("listeners"), listeners);
    let names = &cx.kept.names;
    let mut placed = vec![None; names.capacity()];
    for cluster in compiled {
        if let Some(place) = placed.get_mut(cluster.id.0 as usize) {
            *place = Some(cluster);
        }
    }
    let cluster_ids = names.iter().map(|name| (Arc::clone(&name.name), name.id)).collect();
    let plan = Plan { version: 1, listeners, clusters: placed, cluster_ids, ..Plan::default() };
    (rest, plan)
}

/// Secrets of the bootstrap are looked up by name; each is read where it is used.
fn define_secrets(cx: &mut Cx<'_>, at: &At<'_>, secrets: &[Secret]) {
    for (index, secret) in secrets.iter().enumerate() {
        if !cx.secrets.define(secret) {
            let message = format!("Duplicate static secret name {}", secret.name);
            cx.invalid(&at.index(index).field("name"), message);
        }
    }
}

fn listeners_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[ringway_xds::api::envoy::config::listener::v3::Listener],
) -> Vec<Arc<Listener>> {
    let mut out: Vec<Arc<Listener>> = Vec::with_capacity(list.len());
    let mut addresses: HashSet<Address, RandomState> = HashSet::default();
    for (index, config) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(listener) = listener::compile(cx, &at, config) else { continue };
        if out.iter().any(|other| other.name == listener.name) {
            // Envoy keeps the first and says so in its log.
            let message =
                format!("there is a listener '{}' already; this one is ignored", listener.name);
            cx.warn(&at.field("name"), message);
            continue;
        }
        for address in &listener.addresses {
            let any_port = matches!(address, Address::Ip(ip) if ip.port() == 0);
            if listener.bind_to_port && !any_port && !addresses.insert(address.clone()) {
                let message = format!(
                    "error adding listener: '{}' has duplicate address '{address}' as existing \
                     listener",
                    listener.name
                );
                cx.invalid(&at.field("address"), message);
            }
        }
        out.push(listener);
    }
    out
}
