//! One list of hosts to choose from (all, healthy or degraded of a priority), and how.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Rng;
use super::edf::Edf;
use crate::plan::cluster::Lb;
use crate::upstream::host::ShardHost;

/// A list of hosts with what its policy needs to choose from it.
#[derive(Debug)]
pub(super) struct Source {
    hosts: Vec<Rc<ShardHost>>,
    /// Round robin over equal weights; goes on where it was when the list changes.
    cursor: Cell<u64>,
    /// Only where weights differ.
    edf: Option<RefCell<Edf>>,
}

impl Source {
    /// For `hosts`; `cursor` is where the list that is replaced had come to.
    pub(super) fn new(hosts: Vec<Rc<ShardHost>>, lb: Lb, cursor: u64, seed: u64) -> Self {
        let weighted = match lb {
            Lb::RoundRobin | Lb::LeastRequest { .. } => weights_differ(&hosts),
            Lb::Random | Lb::ClusterProvided => false,
        };
        let edf = weighted.then(|| {
            let weights: Vec<f64> = hosts.iter().map(|host| weight(host, lb)).collect();
            let ahead = seed % (2 * weights.len() as u64).max(1);
            RefCell::new(Edf::new(&weights, ahead))
        });
        Self { hosts, cursor: Cell::new(cursor), edf }
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor.get()
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Chooses a host; `None` if there is none.
    #[inline]
    pub(super) fn pick(&self, lb: Lb, rng: &Rng) -> Option<&Rc<ShardHost>> {
        if let Some(edf) = &self.edf {
            let weight = |i: usize| self.hosts.get(i).map_or(1.0, |host| weight(host, lb));
            let index = edf.try_borrow_mut().ok()?.pick(weight)?;
            return self.hosts.get(index);
        }
        let len = self.hosts.len();
        if len <= 1 {
            return self.hosts.first();
        }
        match lb {
            Lb::RoundRobin => {
                let at = self.cursor.get();
                self.cursor.set(at.wrapping_add(1));
                self.hosts.get((at % len as u64) as usize)
            }
            Lb::LeastRequest { choices, .. } => self.least_of(choices, rng),
            Lb::Random => self.hosts.get(rng.below(len)),
            // The cluster itself chooses.
            Lb::ClusterProvided => None,
        }
    }

    /// The least busy of some hosts drawn at random, with repetition; the first among equals.
    #[inline]
    fn least_of(&self, choices: u32, rng: &Rng) -> Option<&Rc<ShardHost>> {
        let len = self.hosts.len();
        let mut best = self.hosts.get(rng.below(len))?;
        for _ in 1..choices {
            let other = self.hosts.get(rng.below(len))?;
            if other.active() < best.active() {
                best = other;
            }
        }
        Some(best)
    }
}

fn weights_differ(hosts: &[Rc<ShardHost>]) -> bool {
    let mut weights = hosts.iter().map(|host| host.weight());
    let first = weights.next();
    weights.any(|weight| Some(weight) != first)
}

/// What a host weighs at this moment: for least request `weight / (active + 1)^bias`.
#[inline]
fn weight(host: &ShardHost, lb: Lb) -> f64 {
    let weight = f64::from(host.weight().max(1));
    let Lb::LeastRequest { bias, .. } = lb else { return weight };
    let active = host.active() as f64 + 1.0;
    if bias == 1.0 {
        weight / active
    } else if bias == 0.0 {
        weight
    } else {
        weight / active.powf(bias)
    }
}
