//! Earliest deadline first: weighted round robin that spreads every host's share evenly.
//!
//! A host's next deadline is the time it was picked plus `1 / weight`; the earliest is picked, the
//! older entry first among equals. A heap of four-way nodes keeps a pick among 1,000 hosts to five
//! levels, in one array of 16-byte entries that are compared as one number, without branches.

/// The schedule of one list of hosts, by their index in it.
#[derive(Debug)]
pub(super) struct Edf {
    heap: Vec<Entry>,
    now: f64,
    order: u32,
    /// Picks until deadlines are brought back near zero, where they are precise.
    until_rebase: u32,
}

/// How far a host is from being picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Until its deadline, in the schedule's time.
    pub(super) wait: f64,
    /// Its place among equals: the least is picked first.
    pub(super) order: u32,
}

/// From the highest bit: the deadline (the bits of a float that is not negative sort as it does),
/// when it was entered, the index of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u128);

const WIDTH: usize = 4;
const REBASE_AFTER: u32 = 1 << 20;

impl Edf {
    /// A schedule of `weights` (each > 0) that has already made `ahead` picks, so that shards do
    /// not all begin with the same host.
    pub(super) fn new(weights: &[f64], ahead: u64) -> Self {
        let entry = |(i, weight): (usize, &f64)| Entry::new(1.0 / weight, i as u32, i as u32);
        let heap: Vec<Entry> = weights.iter().enumerate().map(entry).collect();
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

    /// Goes on where another schedule had come to: for each host how long it has to wait yet, and
    /// its place among equals.
    pub(super) fn resume(turns: impl Iterator<Item = Turn>) -> Self {
        let entry = |(i, turn): (usize, Turn)| Entry::new(turn.wait, turn.order, i as u32);
        let mut heap: Vec<Entry> = turns.enumerate().map(entry).collect();
        // What is sorted is a heap.
        heap.sort_unstable();
        for (order, entry) in heap.iter_mut().enumerate() {
            *entry = Entry::new(entry.deadline(), order as u32, entry.index());
        }
        let order = heap.len() as u32;
        Self { heap, now: 0.0, order, until_rebase: REBASE_AFTER }
    }

    /// Each host by its index, with what [`Edf::resume`] wants to know of it.
    pub(super) fn turns(&self) -> impl Iterator<Item = (usize, Turn)> {
        self.heap.iter().map(|entry| {
            let wait = (entry.deadline() - self.now).max(0.0);
            (entry.index() as usize, Turn { wait, order: entry.order() })
        })
    }

    /// The next host; `weight` tells what it weighs from now on. `None` if there are no hosts.
    #[inline]
    pub(super) fn pick(&mut self, weight: impl FnOnce(usize) -> f64) -> Option<usize> {
        let top = self.heap.first_mut()?;
        let index = top.index();
        self.now = top.deadline();
        let next = self.now + 1.0 / weight(index as usize).max(f64::MIN_POSITIVE);
        *top = Entry::new(next, self.order, index);
        self.order = self.order.wrapping_add(1);
        self.sift_down(0);
        self.until_rebase -= 1;
        if self.until_rebase == 0 {
            self.rebase();
        }
        Some(index as usize)
    }

    #[inline]
    fn sift_down(&mut self, mut at: usize) {
        let heap = self.heap.as_mut_slice();
        let Some(&moving) = heap.get(at) else { return };
        loop {
            let first = at * WIDTH + 1;
            let least = match heap.get(first..first + WIDTH) {
                Some(&[a, b, c, d]) => first + least_of_four(a, b, c, d),
                _ => match least_of(heap.get(first..).unwrap_or_default()) {
                    Some(offset) => first + offset,
                    None => break,
                },
            };
            let Some(&child) = heap.get(least) else { break };
            if moving < child {
                break;
            }
            if let Some(place) = heap.get_mut(at) {
                *place = child;
            }
            at = least;
        }
        if let Some(place) = heap.get_mut(at) {
            *place = moving;
        }
    }

    /// Subtracts the past from all deadlines and numbers entries anew; the order of picks stays.
    #[cold]
    fn rebase(&mut self) {
        self.heap.sort_unstable();
        for (i, entry) in self.heap.iter_mut().enumerate() {
            *entry = Entry::new(entry.deadline() - self.now, i as u32, entry.index());
        }
        self.now = 0.0;
        self.order = self.heap.len() as u32;
        self.until_rebase = REBASE_AFTER;
    }
}

impl Entry {
    #[inline]
    fn new(deadline: f64, order: u32, index: u32) -> Self {
        // No deadline is negative, but a difference of two may be -0.0.
        let bits = u128::from(deadline.abs().to_bits());
        Self(bits << 64 | u128::from(order) << 32 | u128::from(index))
    }

    #[inline]
    fn deadline(self) -> f64 {
        f64::from_bits((self.0 >> 64) as u64)
    }

    fn order(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn index(self) -> u32 {
        self.0 as u32
    }
}

#[inline]
fn least_of_four(a: Entry, b: Entry, c: Entry, d: Entry) -> usize {
    let (left, right) = (usize::from(b < a), 2 + usize::from(d < c));
    let swap = c.min(d) < a.min(b);
    if swap { right } else { left }
}

fn least_of(children: &[Entry]) -> Option<usize> {
    let (offset, _) = children.iter().enumerate().min_by_key(|child| child.1)?;
    Some(offset)
}
