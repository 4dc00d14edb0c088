//! Time limits of one request: the route's, the manager's, and what `x-envoy-*` headers say.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ringway_runtime::Instant;
use ringway_wire::chars::Decimal;
use ringway_wire::{KnownName as K, Method, RequestHead, grpc};

use super::retry::Retry;
use crate::http::account;
use crate::http::conn::{Conn, Work, deadline};
use crate::http::reply::is_grpc;
use crate::http::upgrade::Tunnel;
use crate::plan::route::{Forward, MaxStreamDuration};

/// Limits in force; zero is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From the end of the request to the end of the response.
    pub global: Duration,
    /// No byte in either direction for that long.
    pub idle: Duration,
    /// From the first byte of the request to its end.
    pub request: Duration,
    /// The whole stream.
    pub stream: Duration,
    /// `x-envoy-upstream-rq-timeout-alt-response`: a timeout is answered with 204.
    pub alt_response: bool,
    /// `grpc-timeout` is rewritten.
    tells_grpc: bool,
}

/// A limit that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// [`Timeouts::global`]
    Global,
    /// `per_try_timeout`
    PerTry,
    /// `per_try_idle_timeout`
    PerTryIdle,
    /// [`Timeouts::idle`]
    Idle,
    /// [`Timeouts::request`]
    Request,
    /// [`Timeouts::stream`]
    Stream,
    /// `access_log_flush_interval`: nothing ends, a line is written.
    Log,
}

impl Timeouts {
    /// The limits of a request. `x-envoy-upstream-rq-timeout-ms` (internal requests only: vetting
    /// took it off the others) overrides the route's.
    pub(crate) fn new(conn: &Conn, work: &mut Work, forward: &Forward) -> Self {
        let plan = &conn.manager.plan.timeouts;
        let grpc = is_grpc(&work.request);
        let told = grpc_timeout(&work.request);
        let extra = forward.extra();
        let max_grpc = extra.max_grpc_timeout.filter(|_| grpc && extra.max_stream.is_none());
        let mut global = match (extra.max_stream, max_grpc) {
            // The newer field takes the place of the route's timeout.
            (Some(_), _) => Duration::ZERO,
            (None, Some((max, offset))) => {
                let told = told.unwrap_or_default();
                let told = if offset < told { told - offset } else { told };
                at_most(told, max)
            }
            (None, None) => forward.timeout,
        };
        if let Some(ms) = take_millis(&mut work.request, K::XEnvoyUpstreamRqTimeoutMs) {
            global = ms;
        } else if conn.manager.plan.router.respect_expected_timeout
            && let Some(ms) = take_millis(&mut work.request, K::XEnvoyExpectedRqTimeoutMs)
        {
            global = ms;
        }
        let alt = K::XEnvoyUpstreamRqTimeoutAltResponse;
        let alt_response = work.request.headers.remove(alt) > 0;
        let rules = extra.max_stream.unwrap_or_default();
        let stream = stream_limit(&rules, told);
        if let Some(limit) = stream.filter(|_| grpc) {
            let mut text = Vec::new();
            grpc::format_timeout(limit, &mut text);
            work.request.headers.set(K::GrpcTimeout, &text);
        }
        Self {
            alt_response,
            global,
            idle: extra.idle_timeout.unwrap_or(plan.stream_idle),
            request: plan.request,
            stream: stream.unwrap_or(plan.max_stream),
            tells_grpc: max_grpc.is_some(),
        }
    }

    /// Tells the upstream how long it has: `x-envoy-expected-rq-timeout-ms` where Envoy's headers
    /// are wanted, and `grpc-timeout` where `max_grpc_timeout` rules.
    pub(crate) fn announce(&self, head: &mut RequestHead, retry: &Retry<'_>, envoy_headers: bool) {
        let per_try = retry.per_try_timeout();
        let mut expected = if per_try.is_zero() { self.global } else { per_try };
        if !self.global.is_zero() {
            expected = expected.min(self.global);
        }
        if expected.is_zero() {
            return;
        }
        if envoy_headers {
            let text = Decimal::new(expected.as_millis() as u64);
            head.headers.set(K::XEnvoyExpectedRqTimeoutMs, text.as_bytes());
        }
        if self.tells_grpc {
            let mut text = Vec::with_capacity(9);
            grpc::format_timeout(expected, &mut text);
            head.headers.set(K::GrpcTimeout, &text);
        }
    }

    /// The next moment at which a limit runs out, and which.
    pub(crate) fn next(&self, work: &Work, clock: &Clock) -> Option<(Instant, Expired)> {
        let info = &work.info;
        let request = match info.request_end {
            // A request for an upgrade has no end: the answer is awaited from its head on.
            None if work.tunnel == Tunnel::Asked && work.request.method != Method::Connect => {
                deadline(info.start, self.global).map(|at| (at, Expired::Global))
            }
            None => deadline(info.start, self.request).map(|at| (at, Expired::Request)),
            Some(end) => deadline(end, self.global).map(|at| (at, Expired::Global)),
        };
        let limits = [
            request,
            clock.per_try.map(|at| (at, Expired::PerTry)),
            clock.per_try_idle().map(|at| (at, Expired::PerTryIdle)),
            deadline(clock.active, self.idle).map(|at| (at, Expired::Idle)),
            deadline(info.start, self.stream).map(|at| (at, Expired::Stream)),
            info.next_log.map(|at| (at, Expired::Log)),
        ];
        limits.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// Waits for the earliest of the limits that `next` names, which the connection's timer is armed
/// for; a log line that is due meanwhile is written.
pub(crate) fn poll_limits(
    conn: &mut Conn,
    work: &mut Work,
    armed: &mut Option<(Instant, Expired)>,
    cx: &mut Context<'_>,
    next: impl Fn(&Conn, &Work) -> Option<(Instant, Expired)>,
) -> Poll<Expired> {
    loop {
        let first = next(conn, work);
        let Some((at, limit)) = first else { return Poll::Pending };
        if *armed != first {
            conn.timer.reset(at);
            *armed = first;
        }
        ready!(Pin::new(&mut conn.timer).poll(cx));
        *armed = None;
        if limit != Expired::Log {
            return Poll::Ready(limit);
        }
        account::log_again(conn, work);
    }
}

/// Moments the limits of an attempt count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The last byte in either direction.
    pub active: Instant,
    /// When `per_try_timeout` runs out.
    pub per_try: Option<Instant>,
    /// `per_try_idle_timeout`.
    pub per_try_idle_limit: Duration,
    /// The last byte of this attempt's upstream.
    pub upstream_active: Instant,
}

impl Clock {
    fn per_try_idle(&self) -> Option<Instant> {
        deadline(self.upstream_active, self.per_try_idle_limit)
    }

    /// Something moved.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.active = now;
    }
}

/// `max_stream_duration` of a route, with what the request says in `grpc-timeout`.
fn stream_limit(rules: &MaxStreamDuration, told: Option<Duration>) -> Option<Duration> {
    let (Some(told), Some(max)) = (told, rules.grpc_max) else { return rules.duration };
    let limit = at_most(told, max);
    // Zero is "no limit" to us; a request that says 0 has none left.
    Some(limit.saturating_sub(rules.grpc_offset).max(Duration::from_nanos(1)))
}

/// The lesser of two limits of which zero is none.
fn at_most(limit: Duration, max: Duration) -> Duration {
    match (limit.is_zero(), max.is_zero()) {
        (_, true) => limit,
        (true, false) => max,
        (false, false) => limit.min(max),
    }
}

/// `grpc-timeout` in whole milliseconds, rounded up.
pub(crate) fn grpc_timeout(head: &RequestHead) -> Option<Duration> {
    let told = grpc::parse_timeout(head.headers.get(K::GrpcTimeout)?)?;
    let ms = told.as_nanos().div_ceil(1_000_000);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// Reads a header of milliseconds and takes it off the request.
pub(crate) fn take_millis(head: &mut RequestHead, name: K) -> Option<Duration> {
    let value = head.headers.get(name)?;
    let ms = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok());
    head.headers.remove(name);
    ms.map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
