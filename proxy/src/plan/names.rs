//! Numbers for names: a shard finds a cluster or a route table by its place in a list.
//!
//! LIFECYCLE of a number: leased to a name → as long as anything that names it lives (a cluster, a
//! route table a stream still uses) it holds the lease, and the number stays the name's → the last
//! holder is gone → [`Names::sweep`] takes the number back → it may be given to another name.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::cluster::ClusterId;
use super::source::ConfigSource;

/// A name with its number.
pub trait Named {
    /// What it is found by.
    type Key<'k>: Hash;

    /// The name `key` with this number.
    fn new(number: u32, key: &Self::Key<'_>) -> Self;

    /// What it is found by.
    fn key(&self) -> Self::Key<'_>;

    /// Is it the name `key`?
    fn is(&self, key: &Self::Key<'_>) -> bool;
}

/// The lease of a cluster's name: nothing else has its id while this lives.
#[derive(Debug, PartialEq, Eq)]
pub struct ClusterName {
    /// Its place.
    pub id: ClusterId,
    /// `Cluster.name`.
    pub name: Arc<str>,
}

/// Place of a route table that comes by RDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteSlot(pub u32);

/// The lease of a route table that comes by RDS. The same name from two sources is two tables.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteName {
    /// Its place.
    pub slot: RouteSlot,
    /// `route_config_name`.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// Place of a set of scopes that comes by SRDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeSlot(pub u32);

/// The lease of a set of scopes that comes by SRDS.
#[derive(Debug, PartialEq, Eq)]
pub struct ScopeName {
    /// Its place.
    pub slot: ScopeSlot,
    /// `scoped_routes.name`.
    pub name: Arc<str>,
    /// Where the scopes come from (`scoped_rds_config_source`).
    pub source: ConfigSource,
    /// Where their route tables come from (`rds_config_source`).
    pub routes: ConfigSource,
}

impl Named for ClusterName {
    type Key<'k> = &'k str;

    fn new(number: u32, key: &&str) -> Self {
        Self { id: ClusterId(number), name: Arc::from(*key) }
    }

    fn key(&self) -> &str {
        &self.name
    }

    fn is(&self, key: &&str) -> bool {
        self.key() == *key
    }
}

impl Named for RouteName {
    type Key<'k> = (&'k str, &'k ConfigSource);

    fn new(number: u32, (name, source): &(&str, &ConfigSource)) -> Self {
        Self { slot: RouteSlot(number), name: Arc::from(*name), source: (*source).clone() }
    }

    fn key(&self) -> (&str, &ConfigSource) {
        (&self.name, &self.source)
    }

    fn is(&self, key: &(&str, &ConfigSource)) -> bool {
        self.key() == *key
    }
}

impl Named for ScopeName {
    type Key<'k> = (&'k str, &'k ConfigSource, &'k ConfigSource);

    fn new(number: u32, (name, source, routes): &Self::Key<'_>) -> Self {
        let slot = ScopeSlot(number);
        let (source, routes) = ((*source).clone(), (*routes).clone());
        Self { slot, name: Arc::from(*name), source, routes }
    }

    fn key(&self) -> Self::Key<'_> {
        (&self.name, &self.source, &self.routes)
    }

    fn is(&self, key: &Self::Key<'_>) -> bool {
        self.key() == *key
    }
}

/// All names of one kind. On the control thread.
pub struct Names<N> {
    slots: Vec<Option<Arc<N>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
        }
    }
}

impl<N: Named> Names<N> {
    /// The lease of a name: the one there is, or a new one.
    pub fn lease(&mut self, key: &N::Key<'_>) -> Arc<N> {
        if let Some(have) = self.find(key) {
            return Arc::clone(have);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let name = Arc::new(N::new(number, key));
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some(Arc::clone(&name));
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = hasher.hash_one(key);
        self.index.insert_unique(hash, number, |number| hash_of(slots, hasher, *number));
        name
    }

    /// The lease of a name somebody holds.
    pub fn find(&self, key: &N::Key<'_>) -> Option<&Arc<N>> {
        let hash = self.hasher.hash_one(key);
        let same = |number: &u32| self.get(*number).is_some_and(|name| name.is(key));
        let number = self.index.find(hash, same)?;
        self.get(*number)
    }

    /// The name of a number.
    pub fn get(&self, number: u32) -> Option<&Arc<N>> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<N>> {
        self.slots.iter().flatten()
    }

    /// How long a list by number has to be.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes back the numbers of names nobody holds any more; answers how many.
    pub fn sweep(&mut self) -> usize {
        let before = self.free.len();
        for (number, slot) in (0_u32..).zip(&mut self.slots) {
            let Some(name) = slot.as_mut() else { continue };
            // Nobody else can make more of what is held here alone.
            if Arc::get_mut(name).is_none() {
                continue;
            }
            let hash = self.hasher.hash_one(name.key());
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == number) {
                entry.remove();
            }
            *slot = None;
            self.free.push(number);
        }
        self.free.len() - before
    }
}

fn hash_of<N: Named>(slots: &[Option<Arc<N>>], hasher: &RandomState, number: u32) -> u64 {
    match slots.get(number as usize) {
        Some(Some(name)) => hasher.hash_one(name.key()),
        _ => 0,
    }
}

impl<N> fmt::Debug for Names<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("names", &self.index.len())
            .field("free", &self.free.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
