//! One attempt at work: request body up, response down, both at once, on one task.
//!
//! LIFECYCLE of the response: `Head` (interim heads are dropped) → `Body` → complete. The request
//! runs beside it; a response may be complete before the request is, which ends both connections.
//!
//! Back-pressure: nothing is read from one side while more than the buffer limit is queued on the
//! other; reading goes on when half of it has drained.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{BufMut, Chunk, Instant};
use ringway_wire::KnownName as K;
use ringway_wire::chars::Decimal;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, ChunkHeader, Framing, H1Error, LAST_CHUNK, encode_request_head,
    encode_trailers, parse_response, request_framing, strip_response_hop_by_hop,
};

use super::Exchange;
use super::retry::{Decision, Reset, Retry};
use super::rewrite::set_authority;
use super::timeouts::{Clock, Expired};
use crate::http::conn::{Conn, Work};
use crate::http::down::{BodyError, Frame, join};
use crate::http::reply::LocalReply;
use crate::http::respond::{self, Out};
use crate::observe::format::ResponseFlag;
use crate::plan::route::HostRewrite;
use crate::upstream::{Outcome, PooledConn};

/// How an attempt ended.
pub(super) enum End {
    /// The response was relayed to its end.
    Complete,
    /// Before a response began.
    Reset(Reset),
    /// A reused connection turned out dead before it had answered anything.
    Stale,
    /// The response head asked for another attempt.
    Again(Duration),
    /// A time limit.
    Expired(Expired),
    /// The client broke the protocol in its body, or went over a limit.
    Refuse(Box<LocalReply>),
    /// The client went away.
    Gone,
    /// The upstream failed after the response had begun.
    Broken(Reset),
}

/// What is expected of the upstream next.
enum Phase {
    Head,
    Body(BodyDecoder),
    Done,
}

/// The state of one attempt.
pub(super) struct Pump<'a, 'p> {
    conn: &'a mut Conn,
    work: &'a mut Work,
    exchange: &'a Exchange<'a>,
    retry: &'a mut Retry<'p>,
    clock: &'a mut Clock,
    up: &'a mut PooledConn,
    inbox: Chunk,
    phase: Phase,
    /// Any byte came from the upstream.
    heard: bool,
    /// How the request body is written.
    framing: Framing,
    request_done: bool,
    /// The request's body is still whole in `work.replay` (or empty).
    whole: bool,
    /// The upstream lets its connection go on.
    keep_alive: bool,
    /// The response says that the connection ends after it.
    announced_close: bool,
    armed: Option<(Instant, Expired)>,
    up_limit: usize,
    down_limit: usize,
}

impl<'a, 'p> Pump<'a, 'p> {
    /// Writes the head, and what is already known of the body.
    pub(super) fn new(
        conn: &'a mut Conn,
        work: &'a mut Work,
        exchange: &'a Exchange<'a>,
        retry: &'a mut Retry<'p>,
        clock: &'a mut Clock,
        up: &'a mut PooledConn,
    ) -> Self {
        let request_done = work.info.request_end.is_some();
        let framing = start_request(work, exchange, up);
        let mut pump = Self {
            up_limit: exchange.cluster.plan().buffer_limit as usize,
            down_limit: conn.listener.plan.buffer_limit as usize,
            conn,
            work,
            exchange,
            retry,
            clock,
            up,
            inbox: Chunk::default(),
            phase: Phase::Head,
            heard: false,
            framing,
            request_done,
            whole: true,
            keep_alive: false,
            announced_close: false,
            armed: None,
        };
        pump.replay();
        pump
    }

    /// May the upstream connection carry another request?
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.request_done
            && matches!(self.phase, Phase::Done)
            && self.inbox.is_empty()
            && self.up.stream().queued() == 0
    }

    /// Whether the complete response said that the connection ends with it.
    pub(super) fn peer_said_close(&self) -> bool {
        self.announced_close
    }

    /// Whether something follows the complete response.
    pub(super) fn peer_said_more(&self) -> bool {
        matches!(self.phase, Phase::Done) && !self.inbox.is_empty()
    }

    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.poll_response(cx) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_request(cx) {
            return Poll::Ready(end);
        }
        if self.request_done && self.conn.down.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        self.poll_limits(cx)
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let next = self.exchange.timeouts.next(self.work, self.clock);
        let Some((at, limit)) = next else { return Poll::Pending };
        if self.armed != next {
            self.conn.timer.reset(at);
            self.armed = next;
        }
        if Pin::new(&mut self.conn.timer).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.armed = None;
        Poll::Ready(End::Expired(limit))
    }

    /// What an earlier attempt already read of the body is sent again.
    fn replay(&mut self) {
        let kept = std::mem::take(&mut self.work.replay);
        for chunk in kept.iter() {
            self.write_up(chunk.clone());
        }
        if self.keeps_body() {
            self.work.replay = kept;
        } else {
            self.whole = kept.is_empty();
        }
        if self.request_done {
            self.end_up();
        }
    }

    // --- request ---

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Option<End> {
        while !self.request_done {
            let stream = self.up.stream();
            if stream.queued() > self.up_limit {
                match stream.poll_queued_below(cx, self.up_limit / 2) {
                    Poll::Ready(Ok(())) => {}
                    // Its reason is seen where the response is read.
                    Poll::Ready(Err(_)) | Poll::Pending => return None,
                }
            }
            match self.conn.down.poll_body(cx, &mut self.work.request_trailers) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Frame::Data(chunk))) => self.body_piece(chunk),
                Poll::Ready(Ok(Frame::End)) => self.body_end(),
                Poll::Ready(Err(BodyError::Gone)) => return Some(End::Gone),
                Poll::Ready(Err(BodyError::Malformed(error))) => {
                    return Some(self.malformed(&error));
                }
            }
        }
        None
    }

    fn body_piece(&mut self, chunk: Chunk) {
        let now = ringway_runtime::now();
        self.clock.touch(now);
        if self.keeps_body() {
            let kept = self.work.replay.len() as u64 + chunk.len() as u64;
            if kept <= self.exchange.replay_limit {
                self.work.replay.push(chunk.clone());
            } else {
                self.forget_body();
            }
        } else {
            self.whole = false;
        }
        self.write_up(chunk);
    }

    /// Is there any use in keeping what has been read of the body?
    fn keeps_body(&self) -> bool {
        self.whole && !self.work.head_sent && (self.retry.is_possible() || self.up.reused())
    }

    fn forget_body(&mut self) {
        if self.retry.is_possible() {
            let stats = &self.exchange.cluster.plan().stats;
            self.conn.shard.stats.inc(stats.retry_or_shadow_abandoned());
        }
        self.retry.give_up();
        self.work.replay.clear();
        self.whole = false;
    }

    fn body_end(&mut self) {
        self.request_done = true;
        super::attempt::request_ended(self.work, self.clock, self.retry);
        self.end_up();
    }

    fn malformed(&mut self, error: &H1Error) -> End {
        crate::http::account::body_refused(self.conn);
        if self.work.head_sent {
            self.work.info.flags.insert(ResponseFlag::DownstreamProtocolError);
            return End::Broken(Reset::Local);
        }
        End::Refuse(Box::new(super::fail::malformed(error)))
    }

    fn write_up(&mut self, chunk: Chunk) {
        let stream = self.up.stream();
        let len = chunk.len() as u64;
        if self.framing == Framing::Chunked {
            stream.write(Chunk::copy_from(ChunkHeader::new(len).as_bytes()));
            stream.write(chunk);
            stream.write(Chunk::from_static(ChunkHeader::END));
        } else {
            stream.write(chunk);
        }
        self.work.info.upstream_wire.0 += len;
        self.up.count_tx(len);
        self.work.info.sent_upstream(ringway_runtime::now());
    }

    fn end_up(&mut self) {
        if self.framing != Framing::Chunked {
            return;
        }
        let stream = self.up.stream();
        let trailers = &self.work.request_trailers;
        if trailers.is_empty() || !self.exchange.cluster.plan().http.enable_trailers {
            stream.write(Chunk::from_static(LAST_CHUNK));
        } else {
            let mut out = Out(BufMut::with_capacity(256));
            encode_trailers(trailers, self.exchange.codec.key_format, &mut out);
            stream.write(out.0.freeze());
        }
    }

    // --- response ---

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Option<End> {
        loop {
            let down = &self.conn.down.stream;
            if down.queued() > self.down_limit {
                match down.poll_queued_below(cx, self.down_limit / 2) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Some(End::Gone),
                    Poll::Pending => return None,
                }
            }
            match self.up.stream().poll_recv(cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Some(chunk))) => self.received(chunk),
                Poll::Ready(Ok(None)) => return Some(self.closed()),
                Poll::Ready(Err(_)) => return Some(self.broke()),
            }
            if let Some(end) = self.consume() {
                return Some(end);
            }
        }
    }

    fn received(&mut self, chunk: Chunk) {
        let now = ringway_runtime::now();
        self.heard = true;
        self.clock.touch(now);
        self.clock.upstream_active = now;
        self.work.info.heard_upstream(now);
        self.work.info.upstream_wire.1 += chunk.len() as u64;
        self.up.count_rx(chunk.len() as u64);
        self.inbox = join(std::mem::take(&mut self.inbox), chunk);
    }

    /// Parses what is in the inbox as far as it goes.
    fn consume(&mut self) -> Option<End> {
        while matches!(self.phase, Phase::Head) {
            match self.consume_head() {
                Head::More => return None,
                Head::Interim => {}
                Head::Final => break,
                Head::End(end) => return Some(end),
            }
        }
        self.consume_body()
    }

    fn consume_head(&mut self) -> Head {
        let codec = &self.exchange.codec;
        let parsed = parse_response(
            &self.inbox,
            &codec.limits,
            &codec.options,
            &self.work.request.method,
            &mut self.work.response,
        );
        let parsed = match parsed {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Head::More,
            Err(_) => {
                let stats = &self.exchange.cluster.plan().stats;
                self.conn.shard.stats.inc(stats.upstream_cx_protocol_error());
                return Head::End(End::Reset(Reset::Protocol));
            }
        };
        self.inbox.advance(parsed.head_len);
        if self.work.response.is_interim() {
            if self.conn.manager.plan.proxy_100_continue {
                respond::send_interim(self.conn, self.work);
            }
            return Head::Interim;
        }
        if self.work.response.status == 101 {
            // Nobody asked for another protocol: upgrades were refused or taken off.
            return Head::End(End::Reset(Reset::Protocol));
        }
        self.keep_alive = parsed.keep_alive && parsed.body != BodyKind::UntilClose;
        self.announced_close = !parsed.keep_alive && parsed.body != BodyKind::UntilClose;
        if let Some(end) = self.judge_head(parsed.body) {
            return Head::End(end);
        }
        self.relay_head(parsed.body);
        Head::Final
    }

    /// Counts the answer and asks whether another attempt is wanted instead.
    fn judge_head(&mut self, kind: BodyKind) -> Option<End> {
        let status = self.work.response.status;
        let host = self.up.host();
        self.exchange.cluster.report(host, Outcome::Status(status));
        let decision = self.retry.after_response(&self.work.response);
        let decision = super::attempt::permitted(self.work, self.exchange, decision);
        if let Decision::After(pause) = decision
            && self.whole
        {
            crate::http::account::retried(self.exchange, self.work, status);
            if kind == BodyKind::None && self.inbox.is_empty() {
                // Nothing of it is left to read: as in Envoy, its connection is fit for use.
                self.phase = Phase::Done;
            }
            return Some(End::Again(pause));
        }
        None
    }

    /// Finishes the head and sends it, with the first of the body when that is here already.
    fn relay_head(&mut self, kind: BodyKind) {
        let work = &mut *self.work;
        work.replay.clear();
        work.info.details = std::borrow::Cow::Borrowed("via_upstream");
        work.info.code = work.response.status;
        strip_response_hop_by_hop(&mut work.response.headers, false);
        crate::http::account::upstream_answered(self.conn, work, self.exchange, self.retry);
        super::headers::finish_response(self.conn, work);
        let codec = &self.exchange.codec;
        let mut decoder = BodyDecoder::response(kind, &codec.limits, &codec.options);
        if let BodyKind::Length(n) = kind {
            let left = usize::try_from(n).unwrap_or(usize::MAX);
            self.up.stream().recv_hint(left.saturating_sub(self.inbox.len()));
        }
        let first = self.first_piece(&mut decoder);
        if let Some(trailers) = decoder.take_trailers() {
            self.work.response_trailers = trailers;
        }
        let bodiless = kind == BodyKind::None;
        respond::send_head_and_data(self.conn, self.work, first, decoder.is_done(), bodiless);
        self.phase = Phase::Body(decoder);
    }

    /// A body byte that came with the head leaves with the head. Framing errors are met again by
    /// the caller, when the rest is decoded.
    fn first_piece(&mut self, decoder: &mut BodyDecoder) -> Option<Chunk> {
        let mut first = None;
        while first.is_none() && !self.inbox.is_empty() {
            let Ok(step) = decoder.decode(&self.inbox) else { break };
            let data = self.inbox.slice(step.data);
            self.inbox.advance(step.consumed);
            self.work.info.upstream_body_bytes += data.len() as u64;
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
        first
    }

    fn consume_body(&mut self) -> Option<End> {
        loop {
            let Phase::Body(decoder) = &mut self.phase else { return None };
            if decoder.is_done() {
                return Some(self.complete());
            }
            if self.inbox.is_empty() {
                return None;
            }
            let Ok(step) = decoder.decode(&self.inbox) else {
                return Some(End::Broken(Reset::Protocol));
            };
            let data = self.inbox.slice(step.data);
            self.inbox.advance(step.consumed);
            if !data.is_empty() {
                self.work.info.upstream_body_bytes += data.len() as u64;
                respond::send_data(self.conn, self.work, data);
            }
        }
    }

    fn complete(&mut self) -> End {
        if let Phase::Body(decoder) = &mut self.phase
            && let Some(trailers) = decoder.take_trailers()
        {
            self.work.response_trailers = trailers;
        }
        self.phase = Phase::Done;
        self.up.stream().recv_hint(0);
        respond::send_end(self.conn, self.work);
        End::Complete
    }

    /// The upstream said it has nothing more to say.
    fn closed(&mut self) -> End {
        let Phase::Body(decoder) = &mut self.phase else {
            return self.broke();
        };
        if decoder.finish().is_ok() {
            self.keep_alive = false;
            return self.complete();
        }
        // A body that ends before its announced length breaks the protocol.
        End::Broken(Reset::Protocol)
    }

    /// The connection ended in the middle. A message that was begun and cannot be finished breaks
    /// the protocol, in Envoy's terms; before that it is a connection that terminated.
    fn broke(&mut self) -> End {
        if self.work.head_sent {
            return End::Broken(Reset::Protocol);
        }
        if !self.inbox.is_empty() {
            return End::Reset(Reset::Protocol);
        }
        if !self.heard && self.up.reused() && self.whole {
            return End::Stale;
        }
        End::Reset(Reset::Termination)
    }
}

/// What came of trying to read a response head.
enum Head {
    More,
    Interim,
    Final,
    End(End),
}

/// Queues the request head; answers how its body is to be written.
fn start_request(work: &mut Work, exchange: &Exchange<'_>, up: &PooledConn) -> Framing {
    let host = up.host();
    if matches!(exchange.forward.host, HostRewrite::Auto) && !host.plan().info.hostname.is_empty() {
        let name = host.plan().info.hostname.clone();
        let append = exchange.forward.append_x_forwarded_host && work.info.attempts <= 1;
        set_authority(&mut work.request, name.as_bytes(), append);
    }
    if exchange.matched.host.attempt_count_in_request {
        let count = Decimal::new(u64::from(work.info.attempts));
        work.request.headers.set(K::XEnvoyAttemptCount, count.as_bytes());
    }
    let timeout_retry = std::mem::take(&mut work.timeout_retry);
    if exchange.matched.host.is_timeout_retry_header && work.info.attempts > 1 {
        let value: &[u8] = if timeout_retry { b"true" } else { b"false" };
        work.request.headers.set(K::XEnvoyIsTimeoutRetry, value);
    }
    let framing = request_framing(&work.request, !work.has_body, false);
    let mut out = Out(BufMut::with_capacity(1024));
    encode_request_head(&work.request, framing, exchange.codec.key_format, &mut out);
    work.info.upstream_wire.0 += out.0.len() as u64;
    up.count_tx(out.0.len() as u64);
    work.info.upstream_local = up.local_addr();
    work.info.sent_upstream(ringway_runtime::now());
    up.stream().write(out.0.freeze());
    framing
}
