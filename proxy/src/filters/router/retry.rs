//! Retry state of one request (Envoy, "HTTP routing: retry semantics").

use std::time::Duration;

use ringway_wire::{HeaderMap, KnownName as K, Name, RequestHead, ResponseHead};

use super::timeouts::take_millis;
use crate::http::conn::{Conn, Work};
use crate::http::stream::header_lines;
use crate::plan::route::{Forward, RetryOn, RetryPolicy};

/// Envoy's default base interval of the back-off.
const BACKOFF_BASE: Duration = Duration::from_millis(25);

/// Why an attempt failed before its response began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// No connection: refused, unreachable, or timed out.
    ConnectFailure {
        /// It timed out.
        timeout: bool,
    },
    /// Circuit breaker.
    Overflow,
    /// The connection ended.
    Termination,
    /// The peer reset the stream.
    Remote,
    /// The peer reset the stream and says that it has not processed it.
    Refused,
    /// The answer was not HTTP.
    Protocol,
    /// We gave up on it (`per_try_timeout`).
    Local,
}

/// What may still be retried, and when.
pub(crate) struct Retry<'p> {
    policy: Option<&'p RetryPolicy>,
    on: u32,
    left: u32,
    per_try: Duration,
    codes: Vec<u16>,
    names: Vec<Vec<u8>>,
    done: u32,
}

/// Verdict on a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Not a case for a retry.
    No,
    /// It would be, but there were enough already: flag `URX`.
    Exhausted,
    /// After that long.
    After(Duration),
}

impl<'p> Retry<'p> {
    /// From the route's policy and the request's `x-envoy-*` headers, which are taken off.
    pub(crate) fn new(_conn: &Conn, work: &mut Work, forward: &'p Forward) -> Self {
        let head = &mut work.request;
        let policy = forward.retry.as_deref();
        let on_header = take(head, K::XEnvoyRetryOn);
        let grpc_header = take(head, K::XEnvoyRetryGrpcOn);
        let most = take(head, K::XEnvoyMaxRetries).and_then(|value| number(&value));
        let per_try = take_millis(head, K::XEnvoyUpstreamRqPerTryTimeoutMs);
        let codes = take(head, K::XEnvoyRetriableStatusCodes);
        let names = take(head, K::XEnvoyRetriableHeaderNames);
        let allowed = policy.is_none_or(|policy| takes_request(policy, head));
        let mut on = policy.map_or(0, |policy| policy.on.0);
        on |= on_header.as_deref().map_or(0, |words| conditions(words) & !RetryOn::GRPC);
        on |= grpc_header.as_deref().map_or(0, |words| conditions(words) & RetryOn::GRPC);
        if !allowed {
            on = 0;
        }
        let left = most.or_else(|| policy.map(|policy| policy.num_retries)).unwrap_or(1);
        Self {
            per_try: per_try
                .or_else(|| policy.map(|policy| policy.per_try_timeout))
                .unwrap_or_default(),
            policy,
            on,
            left: if on == 0 { 0 } else { left },
            codes: codes.as_deref().map(list_of_codes).unwrap_or_default(),
            names: names.as_deref().map(list_of_names).unwrap_or_default(),
            done: 0,
        }
    }

    /// Could any failure of the next attempt lead to another?
    pub(crate) fn is_possible(&self) -> bool {
        self.on != 0 && self.left > 0
    }

    /// No more retries: the request's body could not be kept.
    pub(crate) fn give_up(&mut self) {
        self.on = 0;
    }

    /// `per_try_timeout`.
    pub(crate) fn per_try_timeout(&self) -> Duration {
        self.per_try
    }

    /// `per_try_idle_timeout`.
    pub(crate) fn per_try_idle_timeout(&self) -> Duration {
        self.policy.map(|policy| policy.per_try_idle_timeout).unwrap_or_default()
    }

    /// `host_selection_retry_max_attempts`, where `previous_hosts` is asked for.
    pub(crate) fn avoid_attempts(&self) -> Option<u32> {
        let policy = self.policy.filter(|policy| policy.previous_hosts)?;
        Some(policy.host_selection_attempts)
    }

    /// Retries made.
    pub(crate) fn done(&self) -> u32 {
        self.done
    }

    /// After a reset before the response began. `sent`: the request had left.
    pub(crate) fn after_reset(&mut self, reset: Reset, sent: bool) -> Decision {
        let on = self.on;
        let wanted = match reset {
            Reset::Overflow => false,
            Reset::ConnectFailure { .. } if on & RetryOn::CONNECT_FAILURE != 0 => true,
            Reset::Refused if on & RetryOn::REFUSED_STREAM != 0 => true,
            _ => {
                on & (RetryOn::RESET | RetryOn::R5XX | RetryOn::GATEWAY_ERROR) != 0
                    || (on & RetryOn::RESET_BEFORE_REQUEST != 0 && !sent)
            }
        };
        self.decide(wanted)
    }

    /// After a response head.
    pub(crate) fn after_response(&mut self, head: &ResponseHead) -> Decision {
        let wanted = self.on != 0 && self.wants(head);
        self.decide(wanted)
    }

    fn wants(&self, head: &ResponseHead) -> bool {
        let on = self.on;
        let status = head.status;
        if head.headers.contains(K::XEnvoyRateLimited) {
            return on & RetryOn::ENVOY_RATELIMITED != 0;
        }
        (on & RetryOn::R5XX != 0 && (500..600).contains(&status))
            || (on & RetryOn::GATEWAY_ERROR != 0 && matches!(status, 502..=504))
            || (on & RetryOn::RETRIABLE_4XX != 0 && status == 409)
            || (on & RetryOn::RETRIABLE_STATUS_CODES != 0 && self.lists(status))
            || (on & RetryOn::RETRIABLE_HEADERS != 0 && self.lists_header(&head.headers))
            || (on & RetryOn::GRPC != 0 && self.lists_grpc(&head.headers))
    }

    fn lists(&self, status: u16) -> bool {
        self.codes.contains(&status)
            || self.policy.is_some_and(|policy| policy.status_codes.contains(&status))
    }

    fn lists_header(&self, headers: &HeaderMap) -> bool {
        let named = self.names.iter().any(|name| headers.contains(Name::from(&**name)));
        named
            || self.policy.is_some_and(|policy| {
                policy.response_headers.iter().any(|matcher| {
                    matcher.matches_lines(headers.get_all(Name::from(&*matcher.name)))
                })
            })
    }

    fn lists_grpc(&self, headers: &HeaderMap) -> bool {
        let bit = match headers.get(K::GrpcStatus) {
            Some(b"1") => RetryOn::GRPC_CANCELLED,
            Some(b"4") => RetryOn::GRPC_DEADLINE_EXCEEDED,
            Some(b"8") => RetryOn::GRPC_RESOURCE_EXHAUSTED,
            Some(b"13") => RetryOn::GRPC_INTERNAL,
            Some(b"14") => RetryOn::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.on & bit != 0
    }

    fn decide(&mut self, wanted: bool) -> Decision {
        if !wanted {
            return Decision::No;
        }
        if self.left == 0 {
            return Decision::Exhausted;
        }
        self.left -= 1;
        self.done += 1;
        Decision::After(self.back_off())
    }

    /// Fully jittered exponential back-off: a random time below `base · (2ⁿ − 1)`, capped.
    fn back_off(&self) -> Duration {
        let base = self.policy.map_or(BACKOFF_BASE, |policy| policy.backoff_base);
        let most = self.policy.map_or(BACKOFF_BASE * 10, |policy| policy.backoff_max);
        let factor = 2u32.saturating_pow(self.done.min(16)).saturating_sub(1).max(1);
        let range = base.saturating_mul(factor).min(most).as_millis() as u64;
        Duration::from_millis(ringway_runtime::rand_below(range.max(1)))
    }
}

/// `retriable_request_headers`: none given, or one that matches.
fn takes_request(policy: &RetryPolicy, head: &RequestHead) -> bool {
    policy.request_headers.is_empty()
        || policy
            .request_headers
            .iter()
            .any(|matcher| matcher.matches_lines(header_lines(head, &matcher.name)))
}

fn take(head: &mut RequestHead, name: K) -> Option<Vec<u8>> {
    let value = head.headers.get(name)?.to_vec();
    head.headers.remove(name);
    Some(value)
}

/// Bits of a comma-separated list; words nobody knows have no effect.
fn conditions(words: &[u8]) -> u32 {
    let words = words.split(|b| *b == b',').filter_map(|word| std::str::from_utf8(word).ok());
    words.filter_map(|word| RetryOn::word(word.trim())).fold(0, |bits, bit| bits | bit)
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn list_of_codes(value: &[u8]) -> Vec<u16> {
    value.split(|b| *b == b',').filter_map(|code| number(code)?.try_into().ok()).collect()
}

fn list_of_names(value: &[u8]) -> Vec<Vec<u8>> {
    value.split(|b| *b == b',').map(|name| name.trim_ascii().to_ascii_lowercase()).collect()
}
