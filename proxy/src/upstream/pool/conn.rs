//! A connection of a pool: while the pool has it, and while a request does.

use std::fmt;
use std::rc::Rc;

use ringway_runtime::{Chunk, Instant};

use super::Pool;
use crate::transport::Stream;
use crate::upstream::host::ShardHost;
use crate::upstream::limits::Resource;

/// Who ended a connection, for `upstream_cx_destroy_{local,remote}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedBy {
    Us,
    Peer,
}

/// A connection.
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// When it began to be set up.
    pub(super) born: Instant,
    /// `max_connection_duration` ends then.
    pub(super) dies: Instant,
    pub(super) idle_since: Instant,
    /// Requests it was given.
    pub(super) served: u32,
    /// [`Pool::generation`] at its birth.
    pub(super) generation: u32,
    /// `max_requests_per_connection` is reached with the request it has.
    pub(super) last_request: bool,
    /// Our end's address, once somebody has asked.
    pub(super) local: std::cell::OnceCell<Option<std::net::SocketAddr>>,
}

/// Why an idle or freed connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it.
    Peer,
    /// The peer sent something nobody asked for; `true` if it counts as a protocol error.
    Unasked(bool),
    /// `max_connection_duration`.
    Duration,
    /// `idle_timeout`.
    Idle,
    /// Drained, or served its last request.
    Retired,
}

impl Conn {
    /// When the reaper has to look at it, being idle since now.
    pub(super) fn deadline(&self, idle_timeout: std::time::Duration) -> Instant {
        if idle_timeout.is_zero() {
            return self.dies;
        }
        self.dies.min(self.idle_since + idle_timeout)
    }

    /// What is wrong with it at check-out, if anything. Nothing may have arrived: what a peer
    /// sends before it is asked would be taken for the answer of the next request.
    pub(super) fn idle_verdict(&self, now: Instant) -> Option<End> {
        match self.stream.try_recv() {
            Some(early) => Some(unasked(early)),
            None => (self.dies <= now).then_some(End::Duration),
        }
    }

    /// Why it cannot be kept after a request, if so. What the peer may have sent too much is
    /// found when the connection is armed.
    pub(super) fn release_verdict(&self, now: Instant, generation: u32) -> Option<End> {
        if self.last_request || self.generation != generation {
            return Some(End::Retired);
        }
        if self.stream.readable_closed() {
            return Some(End::Peer);
        }
        (self.dies <= now).then_some(End::Duration)
    }

    /// It became readable although nobody asked for anything: why?
    pub(super) fn dead_verdict(&self) -> End {
        self.stream.try_recv().map_or(End::Peer, unasked)
    }
}

fn unasked(early: std::io::Result<Option<Chunk>>) -> End {
    match early {
        Ok(Some(data)) => {
            // A server that gives up waiting for a request says so with a 408: no error of its.
            let timeout = data.starts_with(b"HTTP/1.1 408") || data.starts_with(b"HTTP/1.0 408");
            End::Unasked(!timeout)
        }
        Ok(None) | Err(_) => End::Peer,
    }
}

impl Pool {
    /// Drops a connection that no request uses.
    pub(super) fn bury(&self, conn: Conn, end: End) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        match end {
            End::Unasked(true) => stats.inc(names.upstream_cx_protocol_error()),
            End::Duration => stats.inc(names.upstream_cx_max_duration_reached()),
            End::Idle => stats.inc(names.upstream_cx_idle_timeout()),
            End::Peer | End::Unasked(false) | End::Retired => {}
        }
        let by = if end == End::Peer { ClosedBy::Peer } else { ClosedBy::Us };
        self.destroy(conn, by, false);
    }

    /// Drops a connection and counts its end.
    pub(super) fn destroy(&self, conn: Conn, by: ClosedBy, with_request: bool) {
        self.count_destroyed(by, with_request);
        self.count_gone(conn.born, Some(conn.served));
        drop(conn.stream);
    }

    pub(super) fn count_destroyed(&self, by: ClosedBy, with_request: bool) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        stats.inc(names.upstream_cx_destroy());
        stats.inc(match by {
            ClosedBy::Us => names.upstream_cx_destroy_local(),
            ClosedBy::Peer => names.upstream_cx_destroy_remote(),
        });
        if with_request {
            stats.inc(names.upstream_cx_destroy_with_active_rq());
            stats.inc(match by {
                ClosedBy::Us => names.upstream_cx_destroy_local_with_active_rq(),
                ClosedBy::Peer => names.upstream_cx_destroy_remote_with_active_rq(),
            });
        }
    }

    /// A connection is no longer there: its length, its place under `max_connections`.
    pub(super) fn count_gone(&self, born: Instant, served: Option<u32>) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        stats.record(names.upstream_cx_length_ms(), born.elapsed().as_millis() as u64);
        // One that was never up, or never used, is not part of this distribution.
        if let Some(served) = served.filter(|&served| served > 0) {
            stats.record(names.upstream_rq_per_cx(), u64::from(served));
        }
        stats.gauge_sub(names.upstream_cx_active(), 1);
        self.page.cx_active.dec();
        self.shared.give(self.priority, Resource::Connections);
    }
}

/// A connection lent to one request. [`PooledConn::release`] keeps it for the next one; dropping
/// it closes it.
pub struct PooledConn {
    /// `None` only while it is being given back.
    conn: Option<Conn>,
    pool: Rc<Pool>,
    host: Rc<ShardHost>,
    response_complete: bool,
    /// It is we who end it, even if the peer has closed its side by now.
    ended_here: bool,
}

impl PooledConn {
    pub(super) fn new(conn: Conn, pool: Rc<Pool>, host: Rc<ShardHost>) -> Self {
        Self { conn: Some(conn), pool, host, response_complete: false, ended_here: false }
    }

    /// The connection. Its peer address is the upstream address for logs.
    #[allow(clippy::expect_used, reason = "emptied only by methods that consume self")]
    pub(crate) fn stream(&self) -> &Stream {
        &self.conn.as_ref().expect("present until released or dropped").stream
    }

    /// Whether it has served a request before: one that was kept may be dead without anybody
    /// knowing, so a request that fails on it before the first byte can be sent again.
    pub fn reused(&self) -> bool {
        self.served() > 1
    }

    /// Requests it was given, this one included.
    pub fn served(&self) -> u32 {
        self.conn.as_ref().map_or(0, |conn| conn.served)
    }

    /// Address of our end; asked of the kernel once per connection.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        let conn = self.conn.as_ref()?;
        *conn.local.get_or_init(|| conn.stream.local_addr().ok()?.as_inet())
    }

    /// When it began to be set up.
    pub fn born(&self) -> Option<Instant> {
        self.conn.as_ref().map(|conn| conn.born)
    }

    /// The host it leads to.
    pub fn host(&self) -> &Rc<ShardHost> {
        &self.host
    }

    /// The response has arrived as a whole: should the connection be closed now, no request dies
    /// with it (`upstream_cx_destroy*_with_active_rq` stay as they are).
    pub fn response_complete(&mut self) {
        self.response_complete = true;
    }

    /// The response says `connection: close`: counted as `upstream_cx_close_notify`. Drop the
    /// connection afterwards.
    pub fn close_notify(&mut self) {
        self.ended_here = true;
        let shared = &self.pool.shared;
        shared.shard.stats.inc(shared.plan.stats.upstream_cx_close_notify());
    }

    /// The server broke the protocol, such as by sending more than the response:
    /// `upstream_cx_protocol_error`. Drop the connection afterwards.
    pub fn protocol_error(&mut self) {
        self.ended_here = true;
        self.count_protocol_error();
    }

    /// Counts what could not be read as an answer: `upstream_cx_protocol_error`.
    pub fn count_protocol_error(&self) {
        let shared = &self.pool.shared;
        shared.shard.stats.inc(shared.plan.stats.upstream_cx_protocol_error());
    }

    /// Counts bytes received: `upstream_cx_rx_bytes_total`.
    pub fn count_rx(&self, bytes: u64) {
        let shared = &self.pool.shared;
        shared.shard.stats.add(shared.plan.stats.upstream_cx_rx_bytes_total(), bytes);
    }

    /// Counts bytes sent: `upstream_cx_tx_bytes_total`.
    pub fn count_tx(&self, bytes: u64) {
        let shared = &self.pool.shared;
        shared.shard.stats.add(shared.plan.stats.upstream_cx_tx_bytes_total(), bytes);
    }

    /// Gives it back for other requests. Request and response must be through completely; if its
    /// time is over (`max_requests_per_connection`, `max_connection_duration`, a drain) it is
    /// closed instead.
    pub fn release(mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.give_back(conn);
        }
    }
}

impl Drop for PooledConn {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            let gone = conn.stream.readable_closed() || conn.stream.write_error().is_some();
            let by = if gone && !self.ended_here { ClosedBy::Peer } else { ClosedBy::Us };
            self.pool.give_up(conn, by, self.response_complete);
        }
    }
}

impl fmt::Debug for PooledConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConn")
            .field("host", &self.host)
            .field("served", &self.served())
            .finish_non_exhaustive()
    }
}
