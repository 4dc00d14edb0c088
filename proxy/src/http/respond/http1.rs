//! Responses in HTTP/1: heads, and bodies plain or in chunks.

use ringway_runtime::{BufMut, Chunk};
use ringway_wire::http1::{
    ChunkHeader, Framing, LAST_CHUNK, Sink, encode_response_head, encode_trailers, response_framing,
};
use ringway_wire::{KnownName as K, Method, Version};

use super::BodyForm;
use crate::http::conn::{Conn, Work};
use crate::http::manager::written;
use crate::http::upgrade::Tunnel;
use crate::transport::Stream;

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

/// The head alone.
pub(super) fn head(conn: &Conn, work: &mut Work, stream: &Stream) {
    let out = encode(conn, work, true);
    queue(work, stream, out);
    work.form = BodyForm::None;
}

/// The head with all of a body that its `content-length` announces.
pub(super) fn head_and_body(conn: &Conn, work: &mut Work, stream: &Stream, body: &[u8]) {
    let mut out = encode(conn, work, body.is_empty());
    if work.form == BodyForm::Plain {
        out.0.extend_from_slice(body);
        work.info.response_body_bytes += body.len() as u64;
    }
    queue(work, stream, out);
    work.form = BodyForm::None;
}

/// The head with what is there of the body. Small pieces are copied behind the head.
pub(super) fn head_and_data(
    conn: &Conn,
    work: &mut Work,
    stream: &Stream,
    data: Option<Chunk>,
    ends: bool,
    bodiless: bool,
) {
    let mut out = encode(conn, work, bodiless);
    let Some(piece) = data else {
        queue(work, stream, out);
        return;
    };
    if piece.len() > COPY_MAX || work.form == BodyForm::None {
        queue(work, stream, out);
        super::send_data(conn, work, piece);
        return;
    }
    if work.form == BodyForm::Chunked {
        push_chunk(&mut out.0, &piece);
    } else {
        out.0.extend_from_slice(&piece);
    }
    work.info.response_body_bytes += piece.len() as u64;
    if ends && work.form == BodyForm::Chunked && work.response_trailers.is_empty() {
        out.0.extend_from_slice(LAST_CHUNK);
        work.form = BodyForm::None;
    }
    queue(work, stream, out);
}

/// A piece of the body, without a copy when it is large.
pub(super) fn data(work: &Work, stream: &Stream, data: Chunk) {
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

/// The end of the body.
pub(super) fn end(conn: &Conn, work: &mut Work, stream: &Stream) {
    if work.form != BodyForm::Chunked {
        return;
    }
    if work.response_trailers.is_empty() || !conn.manager.plan.http1.enable_trailers {
        stream.write(Chunk::from_static(LAST_CHUNK));
    } else {
        let mut out = Out(BufMut::with_capacity(256));
        let format = written(work.response_names, conn.manager.key_format);
        encode_trailers(&work.response_trailers, format, &mut out);
        stream.write(out.0.freeze());
    }
    work.info.sent_downstream(ringway_runtime::now());
}

/// An interim head.
pub(super) fn interim(conn: &Conn, work: &Work, stream: &Stream) {
    let mut out = Out(BufMut::with_capacity(256));
    let format = written(work.response_names, conn.manager.key_format);
    encode_response_head(&work.response, Version::Http11, Framing::AsIs, format, false, &mut out);
    stream.write(out.0.freeze());
}

fn push_chunk(out: &mut BufMut, data: &[u8]) {
    out.extend_from_slice(ChunkHeader::new(data.len() as u64).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(ChunkHeader::END);
}

/// Completes the head with `connection` and encodes it; decides how the body goes.
fn encode(conn: &Conn, work: &mut Work, end_stream: bool) -> Out {
    let request = &work.request;
    let (method, version) = (request.method, request.version);
    let tunnel = work.tunnel == Tunnel::Open;
    let framing = response_framing(&work.response, &method, version, end_stream, tunnel);
    work.form = match tunnel {
        true => BodyForm::Plain,
        false => body_form(work.response.status, &method, framing, end_stream),
    };
    let until_close =
        work.form == BodyForm::Plain && !work.response.headers.contains(K::ContentLength);
    decide_close(conn, work, until_close);
    let mut out = Out(BufMut::with_capacity(512));
    let format = written(work.response_names, conn.manager.key_format);
    // Where HTTP/1.0 is not accepted, its refusal is written as HTTP/1.1.
    let version = if conn.manager.options.accept_http_10 { version } else { Version::Http11 };
    let reason = work.response_reason;
    encode_response_head(&work.response, version, framing, format, reason, &mut out);
    work.info.response_head_bytes = out.0.len() as u64;
    out
}

fn body_form(status: u16, method: &Method, framing: Framing, end_stream: bool) -> BodyForm {
    if super::is_bodiless(status, method) || end_stream {
        BodyForm::None
    } else if framing.is_chunked() {
        BodyForm::Chunked
    } else {
        BodyForm::Plain
    }
}

fn queue(work: &mut Work, stream: &Stream, out: Out) {
    work.info.sent_downstream(ringway_runtime::now());
    stream.write(out.0.freeze());
}

/// `connection: close` where the connection ends after this response.
fn decide_close(conn: &Conn, work: &mut Work, until_close: bool) {
    // An unread rest of the request would have to be read first; Envoy closes instead. A body
    // without length or chunks ends with its connection.
    work.close |= until_close || !conn.down.is_complete() || conn.should_drain();
    if work.tunnel == Tunnel::Open {
        return;
    }
    let headers = &mut work.response.headers;
    if work.close {
        headers.set(K::Connection, b"close");
    } else if work.request.version == Version::Http10 && conn.manager.options.accept_http_10 {
        headers.set(K::Connection, b"keep-alive");
    }
}
