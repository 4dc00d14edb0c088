//! What there is, by group of clients, and what changed when.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::snapshot::{self, Encoded, Snapshot};

/// Changes a type remembers; a session that is further behind compares everything.
const LOG_MIN: usize = 1024;

/// Resources by group: what a group is, a node or all nodes of one scope, is told by
/// [`Options::group`](super::Options).
#[derive(Debug)]
pub struct Cache {
    groups: HashMap<Arc<str>, Group>,
    /// Counts changes of all groups: a group that went and came is told from its former self.
    sequence: u64,
    /// Stands for every type that a group has nothing of.
    nothing: Resources,
}

impl Default for Cache {
    fn default() -> Self {
        Self { groups: HashMap::new(), sequence: 0, nothing: Resources::new(0) }
    }
}

/// The resources of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    kinds: HashMap<Arc<str>, Resources>,
}

/// The resources of one type.
#[derive(Debug)]
pub(super) struct Resources {
    by_name: HashMap<Arc<str>, Arc<Encoded>>,
    by_alias: HashMap<Arc<str>, Arc<str>>,
    /// Made of the content of all, whatever the order in which it came.
    digest: u64,
    /// Names by when they changed.
    log: VecDeque<(u64, Arc<str>)>,
    /// Changes up to here are not in the log.
    forgotten: u64,
    latest: u64,
    /// How many have a time to live.
    mortal: usize,
}

/// What changed since a session last looked.
pub(super) enum Since<'a> {
    Nothing,
    Names(Vec<&'a Arc<str>>),
    /// Too much: everything is to be compared.
    Everything,
}

impl Cache {
    /// Replaces the resources of a group; sessions send what differs. A type that the snapshot
    /// does not have keeps nothing.
    pub fn set(&mut self, group: &str, snapshot: Snapshot) {
        let Self { groups, sequence, .. } = self;
        let group = group_mut(groups, group);
        for (url, resources) in &mut group.kinds {
            if !snapshot.kinds.contains_key(url) {
                resources.replace(HashMap::new(), sequence);
            }
        }
        for (url, new) in snapshot.kinds {
            group.resources_mut(&url, sequence).replace(new, sequence);
        }
    }

    /// Adds or replaces one resource. Costs the same however many there are.
    pub fn update(&mut self, group: &str, type_url: &str, resource: impl Into<Arc<Encoded>>) {
        let Self { groups, sequence, .. } = self;
        let resources = group_mut(groups, group).resources_mut(type_url, sequence);
        resources.put(resource.into(), sequence);
    }

    /// Takes one resource away.
    pub fn remove(&mut self, group: &str, type_url: &str, name: &str) {
        let Self { groups, sequence, .. } = self;
        let resources = groups.get_mut(group).and_then(|group| group.kinds.get_mut(type_url));
        if let Some(resources) = resources {
            resources.take(name, sequence);
        }
    }

    /// Forgets a group: its sessions are sent nothing until it is set again.
    pub fn clear(&mut self, group: &str) {
        self.groups.remove(group);
    }

    /// The resource with this name or alias.
    pub fn get(&self, group: &str, type_url: &str, name: &str) -> Option<&Arc<Encoded>> {
        self.resources(group, type_url)?.get(name)
    }

    /// Of a group that was never set nothing is known; of one that was, everything.
    pub(super) fn resources(&self, group: &str, type_url: &str) -> Option<&Resources> {
        Some(self.groups.get(group)?.kinds.get(type_url).unwrap_or(&self.nothing))
    }
}

fn group_mut<'a>(groups: &'a mut HashMap<Arc<str>, Group>, name: &str) -> &'a mut Group {
    if !groups.contains_key(name) {
        groups.insert(name.into(), Group::default());
    }
    groups.entry(name.into()).or_default()
}

impl Group {
    fn resources_mut(&mut self, type_url: &str, sequence: &mut u64) -> &mut Resources {
        self.kinds.entry(type_url.into()).or_insert_with(|| {
            *sequence += 1;
            Resources::new(*sequence)
        })
    }
}

impl Resources {
    fn new(sequence: u64) -> Self {
        Self {
            by_name: HashMap::new(),
            by_alias: HashMap::new(),
            digest: 0,
            log: VecDeque::new(),
            forgotten: sequence,
            latest: sequence,
            mortal: 0,
        }
    }

    fn replace(&mut self, new: HashMap<Arc<str>, Arc<Encoded>>, sequence: &mut u64) {
        let gone: HashSet<Arc<str>> =
            self.by_name.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
        for name in &gone {
            self.take(name, sequence);
        }
        for resource in new.into_values() {
            self.put(resource, sequence);
        }
    }

    fn put(&mut self, resource: Arc<Encoded>, sequence: &mut u64) {
        let before = self.by_name.insert(Arc::clone(&resource.name), Arc::clone(&resource));
        if let Some(before) = &before {
            if **before == *resource {
                return;
            }
            self.forget(before);
        }
        self.digest ^= resource.identity();
        self.mortal += usize::from(resource.ttl.is_some());
        for alias in &resource.aliases {
            self.by_alias.insert(Arc::clone(alias), Arc::clone(&resource.name));
        }
        self.note(Arc::clone(&resource.name), sequence);
    }

    fn take(&mut self, name: &str, sequence: &mut u64) {
        if let Some(gone) = self.by_name.remove(name) {
            self.forget(&gone);
            self.note(Arc::clone(&gone.name), sequence);
        }
    }

    fn forget(&mut self, resource: &Encoded) {
        self.digest ^= resource.identity();
        self.mortal -= usize::from(resource.ttl.is_some());
        for alias in &resource.aliases {
            if self.by_alias.get(alias).is_some_and(|name| *name == resource.name) {
                self.by_alias.remove(alias);
            }
        }
    }

    fn note(&mut self, name: Arc<str>, sequence: &mut u64) {
        *sequence += 1;
        self.latest = *sequence;
        self.log.push_back((*sequence, name));
        if self.log.len() > LOG_MIN.max(self.by_name.len())
            && let Some((oldest, _)) = self.log.pop_front()
        {
            self.forgotten = oldest;
        }
    }

    /// What changed after `sequence`.
    pub(super) fn since(&self, sequence: u64) -> Since<'_> {
        if sequence >= self.latest {
            return Since::Nothing;
        }
        if sequence < self.forgotten {
            return Since::Everything;
        }
        let first = self.log.partition_point(|(at, _)| *at <= sequence);
        Since::Names(self.log.range(first..).map(|(_, name)| name).collect())
    }

    /// The number of the last change.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// The version of all resources together.
    pub(super) fn version(&self) -> String {
        snapshot::version(std::iter::once(self.digest))
    }

    /// The resource with this name or alias.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Encoded>> {
        self.by_name
            .get(name)
            .or_else(|| self.by_alias.get(name).and_then(|name| self.by_name.get(name)))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.by_name.values()
    }

    /// Whether any has a time to live.
    pub(super) fn has_mortal(&self) -> bool {
        self.mortal > 0
    }
}
