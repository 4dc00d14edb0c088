//! The reader side: sums over shards, the flush interval of histograms, counter resets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::def::{Counter, Gauge, Kind, Source};
use super::directory::{Directory, Scope};
use super::histogram::Buckets;
use super::page::decode;
use super::registry::Pages;
use super::settings::{Settings, Shown};

type Map<K, V> = HashMap<K, V, FixedState>;
/// A histogram: uid of its scope, index in the block's statistics.
type HistogramKey = (u64, u16);

/// A histogram as of the last flush.
#[derive(Debug, Default, PartialEq)]
pub struct HistogramView {
    /// All samples up to the last flush.
    pub cumulative: Buckets,
    /// Those of the interval that ended with the last flush.
    pub interval: Buckets,
}

/// What counters stood at when they were last reset.
#[derive(Debug, Default, Clone)]
struct Baseline {
    dense: Map<(u64, u16), i64>,
    codes: Map<(u64, u16), u64>,
}

/// Reads all pages. Owned by the admin thread; never disturbs a writer.
#[derive(Debug)]
pub struct Merger {
    pages: Arc<Pages>,
    names: Arc<ArcSwap<Directory>>,
    histograms: Arc<Map<HistogramKey, Arc<HistogramView>>>,
    baseline: Arc<Baseline>,
    settings: Arc<Settings>,
}

/// A consistent set of names and flushed histograms; counters and gauges are read live. Keeps
/// itself alive, so a page can be streamed from it for as long as its reader takes.
#[derive(Debug, Clone)]
pub struct View {
    pages: Arc<Pages>,
    names: Arc<Directory>,
    histograms: Arc<Map<HistogramKey, Arc<HistogramView>>>,
    baseline: Arc<Baseline>,
    settings: Arc<Settings>,
}

impl Merger {
    pub(super) fn new(
        pages: Arc<Pages>,
        names: Arc<ArcSwap<Directory>>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { pages, names, histograms: Arc::default(), baseline: Arc::default(), settings }
    }

    /// `stats_config`
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends a flush interval: to be called every `stats_flush_interval` (5 s). Histograms show
    /// what was recorded up to here.
    pub fn flush(&mut self) {
        let view = self.view();
        let mut next = Map::with_capacity_and_hasher(self.histograms.len(), FixedState::default());
        for scope in view.names.scopes().filter(|scope| view.has_histograms(scope)) {
            for (i, stat) in scope.def.stats.iter().enumerate() {
                if stat.kind != Kind::Histogram {
                    continue;
                }
                let key = (scope.uid, i as u16);
                if let Some(state) = self.flushed(&view, scope, stat.source, key) {
                    next.insert(key, state);
                }
            }
        }
        self.histograms = Arc::new(next);
    }

    /// Sets all counters to 0 as readers see them; what was used stays used.
    pub fn reset_counters(&mut self) {
        let view = self.view();
        let mut baseline = Baseline::default();
        for scope in view.names.scopes() {
            for stat in scope.def.stats {
                if let (Kind::Counter, Source::Dense(i)) = (stat.kind, stat.source) {
                    let (value, _) = view.raw(scope.dense + u32::from(i));
                    if value != 0 {
                        baseline.dense.insert((scope.uid, i), value);
                    }
                }
            }
            if let Some(codes) = scope.def.codes {
                view.raw_codes(scope.sparse + u32::from(codes.table), |key, n| {
                    *baseline.codes.entry((scope.uid, key)).or_default() += n;
                });
            }
        }
        self.baseline = Arc::new(baseline);
    }

    /// The names of now.
    pub(super) fn names(&self) -> Arc<Directory> {
        self.names.load_full()
    }

    /// What there is to see now.
    pub fn view(&self) -> View {
        View {
            pages: self.pages.clone(),
            names: self.names.load_full(),
            histograms: self.histograms.clone(),
            baseline: self.baseline.clone(),
            settings: self.settings.clone(),
        }
    }

    fn flushed(
        &self,
        view: &View,
        scope: &Scope,
        source: Source,
        key: HistogramKey,
    ) -> Option<Arc<HistogramView>> {
        let cumulative = view.buckets(scope, source);
        if cumulative.counts.is_empty() {
            return None;
        }
        let Some(before) = self.histograms.get(&key) else {
            let interval = cumulative.clone();
            return Some(Arc::new(HistogramView { cumulative, interval }));
        };
        let interval = cumulative.since(&before.cumulative);
        if interval.counts.is_empty() && before.interval.counts.is_empty() {
            return Some(before.clone());
        }
        Some(Arc::new(HistogramView { cumulative, interval }))
    }
}

impl View {
    /// The names.
    pub fn names(&self) -> &Directory {
        &self.names
    }

    /// `stats_config`
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which statistics of a scope `stats_matcher` lets through. Asked once per scope.
    pub(super) fn shown<'s>(&self, scope: &'s Scope) -> &'s Shown {
        scope.shown.get_or_init(|| self.settings.matcher.of_scope(scope))
    }

    /// Sum of a counter over all shards since the process began.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.raw(counter.0).0 as u64
    }

    /// Sum of a gauge over all shards.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.raw(gauge.0).0.max(0) as u64
    }

    /// Value of a counter or gauge of a scope, and whether it was ever written. Less than what
    /// was counted if the counter was reset.
    pub(super) fn number(&self, scope: &Scope, kind: Kind, source: Source) -> (u64, bool) {
        match source {
            Source::Dense(i) => {
                let (value, used) = self.raw(scope.dense + u32::from(i));
                let base = match kind {
                    Kind::Counter => self.baseline.dense.get(&(scope.uid, i)).copied(),
                    _ => None,
                };
                ((value - base.unwrap_or(0)).max(0) as u64, used)
            }
            Source::CodesTotal => {
                let (mut total, mut used) = (0, false);
                self.codes(scope, |key, n| {
                    if super::writer::counts_in_total(key) {
                        total += n;
                        used = true;
                    }
                });
                (total, used)
            }
            Source::Sparse(_) | Source::SparseSum(..) => (0, false),
        }
    }

    /// Whether any thread has room for samples of a scope, as it has since its first one.
    fn has_histograms(&self, scope: &Scope) -> bool {
        let slots = scope.sparse..scope.sparse + u32::from(scope.def.sparse);
        !slots.is_empty() && self.pages.all.iter().any(|page| page.has_sparse(slots.clone()))
    }

    /// Whether a cell of a scope was ever written.
    pub(super) fn is_set(&self, scope: &Scope, index: u16) -> bool {
        self.raw(scope.dense + u32::from(index)).1
    }

    /// Whether a histogram of a scope has samples, flushed or not.
    pub(super) fn has_samples(&self, scope: &Scope, source: Source) -> bool {
        let any = |i: u16| {
            let slot = scope.sparse + u32::from(i);
            self.pages.all.iter().any(|page| page.sparse(slot).is_some_and(|t| !t.is_empty()))
        };
        match source {
            Source::Sparse(i) => any(i),
            Source::SparseSum(a, b) => any(a) || any(b),
            Source::Dense(_) | Source::CodesTotal => false,
        }
    }

    /// A histogram of a scope as of the last flush, if it had samples by then.
    pub(super) fn histogram(&self, scope: &Scope, index: u16) -> Option<&Arc<HistogramView>> {
        self.histograms.get(&(scope.uid, index))
    }

    /// Calls `f(key, count)` for every response code a scope has counted, summed over shards, in
    /// the order of keys; a count may be 0 after a reset.
    pub(super) fn codes(&self, scope: &Scope, mut f: impl FnMut(u16, u64)) {
        let Some(codes) = scope.def.codes else { return };
        let mut found = Vec::new();
        self.raw_codes(scope.sparse + u32::from(codes.table), |key, n| found.push((key, n)));
        for (key, n) in Buckets::from_unsorted(found).counts {
            let base = self.baseline.codes.get(&(scope.uid, key)).copied().unwrap_or(0);
            f(key, n.saturating_sub(base));
        }
    }

    fn raw(&self, slot: u32) -> (i64, bool) {
        self.pages.all.iter().fold((0, false), |(sum, used), page| {
            let (value, u) = decode(page.dense(slot));
            (sum + value, used | u)
        })
    }

    fn raw_codes(&self, slot: u32, mut f: impl FnMut(u16, u64)) {
        for page in &self.pages.all {
            if let Some(table) = page.sparse(slot) {
                table.each(&mut f);
            }
        }
    }

    fn buckets(&self, scope: &Scope, source: Source) -> Buckets {
        let mut found = Vec::new();
        let mut collect = |i: u16| {
            self.raw_codes(scope.sparse + u32::from(i), |key, n| found.push((key, n)));
        };
        match source {
            Source::Sparse(i) => collect(i),
            Source::SparseSum(a, b) => {
                collect(a);
                collect(b);
            }
            Source::Dense(_) | Source::CodesTotal => {}
        }
        Buckets::from_unsorted(found)
    }
}
