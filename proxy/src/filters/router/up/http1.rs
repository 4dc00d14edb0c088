//! A request on an HTTP/1 connection to the upstream.
//!
//! LIFECYCLE of the response: `Head` (interim heads are told and forgotten) → `Body` → `Done`.

use std::task::{Context, Poll};

use ringway_runtime::{BufMut, Chunk};
use ringway_wire::http1::{
    BodyDecoder, BodyKind, ChunkHeader, Framing, HeaderKeyFormat, LAST_CHUNK, encode_request_head,
    encode_trailers, parse_response,
};
use ringway_wire::{HeaderMap, RequestHead};

use super::{Event, Failure, Response};
use crate::filters::router::retry::Reset;
use crate::http::down::join;
use crate::http::manager::{Codec, written};
use crate::http::respond::Out;
use crate::upstream::PooledConn;

enum Phase {
    Head,
    Body(BodyDecoder),
    Done,
}

/// The state of one exchange.
pub(in crate::filters::router) struct Http1<'a> {
    conn: PooledConn,
    codec: &'a Codec,
    /// How names of the request are written.
    names: HeaderKeyFormat,
    inbox: Chunk,
    phase: Phase,
    /// Any byte came from the upstream.
    heard: bool,
    /// How the request body is written.
    framing: Framing,
    /// The upstream lets its connection go on.
    keep_alive: bool,
    /// The response says that the connection ends after it.
    announced_close: bool,
    /// The response agreed to another protocol.
    tunnel: bool,
    /// Bytes received and not asked for by [`Http1::take_received`].
    received: u64,
}

impl<'a> Http1<'a> {
    /// Queues the request head; also answers how many bytes it took.
    pub(in crate::filters::router) fn start(
        conn: PooledConn,
        codec: &'a Codec,
        head: &RequestHead,
        framing: Framing,
        kept: Option<HeaderKeyFormat>,
    ) -> (Self, u64) {
        let mut out = Out(BufMut::with_capacity(1024));
        let names = written(kept, codec.key_format);
        encode_request_head(head, framing, names, &mut out);
        let bytes = out.0.len() as u64;
        conn.count_tx(bytes);
        conn.stream().write(out.0.freeze());
        let up = Self {
            conn,
            codec,
            names,
            inbox: Chunk::default(),
            phase: Phase::Head,
            heard: false,
            framing,
            keep_alive: false,
            announced_close: false,
            tunnel: false,
            received: 0,
        };
        (up, bytes)
    }

    pub(super) fn reused(&self) -> bool {
        self.conn.reused()
    }

    pub(super) fn write(&mut self, chunk: Chunk) {
        let stream = self.conn.stream();
        let len = chunk.len() as u64;
        if self.framing == Framing::Chunked {
            stream.write(Chunk::copy_from(ChunkHeader::new(len).as_bytes()));
            stream.write(chunk);
            stream.write(Chunk::from_static(ChunkHeader::END));
        } else {
            stream.write(chunk);
        }
        self.conn.count_tx(len);
    }

    pub(super) fn end(&mut self, trailers: &HeaderMap) {
        if self.framing != Framing::Chunked {
            return;
        }
        let stream = self.conn.stream();
        if trailers.is_empty() || !self.codec.options.enable_trailers {
            stream.write(Chunk::from_static(LAST_CHUNK));
        } else {
            let mut out = Out(BufMut::with_capacity(256));
            encode_trailers(trailers, self.names, &mut out);
            stream.write(out.0.freeze());
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.conn.stream().queued()
    }

    pub(super) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), ()>> {
        self.conn.stream().poll_queued_below(cx, below).map_err(|_| ())
    }

    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Response<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.consume(into) {
                return Poll::Ready(event);
            }
            match self.conn.stream().poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(chunk))) => self.take_in(chunk),
                Poll::Ready(Ok(None)) => return Poll::Ready(self.closed(into)),
                Poll::Ready(Err(_)) => return Poll::Ready(self.broke()),
            }
        }
    }

    fn take_in(&mut self, chunk: Chunk) {
        self.heard = true;
        self.received += chunk.len() as u64;
        self.conn.count_rx(chunk.len() as u64);
        self.inbox = join(std::mem::take(&mut self.inbox), chunk);
    }

    /// Reads on in the inbox; `None` when there is not enough in it.
    fn consume(&mut self, into: &mut Response<'_>) -> Option<Event> {
        loop {
            let decoder = match &mut self.phase {
                Phase::Done => return None,
                Phase::Head if self.inbox.is_empty() => return None,
                Phase::Head => return self.consume_head(into),
                Phase::Body(decoder) => decoder,
            };
            if decoder.is_done() {
                return Some(self.complete(into));
            }
            if self.inbox.is_empty() {
                return None;
            }
            let Ok(step) = decoder.decode(&self.inbox) else {
                return Some(failed(Reset::Protocol));
            };
            let data = self.inbox.slice(step.data);
            self.inbox.advance(step.consumed);
            if !data.is_empty() {
                return Some(Event::Data(data));
            }
        }
    }

    fn consume_head(&mut self, into: &mut Response<'_>) -> Option<Event> {
        let codec = self.codec;
        let parsed =
            parse_response(&self.inbox, &codec.limits, &codec.options, &into.method, into.head);
        let parsed = match parsed {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return None,
            Err(_) => {
                self.conn.count_protocol_error();
                return Some(failed(Reset::Protocol));
            }
        };
        self.inbox.advance(parsed.head_len);
        if into.head.is_interim() {
            return Some(Event::Interim);
        }
        if into.head.status == 101 && !into.upgrade {
            // Nobody asked for another protocol: upgrades were refused or taken off.
            return Some(failed(Reset::Protocol));
        }
        self.tunnel = parsed.upgrade;
        self.keep_alive = parsed.keep_alive && parsed.body != BodyKind::UntilClose;
        self.announced_close = !parsed.keep_alive && parsed.body != BodyKind::UntilClose;
        if let BodyKind::Length(n) = parsed.body {
            let left = usize::try_from(n).unwrap_or(usize::MAX);
            self.conn.stream().recv_hint(left.saturating_sub(self.inbox.len()));
        }
        self.phase = Phase::Body(BodyDecoder::response(parsed.body, &codec.limits, &codec.options));
        Some(Event::Head { bodiless: parsed.body == BodyKind::None })
    }

    /// A body byte that came with the head leaves with the head. Framing errors are met again by
    /// [`Http1::poll`], when the rest is decoded.
    pub(super) fn first_piece(&mut self, trailers: &mut HeaderMap) -> (Option<Chunk>, bool) {
        let Phase::Body(decoder) = &mut self.phase else { return (None, false) };
        let mut first = None;
        while first.is_none() && !self.inbox.is_empty() {
            let Ok(step) = decoder.decode(&self.inbox) else { break };
            let data = self.inbox.slice(step.data);
            self.inbox.advance(step.consumed);
            first = (!data.is_empty()).then_some(data);
            if step.done || step.consumed == 0 {
                break;
            }
        }
        // A short chunked body is here whole, and its end can leave with it.
        while !decoder.is_done() && !self.inbox.is_empty() && first.is_some() {
            let mut probe = decoder.clone();
            let Ok(step) = probe.decode(&self.inbox) else { break };
            if !step.data.is_empty() || step.consumed == 0 {
                break;
            }
            self.inbox.advance(step.consumed);
            *decoder = probe;
        }
        if let Some(received) = decoder.take_trailers() {
            *trailers = received;
        }
        (first, decoder.is_done())
    }

    fn complete(&mut self, into: &mut Response<'_>) -> Event {
        if let Phase::Body(decoder) = &mut self.phase
            && let Some(received) = decoder.take_trailers()
        {
            *into.trailers = received;
        }
        self.phase = Phase::Done;
        self.conn.stream().recv_hint(0);
        Event::End
    }

    /// The upstream said it has nothing more to say.
    fn closed(&mut self, into: &mut Response<'_>) -> Event {
        let Phase::Body(decoder) = &mut self.phase else { return self.broke() };
        if self.tunnel {
            // It has no end of its own, in Envoy's terms.
            return failed(Reset::Termination);
        }
        if decoder.finish().is_ok() {
            self.keep_alive = false;
            return self.complete(into);
        }
        // A body that ends before its announced length breaks the protocol.
        failed(Reset::Protocol)
    }

    /// The connection ended in the middle. A message that was begun and cannot be finished breaks
    /// the protocol, in Envoy's terms; before that it is a connection that terminated.
    fn broke(&mut self) -> Event {
        if self.tunnel {
            return failed(Reset::Termination);
        }
        if !matches!(self.phase, Phase::Head) || !self.inbox.is_empty() {
            return failed(Reset::Protocol);
        }
        let untouched = !self.heard && self.conn.reused();
        Event::Failed(Failure { reset: Reset::Termination, untouched })
    }

    pub(super) fn skip_body(&mut self, bodiless: bool) {
        if bodiless && self.inbox.is_empty() {
            // Nothing of it is left to read: as in Envoy, its connection is fit for use.
            self.phase = Phase::Done;
        }
    }

    pub(super) fn finish(mut self, complete: bool, request_done: bool) {
        let done = matches!(self.phase, Phase::Done);
        let reusable = self.keep_alive
            && request_done
            && done
            && self.inbox.is_empty()
            && self.conn.stream().queued() == 0;
        if complete || reusable {
            self.conn.response_complete();
            if self.announced_close {
                self.conn.close_notify();
            }
            if done && !self.inbox.is_empty() {
                self.conn.protocol_error();
            }
        }
        if reusable {
            self.conn.release();
        }
    }
}

fn failed(reset: Reset) -> Event {
    Event::Failed(Failure { reset, untouched: false })
}
