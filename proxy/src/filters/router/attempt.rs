//! Attempts of one request, one after another, until one is answered or none is left.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use smallvec::SmallVec;

use super::Exchange;
use super::fail;
use super::pump::{End, Pump};
use super::retry::{Decision, Reset, Retry};
use super::timeouts::{Clock, Expired, poll_limits};
use super::up::Acquired;
use crate::filters::chain;
use crate::filters::set_filter_state::{LOCAL_IP, REMOTE_IP};
use crate::http::conn::{Conn, Work};
use crate::http::down::{BodyError, Frame};
use crate::http::filter_state::Object;
use crate::http::reply::LocalReply;
use crate::http::stream::Stop;
use crate::http::upgrade::Tunnel;
use crate::observe::format::ResponseFlag;
use crate::upstream::internal::Passed;
use crate::upstream::{AcquireError, AcquireOptions, LbContext, Outcome, ShardHost};

/// Hosts tried so far, for `previous_hosts`.
type Tried = SmallVec<[Rc<ShardHost>; 2]>;

/// How one attempt ended.
enum Ended {
    /// The response was relayed to its end.
    Done,
    /// Before a response began; `sent`: the request had left.
    Reset { reset: Reset, sent: bool },
    /// A reused connection was dead: the upstream has seen nothing of the request.
    Stale,
    /// The response asked for another attempt.
    Again(Duration),
    /// Nothing more to try.
    Stop(Stop),
}

/// Runs attempts until the request is answered.
pub(crate) async fn run(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &mut Retry<'_>,
) -> Result<(), Stop> {
    let mut tried = Tried::new();
    let mut resent = false;
    let now = ringway_runtime::now();
    let mut clock = Clock {
        active: now,
        per_try: None,
        per_try_idle_limit: retry.per_try_idle_timeout(),
        upstream_active: now,
    };
    loop {
        let ended = one(conn, work, exchange, retry, &mut clock, &mut tried, resent).await;
        let pause = match ended {
            Ended::Done => return Ok(()),
            Ended::Stop(stop) => return Err(stop),
            Ended::Stale => {
                resent = true;
                continue;
            }
            Ended::Again(pause) => pause,
            Ended::Reset { reset, sent } => {
                match permitted(work, exchange, retry.after_reset(reset, sent)) {
                    Decision::After(pause) => pause,
                    _ => return Err(give_up(work, exchange, retry, reset)),
                }
            }
        };
        account_retry(conn, exchange);
        if let Some(stop) = back_off(conn, work, exchange, retry, &mut clock, pause).await {
            return Err(stop);
        }
    }
}

/// `max_retries` and the retry budget have a say too.
pub(super) fn permitted(work: &mut Work, exchange: &Exchange<'_>, decision: Decision) -> Decision {
    match decision {
        Decision::After(_) => match exchange.cluster.retry_permit(exchange.forward.priority) {
            Ok(permit) => {
                work.retry_permit = Some(permit);
                decision
            }
            Err(_) => {
                work.info.flags.insert(ResponseFlag::UpstreamOverflow);
                Decision::No
            }
        },
        Decision::Exhausted => {
            let stats = &exchange.cluster.plan().stats;
            exchange.stats.inc(stats.upstream_rq_retry_limit_exceeded());
            work.info.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
            decision
        }
        Decision::No => decision,
    }
}

fn account_retry(conn: &Conn, exchange: &Exchange<'_>) {
    let stats = &exchange.cluster.plan().stats;
    conn.shard.stats.inc(stats.upstream_rq_retry());
    conn.shard.stats.inc(stats.upstream_rq_retry_backoff_exponential());
}

fn give_up(work: &mut Work, exchange: &Exchange<'_>, retry: &Retry<'_>, reset: Reset) -> Stop {
    if reset == Reset::Overflow {
        exchange.cluster.count_overflow();
    }
    let failure = work.info.upstream_failure.clone();
    fail::reset(reset, failure.as_deref(), retry.done() > 0).into()
}

async fn one(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &mut Retry<'_>,
    clock: &mut Clock,
    tried: &mut Tried,
    fresh: bool,
) -> Ended {
    if let Some(stop) = read_what_is_here(conn, work, exchange, clock, retry).await {
        return Ended::Stop(stop);
    }
    let cluster = &exchange.cluster;
    let cx = LbContext {
        avoid: if retry.avoid_attempts().is_some() { tried } else { &[] },
        attempts: retry.avoid_attempts().unwrap_or(0),
        destination: cluster.destination(
            |name| ringway_wire::RequestHead::get(&work.request, ringway_wire::Name::from(name)),
            || conn.meta.original_destination(),
        ),
        ..LbContext::default()
    };
    let Some(host) = cluster.pick(&cx) else {
        return Ended::Stop(fail::no_host().into());
    };
    tried.push(Rc::clone(&host));
    work.info.host = Some(Rc::clone(&host));
    work.info.attempts += 1;
    arm_per_try(work, retry, clock);
    let proxy_header = cluster.proxy_header(&host, || conn.meta.on_behalf());
    let server_name = cluster.server_name(&host, |name| {
        ringway_wire::RequestHead::get(&work.request, ringway_wire::Name::from(name))
    });
    let (terminates_connect, http2) = (work.terminates_connect, conn.down.is_http2());
    let (alpn, passed) = (work.info.alpn.clone(), passed(work));
    let acquired = {
        let acquire = pin!(async {
            if terminates_connect {
                return cluster.connect_tcp(&host, proxy_header, passed).await.map(Acquired::Tcp);
            }
            let options = AcquireOptions { fresh, http2, proxy_header, server_name, alpn };
            let acquire = cluster.acquire(&host, exchange.forward.priority, options);
            acquire.await.map(Acquired::Http)
        });
        wait(conn, work, exchange, retry, clock, acquire).await
    };
    let up = match acquired {
        Waited::Ready(Ok(up)) => up,
        Waited::Ready(Err(error)) => return refused(work, exchange, &host, error),
        Waited::Expired(limit) => {
            count_expired(conn, limit);
            return expired(work, exchange, retry, &host, limit, false);
        }
        Waited::Stop(stop) => return Ended::Stop(stop),
    };
    work.retry_permit = None;
    relay(conn, work, exchange, retry, clock, &host, up).await
}

/// What `set_filter_state` left for the original_dst filter of an internal listener.
fn passed(work: &Work) -> Passed {
    let address = |key| match work.info.filter_state.get(key)? {
        Object::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    };
    Passed { destination: address(LOCAL_IP), source: address(REMOTE_IP), waypoint: None }
}

/// `per_try_timeout` runs from the end of the request, or from the start of a later attempt.
fn arm_per_try(work: &Work, retry: &Retry<'_>, clock: &mut Clock) {
    let now = ringway_runtime::now();
    clock.upstream_active = now;
    clock.per_try = None;
    if work.info.request_end.is_some() {
        clock.per_try = crate::http::conn::deadline(now, retry.per_try_timeout());
    }
}

fn refused(
    work: &mut Work,
    exchange: &Exchange<'_>,
    host: &Rc<ShardHost>,
    error: AcquireError,
) -> Ended {
    let reset = match error {
        AcquireError::Overflow => Reset::Overflow,
        AcquireError::PendingOverflow => {
            // It got as far as the pool, not to a connection: no host is charged with it.
            work.info.host = None;
            Reset::Overflow
        }
        AcquireError::ConnectFailure { timeout, error } => {
            exchange.cluster.report(host, Outcome::Failure);
            if !timeout {
                work.info.upstream_failure = Some(error);
            }
            Reset::ConnectFailure { timeout }
        }
        AcquireError::PoolOverflow => return Ended::Stop(fail::no_host().into()),
        AcquireError::PoolClosed => Reset::Termination,
    };
    Ended::Reset { reset, sent: false }
}

fn expired(
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &mut Retry<'_>,
    host: &Rc<ShardHost>,
    limit: Expired,
    sent: bool,
) -> Ended {
    let stats = &exchange.cluster.plan().stats;
    let shard = &exchange.stats;
    match limit {
        Expired::PerTry | Expired::PerTryIdle => {
            shard.inc(stats.upstream_rq_per_try_timeout());
            exchange.cluster.report(host, Outcome::Timeout);
            let decision = retry.after_reset(Reset::Local, sent);
            if let Decision::After(pause) = permitted(work, exchange, decision) {
                work.timeout_retry = true;
                return Ended::Again(pause);
            }
        }
        Expired::Global => {
            shard.inc(stats.upstream_rq_timeout());
            exchange.cluster.report(host, Outcome::Timeout);
        }
        Expired::Idle | Expired::Request | Expired::Stream | Expired::Log => {}
    }
    Ended::Stop(timed_out(work, exchange, limit).into())
}

/// Limits of the manager are counted there.
pub(crate) fn count_expired(conn: &Conn, limit: Expired) {
    let hcm = &conn.manager.plan.stats.hcm;
    match limit {
        Expired::Idle => conn.shard.stats.inc(hcm.downstream_rq_idle_timeout()),
        Expired::Request => conn.shard.stats.inc(hcm.downstream_rq_timeout()),
        Expired::Stream => conn.shard.stats.inc(hcm.downstream_rq_max_duration_reached()),
        Expired::Global | Expired::PerTry | Expired::PerTryIdle | Expired::Log => {}
    }
}

/// The answer to a limit that ran out.
fn timed_out(work: &Work, exchange: &Exchange<'_>, limit: Expired) -> LocalReply {
    let mut reply = fail::expired(limit, work.info.request_end.is_some());
    if exchange.timeouts.alt_response && matches!(limit, Expired::Global | Expired::PerTry) {
        reply.status = 204;
        reply.body = "".into();
    }
    reply
}

async fn relay(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &mut Retry<'_>,
    clock: &mut Clock,
    host: &Rc<ShardHost>,
    acquired: Acquired,
) -> Ended {
    let mut pump = Pump::new(conn, work, exchange, retry, clock, host, acquired);
    let end = poll_fn(|cx| pump.poll(cx)).await;
    pump.finish(&end);
    match end {
        End::Complete => Ended::Done,
        End::Stale => Ended::Stale,
        End::Again(pause) => Ended::Again(pause),
        End::Reset(reset) => {
            exchange.cluster.report(host, Outcome::Failure);
            Ended::Reset { reset, sent: true }
        }
        End::Expired(limit) if work.head_sent => {
            count_expired(conn, limit);
            let reply: LocalReply = fail::expired(limit, true);
            if let Some(flag) = reply.flag {
                work.info.flags.insert(flag);
            }
            work.info.details = reply.details;
            Ended::Stop(Stop::Broken)
        }
        End::Expired(limit) => {
            count_expired(conn, limit);
            expired(work, exchange, retry, host, limit, true)
        }
        End::Refuse(reply) => Ended::Stop(Stop::Reply(reply)),
        End::Gone => Ended::Stop(Stop::Gone),
        End::Broken(reset) => {
            exchange.cluster.report(host, Outcome::Failure);
            work.info.flags.insert(fail::flag(reset));
            work.info.details = fail::cut_short(reset).into();
            Ended::Stop(Stop::Broken)
        }
    }
}

enum Waited<T> {
    Ready(T),
    Expired(Expired),
    Stop(Stop),
}

/// Body bytes that came with the head are read before anything is sent: a request that breaks the
/// protocol there never reaches an upstream, and a short one leaves in one piece.
async fn read_what_is_here(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    clock: &mut Clock,
    retry: &Retry<'_>,
) -> Option<Stop> {
    if !conn.down.has_unread() {
        return None;
    }
    poll_fn(|cx| Poll::Ready(read_ahead(conn, work, exchange, clock, retry, cx))).await
}

/// Reads the request on while nothing can be sent, as far as it may be kept; once it is whole,
/// watches whether the client stays.
fn read_ahead(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    clock: &mut Clock,
    retry: &Retry<'_>,
    cx: &mut Context<'_>,
) -> Option<Stop> {
    if work.info.request_end.is_some() || work.tunnel != Tunnel::No {
        return conn.down.poll_gone(cx).is_ready().then_some(Stop::Gone);
    }
    while (work.replay.len() as u64) < exchange.replay_limit {
        match chain::poll_body(conn, work, cx) {
            Poll::Pending => return None,
            Poll::Ready(Ok(Frame::Data(chunk))) => {
                clock.touch(ringway_runtime::now());
                work.replay.push(chunk);
            }
            Poll::Ready(Ok(Frame::End)) => {
                request_ended(work, clock, retry);
                return None;
            }
            Poll::Ready(Err(BodyError::Gone)) => return Some(Stop::Gone),
            Poll::Ready(Err(BodyError::Reply(reply))) => return Some(Stop::Reply(reply)),
            Poll::Ready(Err(BodyError::Malformed(error))) => {
                crate::http::account::body_refused(conn);
                return Some(fail::malformed(&error).into());
            }
        }
    }
    None
}

/// The last byte of the request is here: the clocks of the response start.
pub(super) fn request_ended(work: &mut Work, clock: &mut Clock, retry: &Retry<'_>) {
    let now = ringway_runtime::now();
    work.info.request_end = Some(now);
    clock.per_try = crate::http::conn::deadline(now, retry.per_try_timeout());
}

/// Waits for `future`, for as long as the limits allow and the client stays.
async fn wait<T>(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &Retry<'_>,
    clock: &mut Clock,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Waited<T> {
    let mut armed = None;
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Waited::Ready(value));
        }
        if let Some(stop) = read_ahead(conn, work, exchange, clock, retry, cx) {
            return Poll::Ready(Waited::Stop(stop));
        }
        let next = |_: &Conn, work: &Work| exchange.timeouts.next(work, clock);
        poll_limits(conn, work, &mut armed, cx, next).map(Waited::Expired)
    })
    .await
}

/// Pauses before another attempt; `Some` where the request ends meanwhile.
async fn back_off(
    conn: &mut Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &Retry<'_>,
    clock: &mut Clock,
    pause: Duration,
) -> Option<Stop> {
    if pause.is_zero() {
        return None;
    }
    let mut idle = Clock { per_try: None, per_try_idle_limit: Duration::ZERO, ..*clock };
    let sleep = pin!(ringway_runtime::sleep(pause));
    match wait(conn, work, exchange, retry, &mut idle, sleep).await {
        Waited::Ready(()) => None,
        Waited::Expired(limit) => {
            count_expired(conn, limit);
            if limit == Expired::Global {
                let stats = &exchange.cluster.plan().stats;
                conn.shard.stats.inc(stats.upstream_rq_timeout());
            }
            Some(timed_out(work, exchange, limit).into())
        }
        Waited::Stop(stop) => Some(stop),
    }
}
