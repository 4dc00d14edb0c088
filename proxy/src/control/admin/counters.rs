//! What the admin listener counts about itself: `listener.admin.*`, `http.admin.*`.

use std::sync::Arc;

use ringway_runtime::Instant;

use crate::observe::stats::{
    HcmStats, Http1CodecStats, ListenerHttpStats, ListenerStats, Registry, ShardStats,
    WorkerListenerStats,
};
use crate::plan::ceiling::{Ceiling, Place};

/// The names, made on the control thread.
#[derive(Debug)]
pub struct Names {
    listener: ListenerStats,
    thread: WorkerListenerStats,
    by_class: ListenerHttpStats,
    http: HcmStats,
    codec: Http1CodecStats,
}

impl Names {
    /// Names everything.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            listener: ListenerStats::new(registry, "admin"),
            thread: WorkerListenerStats::new(registry, "admin", "main_thread"),
            by_class: ListenerHttpStats::new(registry, "admin", "admin"),
            http: HcmStats::new(registry, "admin"),
            codec: Http1CodecStats::new(registry),
        }
    }
}

/// The names and the admin thread's page.
#[derive(Debug)]
pub struct Counters {
    names: Names,
    stats: ShardStats,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    Client,
    Us,
}

impl Counters {
    /// Counts on this page.
    pub fn new(names: Names, stats: ShardStats) -> Self {
        Self { names, stats }
    }

    pub(super) fn connected(&self) {
        let (stats, names) = (&self.stats, &self.names);
        names.codec.slots().open(stats);
        stats.inc(names.listener.downstream_cx_total());
        stats.gauge_add(names.listener.downstream_cx_active(), 1);
        stats.inc(names.thread.downstream_cx_total());
        stats.gauge_add(names.thread.downstream_cx_active(), 1);
        stats.inc(names.http.downstream_cx_total());
        stats.inc(names.http.downstream_cx_http1_total());
        stats.gauge_add(names.http.downstream_cx_active(), 1);
        stats.gauge_add(names.http.downstream_cx_http1_active(), 1);
    }

    /// A place among the connections of all listeners; `None` if there is none left.
    pub(super) fn enter(&self, ceiling: &Arc<Ceiling>, exempt: bool) -> Option<Place> {
        let place = ceiling.enter(exempt, &self.stats);
        if place.is_none() {
            self.stats.inc(self.names.listener.downstream_global_cx_overflow());
        }
        place
    }

    pub(super) fn overflow(&self) {
        self.stats.inc(self.names.listener.downstream_cx_overflow());
    }

    pub(super) fn disconnected(&self, since: Instant, by: EndedBy) {
        let (stats, names) = (&self.stats, &self.names);
        let length = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        stats.inc(names.listener.downstream_cx_destroy());
        stats.gauge_sub(names.listener.downstream_cx_active(), 1);
        stats.record(names.listener.downstream_cx_length_ms(), length);
        stats.gauge_sub(names.thread.downstream_cx_active(), 1);
        stats.inc(names.http.downstream_cx_destroy());
        stats.inc(match by {
            EndedBy::Client => names.http.downstream_cx_destroy_remote(),
            EndedBy::Us => names.http.downstream_cx_destroy_local(),
        });
        stats.gauge_sub(names.http.downstream_cx_active(), 1);
        stats.gauge_sub(names.http.downstream_cx_http1_active(), 1);
        stats.record(names.http.downstream_cx_length_ms(), length);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.stats.add(self.names.http.downstream_cx_rx_bytes_total(), bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.stats.add(self.names.http.downstream_cx_tx_bytes_total(), bytes as u64);
    }

    pub(super) fn requested(&self) {
        let (stats, http) = (&self.stats, &self.names.http);
        stats.inc(http.downstream_rq_total());
        stats.inc(http.downstream_rq_http1_total());
        stats.gauge_add(http.downstream_rq_active(), 1);
    }

    pub(super) fn protocol_error(&self) {
        self.stats.inc(self.names.http.downstream_cx_protocol_error());
    }

    /// A request has its answer's head.
    pub(super) fn answered(&self, status: u16) {
        let (stats, names) = (&self.stats, &self.names);
        stats.inc(names.http.downstream_rq_completed());
        stats.inc(names.by_class.downstream_rq_completed());
        let classes =
            (names.http.downstream_rq_class(status), names.by_class.downstream_rq_class(status));
        if let (Some(http), Some(listener)) = classes {
            stats.inc(http);
            stats.inc(listener);
        }
    }

    /// A request is over, answered or not.
    pub(super) fn finished(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stats.gauge_sub(self.names.http.downstream_rq_active(), 1);
        self.stats.record(self.names.http.downstream_rq_time(), took);
    }
}
