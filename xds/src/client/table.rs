//! The resources of one type: which are subscribed to, and what was accepted of each.
//!
//! An entry is 48 bytes and an index of it 4 to 9; names and versions are shared with what is
//! handed out.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The server was told on this stream that it is subscribed to.
pub(super) const TOLD: u8 = 1;
/// It waits in the list of changed subscriptions.
pub(super) const DIRTY: u8 = 1 << 1;
/// What came last was rejected.
pub(super) const REJECTED: u8 = 1 << 2;
/// Something came that is not answered yet.
pub(super) const PENDING: u8 = 1 << 3;
/// It has a time to live.
pub(super) const EXPIRES: u8 = 1 << 4;
/// It was given up and is wanted again, and the server was told of neither.
pub(super) const AGAIN: u8 = 1 << 5;
/// It is told of even when it comes as it was accepted.
pub(super) const WATCHED: u8 = 1 << 6;

/// One resource.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// Of the accepted body; `None` if none was.
    pub(super) version: Option<Arc<str>>,
    /// Of the accepted body.
    pub(super) hash: u64,
    /// How many subscribers name it.
    pub(super) wanted: u32,
    /// The response that had it last.
    pub(super) seen: u16,
    pub(super) flags: u8,
}

impl Entry {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, version: None, hash: 0, wanted: 0, seen: 0, flags: 0 }
    }

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// Forgets what was received, not who wants it.
    pub(super) fn forget(&mut self) {
        (self.version, self.hash) = (None, 0);
        self.flags &= !(REJECTED | PENDING | EXPIRES | WATCHED);
    }

    /// Whether anything of it was ever handed out.
    pub(super) fn was_delivered(&self) -> bool {
        self.version.is_some() || self.flags & (REJECTED | PENDING) != 0
    }
}

/// Entries by name and by slot; a slot is stable as long as its entry is.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// How many entries are wanted by name.
    pub(super) wanted: usize,
    generation: u16,
}

impl Table {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is_it = |slot: &u32| self.get(*slot).is_some_and(|entry| &*entry.name == name);
        self.index.find(hash, is_it).copied()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Where `name` is, if need be anew.
    pub(super) fn find_or_add(&mut self, name: &Arc<str>) -> u32 {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        let entry = Entry::new(Arc::clone(name));
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                // As many slots as `Limits::resources` and our own subscriptions: far below.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let hash = self.hasher.hash_one(&*entry.name);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(entry);
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |slot: &u32| {
            let entry = slots.get(*slot as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| hasher.hash_one(&*entry.name))
        };
        self.index.insert_unique(hash, slot, rehash);
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        let hash = self.hasher.hash_one(&*entry.name);
        if let Ok(found) = self.index.find_entry(hash, |at| *at == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Slots and entries, in an order that stays.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, entry)| Some((slot as u32, entry.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().filter_map(Option::as_mut)
    }

    /// Slots that hold an entry of which this is true.
    pub(super) fn slots_where(&self, is_it: impl Fn(&Entry) -> bool) -> Vec<u32> {
        self.iter().filter(|(_, entry)| is_it(entry)).map(|(slot, _)| slot).collect()
    }

    /// A number that no entry has as [`Entry::seen`].
    pub(super) fn next_generation(&mut self) -> u16 {
        self.generation = self.generation.checked_add(1).unwrap_or_else(|| {
            self.iter_mut().for_each(|entry| entry.seen = 0);
            1
        });
        self.generation
    }

    /// Gives back what a large change left over.
    pub(super) fn tidy(&mut self) {
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        let (length, slack) = (self.slots.len(), self.slots.len() / 4 + 16);
        if self.free.len() > self.slots.len() - self.index.len() {
            self.free.retain(|slot| (*slot as usize) < length);
        }
        if self.slots.capacity() > length + slack {
            self.slots.shrink_to(length + slack / 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_costs_at_most_64_bytes_beside_its_name() {
        for count in [5_000, 9_000, 70_000_usize] {
            let mut table = Table::default();
            for at in 0..count {
                table.find_or_add(&Arc::from(format!("cluster-{at}")));
            }
            table.tidy();
            let slots = table.slots.capacity() * size_of::<Option<Entry>>();
            let bytes = slots + table.index.allocation_size() + table.free.capacity() * 4;
            assert!(bytes <= 64 * count, "{} bytes each", bytes as f64 / count as f64);
        }
    }

    #[test]
    fn slots_are_used_again_and_given_back() {
        let mut table = Table::default();
        let names: Vec<Arc<str>> = (0..100).map(|at| Arc::from(format!("r{at}"))).collect();
        let slots: Vec<u32> = names.iter().map(|name| table.find_or_add(name)).collect();
        for slot in slots.iter().skip(10) {
            assert!(table.remove(*slot).is_some());
        }
        table.tidy();
        assert_eq!((table.len(), table.slots.len(), table.free.len()), (10, 10, 0));
        assert!(table.remove(slots[3]).is_some());
        assert_eq!(table.find_or_add(&names[50]), slots[3]);
        assert_eq!(table.find(&names[3]), None);
        assert_eq!(table.find(&names[50]), Some(slots[3]));
        assert!(names.iter().filter(|name| table.find(name).is_some()).count() == 10);
    }
}
