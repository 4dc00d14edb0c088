//! `direct_response`: an answer from the configuration.

use ringway_wire::KnownName as K;
use ringway_wire::chars::Decimal;

use crate::http::conn::{Conn, Work};
use crate::http::reply::{self, LocalReply};
use crate::plan::route::DirectResponse;

/// Answers with the route's body.
pub(crate) fn send(conn: &mut Conn, work: &mut Work, rule: &DirectResponse) {
    reply::record(work, &LocalReply::new(rule.status, "", "direct_response"));
    conn.shard.stats.inc(conn.manager.plan.stats.router.rq_direct_response());
    let head = &mut work.response;
    head.clear();
    head.status = rule.status;
    if reply::is_grpc(&work.request) {
        let body = String::from_utf8_lossy(&rule.body).into_owned();
        reply::send(conn, work, LocalReply::new(rule.status, body, "direct_response"));
        return;
    }
    if !rule.body.is_empty() {
        let length = Decimal::new(rule.body.len() as u64);
        head.headers.append(K::ContentLength, length.as_bytes());
        let kind = rule.content_type.as_deref().unwrap_or("text/plain");
        head.headers.append(K::ContentType, kind.as_bytes());
    }
    reply::send_with_body(conn, work, &rule.body);
}
