//! The way back: what the connection manager does to a response head, and how it is written.

use ringway_runtime::{BufMut, Chunk};
use ringway_wire::http1::{
    ChunkHeader, Framing, LAST_CHUNK, Sink, encode_response_head, encode_trailers,
    response_framing, strip_response_hop_by_hop,
};
use ringway_wire::{KnownName as K, Method, Version};

use super::conn::{Conn, Work};
use crate::plan::http::ServerHeader;

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

/// Bodies up to this size are copied behind their head, so that both leave in one piece.
const COPY_MAX: usize = 4096;

/// A pooled buffer that heads are encoded into.
pub(crate) struct Out(pub BufMut);

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }
}

/// Sends `work.response` without a body.
pub(crate) fn send_head(conn: &mut Conn, work: &mut Work) {
    let out = encode(conn, work, true);
    queue(conn, work, out);
    work.form = BodyForm::None;
}

/// Sends it with a body that is whole (and named by its `content-length`).
pub(crate) fn send_head_and_body(conn: &mut Conn, work: &mut Work, body: &[u8]) {
    let mut out = encode(conn, work, body.is_empty());
    if work.form == BodyForm::Plain {
        out.0.extend_from_slice(body);
        work.info.response_body_bytes += body.len() as u64;
    }
    queue(conn, work, out);
    work.form = BodyForm::None;
}

/// Sends it with what is there of the body; `ends` when that is all of it, `bodiless` when there
/// never was one. Small pieces are copied behind the head.
pub(crate) fn send_head_and_data(
    conn: &mut Conn,
    work: &mut Work,
    data: Option<Chunk>,
    ends: bool,
    bodiless: bool,
) {
    let mut out = encode(conn, work, bodiless);
    let Some(data) = data else {
        queue(conn, work, out);
        return;
    };
    if data.len() > COPY_MAX || work.form == BodyForm::None {
        queue(conn, work, out);
        send_data(conn, work, data);
        return;
    }
    if work.form == BodyForm::Chunked {
        push_chunk(&mut out.0, &data);
    } else {
        out.0.extend_from_slice(&data);
    }
    work.info.response_body_bytes += data.len() as u64;
    if ends && work.form == BodyForm::Chunked && work.response_trailers.is_empty() {
        out.0.extend_from_slice(LAST_CHUNK);
        work.form = BodyForm::None;
    }
    queue(conn, work, out);
}

/// Queues a piece of the body, without a copy when it is large.
pub(crate) fn send_data(conn: &Conn, work: &mut Work, data: Chunk) {
    if data.is_empty() || work.form == BodyForm::None {
        return;
    }
    work.info.response_body_bytes += data.len() as u64;
    work.info.sent_downstream(ringway_runtime::now());
    let stream = &conn.down.stream;
    match work.form {
        BodyForm::Chunked if data.len() <= COPY_MAX => {
            let mut out = BufMut::with_capacity(data.len() + 24);
            push_chunk(&mut out, &data);
            stream.write(out.freeze());
        }
        BodyForm::Chunked => {
            stream.write(Chunk::copy_from(ChunkHeader::new(data.len() as u64).as_bytes()));
            stream.write(data);
            stream.write(Chunk::from_static(ChunkHeader::END));
        }
        _ => stream.write(data),
    }
}

/// Ends the body.
pub(crate) fn send_end(conn: &Conn, work: &mut Work) {
    if work.form == BodyForm::Chunked {
        let stream = &conn.down.stream;
        if work.response_trailers.is_empty() || !conn.manager.plan.http1.enable_trailers {
            stream.write(Chunk::from_static(LAST_CHUNK));
        } else {
            let mut out = Out(BufMut::with_capacity(256));
            encode_trailers(&work.response_trailers, conn.manager.key_format, &mut out);
            stream.write(out.0.freeze());
        }
        work.info.sent_downstream(ringway_runtime::now());
    }
    work.form = BodyForm::None;
    work.info.response_complete = true;
}

/// Answers `Expect: 100-continue` (RFC 9110 section 10.1.1).
pub(crate) fn send_continue(conn: &Conn) {
    conn.down.stream.write(Chunk::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
}

/// Passes on an interim response of the upstream (`proxy_100_continue`).
pub(crate) fn send_interim(conn: &Conn, work: &mut Work) {
    if work.request.version != Version::Http11 {
        return;
    }
    strip_response_hop_by_hop(&mut work.response.headers, false);
    let mut out = Out(BufMut::with_capacity(256));
    let format = conn.manager.key_format;
    encode_response_head(&work.response, Version::Http11, Framing::AsIs, format, false, &mut out);
    conn.down.stream.write(out.0.freeze());
}

fn push_chunk(out: &mut BufMut, data: &[u8]) {
    out.extend_from_slice(ChunkHeader::new(data.len() as u64).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(ChunkHeader::END);
}

/// Completes the head (`date`, `server`, `connection`) and writes it; decides how the body goes.
fn encode(conn: &Conn, work: &mut Work, end_stream: bool) -> Out {
    finish_headers(conn, work);
    let request = &work.request;
    let (method, version) = (request.method, request.version);
    let framing = response_framing(&work.response, &method, version, end_stream, false);
    work.form = body_form(work.response.status, &method, framing, end_stream);
    let until_close =
        work.form == BodyForm::Plain && !work.response.headers.contains(K::ContentLength);
    decide_close(conn, work, until_close);
    let mut out = Out(BufMut::with_capacity(512));
    let format = conn.manager.key_format;
    // Where HTTP/1.0 is not accepted, its refusal is written as HTTP/1.1.
    let written = if conn.manager.options.accept_http_10 { version } else { Version::Http11 };
    encode_response_head(&work.response, written, framing, format, false, &mut out);
    work.info.code = work.response.status;
    work.info.response_head_bytes = out.0.len() as u64;
    work.head_sent = true;
    out
}

fn body_form(status: u16, method: &Method, framing: Framing, end_stream: bool) -> BodyForm {
    let bodiless = *method == Method::Head || matches!(status, 100..200 | 204 | 304);
    if bodiless || end_stream {
        BodyForm::None
    } else if framing.is_chunked() {
        BodyForm::Chunked
    } else {
        BodyForm::Plain
    }
}

fn queue(conn: &Conn, work: &mut Work, out: Out) {
    work.info.sent_downstream(ringway_runtime::now());
    conn.down.stream.write(out.0.freeze());
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

/// `connection: close` where the connection ends after this response.
fn decide_close(conn: &Conn, work: &mut Work, until_close: bool) {
    // An unread rest of the request would have to be read first; Envoy closes instead. A body
    // without length or chunks ends with its connection.
    work.close |= until_close || !conn.down.is_complete() || conn.should_drain();
    let headers = &mut work.response.headers;
    if work.close {
        headers.set(K::Connection, b"close");
    } else if work.request.version == Version::Http10 && conn.manager.options.accept_http_10 {
        headers.set(K::Connection, b"keep-alive");
    }
}
