//! Network filters: what happens to a connection between its filter chain and its protocol.
//!
//! A filter chain has filters that look at a connection and pass it on
//! ([`NetworkFilter`](crate::plan::listener::NetworkFilter)) and one that serves it
//! ([`Terminal`]). Their kinds are listed where they are compiled,
//! `config/compile/filter_chain.rs`.

mod connection_limit;
mod direct_response;
mod echo;
mod istio_stats;
mod tcp_proxy;

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Stream as Socket, spawn};

use crate::http::conn::{self, Conn};
use crate::http::manager::Manager;
use crate::istio::exchange;
use crate::listener::Admitted;
use crate::plan::listener::{NetworkFilter, Terminal};
use crate::plan::transport::Downstream;
use crate::transport::{self, HandshakeError, Stream};

/// Runs the filters of the connection's chain over it and lets the last one serve it.
pub(crate) fn begin(link: Admitted, socket: Socket) {
    let passes = |filter: &NetworkFilter| matches!(filter, NetworkFilter::IstioStats(_));
    let plan = &link.version.plan;
    if plan.network.iter().all(passes) && matches!(plan.transport, Downstream::Raw) {
        serve(link, socket.into());
    } else {
        spawn(establish(link, socket));
    }
}

/// The connection is gone: what filters hold for it is given back.
pub(crate) fn left(link: &Admitted) {
    for filter in link.version.plan.network.iter().take(link.passed.get()) {
        match filter {
            NetworkFilter::ConnectionLimit(plan) => connection_limit::left(&link.shard.stats, plan),
            NetworkFilter::SniCluster
            | NetworkFilter::MetadataExchange(_)
            | NetworkFilter::IstioStats(_) => {}
        }
    }
}

/// As in Envoy, filters see a new connection before its TLS handshake.
async fn establish(link: Admitted, socket: Socket) {
    let version = Rc::clone(&link.version);
    for filter in &version.plan.network {
        match filter {
            NetworkFilter::ConnectionLimit(plan) => {
                if !connection_limit::pass(&link.shard.stats, plan) {
                    connection_limit::dismiss(plan, &socket).await;
                    return;
                }
            }
            NetworkFilter::SniCluster => link.meta.take_cluster_from_sni(),
            // After the handshake, and at the end.
            NetworkFilter::MetadataExchange(_) | NetworkFilter::IstioStats(_) => {}
        }
        link.passed.set(link.passed.get() + 1);
    }
    let (plan, timeout) = (&version.plan.transport, version.plan.transport_connect_timeout);
    match transport::accept(&link.shard, plan, socket, timeout).await {
        Ok(stream) => {
            for filter in &version.plan.network {
                if let NetworkFilter::MetadataExchange(plan) = filter {
                    let known = exchange::run(&link.shard.stats, plan, &stream).await;
                    let _ = link.peer.set(known);
                }
            }
            serve(link, stream);
        }
        Err(HandshakeError::TimedOut) => {
            let stats = &link.listener.plan.stats;
            link.shard.stats.inc(stats.downstream_cx_transport_socket_connect_timeout());
        }
        // The transport has counted why.
        Err(HandshakeError::Failed(reason)) => {
            link.log(|cx| cx.downstream.transport_failure_reason = Some(&reason));
        }
    }
}

fn serve(link: Admitted, stream: Stream) {
    let version = Rc::clone(&link.version);
    version.server.serve(link, stream);
}

/// A terminal filter on one shard: what serves the connections of a chain.
#[derive(Debug)]
pub(crate) enum Server {
    /// The HTTP connection manager.
    Http(Rc<Manager>),
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(Rc<tcp_proxy::Proxy>),
    /// `envoy.filters.network.echo`.
    Echo,
    /// `envoy.filters.network.direct_response`.
    DirectResponse(Arc<[u8]>),
    /// Nothing does: connections are closed at once.
    Nothing,
}

impl Server {
    /// Makes it ready on this shard.
    pub(crate) fn new(plan: &Terminal) -> Self {
        match plan {
            Terminal::Http(manager, stats) => {
                Self::Http(Rc::new(Manager::new(Arc::clone(manager), stats.clone())))
            }
            Terminal::TcpProxy(plan) => Self::Tcp(Rc::new(tcp_proxy::Proxy::new(Arc::clone(plan)))),
            Terminal::Echo => Self::Echo,
            Terminal::DirectResponse(response) => Self::DirectResponse(Arc::clone(response)),
            Terminal::Nothing => Self::Nothing,
        }
    }

    /// Starts the task that serves a connection to its end.
    pub(crate) fn serve(&self, link: Admitted, stream: Stream) {
        match self {
            Self::Http(manager) => {
                spawn(conn::serve(Conn::accepted(link, Rc::clone(manager), stream)));
            }
            Self::Tcp(proxy) => {
                spawn(tcp_proxy::serve(tcp_proxy::Session::new(link, Rc::clone(proxy), stream)));
            }
            Self::Echo => {
                spawn(echo::serve(link, stream));
            }
            Self::DirectResponse(response) => {
                spawn(direct_response::serve(link, stream, Arc::clone(response)));
            }
            Self::Nothing => {}
        }
    }
}
