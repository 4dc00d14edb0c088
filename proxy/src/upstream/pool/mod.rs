//! The connection pool of one host and one routing priority on one shard.
//!
//! Rules and statistics are those of Envoy's pools; `LIFECYCLE.md` beside this file has
//! the states. In short: the connection used last is used first; a request that finds none waits,
//! oldest first, and makes the pool open one more connection per waiting request as far as
//! `max_connections` allows (a pool without any connection may always open one); a failed connect
//! fails everybody who waits. An HTTP/2 connection takes requests up to its limit, and another is
//! opened when all that are up or on their way are full.

mod acquire;
mod conn;
mod connect;
mod multiplexed;
mod reaper;
mod waiters;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime as runtime;

use super::cluster::Shared;
use super::limits::{Priority, Resource};
use super::server_name::PoolKey;
use crate::plan::Host;
use crate::plan::host_page::HostPage;
use crate::transport::Stream;

pub use acquire::{Acquire, AcquireError, AcquireOptions, Leased};
pub use conn::PooledConn;
pub(super) use connect::{Connects, connect_transport, failure, sock_addr, timed_out};
pub use multiplexed::PooledStream;
pub(super) use reaper::Reaper;

use conn::{ClosedBy, Conn};
use multiplexed::{LentStream, Multiplexed};
use waiters::{WaiterKey, Waiters};

/// Connections of a pool and who waits for one.
pub(super) struct Pool {
    shared: Rc<Shared>,
    /// As the configuration tells of it by now.
    host: RefCell<Arc<Host>>,
    page: Arc<HostPage>,
    priority: Priority,
    /// Whom its connections are for.
    key: PoolKey,
    kind: Kind,
    state: RefCell<State>,
    /// Streams that the host took on its last HTTP/2 connection: what a new one is expected to
    /// take.
    peer_limit: Cell<u32>,
    /// Connections of an older generation are closed instead of kept.
    generation: Cell<u32>,
    /// Whether the reaper knows that this pool has idle connections.
    watched: Cell<bool>,
}

/// What the connections of a pool speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Http1,
    Http2,
    /// What ALPN says.
    Auto,
}

impl Kind {
    fn may_multiplex(self) -> bool {
        self != Self::Http1
    }

    /// What is offered in a TLS handshake whose configuration names no protocols, as Envoy does.
    fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

/// What a request gets.
enum Lent {
    Http1(Conn),
    Http2(LentStream),
}

#[derive(Default)]
struct State {
    /// HTTP/1 connections without a request. Oldest first; used from the back.
    idle: VecDeque<Conn>,
    /// HTTP/2 connections, with or without requests.
    multiplexed: Vec<Rc<Multiplexed>>,
    waiters: Waiters,
    /// Connections being set up.
    connecting: u32,
    /// HTTP/1 connections lent out.
    busy: u32,
    retired: bool,
}

impl Pool {
    /// An empty pool. The caller has taken its permit (`max_connection_pools`).
    pub(super) fn new(
        shared: &Rc<Shared>,
        host: &Arc<Host>,
        page: &Arc<HostPage>,
        priority: Priority,
        kind: Kind,
        key: PoolKey,
    ) -> Rc<Self> {
        Rc::new(Self {
            kind,
            key,
            shared: shared.clone(),
            host: RefCell::new(host.clone()),
            page: page.clone(),
            priority,
            state: RefCell::default(),
            peer_limit: Cell::new(u32::MAX),
            generation: Cell::new(0),
            watched: Cell::new(false),
        })
    }

    /// The same host, of which something else is told by now: for connections to come.
    pub(super) fn set_host(&self, host: &Arc<Host>) {
        debug_assert!(self.host.borrow().is_same(host));
        self.host.replace(host.clone());
    }

    /// Closes idle connections now, busy ones after their requests; new ones are kept again.
    pub(super) fn drain_existing(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.drain_multiplexed();
        loop {
            let Some(conn) = self.state.borrow_mut().idle.pop_front() else { break };
            self.destroy(conn, ClosedBy::Us, false);
        }
    }

    /// As [`Pool::drain_existing`], and for good: whoever waits is still served.
    pub(super) fn retire(&self) {
        self.state.borrow_mut().retired = true;
        self.drain_existing();
    }

    /// Nobody uses it, and it has nothing to offer.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.borrow();
        let own = state.idle.len() + (state.busy + state.connecting) as usize;
        own + state.multiplexed.len() + state.waiters.len() == 0
    }

    /// An idle connection that is fit for a request, the one used last first. Dead ones met on the
    /// way are counted and dropped.
    fn pop_idle(&self) -> Option<Conn> {
        loop {
            let conn = self.state.borrow_mut().idle.pop_back()?;
            match conn.idle_verdict(runtime::now()) {
                None => return Some(conn),
                Some(end) => self.bury(conn, end),
            }
        }
    }

    /// Counts a request onto a connection of its own, if `max_requests` allows it.
    fn attach(&self, conn: &mut Conn) -> Result<(), AcquireError> {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        self.count_request()?;
        conn.served += 1;
        if conn.served == self.shared.plan.max_requests_per_connection {
            stats.inc(names.upstream_cx_max_requests());
            conn.last_request = true;
        }
        self.state.borrow_mut().busy += 1;
        Ok(())
    }

    /// Takes a request off its connection.
    fn detach(&self) {
        self.uncount_request();
        self.state.borrow_mut().busy -= 1;
    }

    /// A request begins, if `max_requests` allows it.
    fn count_request(&self) -> Result<(), AcquireError> {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if self.shared.take(self.priority, Resource::Requests).is_err() {
            stats.inc(names.upstream_rq_active_overflow());
            return Err(AcquireError::Overflow);
        }
        self.page.rq_total.inc();
        self.page.rq_active.inc();
        stats.inc(names.upstream_rq_total());
        stats.gauge_add(names.upstream_rq_active(), 1);
        super::outlier::connected(&self.shared, &self.page, &self.host.borrow());
        Ok(())
    }

    /// A request is over.
    fn uncount_request(&self) {
        self.page.rq_active.dec();
        self.shared.shard.stats.gauge_sub(self.shared.plan.stats.upstream_rq_active(), 1);
        self.shared.give(self.priority, Resource::Requests);
    }

    /// A request is done with its connection, which can be used again.
    fn give_back(self: &Rc<Self>, conn: Conn) {
        self.detach();
        let now = runtime::now();
        match conn.release_verdict(now, self.generation.get()) {
            Some(end) => self.bury(conn, end),
            None => self.offer(conn),
        }
        self.connect_if_needed();
    }

    /// A request ended together with its connection.
    fn give_up(self: &Rc<Self>, conn: Conn, by: ClosedBy, response_complete: bool) {
        self.detach();
        self.destroy(conn, by, !response_complete);
        self.connect_if_needed();
    }

    /// Gives a connection to the oldest waiter, or keeps it idle.
    fn offer(self: &Rc<Self>, mut conn: Conn) {
        // Who waits gets no connection with something on it; an idle one is looked at again.
        if self.state.borrow().waiters.waiting() > 0
            && let Some(end) = conn.idle_verdict(runtime::now())
        {
            self.bury(conn, end);
            return;
        }
        loop {
            let fresh = conn.served == 0;
            let Some(waiter) = self.state.borrow_mut().waiters.pop_oldest(fresh) else { break };
            self.count_waiter_gone();
            match self.attach(&mut conn) {
                Ok(()) => {
                    self.state.borrow_mut().waiters.deliver(waiter, Ok(Lent::Http1(conn)));
                    return;
                }
                Err(refused) => self.state.borrow_mut().waiters.deliver(waiter, Err(refused)),
            }
        }
        let retired = self.state.borrow().retired || self.shared.retired.get();
        if retired || conn.generation != self.generation.get() {
            self.destroy(conn, ClosedBy::Us, false);
            return;
        }
        self.keep_idle(conn);
    }

    /// Keeps a connection, armed so that the reaper hears when its peer closes it.
    fn keep_idle(self: &Rc<Self>, mut conn: Conn) {
        conn.idle_since = runtime::now();
        let deadline = conn.deadline(self.shared.plan.http.idle_timeout);
        if self.shared.reaper.watch(&conn.stream).is_ready() {
            let end = conn.dead_verdict();
            self.bury(conn, end);
            return;
        }
        self.state.borrow_mut().idle.push_back(conn);
        if !self.watched.replace(true) {
            self.shared.reaper.add(self);
        }
        self.shared.reaper.not_later_than(deadline, &self.shared);
    }

    /// Opens connections while more requests wait than those under way will take.
    fn connect_if_needed(self: &Rc<Self>) {
        loop {
            let expected = self.expected_capacity();
            let state = self.state.borrow();
            if state.waiters.waiting() <= expected {
                return;
            }
            let has_none = state.idle.is_empty()
                && state.busy == 0
                && state.connecting == 0
                && state.multiplexed.is_empty();
            drop(state);
            if self.shared.take(self.priority, Resource::Connections).is_err() {
                let stats = &self.shared.plan.stats;
                self.shared.shard.stats.inc(stats.upstream_cx_overflow());
                if !has_none {
                    return;
                }
                self.shared.take_anyway(self.priority, Resource::Connections);
                self.start_connect();
                return;
            }
            self.start_connect();
        }
    }

    /// A connection is up.
    fn connected(self: &Rc<Self>, stream: Stream, born: runtime::Instant, generation: u32) {
        self.state.borrow_mut().connecting -= 1;
        let ms = born.elapsed().as_millis() as u64;
        let stats = &self.shared.plan.stats;
        self.shared.shard.stats.record(stats.upstream_cx_connect_ms(), ms);
        stream.set_recv_limit(self.shared.plan.buffer_limit as usize);
        if self.speaks_http2(&stream) {
            self.multiplexed_connected(stream, born, generation);
        } else {
            self.offer(self.new_conn(stream, born, generation));
        }
        self.connect_if_needed();
    }

    /// A connection did not come up: everybody who waits fails.
    fn connect_failed(self: &Rc<Self>, born: runtime::Instant, error: &AcquireError) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        stats.inc(names.upstream_cx_connect_fail());
        self.page.cx_connect_fail.inc();
        let timeout = matches!(error, AcquireError::ConnectFailure { timeout: true, .. });
        if timeout {
            stats.inc(names.upstream_cx_connect_timeout());
        }
        self.state.borrow_mut().connecting -= 1;
        self.count_destroyed(if timeout { ClosedBy::Us } else { ClosedBy::Peer }, false);
        self.count_gone(born, None);
        // Only those who wait now: a retry may queue up again while this loop runs.
        let waiting = self.state.borrow().waiters.waiting();
        for _ in 0..waiting {
            let Some(waiter) = self.state.borrow_mut().waiters.pop_oldest(true) else { break };
            self.count_waiter_gone();
            stats.inc(names.upstream_rq_pending_failure_eject());
            self.state.borrow_mut().waiters.deliver(waiter, Err(error.clone()));
        }
        self.connect_if_needed();
    }

    /// Joins the queue; `None` when `max_pending_requests` forbids it.
    fn enqueue(self: &Rc<Self>, fresh: bool) -> Option<WaiterKey> {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if self.shared.take(self.priority, Resource::Pending).is_err() {
            stats.inc(names.upstream_rq_pending_overflow());
            return None;
        }
        stats.inc(names.upstream_rq_pending_total());
        stats.gauge_add(names.upstream_rq_pending_active(), 1);
        self.page.rq_pending_active.inc();
        self.page.rq_pending_active.inc();
        let key = self.state.borrow_mut().waiters.push(fresh);
        self.connect_if_needed();
        Some(key)
    }

    /// Leaves the queue, or returns what was delivered meanwhile.
    fn cancel(self: &Rc<Self>, key: WaiterKey) {
        let delivered = self.state.borrow_mut().waiters.remove(key);
        match delivered {
            Some(Ok(Lent::Http1(conn))) => {
                self.detach();
                self.offer(conn);
                self.connect_if_needed();
            }
            Some(Ok(Lent::Http2(stream))) => self.return_stream(stream),
            Some(Err(_)) => {}
            None => {
                self.count_waiter_gone();
                let stats = &self.shared.plan.stats;
                self.shared.shard.stats.inc(stats.upstream_rq_cancelled());
            }
        }
    }

    fn count_waiter_gone(&self) {
        self.page.rq_pending_active.dec();
        self.shared.give(self.priority, Resource::Pending);
        let stats = &self.shared.plan.stats;
        self.shared.shard.stats.gauge_sub(stats.upstream_rq_pending_active(), 1);
        self.page.rq_pending_active.dec();
    }

    /// Whether numbers fit; at rest nobody uses anything.
    pub(super) fn check_invariants(&self, at_rest: bool) -> Result<(), String> {
        let state = self.state.borrow();
        let active = self.page.cx_active.get();
        let up = (state.idle.len() + state.multiplexed.len()) as u64;
        let here = up + u64::from(state.busy + state.connecting);
        if here > active {
            return Err(format!("pool holds {here} connections, its host counts {active}"));
        }
        state.waiters.check()?;
        if at_rest && (state.busy, state.connecting, state.waiters.len()) != (0, 0, 0) {
            return Err(format!(
                "pool at rest has {} busy and {} starting connections and {} waiters",
                state.busy,
                state.connecting,
                state.waiters.len()
            ));
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        while let Some(conn) = self.state.get_mut().idle.pop_front() {
            self.destroy(conn, ClosedBy::Us, false);
        }
        self.shared.give(self.priority, Resource::Pools);
    }
}
