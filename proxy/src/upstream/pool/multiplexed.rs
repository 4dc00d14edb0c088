//! HTTP/2 connections of a pool: each carries many requests at once.
//!
//! LIFECYCLE: connected → takes requests as far as its peer's limit goes → *leaves* (GOAWAY from
//! the peer, `max_requests_per_connection`, `max_connection_duration`, `idle_timeout`, a drain): it
//! takes no more requests, those it has go on → ended. Its task drives it all the while.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{self as runtime, Instant, Sleep};

use super::conn::ClosedBy;
use super::{AcquireError, Lent, Pool};
use crate::http2::{Ended, Env, ErrorCode, Session, StreamEnd, StreamHandle, Times};
use crate::transport::Stream;
use crate::transport::tls::TlsInfo;
use crate::upstream::host::ShardHost;

/// One HTTP/2 connection.
pub(super) struct Multiplexed {
    pub(super) session: Rc<Session>,
    born: Instant,
    /// `max_connection_duration` ends then.
    dies: Instant,
    /// When it was last seen to have no request; `None` while it has some.
    idle_since: Cell<Option<Instant>>,
    /// Requests it was given, and those it has now.
    served: Cell<u32>,
    requests: Cell<u32>,
    /// It takes no more requests.
    leaving: Cell<bool>,
    local: Option<SocketAddr>,
    tls: Option<Rc<TlsInfo>>,
}

impl Multiplexed {
    /// Whether a request can begin on it now. `limit` holds until its peer has told its own.
    fn is_usable(&self, limit: u32) -> bool {
        !self.leaving.get()
            && self.session.free_slots() > 0
            && (self.requests.get() < limit || self.session.peer_limit().is_some())
    }

    /// No more requests; it closes with the last it has.
    fn leave(&self) {
        self.leaving.set(true);
        self.session.drain(Duration::ZERO);
    }
}

/// A stream on a connection, counted as a request.
pub(super) struct LentStream {
    handle: StreamHandle,
    conn: Rc<Multiplexed>,
}

/// Closing takes no time: nobody waits for an upstream's FIN.
const TIMES: Times = Times { flush: Duration::ZERO, close: Duration::ZERO };

impl Pool {
    /// A stream on a connection that has room for one; dead connections are met when it is used.
    /// `fresh`: on one that has served nothing.
    pub(super) fn open_stream(&self, fresh: bool) -> Option<Result<LentStream, AcquireError>> {
        let fits = |conn: &&Rc<Multiplexed>| {
            conn.is_usable(self.peer_limit.get()) && (!fresh || conn.served.get() == 0)
        };
        let conn = self.state.borrow().multiplexed.iter().find(fits).cloned()?;
        Some(self.lend_stream(&conn))
    }

    fn lend_stream(&self, conn: &Rc<Multiplexed>) -> Result<LentStream, AcquireError> {
        self.count_request()?;
        let Some(handle) = conn.session.open() else {
            self.uncount_request();
            return Err(AcquireError::PoolClosed);
        };
        conn.served.set(conn.served.get() + 1);
        conn.requests.set(conn.requests.get() + 1);
        if conn.served.get() == self.shared.plan.max_requests_per_connection {
            let stats = &self.shared.plan.stats;
            self.shared.shard.stats.inc(stats.upstream_cx_max_requests());
            conn.leave();
        }
        Ok(LentStream { handle, conn: conn.clone() })
    }

    /// A request is done with its stream.
    pub(super) fn return_stream(&self, lent: LentStream) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        match lent.handle.end() {
            Some(StreamEnd::Reset(_)) if lent.handle.is_complete() => {}
            Some(StreamEnd::Reset(ErrorCode::NO_ERROR)) => {
                stats.inc(names.upstream_rq_rx_reset_no_error());
            }
            Some(StreamEnd::Reset(_)) => stats.inc(names.upstream_rq_rx_reset()),
            Some(StreamEnd::Here | StreamEnd::Violation(_)) => {
                stats.inc(names.upstream_rq_tx_reset());
            }
            None if lent.handle.is_open() => stats.inc(names.upstream_rq_tx_reset()),
            Some(StreamEnd::Refused | StreamEnd::ConnectionLost) | None => {}
        }
        lent.conn.requests.set(lent.conn.requests.get() - 1);
        self.uncount_request();
    }

    /// Requests that the connections which are being set up, or are up and have not heard of a
    /// limit yet, are expected to take.
    pub(super) fn expected_capacity(&self) -> u32 {
        let state = self.state.borrow();
        let http2 = self.shared.plan.http.http2.as_ref();
        let (Some(http2), true) = (http2, self.kind.may_multiplex()) else {
            return state.connecting;
        };
        let streams = http2.options.max_concurrent_streams.min(self.peer_limit.get());
        let each = match self.shared.plan.max_requests_per_connection {
            0 => streams,
            most => streams.min(most),
        };
        let unknown = state
            .multiplexed
            .iter()
            .filter(|conn| !conn.leaving.get() && conn.session.peer_limit().is_none());
        let more = unknown.map(|conn| each.saturating_sub(conn.served.get()));
        more.fold(state.connecting.saturating_mul(each), u32::saturating_add)
    }

    /// An HTTP/2 connection is up.
    pub(super) fn multiplexed_connected(
        self: &Rc<Self>,
        stream: Stream,
        born: Instant,
        generation: u32,
    ) {
        let Some(http2) = self.shared.plan.http.http2.as_ref() else { return };
        let shard = &self.shared.shard;
        let env = Env {
            stats: shard.stats.clone(),
            codec: http2.stats.clone(),
            heads: shard.heads.clone(),
        };
        let dies = super::connect::dies(&self.shared.plan);
        let local = stream.local_addr().ok().and_then(|address| address.as_inet());
        let tls = stream.tls().cloned();
        let conn = Rc::new(Multiplexed {
            session: Session::client(stream, &http2.options, env, TIMES),
            born,
            dies,
            idle_since: Cell::new(None),
            served: Cell::new(0),
            requests: Cell::new(0),
            leaving: Cell::new(false),
            local,
            tls,
        });
        self.state.borrow_mut().multiplexed.push(conn.clone());
        self.serve_waiters(&conn);
        let retired = self.state.borrow().retired || self.shared.retired.get();
        if retired || generation != self.generation.get() {
            conn.leave();
        }
        runtime::spawn(drive(self.clone(), conn));
    }

    /// Begins the requests of those who wait, oldest first, as far as there is room.
    fn serve_waiters(&self, conn: &Rc<Multiplexed>) {
        while conn.is_usable(self.peer_limit.get()) {
            let fresh = conn.served.get() == 0;
            let Some(waiter) = self.state.borrow_mut().waiters.pop_oldest(fresh) else { return };
            self.count_waiter_gone();
            let lent = self.lend_stream(conn).map(Lent::Http2);
            self.state.borrow_mut().waiters.deliver(waiter, lent);
        }
    }

    /// Sees what a drive has brought: a GOAWAY, room for requests.
    fn look_after(self: &Rc<Self>, conn: &Rc<Multiplexed>) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        let (received, sent) = conn.session.take_byte_counts();
        stats.add(names.upstream_cx_rx_bytes_total(), received);
        stats.add(names.upstream_cx_tx_bytes_total(), sent);
        if conn.session.peer_leaves() && !conn.leaving.replace(true) {
            stats.inc(names.upstream_cx_close_notify());
        }
        if let Some(limit) = conn.session.peer_limit() {
            self.peer_limit.set(limit);
        }
        if self.state.borrow().waiters.waiting() > 0 {
            self.serve_waiters(conn);
            self.connect_if_needed();
        }
    }

    /// When the connection is to be looked at next; it may leave now, because its time is over.
    fn clock(&self, conn: &Multiplexed, now: Instant) -> Instant {
        if conn.leaving.get() {
            return Instant::FAR_FUTURE;
        }
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if conn.dies <= now {
            stats.inc(names.upstream_cx_max_duration_reached());
            conn.leave();
            return Instant::FAR_FUTURE;
        }
        let idle_timeout = self.shared.plan.http.idle_timeout;
        if !conn.session.is_idle() || idle_timeout.is_zero() {
            conn.idle_since.set(None);
            return conn.dies;
        }
        let since = conn.idle_since.get().unwrap_or(now);
        conn.idle_since.set(Some(since));
        if since + idle_timeout <= now {
            stats.inc(names.upstream_cx_idle_timeout());
            conn.leave();
            return Instant::FAR_FUTURE;
        }
        conn.dies.min(since + idle_timeout)
    }

    fn multiplexed_ended(self: &Rc<Self>, conn: &Rc<Multiplexed>, ended: Ended) {
        self.look_after(conn);
        self.state.borrow_mut().multiplexed.retain(|other| !Rc::ptr_eq(other, conn));
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if matches!(ended, Ended::Violation { .. } | Ended::Flood(_)) {
            stats.inc(names.upstream_cx_protocol_error());
        }
        let by = match ended {
            Ended::PeerClosed | Ended::Lost(_) => ClosedBy::Peer,
            _ => ClosedBy::Us,
        };
        self.count_destroyed(by, conn.requests.get() > 0);
        self.count_gone(conn.born, Some(conn.served.get()));
        self.connect_if_needed();
    }

    /// All connections take no more requests.
    pub(super) fn drain_multiplexed(&self) {
        let all = self.state.borrow().multiplexed.clone();
        all.iter().for_each(|conn| conn.leave());
    }
}

/// Runs a connection to its end.
async fn drive(pool: Rc<Pool>, conn: Rc<Multiplexed>) {
    let mut timer = runtime::sleep_until(Instant::FAR_FUTURE);
    let ended = poll_fn(|cx| poll_drive(&pool, &conn, &mut timer, cx)).await;
    pool.multiplexed_ended(&conn, ended);
}

fn poll_drive(
    pool: &Rc<Pool>,
    conn: &Rc<Multiplexed>,
    timer: &mut Sleep,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    loop {
        if let Poll::Ready(ended) = conn.session.poll_drive(cx) {
            return Poll::Ready(ended);
        }
        pool.look_after(conn);
        let next = pool.clock(conn, runtime::now());
        if next == Instant::FAR_FUTURE {
            // What it does from here on, it does when it is driven.
            return Poll::Pending;
        }
        if timer.deadline() != next {
            timer.reset(next);
        }
        if Pin::new(&mut *timer).poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}

/// A stream lent to one request. Dropped before its response was read to the end, it is reset.
pub struct PooledStream {
    /// `None` only while it is being given back.
    lent: Option<LentStream>,
    pool: Rc<Pool>,
    host: Rc<ShardHost>,
}

impl PooledStream {
    pub(super) fn new(lent: LentStream, pool: Rc<Pool>, host: Rc<ShardHost>) -> Self {
        Self { lent: Some(lent), pool, host }
    }

    /// The stream. Its request has not been sent.
    #[allow(clippy::expect_used, reason = "emptied only by dropping self")]
    pub(crate) fn stream(&self) -> &StreamHandle {
        &self.lent.as_ref().expect("present until dropped").handle
    }

    /// Whether its connection has served a request before.
    pub fn reused(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.conn.served.get() > 1)
    }

    /// Requests its connection was given, this one included.
    pub fn served(&self) -> u32 {
        self.lent.as_ref().map_or(0, |lent| lent.conn.served.get())
    }

    /// Facts of the TLS session of its connection.
    pub(crate) fn tls(&self) -> Option<&Rc<TlsInfo>> {
        self.lent.as_ref()?.conn.tls.as_ref()
    }

    /// Address of our end.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.lent.as_ref()?.conn.local
    }

    /// When its connection began to be set up.
    pub fn born(&self) -> Option<Instant> {
        self.lent.as_ref().map(|lent| lent.conn.born)
    }

    /// The host it leads to.
    pub fn host(&self) -> &Rc<ShardHost> {
        &self.host
    }
}

impl Drop for PooledStream {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.pool.return_stream(lent);
        }
    }
}

impl fmt::Debug for PooledStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledStream")
            .field("host", &self.host)
            .field("served", &self.served())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
