//! The way back: what the connection manager does to a response head, and how it is written.

mod http1;
mod http2;

use ringway_runtime::Chunk;
use ringway_wire::http1::strip_response_hop_by_hop;
use ringway_wire::{KnownName as K, Method, Version};

use super::conn::{Conn, Work};
use super::down::Downstream;
use crate::plan::http::ServerHeader;

pub(crate) use http1::Out;

/// How body bytes of the response under way are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum BodyForm {
    /// Not at all: there is none, or it is the answer to HEAD, or it has ended.
    #[default]
    None,
    /// As they are.
    Plain,
    /// In chunks.
    Chunked,
}

/// Sends `work.response` without a body.
pub(crate) fn send_head(conn: &mut Conn, work: &mut Work) {
    begin(conn, work);
    match &conn.down {
        Downstream::Http1(down) => http1::head(conn, work, &down.stream),
        Downstream::Http2(down) => http2::head(conn, work, &down.stream, true),
        Downstream::Session => {}
    }
}

/// Sends it with a body that is whole (and named by its `content-length`).
pub(crate) fn send_head_and_body(conn: &mut Conn, work: &mut Work, body: &[u8]) {
    begin(conn, work);
    match &conn.down {
        Downstream::Http1(down) => http1::head_and_body(conn, work, &down.stream, body),
        Downstream::Http2(down) => http2::head_and_body(conn, work, &down.stream, body),
        Downstream::Session => {}
    }
}

/// Sends it with what is there of the body; `ends` when that is all of it, `bodiless` when there
/// never was one.
pub(crate) fn send_head_and_data(
    conn: &mut Conn,
    work: &mut Work,
    data: Option<Chunk>,
    ends: bool,
    bodiless: bool,
) {
    begin(conn, work);
    match &conn.down {
        Downstream::Http1(down) => {
            http1::head_and_data(conn, work, &down.stream, data, ends, bodiless);
        }
        Downstream::Http2(down) => {
            http2::head_and_data(conn, work, &down.stream, data, ends, bodiless);
        }
        Downstream::Session => {}
    }
}

/// Queues a piece of the body, without a copy when it is large.
pub(crate) fn send_data(conn: &Conn, work: &mut Work, data: Chunk) {
    if data.is_empty() || work.form == BodyForm::None {
        return;
    }
    work.info.response_body_bytes += data.len() as u64;
    work.info.sent_downstream(ringway_runtime::now());
    match &conn.down {
        Downstream::Http1(down) => http1::data(work, &down.stream, data),
        Downstream::Http2(down) => down.stream.send_data(data, false),
        Downstream::Session => {}
    }
}

/// Ends the body.
pub(crate) fn send_end(conn: &Conn, work: &mut Work) {
    match &conn.down {
        Downstream::Http1(down) => http1::end(conn, work, &down.stream),
        Downstream::Http2(down) => http2::end(work, &down.stream),
        Downstream::Session => {}
    }
    work.form = BodyForm::None;
    work.info.response_complete = true;
}

/// Answers `Expect: 100-continue` (RFC 9110 section 10.1.1).
pub(crate) fn send_continue(conn: &Conn) {
    match &conn.down {
        Downstream::Http1(down) => {
            down.stream.write(Chunk::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        Downstream::Http2(down) => http2::go_on(&down.stream),
        Downstream::Session => {}
    }
}

/// Passes on an interim response of the upstream (`proxy_100_continue`).
pub(crate) fn send_interim(conn: &Conn, work: &mut Work) {
    if matches!(work.request.version, Version::Http10) {
        return;
    }
    strip_response_hop_by_hop(&mut work.response.headers, false);
    match &conn.down {
        Downstream::Http1(down) => http1::interim(conn, work, &down.stream),
        Downstream::Http2(down) => down.stream.send_response(&work.response, false),
        Downstream::Session => {}
    }
}

/// Answers that have no body whatever their headers say (RFC 9110 section 6.4.1).
fn is_bodiless(status: u16, method: &Method) -> bool {
    *method == Method::Head || matches!(status, 100..200 | 204 | 304)
}

/// What every head goes through, in every version.
fn begin(conn: &Conn, work: &mut Work) {
    finish_headers(conn, work);
    work.info.code = work.response.status;
    work.head_sent = true;
}

/// `date`, `server`, `via`, `x-request-id`: Envoy's order and rules.
fn finish_headers(conn: &Conn, work: &mut Work) {
    let plan = &conn.manager.plan;
    let headers = &mut work.response.headers;
    if !headers.contains(K::Date) {
        conn.shard.with_date(|date| headers.append(K::Date, date));
    }
    let ours = match plan.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !headers.contains(K::Server),
        ServerHeader::PassThrough => false,
    };
    if ours {
        headers.set(K::Server, plan.server_name.as_bytes());
    }
    if plan.request_id.always_in_response
        && let Some(id) = work.request.headers.get(K::XRequestId)
    {
        headers.set(K::XRequestId, id);
    }
    if let Some(via) = &plan.via {
        headers.append_joined(K::Via, via.as_bytes());
    }
}
