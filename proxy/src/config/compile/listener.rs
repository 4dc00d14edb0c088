//! `Listener` and `FilterChain`.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use ringway_xds::api::envoy::config::core::v3::{SocketOptionsOverride, TrafficDirection};
use ringway_xds::api::envoy::config::listener::v3 as api;
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::address::{self, address, checked_ipv4_compat, keepalive, socket_options};
use super::at::At;
use super::cx::Cx;
use super::scalar::{duration, extension};
use super::set::refuse;
use super::{access_log, chain_match, filter_chain, listener_filters};
use crate::observe::stats::{ListenerStats, WorkerListenerStats};
use crate::plan::listener::{Direction, FilterChain, OwnOptions};
use crate::plan::{Address, Listener, Needs};

/// `per_connection_buffer_limit_bytes` where nothing is said.
pub(crate) const BUFFER_LIMIT_DEFAULT: u32 = 1 << 20;

/// `listener_filters_timeout` where nothing is said.
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// Compiles a listener; `None` where an error was recorded that leaves nothing to listen with.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    listener: &api::Listener,
) -> Option<Arc<Listener>> {
    check(cx, at, listener);
    #[rustfmt::skip]
    let api::Listener {
        name, address: main_address, additional_addresses, stat_prefix, freebind, bind_to_port,
        per_connection_buffer_limit_bytes, drain_type, transparent, socket_options: options,
        traffic_direction, enable_reuse_port, access_log, tcp_backlog_size, tcp_keepalive,
        max_connections_to_accept_per_socket_event, use_original_dst, listener_filters_timeout,
        continue_on_listener_filters_timeout, connection_balance_config,
        tcp_fast_open_queue_length, ignore_global_conn_limit,
        ..
    } = listener;
    let internal = is_internal(cx, at, listener);
    cx.direction = direction_of(*traffic_direction);
    let main = main_address.as_ref();
    let bound = (!internal).then(|| addresses(cx, at, main, additional_addresses));
    let (addresses, ipv4_compat, own_options) = bound.unwrap_or_default();
    let main = if internal { format!("envoy://{name}/") } else { first(&addresses) };
    let stat_prefix = stat_name(stat_prefix, &main);
    // UDP and the matcher tree are refused already; neither has chains as others have them.
    let checked = listener.filter_chain_matcher.is_none() && (internal || !addresses.is_empty());
    cx.needs = Needs::default();
    let chains = filter_chains_of(cx, at, listener, checked, &stat_prefix);
    let matcher = chain_match::compile(cx, at, listener);
    let filters = listener_filters::compile(cx, at, listener, &stat_prefix);
    let logs = access_log::compile(cx, &at.field("access_log"), access_log);
    let socket_options = socket_options(cx, &at.field("socket_options"), options);
    let hashes = hashes(listener, cx.runtime.digest());
    let listener = Listener {
        name: if name.is_empty() { Arc::from(main) } else { Arc::from(name.as_str()) },
        stats: ListenerStats::new(cx.registry, &stat_prefix),
        workers: workers(cx, &stat_prefix),
        stat_prefix,
        addresses,
        ipv4_compat,
        own_options,
        buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT_DEFAULT),
        bind_to_port: !internal && bind_to_port.unwrap_or(true),
        internal,
        reuse_port: enable_reuse_port.unwrap_or(true),
        fast_open: *tcp_fast_open_queue_length,
        backlog: *tcp_backlog_size,
        socket_options,
        tcp_keepalive: keepalive(tcp_keepalive.as_ref()),
        transparent: transparent.unwrap_or_default(),
        freebind: freebind.unwrap_or_default(),
        max_accept: *max_connections_to_accept_per_socket_event,
        direction: cx.direction,
        drain_modify_only: *drain_type == api::listener::DrainType::ModifyOnly as i32,
        ceiling: Arc::clone(&cx.kept.ceiling),
        ignores_ceiling: *ignore_global_conn_limit,
        filters,
        filters_timeout: filters_timeout_of(cx, at, *listener_filters_timeout),
        continue_on_filters_timeout: *continue_on_listener_filters_timeout,
        use_original_dst: use_original_dst.unwrap_or_default(),
        exact_balance: exact_balance(cx, at, connection_balance_config.as_ref()),
        chains,
        matcher,
        access_logs: logs,
        needs: std::mem::take(&mut cx.needs),
        hash: hashes.0,
        frame_hash: hashes.1,
    };
    let serves = (internal || !listener.addresses.is_empty()) && !listener.chains.is_empty();
    serves.then(|| Arc::new(listener))
}

/// Content hashes of the resource, and of it without its chains, which is another one where the
/// runtime has other `answers`.
fn hashes(listener: &api::Listener, answers: u64) -> (u64, u64) {
    let encoded = listener.encode_to_vec();
    (xxh64(&encoded, 0), frame_hash(&encoded, answers))
}

/// The main address, which stands for a name that is missing.
fn first(addresses: &[Address]) -> String {
    addresses.first().map(ToString::to_string).unwrap_or_default()
}

/// `traffic_direction`
fn direction_of(number: i32) -> Direction {
    match TrafficDirection::try_from(number) {
        Ok(TrafficDirection::Inbound) => Direction::Inbound,
        Ok(TrafficDirection::Outbound) => Direction::Outbound,
        Ok(TrafficDirection::Unspecified) | Err(_) => Direction::Unspecified,
    }
}

/// `listener_filters_timeout`, default 15 s.
fn filters_timeout_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<prost_types::Duration>,
) -> Duration {
    duration(cx, &at.field("listener_filters_timeout"), value, FILTERS_TIMEOUT)
}

/// `internal_listener`: its connections come from clusters of this process.
fn is_internal(cx: &mut Cx<'_>, at: &At<'_>, listener: &api::Listener) -> bool {
    use api::listener::{InternalListenerConfig, ListenerSpecifier};
    let internal = listener.listener_specifier.as_ref().is_some_and(|specifier| match specifier {
        ListenerSpecifier::InternalListener(InternalListenerConfig {}) => true,
    });
    if internal {
        check_internal(cx, at, listener);
    }
    internal
}

/// An internal listener has no socket, so nothing may be said of one.
fn check_internal(cx: &mut Cx<'_>, at: &At<'_>, listener: &api::Listener) {
    if !cx.kept.internal_listeners {
        let message = "InternalListener bootstrap extension is mandatory: add \
                       envoy.bootstrap.internal_listener to bootstrap_extensions";
        cx.invalid(&at.field("internal_listener"), message);
    }
    let name = &listener.name;
    let addresses = [
        ("address", listener.address.is_some()),
        ("additional_addresses", !listener.additional_addresses.is_empty()),
    ];
    for (field, _) in addresses.into_iter().filter(|(_, set)| *set) {
        let message = format!(
            "error adding listener '{name}': address should not be used when an internal listener \
             config is provided"
        );
        cx.invalid(&at.field(field), message);
    }
    use api::listener::connection_balance_config::BalanceType;
    let balance = listener.connection_balance_config.as_ref();
    let balance = balance.and_then(|config| config.balance_type.as_ref());
    let of_tcp = [
        ("connection_balance_config", matches!(balance, Some(BalanceType::ExactBalance(_)))),
        ("enable_mptcp", listener.enable_mptcp),
        ("enable_reuse_port", listener.enable_reuse_port.is_some()),
        ("freebind", listener.freebind == Some(true)),
        ("tcp_backlog_size", listener.tcp_backlog_size.is_some()),
        ("tcp_fast_open_queue_length", listener.tcp_fast_open_queue_length.is_some()),
        ("transparent", listener.transparent == Some(true)),
    ];
    for (field, _) in of_tcp.into_iter().filter(|(_, set)| *set) {
        let message =
            format!("error adding listener named '{name}': has unsupported tcp listener feature");
        cx.invalid(&at.field(field), message);
    }
    if !listener.socket_options.is_empty() {
        let message =
            format!("error adding listener named '{name}': does not support socket option");
        cx.invalid(&at.field("socket_options"), message);
    }
}

/// `listener.<stat_prefix>.worker_<n>.*`, for every shard.
fn workers(cx: &mut Cx<'_>, stat_prefix: &str) -> Vec<WorkerListenerStats> {
    let name = |n| format!("worker_{n}");
    (0..cx.shards).map(|n| WorkerListenerStats::new(cx.registry, stat_prefix, &name(n))).collect()
}

/// Of all but the chains, from the encoded listener and the values of the runtime it was told.
fn frame_hash(listener: &[u8], answers: u64) -> u64 {
    /// Numbers of `filter_chains` and `default_filter_chain`.
    const CHAINS: [u32; 2] = [3, 25];
    let mut hash = Xxh64::new(answers);
    let mut rest = listener;
    while !rest.is_empty() {
        let field = rest;
        let Ok((number, wire_type)) = decode_key(&mut rest) else { break };
        if skip_field(wire_type, number, &mut rest, DecodeContext::default()).is_err() {
            break;
        }
        if !CHAINS.contains(&number) {
            hash.update(field.get(..field.len() - rest.len()).unwrap_or_default());
        }
    }
    hash.digest()
}

/// Names every field: refused here, read elsewhere, or of no effect.
fn check(cx: &mut Cx<'_>, at: &At<'_>, listener: &api::Listener) {
    #[rustfmt::skip]
    let api::Listener {
        // Refused.
        stats_matcher, fcds_config, filter_chain_matcher,
        per_connection_buffer_high_watermark_timeout, deprecated_v1, udp_listener_config,
        api_listener, enable_mptcp,
        // Read by `compile`.
        name: _, address: _, additional_addresses: _, stat_prefix: _, filter_chains: _,
        default_filter_chain: _, per_connection_buffer_limit_bytes: _, drain_type: _,
        listener_filters: _, transparent: _, freebind: _, socket_options: _, traffic_direction: _,
        enable_reuse_port: _, access_log: _, tcp_backlog_size: _,
        max_connections_to_accept_per_socket_event: _, bind_to_port: _, tcp_keepalive: _,
        listener_specifier: _, use_original_dst: _, listener_filters_timeout: _,
        continue_on_listener_filters_timeout: _, connection_balance_config: _,
        tcp_fast_open_queue_length: _, ignore_global_conn_limit: _,
        metadata,
        // Deprecated and without effect in Envoy; `enable_reuse_port` counts.
        reuse_port: _,
        // Exempts the listener from actions of an overload manager, which are refused.
        bypass_overload_manager: _,
    } = listener;
    refuse!(cx, at, stats_matcher, fcds_config, filter_chain_matcher);
    refuse!(cx, at, per_connection_buffer_high_watermark_timeout);
    refuse!(cx, at, deprecated_v1, udp_listener_config, api_listener);
    refuse!(cx, at, enable_mptcp);
    // Else it is read by extensions and access-log operators that are refused themselves.
    const MATCHER: &str = "envoy.stats_matcher";
    if metadata.as_ref().is_some_and(|m| m.typed_filter_metadata.contains_key(MATCHER)) {
        let at = at.field("metadata");
        cx.unsupported_value(&at.field("typed_filter_metadata").key(MATCHER), MATCHER);
    }
}

/// How connections are spread over shards. Balancing by load is what happens without a word, too.
fn exact_balance(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::listener::ConnectionBalanceConfig>,
) -> bool {
    use api::listener::connection_balance_config::{BalanceType, CpuLocalityBalance, ExactBalance};
    let at = at.field("connection_balance_config");
    match config.and_then(|config| config.balance_type.as_ref()) {
        Some(BalanceType::ExactBalance(ExactBalance {})) => return true,
        Some(BalanceType::ExtendBalance(balancer)) => {
            extension(cx, &at.field("extend_balance"), balancer);
        }
        Some(BalanceType::CpuLocalityBalance(CpuLocalityBalance {})) => {
            cx.unsupported(&at.field("cpu_locality_balance"));
        }
        None => {}
    }
    false
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
) -> (Vec<Address>, Vec<bool>, Vec<OwnOptions>) {
    let main_at = at.field("address");
    let mut out: Vec<Address> = address(cx, &main_at, main).into_iter().collect();
    let mut compat = vec![checked_ipv4_compat(cx, &main_at, main, out.first())];
    let mut own = vec![OwnOptions::default()];
    for (index, more) in additional.iter().enumerate() {
        let at = at.field("additional_addresses");
        let at = at.index(index);
        let api::AdditionalAddress { address: more, socket_options, tcp_keepalive } = more;
        let options_at = at.field("socket_options");
        own.push(OwnOptions {
            socket_options: socket_options.as_ref().map(|over| {
                let SocketOptionsOverride { socket_options: list } = over;
                address::socket_options(cx, &options_at.field("socket_options"), list)
            }),
            tcp_keepalive: keepalive(tcp_keepalive.as_ref()),
        });
        let (message, at) = (more.as_ref(), at.field("address"));
        let more = address(cx, &at, message);
        compat.push(checked_ipv4_compat(cx, &at, message, more.as_ref()));
        let any_port = matches!(more, Some(Address::Ip(ip)) if ip.port() == 0);
        if !any_port && more.as_ref().is_some_and(|more| out.contains(more)) {
            cx.invalid(&at, "the listener has this address already");
        }
        out.extend(more);
    }
    (out, compat, own)
}

/// Envoy finds extensions by the type of their configuration only.
pub(crate) fn missing_type(cx: &mut Cx<'_>, at: &At<'_>, name: &str) {
    let message = format!(
        "didn't find a registered implementation for '{name}' with type URL: '': \
         typed_config is missing"
    );
    cx.invalid(at, message);
}

/// The filter chains of a listener, the default one last.
fn filter_chains_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    listener: &api::Listener,
    checked: bool,
    stat_prefix: &str,
) -> Vec<Arc<FilterChain>> {
    let chains = &listener.filter_chains;
    let default = listener.default_filter_chain.as_ref();
    let chains_at = at.field("filter_chains");
    if chains.is_empty() && default.is_none() && checked {
        cx.invalid(&chains_at, "no filter chains specified");
    }
    let mut out = Vec::with_capacity(chains.len() + 1);
    for (index, chain) in chains.iter().enumerate() {
        let at = chains_at.index(index);
        out.extend(filter_chain::compile(cx, &at, chain, stat_prefix).map(Arc::new));
    }
    // Takes what no other chain takes, so it comes last.
    let at = at.field("default_filter_chain");
    if let Some(chain) = default {
        // Envoy does not look at what it matches.
        out.extend(filter_chain::compile(cx, &at, chain, stat_prefix).map(Arc::new));
    }
    out
}
