//! TLS: handshakes by rustls, records by our own record layer.

mod accept;
mod connect;
mod count;
mod gate;
mod handshake;
mod hello;
mod info;
mod post;
mod record;
mod stream;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ringway_runtime as runtime;

use super::HandshakeError;
use crate::observe::stats::{ShardStats, SslStats};
use handshake::Failed;

pub(crate) use accept::accept;
pub(crate) use connect::connect;
pub(crate) use gate::Gate;
pub(crate) use info::TlsInfo;
pub(crate) use stream::TlsStream;

/// How long a peer has to read the alert that ended its handshake.
const LINGER: Duration = Duration::from_secs(1);

/// A secret that the connection needs has not come yet: in Envoy's words.
fn not_ready() -> HandshakeError {
    HandshakeError::Failed("TLS error: Secret is not supplied by SDS".to_owned())
}

/// Both ends of a connection, for key logs.
fn addresses(raw: &runtime::Stream) -> Option<(IpAddr, IpAddr)> {
    let local = raw.local_addr().ok()?.as_inet()?;
    let remote = raw.peer_addr().ok()?.as_inet()?;
    Some((local.ip(), remote.ip()))
}

/// Ends a connection whose handshake failed. The alert is on its way; what the peer still sends
/// would reset the connection before it arrives, were the connection closed at once.
fn dismiss(
    raw: runtime::Stream,
    stats: &ShardStats,
    names: &SslStats,
    failed: Failed,
) -> HandshakeError {
    raw.shutdown_write();
    let error = count::failed(stats, names, failed);
    linger(raw);
    error
}

/// Lets the last alert get through: reads on, for a moment, what is of no use any more.
fn linger(raw: runtime::Stream) {
    runtime::spawn(async move {
        let gone = async { while let Ok(Some(_)) = raw.recv().await {} };
        let _ = runtime::timeout(LINGER, gone).await;
    });
}
