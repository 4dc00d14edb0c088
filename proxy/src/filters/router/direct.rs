//! `direct_response`: an answer from the configuration.

use std::borrow::Cow;

use ringway_wire::KnownName as K;

use super::redirect;
use crate::http::conn::{Conn, Work};
use crate::http::reply::{self, LocalReply};
use crate::http::stream::Matched;
use crate::plan::route::{DirectResponse, Redirect};

/// Answers with the route's body.
pub(crate) fn send(conn: &mut Conn, work: &mut Work, matched: &Matched<'_>, rule: &DirectResponse) {
    conn.shard.stats.inc(conn.manager.plan.stats.router.rq_direct_response());
    let mut told = LocalReply::new(rule.status, "", "direct_response");
    // RFC 9110 section 10.2.2: where the new resource is; Envoy names the request's own URL.
    if rule.status == 201 || (300..400).contains(&rule.status) {
        told = told.location(redirect::location(work, matched, &Redirect::to_itself(rule.status)));
    }
    let Some(format) = &rule.format else {
        return reply::send_with_body(conn, work, told, &rule.body, |_, _, _| {});
    };
    reply::send_with_body(conn, work, told, &rule.body, |conn, work, body| {
        let text = reply::formatted(conn, work, format, body);
        *body = Cow::Owned(text);
        work.response.headers.set(K::ContentType, format.content_type.as_bytes());
    });
}
