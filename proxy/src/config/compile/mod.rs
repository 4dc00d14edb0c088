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
mod at;
mod bootstrap;
mod breakers;
mod chain_match;
mod cluster;
mod cx;
mod discovery;
mod endpoints;
mod filter_chain;
mod forwarding;
pub(crate) mod headers;
mod health;
mod http;
mod http1;
mod http2;
mod http_filters;
mod lb;
mod listener;
mod listener_filters;
mod local_reply;
mod log_filter;
mod outlier;
mod per_filter;
mod proxy_protocol;
mod re2;
mod redirect;
mod retry;
mod route;
mod route_match;
mod route_table;
pub(crate) mod scalar;
pub(crate) mod set;
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

pub use cx::{Invalid, Kind};
pub use tls::SecretStore;

use super::runtime::Runtime;
use super::{Admin, Node};
use crate::observe::stats::{Registry, ShardStats};
use crate::plan::source::ConfigSource;
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
    /// Secrets, and who uses them.
    pub secrets: SecretStore,
}

/// Compiles a bootstrap for `shards` shards.
///
/// Answers what it came to, if nothing is wrong, and all findings, warnings among them.
pub fn compile(
    bootstrap: &api::Bootstrap,
    registry: &mut Registry,
    shards: usize,
) -> (Option<Compiled>, Vec<Invalid>) {
    let mut runtime = Runtime::default();
    let layers = bootstrap.layered_runtime.as_ref().map_or(&[][..], |layers| &layers.layers);
    for layer in layers {
        if let Some(api::runtime_layer::LayerSpecifier::StaticLayer(values)) =
            &layer.layer_specifier
        {
            runtime.add_layer(values);
        }
    }
    let mut cx = Cx::new(&runtime, registry, shards);
    bootstrap::check_runtime(&mut cx, bootstrap);
    let rest = bootstrap::compile(&mut cx, bootstrap);
    let empty = api::bootstrap::StaticResources::default();
    let resources = bootstrap.static_resources.as_ref().unwrap_or(&empty);
    let api::bootstrap::StaticResources { listeners, clusters, secrets } = resources;
    let root = At::root();
    let at = root.field("static_resources");
    define_secrets(&mut cx, &at.field("secrets"), secrets);
    let bind = bootstrap.cluster_manager.as_ref().and_then(|m| m.upstream_bind_config.as_ref());
    let mut compiled = Vec::with_capacity(clusters.len());
    let clusters_at = at.field("clusters");
    for (index, cluster) in clusters.iter().enumerate() {
        let at = clusters_at.index(index);
        match cx.define_cluster(&cluster.name) {
            Some(name) => compiled.push(cluster::compile(&mut cx, &at, name, cluster, bind)),
            None => {
                let message = format!("cluster manager: duplicate cluster '{}'", cluster.name);
                cx.invalid(&at.field("name"), message);
            }
        }
    }
    let clusters = compiled;
    let listeners = listeners_of(&mut cx, &at.field("listeners"), listeners);
    let secrets = std::mem::take(&mut cx.secrets);
    let (names, findings) = cx.finish();
    if findings.iter().any(|finding| finding.kind != Kind::Warning) {
        return (None, findings);
    }
    let mut placed = vec![None; names.capacity()];
    for cluster in clusters.into_iter().flatten() {
        if let Some(place) = placed.get_mut(cluster.id.0 as usize) {
            *place = Some(cluster);
        }
    }
    let cluster_ids = names.iter().map(|name| (Arc::clone(&name.name), name.id)).collect();
    let plan = Plan { version: 1, listeners, clusters: placed, cluster_ids, ..Plan::default() };
    let bootstrap::Rest { node, admin, stats_flush_interval } = rest;
    (Some(Compiled { plan, admin, node, stats_flush_interval, secrets }), findings)
}

/// Secrets of the bootstrap are looked up by name; each is read where it is used.
fn define_secrets(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    secrets: &[Secret],
) {
    for (index, secret) in secrets.iter().enumerate() {
        if !cx.secrets.define(secret) {
            let message = format!("Duplicate static secret name {}", secret.name);
            cx.invalid(&at.index(index).field("name"), message);
        }
    }
}

/// Looks at the files of secrets, and takes those that have changed. Answers what was read, in
/// words, and what is wrong with the rest.
pub(crate) fn look_at_secrets(
    store: &mut SecretStore,
    registry: &mut Registry,
    stats: &ShardStats,
) -> (Vec<String>, Vec<Invalid>) {
    with_secrets(store, registry, |cx| tls::look(cx, stats))
}

/// Takes a secret that a source serves: fills every slot that waits for it there or has it. The
/// contexts that use one make their part of it with their next handshake.
///
/// # Errors
/// Why it is not taken; what was there before stays.
pub fn take_secret(
    store: &mut SecretStore,
    registry: &mut Registry,
    source: &ConfigSource,
    secret: &Secret,
    stats: &ShardStats,
) -> Result<(), Vec<Invalid>> {
    let accept = |cx: &mut Cx<'_>| tls::accept(cx, source, secret, stats);
    let ((), findings) = with_secrets(store, registry, accept);
    let taken = findings.iter().all(|finding| finding.kind == Kind::Warning);
    if taken { Ok(()) } else { Err(findings) }
}

/// Compiles something about secrets alone.
fn with_secrets<T>(
    store: &mut SecretStore,
    registry: &mut Registry,
    work: impl FnOnce(&mut Cx<'_>) -> T,
) -> (T, Vec<Invalid>) {
    let runtime = Runtime::default();
    let mut cx = Cx::new(&runtime, registry, 1);
    cx.secrets = std::mem::take(store);
    let done = work(&mut cx);
    *store = std::mem::take(&mut cx.secrets);
    let (_, findings) = cx.finish();
    (done, findings)
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
