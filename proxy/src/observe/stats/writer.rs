//! The writer of one page: what a shard calls per request.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::def::{CodeTable, Counter, Gauge, Histogram, TimeTable};
use super::histogram;
use super::page::{Page, encode};

/// Writes one shard's page. Each page has exactly one writer ([`super::Registry::writer`] hands it
/// out once), so every update is a relaxed load and a relaxed store, never a read-modify-write.
///
/// Slots must come from a live block handle: those of a dropped one may have been renamed.
#[derive(Debug)]
pub struct ShardStats {
    page: Arc<Page>,
    /// Not `Sync`: a second thread on the same page would lose updates.
    _one_thread: PhantomData<Cell<()>>,
}

impl ShardStats {
    pub(super) fn new(page: Arc<Page>) -> Self {
        Self { page, _one_thread: PhantomData }
    }

    /// A writer whose page nobody reads, for tests and tools.
    pub fn detached() -> Self {
        Self::new(Arc::default())
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.update(counter.0, 1);
    }

    /// Adds `n` (0 marks the counter as used).
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        self.update(counter.0, n as i64);
    }

    /// Raises this shard's share of a gauge.
    #[inline]
    pub fn gauge_add(&self, gauge: Gauge, n: u64) {
        self.update(gauge.0, n as i64);
    }

    /// Lowers this shard's share of a gauge. A share may be negative: what one shard added
    /// another may take away; only the sum counts.
    #[inline]
    pub fn gauge_sub(&self, gauge: Gauge, n: u64) {
        self.update(gauge.0, (n as i64).wrapping_neg());
    }

    /// Sets this shard's share of a gauge; a gauge that is *set* must have one writing shard.
    #[inline]
    pub fn gauge_set(&self, gauge: Gauge, value: u64) {
        if let Some(cell) = self.page.dense_mut(gauge.0) {
            cell.store(encode(value as i64), Ordering::Relaxed);
        }
    }

    /// Records one value (milliseconds for every `*_ms` and `*_time` name).
    #[inline]
    pub fn record(&self, histogram: Histogram, value: u64) {
        if let Some(table) = self.page.sparse_mut(histogram.0) {
            table.add(histogram::bucket_of(value), 1);
        }
    }

    /// Counts one response by its code: `upstream_rq_completed`, `_2xx` and `_200` at once, for
    /// the whole and for `internal.` or `external.`.
    #[inline]
    pub fn response(&self, codes: CodeTable, code: u16, variant: Variant) {
        if let Some(table) = self.page.sparse_mut(codes.0) {
            table.add(code_key(code, variant), 1);
        }
    }

    /// Counts responses by the key of a code table.
    pub(super) fn responses(&self, codes: CodeTable, key: u16, count: u64) {
        if let Some(table) = self.page.sparse_mut(codes.0).filter(|_| count > 0) {
            table.add(key, count);
        }
    }

    /// Records the time of one response in ms: `upstream_rq_time` and its `internal.` or
    /// `external.` twin.
    #[inline]
    pub fn response_time(&self, times: TimeTable, ms: u64, variant: Variant) {
        self.record(Histogram(times.0 + variant as u32), ms);
    }

    /// What this shard has written to a counter, for its own decisions and for tests.
    pub fn counter_value(&self, counter: Counter) -> u64 {
        super::page::decode(self.page.dense(counter.0)).0 as u64
    }

    /// This shard's share of a gauge.
    pub fn gauge_value(&self, gauge: Gauge) -> i64 {
        super::page::decode(self.page.dense(gauge.0)).0
    }

    #[inline]
    fn update(&self, slot: u32, delta: i64) {
        if let Some(cell) = self.page.dense_mut(slot) {
            let raw = cell.load(Ordering::Relaxed);
            cell.store(raw.wrapping_add((delta as u64) << 1) | 1, Ordering::Relaxed);
        }
    }
}

/// Who asked, as Envoy's response statistics split it. The total is the sum of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// From outside the mesh: `external.`.
    External = 0,
    /// `x-envoy-internal`: `internal.`.
    Internal = 1,
    /// Served by a canary host: `canary.`, counted in addition to one of the others.
    Canary = 2,
    /// Taken back for another attempt: `retry.`, and counted nowhere else.
    Retry = 3,
    /// As [`Variant::External`], but the total tells neither code nor class.
    ExternalQuiet = 4,
    /// As [`Variant::Internal`], likewise.
    InternalQuiet = 5,
}

/// Codes above this are counted as this one, which prints as `upstream_rq_unknown`.
const MAX_CODE: u16 = 1023;

/// Room for variants in a key.
const VARIANTS: u16 = 8;

/// Key of a response code in a code table.
pub(super) fn code_key(code: u16, variant: Variant) -> u16 {
    code.min(MAX_CODE) * VARIANTS + variant as u16
}

/// Whether a key's responses are among those of the whole.
pub(super) fn counts_in_total(key: u16) -> bool {
    !matches!(split_key(key).1, 2 | 3)
}

/// Code and variant (by its number in [`Variant`]) of a key.
pub(super) fn split_key(key: u16) -> (u16, u16) {
    (key / VARIANTS, key % VARIANTS)
}
