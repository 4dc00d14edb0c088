//! `direct_response`: an answer from the configuration.

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
    super::headers::finish_response(conn, work);
    let kind = rule.content_type.as_deref().unwrap_or("text/plain");
    reply::send_with_body(conn, work, &rule.body, kind);
}
