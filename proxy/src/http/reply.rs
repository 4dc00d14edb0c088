//! Local replies: answers the proxy makes itself, worded as Envoy words them.

use std::borrow::Cow;
use std::rc::Rc;

use ringway_runtime::Chunk;
use ringway_wire::chars::Decimal;
use ringway_wire::{HeaderMap, KnownName as K, Method, Name, RequestHead, grpc};

use super::conn::{Conn, Work};
use super::{account, respond};
use crate::filters::{chain, router};
use crate::observe::format::ResponseFlag;
use crate::plan::reply::{BodyFormat, LocalReplies};

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
    /// `location`, which the route's header rules see.
    pub location: Option<Vec<u8>>,
    /// Headers that come after the route's rules: name in lower case, value.
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// `grpc-status` for gRPC clients, where it is not what the status stands for.
    pub grpc_status: Option<u32>,
    /// It goes out as it is: neither header rules of routes nor `local_reply_config` apply.
    pub bare: bool,
}

impl LocalReply {
    /// A reply without a flag.
    pub(crate) fn new(
        status: u16,
        body: impl Into<Cow<'static, str>>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            body: body.into(),
            flag: None,
            details: details.into(),
            location: None,
            headers: Vec::new(),
            grpc_status: None,
            bare: false,
        }
    }

    /// The same with a flag.
    pub(crate) fn flag(mut self, flag: ResponseFlag) -> Self {
        self.flag = Some(flag);
        self
    }

    /// The same with a `location`.
    pub(crate) fn location(mut self, target: Vec<u8>) -> Self {
        self.location = Some(target);
        self
    }
}

/// Writes the reply. `work.request` may be incomplete (after a parse error) but is never trusted
/// for more than "is this gRPC, is this HEAD".
pub(crate) fn send(conn: &mut Conn, work: &mut Work, mut reply: LocalReply) {
    let body = std::mem::take(&mut reply.body);
    send_with_body(conn, work, reply, body.as_bytes(), |_, _, _| {});
}

/// As [`send`], with a body that need not be text. `finish` may change the head, and the body,
/// after the route's header rules and before `local_reply_config`.
pub(crate) fn send_with_body(
    conn: &mut Conn,
    work: &mut Work,
    reply: LocalReply,
    body: &[u8],
    finish: impl FnOnce(&Conn, &mut Work, &mut Cow<'_, [u8]>),
) {
    record(work, &reply);
    if reply.status == 400 && !conn.down.is_http2() && !conn.manager.plan.keeps_invalid() {
        // Whoever sent that is out of step with us.
        work.close = true;
    }
    if work.filters.response_under_way() {
        chain::replace_response(work);
    }
    work.response_names = None;
    work.response_reason = false;
    let head = &mut work.response;
    head.clear();
    head.status = reply.status;
    if let Some(location) = &reply.location {
        head.headers.append(K::Location, location);
    }
    if reply.bare {
        append_all(work, &reply.headers);
        return write(conn, work, body);
    }
    router::headers::finish_response(conn, work);
    router::headers::count_attempts(work);
    let headers = &mut work.response.headers;
    if reply.flag == Some(ResponseFlag::UpstreamOverflow)
        && !conn.manager.plan.router.suppress_envoy_headers
    {
        headers.append(K::XEnvoyOverloaded, b"true");
    }
    append_all(work, &reply.headers);
    let mut body = Cow::Borrowed(body);
    finish(conn, work, &mut body);
    work.info.code = reply.status;
    let manager = Rc::clone(&conn.manager);
    let kind = match &manager.plan.local_replies {
        Some(rules) => rewrite(conn, work, rules, &mut body),
        None => Rewritten::UNTOUCHED,
    };
    if work.grpc {
        return send_grpc(conn, work, reply.grpc_status, &kind, &body);
    }
    let headers = &mut work.response.headers;
    if body.is_empty() {
        headers.remove(K::ContentLength);
        headers.remove(K::ContentType);
        return write(conn, work, b"");
    }
    headers.set(K::ContentLength, Decimal::new(body.len() as u64).as_bytes());
    if kind.names_type || !headers.contains(K::ContentType) {
        headers.set(K::ContentType, kind.content_type.as_bytes());
    }
    write(conn, work, &body);
}

fn append_all(work: &mut Work, headers: &[(Cow<'static, str>, Vec<u8>)]) {
    for (name, value) in headers {
        work.response.headers.append(Name::from(&**name), value);
    }
}

/// Sends a whole response, by way of the filters where there are any.
fn write(conn: &mut Conn, work: &mut Work, body: &[u8]) {
    if work.lookup.is_none() {
        // It never came to that, but filters see every response.
        // One whose options have not come does not see it.
        let _missing = chain::begin(conn, work);
    }
    if work.filters.is_empty() {
        return if body.is_empty() {
            respond::send_head(conn, work);
        } else {
            respond::send_head_and_body(conn, work, body);
        };
    }
    let bodiless = body.is_empty() || work.request.method == Method::Head;
    let response = &mut work.filters;
    response.response_head(bodiless);
    if !bodiless {
        response.response_data(Chunk::copy_from(body));
    }
    response.response_end();
    chain::flush_response(conn, work);
}

/// What `local_reply_config` made of a reply.
struct Rewritten<'p> {
    content_type: &'p str,
    /// It counts even where there is a `content-type` already.
    names_type: bool,
}

impl Rewritten<'_> {
    const UNTOUCHED: Rewritten<'static> =
        Rewritten { content_type: "text/plain", names_type: false };
}

/// Applies the first mapper that takes the reply, then a format.
fn rewrite<'p>(
    conn: &Conn,
    work: &mut Work,
    rules: &'p LocalReplies,
    body: &mut Cow<'_, [u8]>,
) -> Rewritten<'p> {
    let request = std::mem::take(&mut work.request);
    let mut response = std::mem::take(&mut work.response);
    let before = response.headers.get(K::ContentType).map(<[u8]>::to_vec);
    let mut format = rules.format.as_ref();
    let mapper = rules.mappers.iter().find(|mapper| {
        mapper.filter.matches(&account::context(conn, work, &request, Some(&response.headers)))
    });
    let mut replaced = false;
    if let Some(mapper) = mapper {
        if let Some(text) = &mapper.body {
            *body = Cow::Owned(text.to_vec());
            replaced = true;
        }
        for add in &mapper.headers {
            let mut value = Vec::new();
            let cx = account::context(conn, work, &request, Some(&response.headers));
            add.value.eval(&cx, &mut value);
            router::headers::put(&mut response.headers, add, &value);
        }
        if let Some(status) = mapper.status {
            response.status = status;
            work.info.code = status;
        }
        format = mapper.format.as_ref().or(format);
    }
    let mut content_type = Rewritten::UNTOUCHED.content_type;
    if let Some(format) = format {
        let text = evaluate(conn, work, &request, &response.headers, format, body);
        replaced |= text != **body;
        *body = Cow::Owned(text);
        content_type = &format.content_type;
    }
    let custom = response.headers.get(K::ContentType) != before.as_deref();
    work.request = request;
    work.response = response;
    Rewritten { content_type, names_type: replaced && !custom }
}

/// `body` as `format` words it, for the stream as it is now.
pub(crate) fn formatted(conn: &Conn, work: &mut Work, format: &BodyFormat, body: &[u8]) -> Vec<u8> {
    let request = std::mem::take(&mut work.request);
    let response = std::mem::take(&mut work.response);
    let text = evaluate(conn, work, &request, &response.headers, format, body);
    work.request = request;
    work.response = response;
    text
}

fn evaluate(
    conn: &Conn,
    work: &mut Work,
    request: &RequestHead,
    response: &HeaderMap,
    format: &BodyFormat,
    body: &[u8],
) -> Vec<u8> {
    let told = Cow::Owned(String::from_utf8_lossy(body).into_owned());
    let kept = std::mem::replace(&mut work.info.local_body, told);
    let mut text = Vec::new();
    format.format.line(&account::context(conn, work, request, Some(response)), &mut text);
    work.info.local_body = kept;
    text
}

/// A gRPC client gets its answer as trailers alone (PROTOCOL-HTTP2.md, "Responses").
fn send_grpc(
    conn: &mut Conn,
    work: &mut Work,
    told: Option<u32>,
    kind: &Rewritten<'_>,
    body: &[u8],
) {
    let status = std::mem::replace(&mut work.response.status, 200);
    let headers = &mut work.response.headers;
    headers.set(K::ContentType, b"application/grpc");
    if headers.get(K::GrpcStatus).unwrap_or_default().is_empty() {
        let status = told.unwrap_or_else(|| grpc::Status::of_http(status).0);
        headers.set(K::GrpcStatus, Decimal::new(u64::from(status)).as_bytes());
    }
    // A line of JSON ends in a line feed, which no header value may hold.
    let body = match kind.content_type {
        "application/json" => body.strip_suffix(b"\n").unwrap_or(body),
        _ => body,
    };
    headers.remove(K::ContentLength);
    if !body.is_empty() && headers.get(K::GrpcMessage).unwrap_or_default().is_empty() {
        let mut message = Vec::with_capacity(body.len());
        grpc::encode_message(body, &mut message);
        headers.set(K::GrpcMessage, &message);
    }
    write(conn, work, b"");
}

/// Notes in the stream's record that the answer is ours.
pub(crate) fn record(work: &mut Work, reply: &LocalReply) {
    let info = &mut work.info;
    if let Some(flag) = reply.flag {
        info.flags.insert(flag);
    }
    info.details = reply.details.clone();
    info.local_reply = true;
    info.local_status = reply.status;
    info.local_body = reply.body.clone();
}

/// `application/grpc` or `application/grpc+…`, as Envoy's `Grpc::Common::isGrpcRequestHeaders`.
pub(crate) fn is_grpc(head: &RequestHead) -> bool {
    head.headers.get(K::ContentType).is_some_and(grpc::is_grpc)
}
