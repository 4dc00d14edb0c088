//! The clusters a shard knows: by slot and by name, most of them never used here.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::cluster::ShardCluster;
use crate::plan::{Cluster, ClusterId, HostSet};

/// All clusters of a shard.
#[derive(Default)]
pub(super) struct Clusters {
    /// By [`ClusterId`].
    pub(super) slots: Vec<Slot>,
    /// By the names of what is in the slots: only the ids are kept.
    names: HashTable<ClusterId>,
    hasher: RandomState,
}

/// What a shard has of a cluster.
///
/// LIFECYCLE: known (two pointers) → made when a request, or this shard's own duty, needs it →
/// replaced or taken away.
#[derive(Default)]
pub(super) enum Slot {
    /// There is none.
    #[default]
    Empty,
    /// Nobody has used it on this shard.
    Known {
        /// The cluster.
        plan: Arc<Cluster>,
        /// Its hosts by now.
        hosts: Arc<HostSet>,
    },
    /// With the state this shard keeps of it.
    Made(Rc<ShardCluster>),
}

impl Slot {
    /// A cluster nobody has used.
    pub(super) fn known(plan: &Arc<Cluster>) -> Self {
        Self::Known { plan: plan.clone(), hosts: plan.hosts.clone() }
    }

    fn plan(&self) -> Option<&Arc<Cluster>> {
        match self {
            Self::Empty => None,
            Self::Known { plan, .. } => Some(plan),
            Self::Made(made) => Some(made.plan()),
        }
    }
}

impl Clusters {
    /// The slot of an id, if it was ever used.
    pub(super) fn slot(&mut self, id: ClusterId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)
    }

    /// The cluster of a slot.
    pub(super) fn plan(&self, id: ClusterId) -> Option<&Arc<Cluster>> {
        self.slots.get(id.0 as usize)?.plan()
    }

    /// Puts something into a slot; what was there comes back.
    pub(super) fn set(&mut self, id: ClusterId, new: Slot) -> Slot {
        if let Some(plan) = self.plan(id) {
            let hash = self.hasher.hash_one(&*plan.name);
            if let Ok(entry) = self.names.find_entry(hash, |known| *known == id) {
                entry.remove();
            }
        }
        let at = id.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, Slot::default);
        }
        let name = new.plan().map(|plan| plan.name.clone());
        let old = self.slots.get_mut(at).map(|slot| std::mem::replace(slot, new));
        if let Some(name) = name {
            let Self { slots, names, hasher } = self;
            let hash_of = |id: &ClusterId| {
                let plan = slots.get(id.0 as usize).and_then(Slot::plan);
                plan.map_or(0, |plan| hasher.hash_one(&*plan.name))
            };
            names.insert_unique(hasher.hash_one(&*name), id, hash_of);
        }
        old.unwrap_or_default()
    }

    /// The id of a cluster that there is.
    pub(super) fn by_name(&self, name: &str) -> Option<ClusterId> {
        let named = |id: &ClusterId| self.plan(*id).is_some_and(|plan| &*plan.name == name);
        self.names.find(self.hasher.hash_one(name), named).copied()
    }

    /// Those that have been used.
    pub(super) fn made(&self) -> impl Iterator<Item = &Rc<ShardCluster>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Made(made) => Some(made),
            Slot::Known { .. } | Slot::Empty => None,
        })
    }
}
