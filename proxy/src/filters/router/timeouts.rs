//! Time limits of one request: the route's, the manager's, and what `x-envoy-*` headers say.

use std::time::Duration;

use ringway_runtime::Instant;
use ringway_wire::chars::Decimal;
use ringway_wire::{KnownName as K, RequestHead};

use super::retry::Retry;
use crate::http::conn::{Conn, Work, deadline};
use crate::plan::route::Forward;

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
}

impl Timeouts {
    /// The limits of a request. `x-envoy-upstream-rq-timeout-ms` (internal requests only: vetting
    /// took it off the others) overrides the route's.
    pub(crate) fn new(conn: &Conn, work: &mut Work, forward: &Forward) -> Self {
        let plan = &conn.manager.plan.timeouts;
        let mut global = forward.timeout;
        if let Some(ms) = take_millis(&mut work.request, K::XEnvoyUpstreamRqTimeoutMs) {
            global = ms;
        } else if conn.manager.plan.router.respect_expected_timeout
            && let Some(ms) = take_millis(&mut work.request, K::XEnvoyExpectedRqTimeoutMs)
        {
            global = ms;
        }
        let alt = K::XEnvoyUpstreamRqTimeoutAltResponse;
        let alt_response = work.request.headers.remove(alt) > 0;
        Self {
            alt_response,
            global,
            idle: forward.idle_timeout.unwrap_or(plan.stream_idle),
            request: plan.request,
            stream: forward.max_stream_duration.unwrap_or(plan.max_stream),
        }
    }

    /// Tells the upstream how long it has (`x-envoy-expected-rq-timeout-ms`).
    pub(crate) fn announce(&self, head: &mut RequestHead, retry: &Retry<'_>) {
        let per_try = retry.per_try_timeout();
        let mut expected = if per_try.is_zero() { self.global } else { per_try };
        if !self.global.is_zero() {
            expected = expected.min(self.global);
        }
        if !expected.is_zero() {
            let text = Decimal::new(expected.as_millis() as u64);
            head.headers.set(K::XEnvoyExpectedRqTimeoutMs, text.as_bytes());
        }
    }

    /// The next moment at which a limit runs out, and which.
    pub(crate) fn next(&self, work: &Work, clock: &Clock) -> Option<(Instant, Expired)> {
        let info = &work.info;
        let request = match info.request_end {
            None => deadline(info.start, self.request).map(|at| (at, Expired::Request)),
            Some(end) => deadline(end, self.global).map(|at| (at, Expired::Global)),
        };
        let limits = [
            request,
            clock.per_try.map(|at| (at, Expired::PerTry)),
            clock.per_try_idle().map(|at| (at, Expired::PerTryIdle)),
            deadline(clock.active, self.idle).map(|at| (at, Expired::Idle)),
            deadline(info.start, self.stream).map(|at| (at, Expired::Stream)),
        ];
        limits.into_iter().flatten().min_by_key(|(at, _)| *at)
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

/// Reads a header of milliseconds and takes it off the request.
pub(crate) fn take_millis(head: &mut RequestHead, name: K) -> Option<Duration> {
    let value = head.headers.get(name)?;
    let ms = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok());
    head.headers.remove(name);
    ms.map(Duration::from_millis)
}
