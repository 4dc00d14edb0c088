//! Earliest deadline first: weighted round robin that spreads every host's share evenly.
//!
//! A host's next deadline is the time it was picked plus `1 / weight`; the earliest is picked, the
//! older entry first among equals. A heap of four-way nodes keeps a pick among 1,000 hosts to five
//! levels, in one array of 16-byte entries.

/// The schedule of one list of hosts, by their index in it.
#[derive(Debug)]
pub(super) struct Edf {
    heap: Vec<Entry>,
    now: f64,
    order: u32,
    /// Picks until deadlines are brought back near zero, where they are precise.
    until_rebase: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: f64,
    order: u32,
    index: u32,
}

const WIDTH: usize = 4;
const REBASE_AFTER: u32 = 1 << 20;

impl Edf {
    /// A schedule of `weights` (each > 0) that has already made `ahead` picks, so that shards do
    /// not all begin with the same host.
    pub(super) fn new(weights: &[f64], ahead: u64) -> Self {
        let heap = weights
            .iter()
            .enumerate()
            .map(|(i, weight)| Entry { deadline: 1.0 / weight, order: i as u32, index: i as u32 })
            .collect();
        let order = weights.len() as u32;
        let mut edf = Self { heap, now: 0.0, order, until_rebase: REBASE_AFTER };
        for at in (0..edf.heap.len().div_ceil(WIDTH)).rev() {
            edf.sift_down(at);
        }
        for _ in 0..ahead {
            edf.pick(|i| weights.get(i).copied().unwrap_or(1.0));
        }
        edf
    }

    /// The next host; `weight` tells what it weighs from now on. `None` if there are no hosts.
    #[inline]
    pub(super) fn pick(&mut self, weight: impl FnOnce(usize) -> f64) -> Option<usize> {
        let top = self.heap.first_mut()?;
        let index = top.index as usize;
        self.now = top.deadline;
        top.deadline += 1.0 / weight(index).max(f64::MIN_POSITIVE);
        top.order = self.order;
        self.order = self.order.wrapping_add(1);
        self.sift_down(0);
        self.until_rebase -= 1;
        if self.until_rebase == 0 {
            self.rebase();
        }
        Some(index)
    }

    fn sift_down(&mut self, mut at: usize) {
        let Some(&moving) = self.heap.get(at) else { return };
        loop {
            let first = at * WIDTH + 1;
            let end = (first + WIDTH).min(self.heap.len());
            let Some(children) = self.heap.get(first..end) else { break };
            let mut least = (first, moving);
            for (i, child) in children.iter().enumerate() {
                if child.before(&least.1) {
                    least = (first + i, *child);
                }
            }
            if least.1.index == moving.index {
                break;
            }
            if let Some(place) = self.heap.get_mut(at) {
                *place = least.1;
            }
            at = least.0;
        }
        if let Some(place) = self.heap.get_mut(at) {
            *place = moving;
        }
    }

    /// Subtracts the past from all deadlines and numbers entries anew; the order of picks stays.
    #[cold]
    fn rebase(&mut self) {
        self.heap
            .sort_unstable_by(|a, b| a.deadline.total_cmp(&b.deadline).then(a.order.cmp(&b.order)));
        for (i, entry) in self.heap.iter_mut().enumerate() {
            entry.deadline -= self.now;
            entry.order = i as u32;
        }
        self.now = 0.0;
        self.order = self.heap.len() as u32;
        self.until_rebase = REBASE_AFTER;
    }
}

impl Entry {
    #[inline]
    fn before(&self, other: &Self) -> bool {
        self.deadline < other.deadline
            || (self.deadline == other.deadline && self.order < other.order)
    }
}
