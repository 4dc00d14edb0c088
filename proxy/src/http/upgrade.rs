//! Upgrades and CONNECT: a request that asks for another protocol, and the tunnel it becomes.
//!
//! LIFECYCLE: asked → granted by `upgrade_configs` of the route or the manager, or 403 → forwarded,
//! its bytes held back until the upstream agrees (101, or 2xx to CONNECT) → [`Tunnel::Open`]: bytes
//! both ways until one side ends. An upstream that does not agree answers like to any request.
//!
//! Over HTTP/2 an upgrade is an extended CONNECT (RFC 8441). As in Envoy it is made an upgrade of
//! HTTP/1.1 as it comes in, and turned back on its way out.

use ringway_wire::{KnownName as K, Method, RequestHead};

use super::conn::{Conn, Work};
use super::reply::LocalReply;
use super::stream::Stop;
use crate::plan::http::HttpManager;
use crate::plan::route::{Action, Route, RouteUpgrade};

/// What becomes of a request's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tunnel {
    /// Nothing special.
    #[default]
    No,
    /// It was granted, and the upstream has not answered yet.
    Asked,
    /// Bytes go both ways, whatever they mean.
    Open,
}

/// Does it ask for another protocol that counts? `h2c` does not: it is not taken up and not refused
/// either, and the request goes on as HTTP/1.1.
pub(crate) fn is_asked(head: &RequestHead, nominated: bool) -> bool {
    head.method == Method::Connect || nominated && !head.headers.get(K::Upgrade).is_some_and(is_h2c)
}

fn is_h2c(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"h2c")
}

/// Makes an extended CONNECT the upgrade of HTTP/1.1 that it stands for.
pub(crate) fn from_extended_connect(head: &mut RequestHead, protocol: &[u8]) {
    head.method = Method::Get;
    head.headers.set(K::Upgrade, protocol);
    head.headers.set(K::Connection, b"upgrade");
}

/// Grants or refuses what was asked for on this route.
///
/// # Errors
/// The refusal.
pub(crate) fn decide(
    conn: &mut Conn,
    work: &mut Work,
    plan: &HttpManager,
    route: &Route,
) -> Result<(), Stop> {
    let connect: &[u8] = b"CONNECT";
    let kind = match work.request.headers.get(K::Upgrade) {
        Some(kind) => kind,
        None => connect,
    };
    let rules: &[RouteUpgrade] = match &route.action {
        Action::Forward(forward) => &forward.extra().upgrades,
        _ => &[],
    };
    let rule = rules.iter().find(|rule| rule.kind.as_bytes().eq_ignore_ascii_case(kind));
    let granted = match rule {
        Some(rule) => rule.enabled,
        None => plan
            .upgrades
            .iter()
            .any(|rule| rule.enabled && rule.kind.as_bytes().eq_ignore_ascii_case(kind)),
    };
    if !granted {
        work.close = true;
        return Err(LocalReply::new(403, "", "upgrade_failed").into());
    }
    work.tunnel = Tunnel::Asked;
    work.terminates_connect = rule.is_some_and(|rule| rule.terminates_connect);
    let hcm = &plan.stats.hcm;
    conn.shard.stats.inc(hcm.downstream_cx_upgrades_total());
    conn.shard.stats.gauge_add(hcm.downstream_cx_upgrades_active(), 1);
    if let Some(http1) = conn.down.http1() {
        http1.begin_tunnel();
        work.has_body = true;
        work.info.request_end = None;
    }
    // Whatever the answer, what follows on this connection is not another request.
    work.close = true;
    Ok(())
}
