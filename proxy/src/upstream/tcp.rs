//! Connections of TCP proxying: one to a host for each downstream connection, never shared.
//!
//! Statistics are those of Envoy's TCP pool: a connection waits as a pending request while it is
//! set up, is one active request for as long as it is open, and counts as a connection throughout.
//!
//! LIFECYCLE: [`ShardCluster::connect_tcp`] → pending (dropping the future cancels) →
//! [`TcpConn`] → closed by drop; [`TcpConn::peer_ended`] says that it was the host's doing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};

use ringway_runtime::{self as runtime, Instant};
use slab::Slab;

use super::cluster::{ShardCluster, Shared};
use super::host::ShardHost;
use super::internal::Passed;
use super::limits::Resource;
use super::outlier::{self, Outcome};
use super::pool::{AcquireError, connect_transport, timed_out};
use crate::istio::Peer;
use crate::transport::{ConnectHints, Stream};

/// TCP proxying is always of the default routing priority.
const PRIORITY: super::Priority = 0;

impl ShardCluster {
    /// Whether `max_connections` forbids another connection; counts as `upstream_cx_overflow`.
    pub(crate) fn tcp_overflows(&self) -> bool {
        let limits = self.limits();
        let full = limits.taken(PRIORITY, Resource::Connections)
            >= limits.max(PRIORITY, Resource::Connections);
        if full {
            let shared = self.shared();
            shared.shard.stats.inc(shared.plan.stats.upstream_cx_overflow());
        }
        full
    }

    /// Opens a connection to `host`, within `connect_timeout`, and tells outlier detection how it
    /// went. It begins with `header`, if there is one; an internal listener is told `passed`.
    ///
    /// # Errors
    /// [`AcquireError::PendingOverflow`] and [`AcquireError::ConnectFailure`].
    pub(crate) async fn connect_tcp(
        &self,
        host: &Rc<ShardHost>,
        header: Option<Rc<[u8]>>,
        passed: Passed,
    ) -> Result<TcpConn, AcquireError> {
        let attempt = Attempt::begin(self.shared(), host)?;
        let plan = &self.shared().plan;
        let hints = ConnectHints { passed, ..ConnectHints::default() };
        let connect = connect_transport(self.shared(), host.plan(), header.as_deref(), &hints);
        let done = runtime::timeout(plan.connect_timeout, connect).await;
        let done = done.unwrap_or_else(|_| Err(timed_out()));
        match done {
            Ok((stream, known)) => Ok(attempt.succeeded(stream, known)),
            Err(error) => Err(attempt.failed(error)),
        }
    }
}

/// A connection being set up. Dropped in between, it was cancelled.
struct Attempt {
    host: Rc<ShardHost>,
    shared: Rc<Shared>,
    born: Instant,
    over: bool,
}

impl Attempt {
    fn begin(shared: &Rc<Shared>, host: &Rc<ShardHost>) -> Result<Self, AcquireError> {
        let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
        if shared.take(PRIORITY, Resource::Pending).is_err() {
            stats.inc(names.upstream_rq_pending_overflow());
            return Err(AcquireError::PendingOverflow);
        }
        stats.inc(names.upstream_rq_pending_total());
        stats.gauge_add(names.upstream_rq_pending_active(), 1);
        host.page().rq_pending_active.inc();
        // The caller has looked at the limit; others may have reached it since, and a host without
        // a connection may always open one.
        if shared.take(PRIORITY, Resource::Connections).is_err() {
            stats.inc(names.upstream_cx_overflow());
            shared.take_anyway(PRIORITY, Resource::Connections);
        }
        stats.inc(names.upstream_cx_total());
        stats.gauge_add(names.upstream_cx_active(), 1);
        shared.limits.shared().note_traffic();
        host.page().cx_total.inc();
        host.page().cx_active.inc();
        Ok(Self { host: host.clone(), shared: shared.clone(), born: runtime::now(), over: false })
    }

    fn succeeded(mut self, stream: Stream, known: Option<Rc<Peer>>) -> TcpConn {
        self.no_longer_pending();
        self.over = true;
        let (shared, host) = (&self.shared, &self.host);
        let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
        stats.record(names.upstream_cx_connect_ms(), self.born.elapsed().as_millis() as u64);
        // `max_requests` is not asked, but what it counts is counted.
        shared.take_anyway(PRIORITY, Resource::Requests);
        host.page().rq_total.inc();
        host.page().rq_active.inc();
        stats.inc(names.upstream_rq_total());
        stats.gauge_add(names.upstream_rq_active(), 1);
        if shared.plan.outlier.as_ref().is_some_and(|rules| rules.split_local_origin) {
            outlier::connected(shared, host.page(), host.plan());
        } else {
            outlier::report(shared, host, Outcome::Status(200));
        }
        stream.set_recv_limit(shared.plan.buffer_limit as usize);
        TcpConn {
            stream: Some(stream),
            host: host.clone(),
            shared: shared.clone(),
            born: self.born,
            known,
            tunnelled: false,
            peer_ended: false,
            watch: None,
        }
    }

    fn failed(mut self, error: AcquireError) -> AcquireError {
        self.no_longer_pending();
        self.over = true;
        let (shared, host) = (&self.shared, &self.host);
        let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
        stats.inc(names.upstream_rq_pending_failure_eject());
        stats.inc(names.upstream_cx_connect_fail());
        host.page().cx_connect_fail.inc();
        let timeout = matches!(error, AcquireError::ConnectFailure { timeout: true, .. });
        if timeout {
            stats.inc(names.upstream_cx_connect_timeout());
        }
        count_destroyed(shared, !timeout, false);
        count_gone(shared, host, self.born);
        outlier::report(shared, host, Outcome::Failure);
        error
    }

    fn no_longer_pending(&self) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        self.shared.give(PRIORITY, Resource::Pending);
        stats.gauge_sub(names.upstream_rq_pending_active(), 1);
        self.host.page().rq_pending_active.dec();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.no_longer_pending();
        self.shared.shard.stats.inc(self.shared.plan.stats.upstream_rq_cancelled());
        count_destroyed(&self.shared, false, false);
        count_gone(&self.shared, &self.host, self.born);
    }
}

fn count_destroyed(shared: &Shared, by_peer: bool, in_use: bool) {
    let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
    stats.inc(names.upstream_cx_destroy());
    stats.inc(if by_peer {
        names.upstream_cx_destroy_remote()
    } else {
        names.upstream_cx_destroy_local()
    });
    if in_use {
        stats.inc(names.upstream_cx_destroy_with_active_rq());
        stats.inc(if by_peer {
            names.upstream_cx_destroy_remote_with_active_rq()
        } else {
            names.upstream_cx_destroy_local_with_active_rq()
        });
    }
}

fn count_gone(shared: &Shared, host: &ShardHost, born: Instant) {
    let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
    stats.record(names.upstream_cx_length_ms(), born.elapsed().as_millis() as u64);
    stats.gauge_sub(names.upstream_cx_active(), 1);
    host.page().cx_active.dec();
    shared.give(PRIORITY, Resource::Connections);
}

/// A connection to a host. Dropping it closes it.
pub(crate) struct TcpConn {
    /// `None` only after [`TcpConn::reset`].
    stream: Option<Stream>,
    host: Rc<ShardHost>,
    shared: Rc<Shared>,
    born: Instant,
    known: Option<Rc<Peer>>,
    /// It is inside a stream, which is counted by itself.
    tunnelled: bool,
    peer_ended: bool,
    /// Place among those who hear of the host's failure.
    watch: Option<usize>,
}

impl TcpConn {
    /// A connection inside a stream of another.
    pub(super) fn tunnelled(
        cluster: &ShardCluster,
        host: &Rc<ShardHost>,
        stream: runtime::Stream,
    ) -> Self {
        stream.set_recv_limit(cluster.plan().buffer_limit as usize);
        Self {
            stream: Some(stream.into()),
            host: Rc::clone(host),
            shared: Rc::clone(cluster.shared()),
            born: runtime::now(),
            known: None,
            tunnelled: true,
            peer_ended: false,
            watch: None,
        }
    }

    /// The connection.
    #[allow(clippy::expect_used, reason = "emptied only by a method that consumes self")]
    pub(crate) fn stream(&self) -> &Stream {
        self.stream.as_ref().expect("present until reset")
    }

    /// Who is at the other end, if it said.
    pub(crate) fn known(&self) -> Option<&Rc<Peer>> {
        self.known.as_ref()
    }

    /// Address of our end, by a system call.
    pub(crate) fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.stream().local_addr().ok()?.as_inet()
    }

    /// `per_connection_buffer_limit_bytes` of the cluster.
    pub(crate) fn buffer_limit(&self) -> usize {
        self.shared.plan.buffer_limit as usize
    }

    /// When it began to be set up.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// It was the host who ended the connection, not us.
    pub(crate) fn peer_ended(&mut self) {
        self.peer_ended = true;
    }

    /// Counts bytes: `upstream_cx_rx_bytes_total`, `upstream_cx_tx_bytes_total`.
    #[inline]
    pub(crate) fn count(&self, received: u64, sent: u64) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if received > 0 {
            stats.add(names.upstream_cx_rx_bytes_total(), received);
        }
        if sent > 0 {
            stats.add(names.upstream_cx_tx_bytes_total(), sent);
        }
    }

    /// `upstream_cx_tx_bytes_buffered` is another number now.
    pub(crate) fn buffered(&self, before: u32, now: u32) {
        let gauge = self.shared.plan.stats.upstream_cx_tx_bytes_buffered();
        self.shared.shard.stats.gauge_add(gauge, now.into());
        self.shared.shard.stats.gauge_sub(gauge, before.into());
    }

    /// Reading from the host stops, or goes on: `upstream_flow_control_paused_reading_total`.
    pub(crate) fn flow(&self, paused: bool) {
        let names = &self.shared.plan.stats;
        self.shared.shard.stats.inc(if paused {
            names.upstream_flow_control_paused_reading_total()
        } else {
            names.upstream_flow_control_resumed_reading_total()
        });
    }

    /// Whether the host has failed since the connection is there, where the cluster closes
    /// connections then (`close_connections_on_host_health_failure`). Wakes when it does.
    pub(crate) fn host_failed(&mut self, cx: &Context<'_>) -> bool {
        if !self.shared.plan.close_on_health_failure {
            return false;
        }
        match self.watch {
            Some(key) => self.host.watchers().told(key, cx.waker()),
            None => {
                self.watch = Some(self.host.watchers().add(cx.waker()));
                false
            }
        }
    }

    /// Closes it with a reset.
    pub(crate) fn reset(mut self) {
        if let Some(stream) = self.stream.take() {
            stream.reset();
        }
    }
}

impl Drop for TcpConn {
    fn drop(&mut self) {
        if let Some(key) = self.watch {
            self.host.watchers().remove(key);
        }
        if self.tunnelled {
            return;
        }
        let (shared, host) = (&self.shared, &self.host);
        let (stats, names) = (&shared.shard.stats, &shared.plan.stats);
        host.page().rq_active.dec();
        stats.gauge_sub(names.upstream_rq_active(), 1);
        shared.give(PRIORITY, Resource::Requests);
        count_destroyed(shared, self.peer_ended, true);
        stats.record(names.upstream_rq_per_cx(), 1);
        count_gone(shared, host, self.born);
    }
}

impl fmt::Debug for TcpConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConn").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Who wants to hear that a host fails.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    list: RefCell<Slab<Watcher>>,
    failed: Cell<bool>,
}

#[derive(Debug)]
struct Watcher {
    waker: Waker,
    told: bool,
}

impl Watchers {
    fn add(&self, waker: &Waker) -> usize {
        self.list.borrow_mut().insert(Watcher { waker: waker.clone(), told: false })
    }

    /// Whether the host has failed since [`Watchers::add`].
    fn told(&self, key: usize, waker: &Waker) -> bool {
        let mut list = self.list.borrow_mut();
        let Some(watcher) = list.get_mut(key) else { return false };
        watcher.waker.clone_from(waker);
        watcher.told
    }

    fn remove(&self, key: usize) {
        self.list.borrow_mut().try_remove(key);
    }

    /// How the host is. Its failing, not its having failed, is told to those who are there: who
    /// came later knew.
    pub(super) fn host_is(&self, failed: bool) {
        if !failed || self.failed.replace(failed) {
            self.failed.set(failed);
            return;
        }
        for (_, watcher) in self.list.borrow_mut().iter_mut() {
            watcher.told = true;
            watcher.waker.wake_by_ref();
        }
    }
}
