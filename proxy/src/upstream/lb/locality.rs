//! Localities by weight: which of them gets a request, before one of its hosts is chosen.
//!
//! The rule is that of Envoy's documentation, "Locality weighted load balancing": a locality counts
//! with its weight times the share of its hosts that can be used, where the overprovisioning factor
//! makes up for some that cannot.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Rng;
use super::edf::{Edf, Turn};
use super::source::Source;
use crate::plan::cluster::{HostState, Lb};
use crate::plan::host_set::{Locality, LocalityWeights};
use crate::upstream::host::ShardHost;

/// A locality that gets a share of the load.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) place: Arc<Locality>,
    /// What it counts; above 0.
    pub(super) weight: f64,
    pub(super) hosts: Vec<Rc<ShardHost>>,
}

/// How the localities of a priority share what `eligible`, some of all its `hosts`, are to get.
/// Empty where no locality gets any: then localities do not count.
pub(super) fn shares(
    hosts: &[Rc<ShardHost>],
    eligible: &[Rc<ShardHost>],
    weights: &LocalityWeights,
    factor: u32,
) -> Vec<Share> {
    let mut counted: HashMap<&Locality, u32, RandomState> = HashMap::default();
    let excluded = |host: &Rc<ShardHost>| host.plan().state.flags() & HostState::EXCLUDED != 0;
    for host in hosts.iter().filter(|host| !excluded(host)) {
        *counted.entry(&*host.plan().info.locality).or_default() += 1;
    }
    let mut index: HashMap<&Locality, usize, RandomState> = HashMap::default();
    let mut shares: Vec<Share> = Vec::new();
    for host in eligible {
        let place = &host.plan().info.locality;
        let at = *index.entry(&**place).or_insert_with(|| {
            let weight = f64::from(weights.of(host.priority(), place));
            shares.push(Share { place: place.clone(), weight, hosts: Vec::new() });
            shares.len() - 1
        });
        if let Some(share) = shares.get_mut(at) {
            share.hosts.push(host.clone());
        }
    }
    for share in &mut shares {
        let all = counted.get(&*share.place).copied().unwrap_or_default();
        share.weight *= availability(share.hosts.len(), all, factor);
    }
    shares.retain(|share| share.weight > 0.0);
    shares
}

/// Which part of its weight a locality counts with.
fn availability(eligible: usize, all: u32, factor: u32) -> f64 {
    if all == 0 {
        return 0.0;
    }
    (f64::from(factor) / 100.0 * eligible as f64 / f64::from(all)).min(1.0)
}

/// Hosts by locality, and whose turn it is.
#[derive(Debug)]
pub(super) struct Localities {
    parts: Vec<Part>,
    turns: RefCell<Edf>,
}

#[derive(Debug)]
struct Part {
    place: Arc<Locality>,
    weight: f64,
    source: Source,
}

impl Localities {
    /// In place of `before`, whose localities and hosts wait no longer than they did.
    pub(super) fn new(shares: Vec<Share>, lb: Lb, before: Option<&Self>, seed: u64) -> Self {
        let known = before.map(Self::known).unwrap_or_default();
        let turn = |share: &Share| match known.get(&*share.place) {
            Some((part, turn)) => Turn { wait: turn.wait * part.weight / share.weight, ..*turn },
            None => Turn { wait: 1.0 / share.weight, order: u32::MAX },
        };
        let turns = if known.is_empty() {
            let weights: Vec<f64> = shares.iter().map(|share| share.weight).collect();
            Edf::new(&weights, seed % (2 * weights.len() as u64).max(1))
        } else {
            Edf::resume(shares.iter().map(turn))
        };
        let part = |Share { place, weight, hosts }: Share| {
            let before = known.get(&*place).map(|(part, _)| &part.source);
            Part { source: Source::new(hosts, lb, before, seed), place, weight }
        };
        Self { parts: shares.into_iter().map(part).collect(), turns: RefCell::new(turns) }
    }

    fn known(&self) -> HashMap<&Locality, (&Part, Turn), RandomState> {
        let turns = self.turns.borrow();
        let known = turns.turns().filter_map(|(at, turn)| {
            let part = self.parts.get(at)?;
            Some((&*part.place, (part, turn)))
        });
        known.collect()
    }

    /// Chooses a host of the locality whose turn it is.
    pub(super) fn pick(&self, lb: Lb, rng: &Rng) -> Option<&Rc<ShardHost>> {
        let weight = |at: usize| self.parts.get(at).map_or(1.0, |part| part.weight);
        let at = self.turns.try_borrow_mut().ok()?.pick(weight)?;
        self.parts.get(at)?.source.pick(lb, rng)
    }
}
