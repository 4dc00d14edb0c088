//! Statistics of a host, or a cluster, outside the registry: one page per shard that has used it,
//! written by that shard alone.
//!
//! It costs nothing here until a shard has something to count. Readers (the `/clusters` page, the
//! outlier detector) sum over the pages; a sum is not a snapshot, but every term is exact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The pages of one thing. They are only ever added, so readers need no lock.
#[derive(Debug, Default)]
pub struct Pages<C> {
    first: OnceLock<Arc<Page<C>>>,
}

/// One shard's counts.
#[derive(Debug, Default)]
pub struct Page<C> {
    shard: u32,
    counts: C,
    next: OnceLock<Arc<Self>>,
}

impl<C> std::ops::Deref for Page<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.counts
    }
}

/// The pages of a host.
pub type HostPages = Pages<HostCounts>;
/// One shard's counts of a host.
pub type HostPage = Page<HostCounts>;
/// The pages of a cluster.
pub type DropPages = Pages<DropCounts>;

/// Requests of a cluster that were not sent.
#[derive(Debug, Default)]
pub struct DropCounts {
    /// `upstream_rq_drop_overload`: by `drop_overloads`.
    pub overload: Cell64,
    /// `upstream_rq_dropped`: by a circuit breaker.
    pub overflow: Cell64,
}

/// What is counted of a host, with Envoy's names.
#[derive(Debug, Default)]
pub struct HostCounts {
    /// `cx_total`
    pub cx_total: Cell64,
    /// `cx_active`
    pub cx_active: Cell64,
    /// `cx_connect_fail`
    pub cx_connect_fail: Cell64,
    /// `rq_total`
    pub rq_total: Cell64,
    /// `rq_active`
    pub rq_active: Cell64,
    /// `rq_pending_active`: requests that wait for a connection to it.
    pub rq_pending_active: Cell64,
    /// `rq_success`: responses that are not 5xx.
    pub rq_success: Cell64,
    /// `rq_error`: 5xx.
    pub rq_error: Cell64,
    /// `rq_timeout`
    pub rq_timeout: Cell64,
    /// Results given to outlier detection, external origin.
    pub external_total: Cell64,
    /// Those of them that were not 5xx.
    pub external_success: Cell64,
    /// Results of local origin, where the two are split.
    pub local_total: Cell64,
    /// Those of them that were no failure.
    pub local_success: Cell64,
}

/// The sums over all pages of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTotals {
    /// `cx_total`
    pub cx_total: u64,
    /// `cx_active`
    pub cx_active: u64,
    /// `cx_connect_fail`
    pub cx_connect_fail: u64,
    /// `rq_total`
    pub rq_total: u64,
    /// `rq_active`
    pub rq_active: u64,
    /// `rq_pending_active`
    pub rq_pending_active: u64,
    /// `rq_success`
    pub rq_success: u64,
    /// `rq_error`
    pub rq_error: u64,
    /// `rq_timeout`
    pub rq_timeout: u64,
    /// Results of external origin, and how many were a success.
    pub external: (u64, u64),
    /// Results of local origin, and how many were a success.
    pub local: (u64, u64),
}

impl<C: Default> Pages<C> {
    /// The page of a shard, made on first use. Only that shard may write it.
    pub fn of_shard(&self, shard: u32) -> Arc<Page<C>> {
        let mut place = &self.first;
        loop {
            let page = place.get_or_init(|| Arc::new(Page { shard, ..Page::default() }));
            if page.shard == shard {
                return page.clone();
            }
            place = &page.next;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &C> {
        let first = self.first.get();
        std::iter::successors(first, |page| page.next.get()).map(|page| &page.counts)
    }
}

impl Pages<DropCounts> {
    /// Requests dropped by `drop_overloads`, and by circuit breakers, on all shards.
    pub fn totals(&self) -> (u64, u64) {
        self.iter().fold((0, 0), |(overload, overflow), page| {
            (overload + page.overload.get(), overflow + page.overflow.get())
        })
    }
}

impl Pages<HostCounts> {
    /// The sums over all shards.
    pub fn totals(&self) -> HostTotals {
        let mut sum = HostTotals::default();
        for page in self.iter() {
            sum.cx_total += page.cx_total.get();
            sum.cx_active += page.cx_active.get();
            sum.cx_connect_fail += page.cx_connect_fail.get();
            sum.rq_total += page.rq_total.get();
            sum.rq_active += page.rq_active.get();
            sum.rq_pending_active += page.rq_pending_active.get();
            sum.rq_success += page.rq_success.get();
            sum.rq_error += page.rq_error.get();
            sum.rq_timeout += page.rq_timeout.get();
            sum.external.0 += page.external_total.get();
            sum.external.1 += page.external_success.get();
            sum.local.0 += page.local_total.get();
            sum.local.1 += page.local_success.get();
        }
        sum
    }
}

/// A number with one writer: plain loads and stores, never a read-modify-write.
#[derive(Debug, Default)]
pub struct Cell64(AtomicU64);

impl Cell64 {
    /// The value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one. Writer only.
    #[inline]
    pub fn inc(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    /// Takes one away. Writer only.
    #[inline]
    pub fn dec(&self) {
        debug_assert!(self.get() > 0, "a gauge of a host fell below zero");
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }
}
