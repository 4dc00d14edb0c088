//! One attempt at work: request body up, response down, both at once, on one task.
//!
//! LIFECYCLE of the response: head (interim heads are passed on or dropped) → body → complete. The
//! request runs beside it; a response may be complete before the request is, which ends both.
//!
//! Back-pressure: nothing is read from one side while more than the buffer limit is queued on the
//! other; reading goes on when half of it has drained.

use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Chunk, Instant};
use ringway_wire::chars::Decimal;
use ringway_wire::http1::{H1Error, request_framing, strip_response_hop_by_hop};
use ringway_wire::{KnownName as K, Method, RequestHead, Scheme};

use super::Exchange;
use super::retry::{Decision, Reset, Retry};
use super::rewrite::set_authority;
use super::timeouts::{Clock, Expired, poll_limits};
use super::up::{Acquired, Event, Failure, Http1, Http2, Response, Tcp, Up};
use crate::filters::chain;
use crate::http::conn::{Conn, Work};
use crate::http::down::{BodyError, Frame};
use crate::http::reply::LocalReply;
use crate::http::respond;
use crate::http::upgrade::Tunnel;
use crate::observe::format::ResponseFlag;
use crate::plan::route::HostRewrite;
use crate::upstream::{Leased, Outcome, ShardHost};

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

/// The state of one attempt.
pub(super) struct Pump<'a, 'p> {
    conn: &'a mut Conn,
    work: &'a mut Work,
    exchange: &'a Exchange<'a>,
    retry: &'a mut Retry<'p>,
    clock: &'a mut Clock,
    host: &'a ShardHost,
    up: Up<'a>,
    /// A final response head has come.
    answered: bool,
    /// The response goes through filters.
    filtered: bool,
    /// It has come in as a whole.
    response_done: bool,
    request_done: bool,
    /// The request's body is still whole in `work.replay` (or empty).
    whole: bool,
    /// The client of a tunnel has gone; what it said last is still on its way.
    leaving: bool,
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
        host: &'a ShardHost,
        acquired: Acquired,
    ) -> Self {
        let up = start_request(work, exchange, host, acquired);
        let mut pump = Self {
            up_limit: exchange.cluster.plan().buffer_limit as usize,
            down_limit: conn.link.listener.plan.buffer_limit as usize,
            request_done: work.info.request_end.is_some(),
            conn,
            work,
            exchange,
            retry,
            clock,
            host,
            up,
            answered: false,
            filtered: false,
            response_done: false,
            whole: true,
            leaving: false,
            armed: None,
        };
        pump.replay();
        pump
    }

    /// Lets go of the upstream connection, which is kept where it can be used again.
    pub(super) fn finish(self, end: &End) {
        self.up.finish(matches!(end, End::Complete), self.request_done);
    }

    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.poll_response(cx) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_request(cx) {
            return Poll::Ready(end);
        }
        if self.leaving {
            return match self.up.poll_queued_below(cx, 0) {
                Poll::Pending => self.poll_limits(cx),
                Poll::Ready(_) => Poll::Ready(End::Gone),
            };
        }
        if self.request_done && self.conn.down.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        self.poll_limits(cx)
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let (timeouts, clock) = (&self.exchange.timeouts, &*self.clock);
        let next = |_: &Conn, work: &Work| timeouts.next(work, clock);
        poll_limits(self.conn, self.work, &mut self.armed, cx, next).map(End::Expired)
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
        if self.request_done && self.work.has_body {
            self.up.end(&self.work.request_trailers);
        }
    }

    // --- request ---

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Option<End> {
        // What would be payload if the upstream agreed might be taken for a request if it does not.
        if self.work.tunnel == Tunnel::Asked && !self.answered {
            return self.conn.down.poll_gone(cx).is_ready().then_some(End::Gone);
        }
        while !self.request_done {
            if self.up.queued() > self.up_limit {
                match self.up.poll_queued_below(cx, self.up_limit / 2) {
                    Poll::Ready(Ok(())) => {}
                    // Its reason is seen where the response is read.
                    Poll::Ready(Err(())) | Poll::Pending => return None,
                }
            }
            match chain::poll_body(self.conn, self.work, cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Frame::Data(chunk))) => self.body_piece(chunk),
                Poll::Ready(Ok(Frame::End)) => self.body_end(),
                Poll::Ready(Err(BodyError::Gone)) if self.work.tunnel == Tunnel::Open => {
                    self.leaving = true;
                    return None;
                }
                Poll::Ready(Err(BodyError::Gone)) => return Some(End::Gone),
                Poll::Ready(Err(BodyError::Reply(reply))) => return Some(self.refused(reply)),
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
        self.whole && !self.work.head_sent && (self.retry.is_possible() || self.up.may_be_stale())
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
        self.up.end(&self.work.request_trailers);
    }

    /// A filter answers instead: in time, or too late.
    fn refused(&mut self, reply: Box<LocalReply>) -> End {
        if chain::head_written(self.work) {
            self.work.info.details = reply.details;
            return End::Broken(Reset::Local);
        }
        End::Refuse(reply)
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
        self.work.info.upstream_wire.0 += chunk.len() as u64;
        self.up.write(chunk);
        self.work.info.sent_upstream(ringway_runtime::now());
    }

    // --- response ---

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Option<End> {
        loop {
            if self.conn.down.queued() > self.down_limit {
                match self.conn.down.poll_queued_below(cx, self.down_limit / 2) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Some(End::Gone),
                    Poll::Pending => return None,
                }
            }
            if self.filtered
                && let Some(end) = self.poll_filters(cx)?
            {
                return Some(end);
            }
            let into = Response {
                method: self.work.request.method,
                upgrade: self.work.tunnel == Tunnel::Asked,
                head: &mut self.work.response,
                trailers: &mut self.work.response_trailers,
            };
            let event = self.up.poll(cx, into);
            self.note_received();
            let Poll::Ready(event) = event else { return None };
            if let Some(end) = self.take(event) {
                return Some(end);
            }
        }
    }

    /// Moves the response through the filters: `None` where one of them waits, else how it ended
    /// if it did.
    fn poll_filters(&mut self, cx: &mut Context<'_>) -> Option<Option<End>> {
        match chain::poll_response(self.conn, self.work, cx) {
            // The upstream's end has to be heard as well, or its connection is of no more use.
            Poll::Ready(Ok(true)) if self.response_done => Some(Some(End::Complete)),
            Poll::Ready(Ok(true)) => Some(None),
            Poll::Ready(Ok(false)) if self.response_done => Some(Some(End::Broken(Reset::Local))),
            Poll::Ready(Ok(false)) => Some(None),
            Poll::Ready(Err(reply)) => Some(Some(self.refused(reply))),
            Poll::Pending => None,
        }
    }

    fn take(&mut self, event: Event) -> Option<End> {
        if let (Event::Interim | Event::Head { .. }, Up::Http1(_)) = (&event, &self.up) {
            self.work.response_names = Some(self.exchange.codec.key_format);
            self.work.response_reason = self.exchange.codec.keeps_reason;
        }
        match event {
            Event::Interim => {
                if self.conn.manager.plan.proxy_100_continue {
                    respond::send_interim(self.conn, self.work);
                }
                None
            }
            Event::Head { bodiless } => {
                self.answered = true;
                if self.refuses_websocket() {
                    let status = self.work.response.status;
                    let reply = LocalReply::new(status, "", "websocket_handshake_unsuccessful");
                    return Some(End::Refuse(Box::new(reply)));
                }
                if let Some(end) = self.judge_head(bodiless) {
                    return Some(end);
                }
                self.relay_head(bodiless);
                None
            }
            Event::Data(data) => {
                self.work.info.upstream_body_bytes += data.len() as u64;
                if self.filtered {
                    self.work.filters.response_data(data);
                } else {
                    respond::send_data(self.conn, self.work, data);
                }
                None
            }
            Event::End if self.filtered => {
                self.response_done = true;
                self.work.filters.response_end();
                None
            }
            Event::End => {
                respond::send_end(self.conn, self.work);
                Some(End::Complete)
            }
            Event::Failed(failure) => Some(self.failed(failure)),
        }
    }

    fn note_received(&mut self) {
        let bytes = self.up.take_received();
        if bytes == 0 {
            return;
        }
        let now = ringway_runtime::now();
        self.clock.touch(now);
        self.clock.upstream_active = now;
        self.work.info.heard_upstream(now);
        self.work.info.upstream_wire.1 += bytes;
    }

    /// An upstream that answers a WebSocket handshake with neither 101 nor an error has not
    /// understood it: Envoy passes on its status alone.
    fn refuses_websocket(&self) -> bool {
        self.work.tunnel == Tunnel::Asked
            && matches!(self.work.response.status, 200..400)
            && self
                .work
                .request
                .headers
                .get(K::Upgrade)
                .is_some_and(|kind| kind.eq_ignore_ascii_case(b"websocket"))
    }

    /// Counts the answer and asks whether another attempt is wanted instead.
    fn judge_head(&mut self, bodiless: bool) -> Option<End> {
        let status = self.work.response.status;
        self.exchange.cluster.report(self.host, Outcome::Status(status));
        let decision = self.retry.after_response(&self.work.response);
        let decision = super::attempt::permitted(self.work, self.exchange, decision);
        if let Decision::After(pause) = decision
            && self.whole
        {
            crate::http::account::retried(self.exchange, self.work, status);
            self.up.skip_body(bodiless);
            return Some(End::Again(pause));
        }
        None
    }

    /// Finishes the head and sends it, with the first of the body when that is here already.
    fn relay_head(&mut self, bodiless: bool) {
        let work = &mut *self.work;
        work.replay.clear();
        work.info.details = std::borrow::Cow::Borrowed("via_upstream");
        let status = work.response.status;
        work.info.code = status;
        let connect = work.request.method == Method::Connect && (200..300).contains(&status);
        if work.tunnel == Tunnel::Asked && (status == 101 || connect) {
            work.tunnel = Tunnel::Open;
        }
        strip_response_hop_by_hop(&mut work.response.headers, work.tunnel == Tunnel::Open);
        crate::http::account::upstream_answered(self.conn, work, self.exchange, self.retry);
        super::headers::finish_response(self.conn, work);
        if !work.filters.is_empty() {
            self.filtered = true;
            work.head_sent = true;
            let empty = work.response.headers.get(K::ContentLength) == Some(b"0");
            work.filters.response_head(bodiless || empty);
            return;
        }
        let (first, ends) = self.up.first_piece(&mut self.work.response_trailers);
        self.note_received();
        let len = first.as_ref().map_or(0, |first| first.len());
        self.work.info.upstream_body_bytes += len as u64;
        respond::send_head_and_data(self.conn, self.work, first, ends, bodiless);
    }

    fn failed(&mut self, failure: Failure) -> End {
        if self.work.head_sent {
            return End::Broken(failure.reset);
        }
        if failure.untouched && self.whole && !self.answered {
            return End::Stale;
        }
        End::Reset(failure.reset)
    }
}

/// Makes the path a whole URL; answers what it was.
fn full_url(head: &mut RequestHead) -> Vec<u8> {
    let scheme = head.scheme.map_or("http", |scheme| scheme.as_str());
    let url = [scheme.as_bytes(), b"://", &head.authority, &head.path].concat();
    std::mem::replace(&mut head.path, url)
}

/// Queues the request head on what was acquired.
fn start_request<'a>(
    work: &mut Work,
    exchange: &'a Exchange<'a>,
    host: &ShardHost,
    acquired: Acquired,
) -> Up<'a> {
    if matches!(exchange.forward.extra().host, HostRewrite::Auto)
        && !host.plan().info.hostname.is_empty()
    {
        let name = host.plan().info.hostname.clone();
        let append = exchange.forward.append_x_forwarded_host && work.info.attempts <= 1;
        set_authority(&mut work.request, name.as_bytes(), append);
    }
    if exchange.scheme_matches_upstream {
        let secure = exchange.cluster.plan().socket(host.plan()).is_secure();
        work.request.scheme = Some(if secure { Scheme::Https } else { Scheme::Http });
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
    work.info.sent_upstream(ringway_runtime::now());
    match acquired {
        Acquired::Http(Leased::Http1(acquired)) => {
            work.info.upstream_local = acquired.local_addr();
            work.info.upstream_tls = acquired.stream().tls().cloned();
            work.info.upstream_http2 = false;
            let upgrade = work.tunnel != Tunnel::No;
            let framing = request_framing(&work.request, !work.has_body, upgrade);
            let kept = work.request_names;
            let path = exchange.cluster.plan().http.full_urls.then(|| full_url(&mut work.request));
            let (up, bytes) = Http1::start(acquired, &exchange.codec, &work.request, framing, kept);
            if let Some(path) = path {
                work.request.path = path;
            }
            work.info.upstream_wire.0 += bytes;
            Up::Http1(up)
        }
        Acquired::Http(Leased::Http2(stream)) => {
            work.info.upstream_local = stream.local_addr();
            work.info.upstream_tls = stream.tls().cloned();
            work.info.upstream_http2 = true;
            let upgrade = work.tunnel != Tunnel::No;
            let (up, bytes) =
                Http2::start(stream, &mut work.request, upgrade, !work.has_body && !upgrade);
            work.info.upstream_wire.0 += bytes;
            Up::Http2(up)
        }
        Acquired::Tcp(acquired) => {
            work.info.upstream_local = acquired.local_addr();
            work.info.upstream_tls = acquired.stream().tls().cloned();
            Up::Tcp(Tcp::new(acquired))
        }
    }
}
