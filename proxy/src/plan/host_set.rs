//! The hosts of a cluster at one moment, and how requests are shared among them.

use std::sync::Arc;

use super::cluster::Host;

/// Region, zone, sub-zone.
pub type Locality = (String, String, String);

/// The hosts of a cluster at one moment. A change makes a new set that shares the hosts that stay.
#[derive(Debug)]
pub struct HostSet {
    /// Grows with every change of the cluster's hosts.
    pub version: u64,
    /// All hosts, in the order of the configuration, all priorities.
    pub hosts: Vec<Arc<Host>>,
    /// `policy.overprovisioning_factor`, default 140.
    pub overprovisioning_percent: u32,
    /// `load_balancing_weight` of localities, where one has any.
    pub localities: Option<Arc<LocalityWeights>>,
    /// `policy.drop_overloads`, of which there may be one.
    pub drop: Option<Arc<DropOverload>>,
}

impl Default for HostSet {
    fn default() -> Self {
        let hosts = Vec::new();
        Self { version: 0, hosts, overprovisioning_percent: 140, localities: None, drop: None }
    }
}

/// What localities weigh in each priority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalityWeights {
    /// By priority and locality.
    weights: Vec<(u32, Arc<Locality>, u32)>,
}

impl LocalityWeights {
    /// A locality weighs this much in a priority, whatever was said of it before.
    pub fn set(&mut self, priority: u32, locality: Arc<Locality>, weight: u32) {
        match self.find(priority, &locality) {
            Ok(at) => {
                if let Some((.., known)) = self.weights.get_mut(at) {
                    *known = weight;
                }
            }
            Err(at) => self.weights.insert(at, (priority, locality, weight)),
        }
    }

    /// What a locality weighs; 0, which is no traffic, where nothing is said of it.
    pub fn of(&self, priority: u32, locality: &Locality) -> u32 {
        let known = self.find(priority, locality).ok().and_then(|at| self.weights.get(at));
        known.map_or(0, |(.., weight)| *weight)
    }

    /// Whether the localities of some priority weigh more together than fits into 32 bits.
    pub fn is_too_heavy(&self) -> bool {
        let same_level = |a: &(u32, _, _), b: &(u32, _, _)| a.0 == b.0;
        let mut levels = self.weights.chunk_by(same_level);
        levels.any(|level| level.iter().map(|l| u64::from(l.2)).sum::<u64>() > u32::MAX.into())
    }

    fn find(&self, priority: u32, locality: &Locality) -> Result<usize, usize> {
        let wanted = (priority, locality);
        self.weights.binary_search_by(|(level, place, _)| (*level, &**place).cmp(&wanted))
    }

    /// Whether nothing is said of any locality.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }
}

/// Requests that are refused here so that the upstream is not overloaded.
#[derive(Debug, Clone, PartialEq)]
pub struct DropOverload {
    /// `category`, by which load reports tell of them.
    pub category: Arc<str>,
    /// Which share of all requests, from 0 (none) to 1 (every one).
    pub ratio: f32,
}
