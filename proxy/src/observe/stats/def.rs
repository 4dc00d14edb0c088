//! What a block of statistics consists of: static tables, shared by all blocks of a kind, so that
//! a cluster's hundred names cost it one prefix.

use std::sync::OnceLock;

/// Slot of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter(pub(super) u32);

/// Slot of a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gauge(pub(super) u32);

/// Slot of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Histogram(pub(super) u32);

/// Slot of a table of response codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeTable(pub(super) u32);

/// First slot of three response-time histograms (external, internal, canary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeTable(pub(super) u32);

/// The type of a statistic, as `/stats?type=` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A text.
    TextReadout,
    /// A distribution of integers.
    Histogram,
}

/// Where the value of a statistic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A cell of the block, by its index.
    Dense(u16),
    /// A histogram of the block, by its index.
    Sparse(u16),
    /// The sum of two histograms of the block.
    SparseSum(u16, u16),
    /// The number of responses in the block's code table (all but canary).
    CodesTotal,
}

/// When a statistic is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// From the creation of the block.
    Always,
    /// From its first value: what Envoy creates on first use.
    WhenUsed,
    /// From the first write to this cell of the block: what Envoy creates with another object.
    WhenSet(u16),
}

/// One statistic of a block.
#[derive(Debug, Clone, Copy)]
pub struct StatDef {
    /// What follows the block's prefix.
    pub suffix: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Where its value is.
    pub source: Source,
    /// When it is listed.
    pub show: Show,
}

/// The response-code statistics of a block, listed on first use of each code.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// Index of the code table among the block's sparse slots.
    pub table: u16,
    /// Whether `internal.`, `external.` and `canary.` are kept apart.
    pub split: bool,
    /// Whether `upstream_rq_completed` of the whole is one of the block's own names.
    pub completed_listed: bool,
}

/// All statistics of a kind of block.
#[derive(Debug)]
pub struct BlockDef {
    /// Name of the kind, unique: blocks are shared by kind and prefix.
    pub name: &'static str,
    /// Counters and gauges first, in slot order, then histograms.
    pub stats: &'static [StatDef],
    /// Cells of a block.
    pub dense: u16,
    /// Histograms and code tables of a block.
    pub sparse: u16,
    /// Response codes, if the block counts them.
    pub codes: Option<Codes>,
    /// The cell that begins a chunk of a page: what is written together from there on costs one.
    pub aligned: Option<u16>,
    /// Indices of `stats` sorted by suffix; see [`BlockDef::sorted`].
    pub order: OnceLock<Box<[u16]>>,
}

impl BlockDef {
    /// Indices into `stats` in the order of their names.
    pub fn sorted(&self) -> &[u16] {
        self.order.get_or_init(|| {
            let mut order: Vec<u16> = (0..self.stats.len() as u16).collect();
            order.sort_by_key(|&i| self.stats.get(usize::from(i)).map_or("", |s| s.suffix));
            order.into_boxed_slice()
        })
    }
}
