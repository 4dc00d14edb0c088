//! `envoy.filters.network.tcp_proxy`: one upstream connection for each downstream connection, bytes
//! as they come.
//!
//! LIFECYCLE of a connection: `connect` (with early data waits for it; one or more attempts) →
//! `relay` (both directions, each ends by itself with a FIN that is passed on) → done when both
//! have ended, or one side broke, or a timer ran out → what the upstream has not taken yet is
//! flushed → gone. A line is logged when the downstream connection is over.

mod connect;
mod log;
mod relay;
mod session;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use crate::plan::tcp::TcpProxy;
pub(crate) use session::Session;

/// The filter on one shard.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) plan: Arc<TcpProxy>,
}

impl Proxy {
    /// Of a plan.
    pub(crate) fn new(plan: Arc<TcpProxy>) -> Self {
        Self { plan }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both directions have ended.
    Done,
    /// No upstream connection came about.
    NoUpstream(NoUpstream),
    /// The client reset the connection, or reads no more.
    ClientReset,
    /// The upstream did.
    UpstreamReset,
    /// `idle_timeout`.
    Idle,
    /// `max_downstream_connection_duration`.
    MaxDuration,
    /// `close_connections_on_host_health_failure`.
    HostFailed,
    /// `check_drain_close`.
    Drained,
    /// Its filter chain is no more, and the drain time is over.
    Removed,
}

/// Why there is no upstream connection, with Envoy's numbers in
/// `%DOWNSTREAM_LOCAL_CLOSE_REASON%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoUpstream {
    ConnectFailed = 0,
    NoHealthyUpstream = 1,
    ResourceLimitExceeded = 2,
    NoRoute = 3,
}

/// Serves a connection to its end.
pub(crate) async fn serve(mut session: Box<Session>) {
    let shard = Rc::clone(&session.link.shard);
    let key = shard.connections.enter(&session.link).await;
    session.begin();
    let connected = Box::pin(connect::establish(&mut session)).await;
    let reset = match connected {
        Ok(up) => relay::run(&mut session, up).await,
        Err(end) => {
            Box::pin(session.give_up(end)).await;
            false
        }
    };
    shard.connections.leave(key, &session.link);
    if reset {
        session.reset();
    }
}
