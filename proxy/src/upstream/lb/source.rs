//! One list of hosts to choose from (all, healthy or degraded of a priority), and how.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Rng;
use super::edf::{Edf, Turn};
use super::locality::{Localities, Share};
use crate::plan::cluster::{HostShared, Lb};
use crate::upstream::host::ShardHost;

/// A list of hosts with what its policy needs to choose from it.
#[derive(Debug)]
pub(super) struct Source {
    hosts: Vec<Rc<ShardHost>>,
    /// Round robin over equal weights; goes on where it was when the list changes.
    cursor: Cell<u64>,
    order: Order,
}

/// What decides whose turn it is.
#[derive(Debug)]
enum Order {
    /// The policy alone: all weigh the same.
    Even,
    /// The weights of hosts.
    Weighted(RefCell<Edf>),
    /// The weights of localities first.
    Localities(Box<Localities>),
}

impl Source {
    /// For `hosts`, in place of `before`: it goes on where that had come to, so that a change of
    /// one host makes the others neither wait longer nor come twice.
    pub(super) fn new(hosts: Vec<Rc<ShardHost>>, lb: Lb, before: Option<&Self>, seed: u64) -> Self {
        let cursor = before.map_or(seed, |before| before.cursor.get());
        let weighted = match lb {
            Lb::RoundRobin | Lb::LeastRequest { .. } => weights_differ(&hosts),
            Lb::Random | Lb::ClusterProvided => false,
        };
        let order = match weighted {
            false => Order::Even,
            true => Order::Weighted(RefCell::new(match before.and_then(Self::turns) {
                Some(turns) => Edf::resume(hosts.iter().map(|host| turns.of(host, lb))),
                None => {
                    let weights: Vec<f64> = hosts.iter().map(|host| weight(host, lb)).collect();
                    let ahead = seed % (2 * weights.len() as u64).max(1);
                    Edf::new(&weights, ahead)
                }
            })),
        };
        Self { hosts, cursor: Cell::new(cursor), order }
    }

    /// As [`Source::new`], for `hosts` of which each locality has its share.
    pub(super) fn by_locality(
        hosts: Vec<Rc<ShardHost>>,
        shares: Vec<Share>,
        lb: Lb,
        before: Option<&Self>,
        seed: u64,
    ) -> Self {
        let before = match before.map(|before| &before.order) {
            Some(Order::Localities(before)) => Some(&**before),
            _ => None,
        };
        let localities = Localities::new(shares, lb, before, seed);
        Self { hosts, cursor: Cell::new(seed), order: Order::Localities(Box::new(localities)) }
    }

    fn turns(&self) -> Option<Turns> {
        let Order::Weighted(edf) = &self.order else { return None };
        let edf = edf.borrow();
        let known = edf.turns().filter_map(|(index, turn)| {
            let host = self.hosts.get(index)?;
            Some((host.plan().identity(), (turn, host.weight())))
        });
        Some(Turns(known.collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Chooses a host; `None` if there is none.
    #[inline]
    pub(super) fn pick(&self, lb: Lb, rng: &Rng) -> Option<&Rc<ShardHost>> {
        match &self.order {
            Order::Even => {}
            Order::Weighted(edf) => {
                let weight = |i: usize| self.hosts.get(i).map_or(1.0, |host| weight(host, lb));
                let index = edf.try_borrow_mut().ok()?.pick(weight)?;
                return self.hosts.get(index);
            }
            Order::Localities(localities) => return localities.pick(lb, rng),
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

/// How far each host was from being picked, and what it weighed.
struct Turns(HashMap<*const HostShared, (Turn, u32), RandomState>);

impl Turns {
    /// A host waits as long as it did; where its weight is another now, in proportion. One that
    /// is new waits a whole turn, behind its equals.
    fn of(&self, host: &ShardHost, lb: Lb) -> Turn {
        match self.0.get(&host.plan().identity()) {
            Some((turn, before)) if *before == host.weight() => *turn,
            Some((turn, before)) => {
                let by = f64::from((*before).max(1)) / f64::from(host.weight().max(1));
                Turn { wait: turn.wait * by, ..*turn }
            }
            None => Turn { wait: 1.0 / weight(host, lb), order: u32::MAX },
        }
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
