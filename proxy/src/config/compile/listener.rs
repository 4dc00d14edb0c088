//! `Listener` and `FilterChain`.

use std::sync::Arc;

use prost::Message;
use ringway_xds::api::envoy::config::listener::v3 as api;
use xxhash_rust::xxh64::xxh64;

use super::address::{address, ipv4_compat, keepalive, socket_options};
use super::at::At;
use super::cx::Cx;
use super::scalar::type_name;
use super::set::refuse;
use super::{access_log, filter_chain};
use crate::observe::stats::{ListenerStats, WorkerListenerStats};
use crate::plan::listener::FilterChain;
use crate::plan::{Address, Listener};

/// `per_connection_buffer_limit_bytes` where nothing is said.
pub(crate) const BUFFER_LIMIT_DEFAULT: u32 = 1 << 20;

/// Compiles a listener; `None` where an error was recorded that leaves nothing to listen with.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    listener: &api::Listener,
) -> Option<Arc<Listener>> {
    check(cx, at, listener);
    #[rustfmt::skip]
    let api::Listener {
        name, address: main_address, additional_addresses, stat_prefix, filter_chains,
        default_filter_chain, per_connection_buffer_limit_bytes, drain_type, listener_filters,
        transparent, freebind, socket_options: options, traffic_direction, enable_reuse_port,
        access_log, tcp_backlog_size, max_connections_to_accept_per_socket_event, bind_to_port,
        tcp_keepalive, listener_specifier,
        ..
    } = listener;
    if let Some(api::listener::ListenerSpecifier::InternalListener(_)) = listener_specifier {
        cx.unsupported(&at.field("internal_listener"));
        return None;
    }
    listener_filters_of(cx, at, listener_filters);
    let (addresses, ipv4_compat) = addresses(cx, at, main_address.as_ref(), additional_addresses);
    let main = addresses.first().map(ToString::to_string).unwrap_or_default();
    let stat_prefix = stat_name(stat_prefix, &main);
    let chains = Chains {
        list: filter_chains,
        default: default_filter_chain.as_ref(),
        // UDP and the matcher tree are refused already; neither has chains as others have them.
        checked: listener.filter_chain_matcher.is_none() && !addresses.is_empty(),
    };
    let chains = filter_chains_of(cx, at, &chains, &stat_prefix);
    let access_logs = access_log::compile(cx, &at.field("access_log"), access_log);
    let socket_options = socket_options(cx, &at.field("socket_options"), options);
    let workers = 0..cx.shards;
    let worker = |cx: &mut Cx<'_>, n| {
        WorkerListenerStats::new(cx.registry, &stat_prefix, &format!("worker_{n}"))
    };
    let listener = Listener {
        name: if name.is_empty() { Arc::from(main) } else { Arc::from(name.as_str()) },
        stats: ListenerStats::new(cx.registry, &stat_prefix),
        workers: workers.map(|n| worker(cx, n)).collect(),
        stat_prefix,
        addresses,
        ipv4_compat,
        buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT_DEFAULT),
        bind_to_port: bind_to_port.unwrap_or(true),
        reuse_port: enable_reuse_port.unwrap_or(true),
        backlog: *tcp_backlog_size,
        socket_options,
        tcp_keepalive: keepalive(tcp_keepalive.as_ref()),
        transparent: transparent.unwrap_or_default(),
        freebind: freebind.unwrap_or_default(),
        max_accept: *max_connections_to_accept_per_socket_event,
        direction: *traffic_direction,
        drain_modify_only: *drain_type == api::listener::DrainType::ModifyOnly as i32,
        chains,
        access_logs,
        hash: xxh64(&listener.encode_to_vec(), 0),
    };
    (!listener.addresses.is_empty() && !listener.chains.is_empty()).then(|| Arc::new(listener))
}

/// Names every field: refused here, read elsewhere, or of no effect.
fn check(cx: &mut Cx<'_>, at: &At<'_>, listener: &api::Listener) {
    #[rustfmt::skip]
    let api::Listener {
        // Refused.
        stats_matcher, fcds_config, filter_chain_matcher, use_original_dst,
        per_connection_buffer_high_watermark_timeout, deprecated_v1, tcp_fast_open_queue_length,
        udp_listener_config, api_listener, connection_balance_config, enable_mptcp,
        // Read by `compile`.
        name: _, address: _, additional_addresses: _, stat_prefix: _, filter_chains: _,
        default_filter_chain: _, per_connection_buffer_limit_bytes: _, drain_type: _,
        listener_filters: _, transparent: _, freebind: _, socket_options: _, traffic_direction: _,
        enable_reuse_port: _, access_log: _, tcp_backlog_size: _,
        max_connections_to_accept_per_socket_event: _, bind_to_port: _, tcp_keepalive: _,
        listener_specifier: _,
        // Read by extensions and access-log operators that are refused where they are asked for.
        metadata: _,
        // Limits listener filters, and there are none.
        listener_filters_timeout: _, continue_on_listener_filters_timeout: _,
        // Deprecated and without effect in Envoy; `enable_reuse_port` counts.
        reuse_port: _,
        // Both exempt the listener from limits of an overload manager, which is refused.
        ignore_global_conn_limit: _, bypass_overload_manager: _,
    } = listener;
    let use_original_dst = use_original_dst.unwrap_or_default();
    refuse!(cx, at, stats_matcher, fcds_config, filter_chain_matcher, use_original_dst);
    refuse!(cx, at, per_connection_buffer_high_watermark_timeout);
    refuse!(cx, at, deprecated_v1, tcp_fast_open_queue_length, udp_listener_config, api_listener);
    refuse!(cx, at, connection_balance_config, enable_mptcp);
}

/// `listener.<this>.`: `stat_prefix`, or the address with `_` for `:`.
fn stat_name(prefix: &str, address: &str) -> Arc<str> {
    let name = if prefix.is_empty() { address } else { prefix };
    Arc::from(name.replace(':', "_"))
}

fn addresses(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    main: Option<&ringway_xds::api::envoy::config::core::v3::Address>,
    additional: &[api::AdditionalAddress],
) -> (Vec<Address>, Vec<bool>) {
    let mut out: Vec<Address> = address(cx, &at.field("address"), main).into_iter().collect();
    let mut compat = vec![ipv4_compat(main)];
    for (index, more) in additional.iter().enumerate() {
        let at = at.field("additional_addresses");
        let at = at.index(index);
        let api::AdditionalAddress { address: more, socket_options, tcp_keepalive } = more;
        refuse!(cx, &at, socket_options, tcp_keepalive);
        compat.push(ipv4_compat(more.as_ref()));
        let more = address(cx, &at.field("address"), more.as_ref());
        let any_port = matches!(more, Some(Address::Ip(ip)) if ip.port() == 0);
        if !any_port && more.as_ref().is_some_and(|more| out.contains(more)) {
            cx.invalid(&at.field("address"), "the listener has this address already");
        }
        out.extend(more);
    }
    (out, compat)
}

fn listener_filters_of(cx: &mut Cx<'_>, at: &At<'_>, filters: &[api::ListenerFilter]) {
    for (index, filter) in filters.iter().enumerate() {
        let at = at.field("listener_filters");
        let at = at.index(index);
        // Refused as a whole, so nothing inside can be ignored.
        let api::ListenerFilter { name, filter_disabled: _, config_type } = filter;
        match config_type {
            Some(api::listener_filter::ConfigType::TypedConfig(any)) => {
                cx.unsupported_value(&at.field("typed_config"), type_name(&any.type_url));
            }
            Some(api::listener_filter::ConfigType::ConfigDiscovery(_)) => {
                cx.unsupported(&at.field("config_discovery"));
            }
            None => missing_type(cx, &at, name),
        }
    }
}

/// Envoy finds extensions by the type of their configuration only.
pub(crate) fn missing_type(cx: &mut Cx<'_>, at: &At<'_>, name: &str) {
    let message = format!(
        "didn't find a registered implementation for '{name}' with type URL: '': \
         typed_config is missing"
    );
    cx.invalid(at, message);
}

/// The filter chains of a listener.
struct Chains<'a> {
    list: &'a [api::FilterChain],
    default: Option<&'a api::FilterChain>,
    checked: bool,
}

/// What a chain matches; nothing said and nothing set are the same.
pub(super) fn rules_of(chain: &api::FilterChain) -> Option<&api::FilterChainMatch> {
    chain.filter_chain_match.as_ref().filter(|rules| **rules != api::FilterChainMatch::default())
}

fn filter_chains_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    chains: &Chains<'_>,
    stat_prefix: &str,
) -> Vec<Arc<FilterChain>> {
    let Chains { list: chains, default, checked } = *chains;
    let chains_at = at.field("filter_chains");
    if chains.is_empty() && default.is_none() && checked {
        cx.invalid(&chains_at, "no filter chains specified");
    }
    let mut out = Vec::with_capacity(chains.len());
    for (index, chain) in chains.iter().enumerate() {
        let at = chains_at.index(index);
        let mut earlier = chains.iter().take(index);
        if let Some(other) = earlier.find(|other| rules_of(other) == rules_of(chain))
            && checked
        {
            let message = format!(
                "filter chain '{}' has the same matching rules defined as '{}'",
                chain.name, other.name
            );
            cx.invalid(&at, message);
        }
        out.extend(filter_chain::compile(cx, &at, chain, stat_prefix).map(Arc::new));
    }
    // Takes what no other chain takes, so it comes last.
    let at = at.field("default_filter_chain");
    if let Some(chain) = default {
        // Envoy does not look at what it matches.
        let chain = api::FilterChain { filter_chain_match: None, ..chain.clone() };
        out.extend(filter_chain::compile(cx, &at, &chain, stat_prefix).map(Arc::new));
    }
    out
}
