//! Responses on a stream of an HTTP/2 connection.

use ringway_runtime::Chunk;
use ringway_wire::{KnownName as K, ResponseHead};

use super::BodyForm;
use crate::http::conn::{Conn, Work};
use crate::http::upgrade::Tunnel;
use crate::http2::StreamHandle;

/// The head alone, or with a body to come.
pub(super) fn head(conn: &Conn, work: &mut Work, stream: &StreamHandle, ends: bool) {
    if conn.should_drain() {
        stream.session().drain(conn.manager.plan.timeouts.drain);
    }
    let headers = &mut work.response.headers;
    // What is said about a connection of HTTP/1 has no place here (RFC 9113 section 8.2.2).
    for name in [K::Connection, K::KeepAlive, K::ProxyConnection, K::TransferEncoding, K::Upgrade] {
        headers.remove(name);
    }
    let tunnel = work.tunnel == Tunnel::Open;
    let status = work.response.status;
    if tunnel && status == 101 {
        // What grants an extended CONNECT (RFC 8441 section 5); logs keep what the upstream said.
        work.response.status = 200;
    }
    let bodiless = super::is_bodiless(status, &work.request.method);
    let ends = (ends || bodiless) && !tunnel;
    work.form = if ends { BodyForm::None } else { BodyForm::Plain };
    let before = stream.wire_bytes().0;
    stream.send_response(&work.response, ends);
    work.response.status = status;
    work.info.response_head_bytes = stream.wire_bytes().0 - before;
    work.info.sent_downstream(ringway_runtime::now());
}

/// The head with all of a body.
pub(super) fn head_and_body(conn: &Conn, work: &mut Work, stream: &StreamHandle, body: &[u8]) {
    head(conn, work, stream, body.is_empty());
    if work.form == BodyForm::Plain {
        stream.send_data(Chunk::copy_from(body), true);
        work.info.response_body_bytes += body.len() as u64;
    }
    work.form = BodyForm::None;
}

/// The head with what is there of the body.
pub(super) fn head_and_data(
    conn: &Conn,
    work: &mut Work,
    stream: &StreamHandle,
    data: Option<Chunk>,
    ends: bool,
    bodiless: bool,
) {
    head(conn, work, stream, bodiless);
    let Some(piece) = data.filter(|_| work.form == BodyForm::Plain) else { return };
    work.info.response_body_bytes += piece.len() as u64;
    let last = ends && work.response_trailers.is_empty();
    stream.send_data(piece, last);
    if last {
        work.form = BodyForm::None;
    }
}

/// The end of the body, with its trailers.
pub(super) fn end(work: &mut Work, stream: &StreamHandle) {
    if work.form == BodyForm::None {
        return;
    }
    if work.response_trailers.is_empty() {
        stream.send_data(Chunk::default(), true);
    } else {
        stream.send_trailers(&work.response_trailers);
    }
    work.info.sent_downstream(ringway_runtime::now());
}

/// `100 Continue`.
pub(super) fn go_on(stream: &StreamHandle) {
    let head = ResponseHead { status: 100, ..ResponseHead::default() };
    stream.send_response(&head, false);
}
