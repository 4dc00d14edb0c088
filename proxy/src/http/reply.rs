//! Local replies: answers the proxy makes itself, worded as Envoy words them.

use std::borrow::Cow;

use ringway_wire::KnownName as K;
use ringway_wire::chars::Decimal;
use ringway_wire::path::percent_encode;

use super::conn::{Conn, Work};
use super::respond;
use crate::filters::router;
use crate::observe::format::ResponseFlag;

/// An answer made here.
#[derive(Debug)]
pub(crate) struct LocalReply {
    /// Status.
    pub status: u16,
    /// Body; empty for none.
    pub body: Cow<'static, str>,
    /// The flag it adds.
    pub flag: Option<ResponseFlag>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
}

impl LocalReply {
    /// A reply without a flag.
    pub(crate) fn new(
        status: u16,
        body: impl Into<Cow<'static, str>>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, body: body.into(), flag: None, details: details.into() }
    }

    /// The same with a flag.
    pub(crate) fn flag(mut self, flag: ResponseFlag) -> Self {
        self.flag = Some(flag);
        self
    }
}

/// Writes the reply. `work.request` may be incomplete (after a parse error) but is never trusted
/// for more than "is this gRPC, is this HEAD".
pub(crate) fn send(conn: &mut Conn, work: &mut Work, reply: LocalReply) {
    record(work, &reply);
    let head = &mut work.response;
    head.clear();
    head.status = reply.status;
    router::headers::finish_response(conn, work);
    router::headers::count_attempts(conn, work);
    if reply.flag == Some(ResponseFlag::UpstreamOverflow)
        && !conn.manager.plan.router.suppress_envoy_headers
    {
        work.response.headers.append(K::XEnvoyOverloaded, b"true");
    }
    send_with_body(conn, work, reply.body.as_bytes(), "text/plain");
}

/// Sends `work.response`, whose route has had its say, with a whole body: length and type come
/// last, a type that is there already stays.
pub(crate) fn send_with_body(conn: &mut Conn, work: &mut Work, body: &[u8], kind: &str) {
    if is_grpc(&work.request) {
        return send_grpc(conn, work, body);
    }
    let headers = &mut work.response.headers;
    if body.is_empty() {
        respond::send_head(conn, work);
        return;
    }
    headers.set(K::ContentLength, Decimal::new(body.len() as u64).as_bytes());
    if !headers.contains(K::ContentType) {
        headers.append(K::ContentType, kind.as_bytes());
    }
    respond::send_head_and_body(conn, work, body);
}

/// A gRPC client gets its answer as trailers alone (PROTOCOL-HTTP2.md, "Responses").
fn send_grpc(conn: &mut Conn, work: &mut Work, body: &[u8]) {
    let status = std::mem::replace(&mut work.response.status, 200);
    let headers = &mut work.response.headers;
    headers.set(K::ContentType, b"application/grpc");
    headers.append(K::GrpcStatus, Decimal::new(u64::from(grpc_status(status))).as_bytes());
    if !body.is_empty() {
        let mut message = Vec::with_capacity(body.len());
        percent_encode(body, b"", &mut message);
        headers.append(K::GrpcMessage, &message);
    }
    respond::send_head(conn, work);
}

/// Notes in the stream's record that the answer is ours.
pub(crate) fn record(work: &mut Work, reply: &LocalReply) {
    let info = &mut work.info;
    if let Some(flag) = reply.flag {
        info.flags.insert(flag);
    }
    info.details = reply.details.clone();
    info.local_reply = true;
    info.local_body = reply.body.clone();
}

/// `application/grpc` or `application/grpc+…`, as Envoy's `Grpc::Common::isGrpcRequestHeaders`.
pub(crate) fn is_grpc(head: &ringway_wire::RequestHead) -> bool {
    let Some(kind) = head.headers.get(K::ContentType) else { return false };
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+', ..]))
}

/// HTTP to gRPC status (grpc/doc/http-grpc-status-mapping.md).
pub(crate) fn grpc_status(http: u16) -> u32 {
    match http {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
