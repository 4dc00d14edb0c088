//! `redirect`: an answer with a `location`.

use ringway_wire::KnownName as K;
use ringway_wire::chars::Decimal;

use super::rewrite::{redirected_path, split_query};
use crate::http::conn::{Conn, Work};
use crate::http::reply::{self, LocalReply};
use crate::http::stream::Matched;
use crate::plan::route::Redirect;

/// Answers with the route's redirect.
pub(crate) fn send(conn: &mut Conn, work: &mut Work, matched: &Matched<'_>, rule: &Redirect) {
    let location = location(work, matched, rule);
    answer(conn, work, rule.status, location);
}

/// `require_tls`: the same URL with `https`.
pub(crate) fn to_https(conn: &mut Conn, work: &mut Work) {
    let mut location = b"https://".to_vec();
    location.extend_from_slice(&work.request.authority);
    location.extend_from_slice(&work.request.path);
    answer(conn, work, 301, location);
}

fn answer(conn: &mut Conn, work: &mut Work, status: u16, location: Vec<u8>) {
    conn.shard.stats.inc(conn.manager.plan.stats.router.rq_direct_response());
    reply::send(conn, work, LocalReply::new(status, "", "direct_response").location(location));
}

/// Scheme, host, port and path of the target, each from the rule or from the request.
pub(super) fn location(work: &Work, matched: &Matched<'_>, rule: &Redirect) -> Vec<u8> {
    let head = &work.request;
    let requested = match head.headers.get(K::XForwardedProto) {
        Some(b"https") => "https",
        _ => head.scheme.map_or("http", |scheme| scheme.as_str()),
    };
    let scheme = rule.scheme.as_deref().unwrap_or(requested);
    let (host, port) = split_port(&head.authority);
    let mut out = Vec::with_capacity(64 + head.path.len());
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"://");
    out.extend_from_slice(rule.host.as_deref().map_or(host, str::as_bytes));
    match (rule.port, port) {
        (Some(port), _) => {
            out.push(b':');
            out.extend_from_slice(Decimal::new(u64::from(port)).as_bytes());
        }
        // Another host, or another scheme beside the old one's default port: the port goes.
        (None, Some(port)) if rule.host.is_none() && keeps_port(port, rule, scheme) => {
            out.push(b':');
            out.extend_from_slice(port);
        }
        _ => {}
    }
    let mut path = redirected_path(&head.path, &rule.path, matched.route.matched_len);
    if rule.strip_query {
        let bare = split_query(&path).0.len();
        path.truncate(bare);
    }
    out.extend_from_slice(&path);
    out
}

fn keeps_port(port: &[u8], rule: &Redirect, scheme: &str) -> bool {
    let default_of_other = match scheme {
        "https" => port == b"80",
        "http" => port == b"443",
        _ => false,
    };
    !(rule.scheme.is_some() && default_of_other)
}

/// `host:port` in two; brackets of IPv6 stay with the host.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_bracket = memchr::memrchr(b']', authority).unwrap_or(0);
    match memchr::memrchr(b':', authority) {
        Some(at) if at >= after_bracket => {
            (authority.get(..at).unwrap_or_default(), authority.get(at + 1..))
        }
        _ => (authority, None),
    }
}
