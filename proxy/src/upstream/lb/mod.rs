//! Choosing a host: priorities and panic first, then the cluster's policy within one list.
//!
//! Tables are built when hosts or their health change and only read (and advanced) by a pick.

mod edf;
mod locality;
mod priority;
mod source;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use super::host::ShardHost;
use crate::plan::cluster::{HostState, Lb};
use crate::plan::host_set::LocalityWeights;
use locality::shares;
use priority::{Counts, Load};
use source::Source;

/// What a pick depends on besides the hosts.
#[derive(Debug, Clone, Copy, Default)]
pub struct LbContext<'a> {
    /// Hosts that were tried before and are to be avoided (`previous_hosts`).
    pub avoid: &'a [Rc<ShardHost>],
    /// `host_selection_retry_max_attempts`: further picks made to avoid them. When all of them
    /// fail the last one counts.
    pub attempts: u32,
    /// Hash for policies that choose by one.
    pub hash: Option<u64>,
    /// Where an ORIGINAL_DST cluster is to send it ([`ShardCluster::destination`]).
    ///
    /// [`ShardCluster::destination`]: super::ShardCluster
    pub destination: Option<std::net::SocketAddr>,
}

/// How a pick came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picked<H> {
    /// The host; `None` if there is none to choose.
    pub(super) host: Option<H>,
    /// How many of the picks were made in panic (`lb_healthy_panic` counts each).
    pub(super) panics: u32,
}

/// How hosts share the load, besides the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The overprovisioning factor, in percent.
    pub(super) factor: u32,
    /// In percent.
    pub(super) panic_threshold: f64,
    /// Where localities are chosen by weight.
    pub(super) localities: Option<&'a LocalityWeights>,
}

/// The tables of one cluster on one shard.
#[derive(Debug)]
pub(super) struct LoadBalancer {
    lb: Lb,
    priorities: Vec<PriorityTable>,
    /// One priority with healthy hosts gets everything: no random number is needed.
    only: Option<usize>,
    rng: Rng,
    seed: u64,
}

#[derive(Debug)]
struct PriorityTable {
    load: Load,
    all: Source,
    healthy: Source,
    degraded: Source,
}

impl LoadBalancer {
    /// Without hosts. `seed` decides where round robin begins and all random choices.
    pub(super) fn new(lb: Lb, seed: u64) -> Self {
        Self { lb, priorities: Vec::new(), only: None, rng: Rng::new(seed), seed }
    }

    /// Builds the tables for these hosts and their health at this moment.
    pub(super) fn rebuild(&mut self, hosts: &[Rc<ShardHost>], rules: Rules<'_>) {
        let Rules { factor, panic_threshold, localities } = rules;
        let levels = hosts.iter().map(|h| h.priority() as usize + 1).max().unwrap_or(1);
        let mut lists = vec![Lists::default(); levels];
        for host in hosts {
            if let Some(lists) = lists.get_mut(host.priority() as usize) {
                lists.add(host);
            }
        }
        let counts: Vec<Counts> = lists.iter().map(|l| l.counts).collect();
        let loads = priority::distribute(&counts, factor, panic_threshold);
        self.only = loads.iter().position(|load| load.healthy == 100);
        let mut old = std::mem::take(&mut self.priorities).into_iter();
        for (lists, load) in lists.into_iter().zip(loads) {
            let before = old.next();
            let before = before.as_ref();
            let source = |hosts: Vec<_>, before| {
                let shares = localities.map(|weights| shares(&lists.all, &hosts, weights, factor));
                match shares {
                    Some(shares) if !shares.is_empty() => {
                        Source::by_locality(hosts, shares, self.lb, before, self.seed)
                    }
                    _ => Source::new(hosts, self.lb, before, self.seed),
                }
            };
            self.priorities.push(PriorityTable {
                load,
                healthy: source(lists.healthy, before.map(|t| &t.healthy)),
                degraded: source(lists.degraded, before.map(|t| &t.degraded)),
                // In panic neither health nor localities count.
                all: Source::new(lists.all, self.lb, before.map(|t| &t.all), self.seed),
            });
        }
    }

    /// Chooses a host.
    #[inline]
    pub(super) fn pick(&self, cx: &LbContext<'_>) -> Picked<Rc<ShardHost>> {
        let mut panics = 0;
        let mut left = cx.attempts;
        loop {
            let (host, panic) = self.pick_once();
            panics += u32::from(panic);
            let again = |host: &Rc<ShardHost>| cx.avoid.iter().any(|a| a.is_same(host));
            if left > 0 && host.is_some_and(again) {
                left -= 1;
                continue;
            }
            return Picked { host: host.cloned(), panics };
        }
    }

    /// Healthy, degraded and all hosts over all priorities, as the tables see them.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        self.priorities.iter().fold((0, 0, 0), |(h, d, a), t| {
            (h + t.healthy.len(), d + t.degraded.len(), a + t.all.len())
        })
    }

    #[inline]
    fn pick_once(&self) -> (Option<&Rc<ShardHost>>, bool) {
        let (level, degraded) = match self.only {
            Some(level) => (level, false),
            None => self.choose_level(),
        };
        let Some(table) = self.priorities.get(level) else { return (None, false) };
        let source = match (table.load.panic, degraded) {
            (true, _) => &table.all,
            (false, false) => &table.healthy,
            (false, true) => &table.degraded,
        };
        (source.pick(self.lb, &self.rng), table.load.panic)
    }

    /// Draws a priority by its load: healthy hosts of all priorities first, then degraded ones.
    fn choose_level(&self) -> (usize, bool) {
        let draw = self.rng.below(100) as u32 + 1;
        let mut sum = 0;
        for (level, table) in self.priorities.iter().enumerate() {
            sum += table.load.healthy;
            if draw <= sum {
                return (level, false);
            }
        }
        for (level, table) in self.priorities.iter().enumerate() {
            sum += table.load.degraded;
            if draw <= sum {
                return (level, true);
            }
        }
        (0, false)
    }
}

/// The hosts of one priority, sorted by health.
#[derive(Debug, Clone, Default)]
struct Lists {
    counts: Counts,
    all: Vec<Rc<ShardHost>>,
    healthy: Vec<Rc<ShardHost>>,
    degraded: Vec<Rc<ShardHost>>,
}

impl Lists {
    fn add(&mut self, host: &Rc<ShardHost>) {
        let flags = host.plan().state.flags();
        self.counts.all += 1;
        self.all.push(host.clone());
        if flags & HostState::EXCLUDED != 0 {
            self.counts.excluded += 1;
        }
        if flags & HostState::UNHEALTHY != 0 {
            return;
        }
        if flags & HostState::DEGRADED != 0 {
            self.counts.degraded += 1;
            self.degraded.push(host.clone());
        } else {
            self.counts.healthy += 1;
            self.healthy.push(host.clone());
        }
    }
}

/// A small generator of one cluster, so that a pick does not look for the runtime.
#[derive(Debug)]
pub(super) struct Rng(Cell<u64>);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// A number below `n` (0 if `n` is 0): a Weyl sequence through a multiply-fold.
    #[inline]
    fn below(&self, n: usize) -> usize {
        let state = self.0.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.0.set(state);
        let wide = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        let mixed = (wide >> 64) as u64 ^ wide as u64;
        ((u128::from(mixed) * n as u128) >> 64) as usize
    }
}
