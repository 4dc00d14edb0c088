//! `FilterChain`: transport socket and network filters.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::listener::v3 as api;
use ringway_xds::api::envoy::extensions::filters::network as filters;
use ringway_xds::api::envoy::extensions::filters::network::{direct_response, echo};
use xxhash_rust::xxh64::xxh64;

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::{data_source, duration, type_name};
use super::{http, istio, tcp_proxy, transport};
use crate::observe::stats::{ConnectionLimitStats, ListenerHttpStats};
use crate::plan::listener::{FilterChain, NetworkFilter, Terminal};
use crate::plan::network::{Active, ConnectionLimit};

/// A network filter: how its configuration is compiled.
struct Kind {
    /// Type of its configuration.
    type_name: &'static str,
    compile: Compile,
}

enum Compile {
    /// Looks at a connection and passes it on.
    Filter(fn(&mut Cx<'_>, &At<'_>, &Any) -> Option<NetworkFilter>),
    /// Serves connections; must be the last. Gets the statistics prefix of the listener.
    Terminal(fn(&mut Cx<'_>, &At<'_>, &Any, &str) -> Option<Terminal>),
}

/// Every network filter. One more is a line here, a variant in `plan::listener` and its code in
/// `network/`.
const KINDS: &[Kind] = &[
    Kind {
        type_name: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        compile: Compile::Filter(connection_limit),
    },
    Kind {
        type_name: "envoy.extensions.filters.network.direct_response.v3.Config",
        compile: Compile::Terminal(|cx, at, any, _| direct_response(cx, at, any)),
    },
    Kind {
        type_name: "envoy.extensions.filters.network.echo.v3.Echo",
        compile: Compile::Terminal(|cx, at, any, _| echo(cx, at, any)),
    },
    Kind { type_name: HTTP_MANAGER, compile: Compile::Terminal(http_manager) },
    Kind {
        type_name: "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
        compile: Compile::Filter(sni_cluster),
    },
    Kind {
        type_name: istio::EXCHANGE,
        compile: Compile::Filter(|cx, at, any| {
            istio::exchange(cx, at, any).map(NetworkFilter::MetadataExchange)
        }),
    },
    Kind {
        type_name: istio::STATS,
        compile: Compile::Filter(|cx, at, any| {
            istio::stats(cx, at, any).map(NetworkFilter::IstioStats)
        }),
    },
    Kind {
        type_name: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        compile: Compile::Terminal(|cx, at, any, _| {
            tcp_proxy::compile(cx, at, any).map(Terminal::TcpProxy)
        }),
    },
];

const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Compiles a filter chain; `None` where an error was recorded that leaves nothing to serve with.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    chain: &api::FilterChain,
    stat_prefix: &str,
) -> Option<FilterChain> {
    let api::FilterChain {
        // See chain_match.rs.
        filter_chain_match: _,
        filters,
        // See listener_filters.rs.
        use_proxy_proto: _,
        // Read by extensions and access-log operators that are refused where they are asked for.
        metadata: _,
        transport_socket,
        transport_socket_connect_timeout,
        name,
    } = chain;
    let scope = format!("listener.{stat_prefix}.");
    let socket_at = at.field("transport_socket");
    let runtime = cx.runtime;
    let ((transport, (network, terminal)), answers) = runtime.digest_of(|| {
        let transport = transport::downstream(cx, &socket_at, transport_socket.as_ref(), &scope);
        (transport, network_filters(cx, &at.field("filters"), filters, stat_prefix))
    });
    let timeout_at = at.field("transport_socket_connect_timeout");
    let timeout = duration(cx, &timeout_at, *transport_socket_connect_timeout, Duration::ZERO);
    Some(FilterChain {
        name: cx.text(name),
        transport,
        transport_connect_timeout: timeout,
        network,
        terminal: terminal?,
        hash: xxh64(&chain.encode_to_vec(), 0),
        answers,
    })
}

/// The filters of a chain: those that pass a connection on, and the last, which serves it.
fn network_filters(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filters: &[api::Filter],
    stat_prefix: &str,
) -> (Vec<NetworkFilter>, Option<Terminal>) {
    let (mut network, mut terminal) = (Vec::new(), None);
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        let api::Filter { name, config_type } = filter;
        let any = match config_type {
            Some(api::filter::ConfigType::TypedConfig(any)) => any,
            Some(api::filter::ConfigType::ConfigDiscovery(_)) => {
                cx.unsupported(&at.field("config_discovery"));
                continue;
            }
            None => {
                missing_type(cx, &at, name);
                continue;
            }
        };
        let at = at.field("typed_config");
        let Some(any) = cx.typed(&at, any) else { continue };
        let (any, found) = (&*any, type_name(&any.type_url));
        let Some(kind) = KINDS.iter().find(|kind| kind.type_name == found) else {
            cx.unsupported_allowed(&at, found, &known());
            continue;
        };
        let last = index + 1 == filters.len();
        match kind.compile {
            Compile::Filter(compile) => {
                network.extend(compile(cx, &at, any));
                if last {
                    let message = format!(
                        "Error: non-terminal filter named {name} of type {found} is the last \
                         filter in a network filter chain."
                    );
                    cx.invalid(&at, message);
                }
            }
            Compile::Terminal(compile) => {
                if !last {
                    let message = format!(
                        "Error: terminal filter named {name} of type {found} must be the last \
                         filter in a network filter chain."
                    );
                    cx.invalid(&at, message);
                }
                terminal = compile(cx, &at, any, stat_prefix);
            }
        }
    }
    if filters.is_empty() {
        terminal = Some(Terminal::Nothing);
    }
    let reports = |filter: &NetworkFilter| matches!(filter, NetworkFilter::IstioStats(_));
    if !matches!(terminal, Some(Terminal::TcpProxy(_)) | None) && network.iter().any(reports) {
        let message = "istio.stats before another filter than tcp_proxy";
        cx.unsupported_value(at, message);
    }
    (network, terminal)
}

/// The types there are, for people.
fn known() -> String {
    KINDS.iter().map(|kind| kind.type_name).collect::<Vec<_>>().join(", ")
}

fn http_manager(cx: &mut Cx<'_>, at: &At<'_>, any: &Any, stat_prefix: &str) -> Option<Terminal> {
    let config =
        cx.unpack::<filters::http_connection_manager::v3::HttpConnectionManager>(at, any)?;
    let manager = http::compile(cx, at, &config);
    let stats = ListenerHttpStats::new(cx.registry, stat_prefix, &config.stat_prefix);
    manager.map(|manager| Terminal::Http(Arc::new(manager), stats))
}

fn echo(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Terminal> {
    let echo::v3::Echo {} = cx.unpack::<echo::v3::Echo>(at, any)?;
    Some(Terminal::Echo)
}

fn direct_response(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Terminal> {
    let config = cx.unpack::<direct_response::v3::Config>(at, any)?;
    let direct_response::v3::Config { response } = config;
    let text = match &response {
        Some(source) => data_source(cx, &at.field("response"), source)?,
        None => Vec::new(),
    };
    Some(Terminal::DirectResponse(Arc::from(text)))
}

fn sni_cluster(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<NetworkFilter> {
    let filters::sni_cluster::v3::SniCluster {} = cx.unpack(at, any)?;
    Some(NetworkFilter::SniCluster)
}

fn connection_limit(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<NetworkFilter> {
    let filters::connection_limit::v3::ConnectionLimit {
        stat_prefix,
        max_connections,
        delay,
        runtime_enabled,
    } = cx.unpack(at, any)?;
    let enabled = runtime_enabled.as_ref().is_none_or(|flag| {
        let core::RuntimeFeatureFlag { default_value, runtime_key } = flag;
        cx.runtime.boolean(runtime_key, default_value.unwrap_or(true))
    });
    Some(NetworkFilter::ConnectionLimit(ConnectionLimit {
        // Field rules want it set, and at least 1.
        max: max_connections.unwrap_or(u64::MAX),
        delay: duration(cx, &at.field("delay"), delay, Duration::ZERO),
        enabled,
        stats: ConnectionLimitStats::new(cx.registry, &stat_prefix),
        active: Active::default(),
    }))
}
