//! When resources of one type expire.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Deadlines by slot of the table. Empty, and without memory, where no server uses them.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_slot: HashMap<u32, Duration>,
    queue: BTreeSet<(Duration, u32)>,
}

impl Deadlines {
    /// Sets, moves or (`None`) takes away the deadline of a slot.
    pub(super) fn set(&mut self, slot: u32, deadline: Option<Duration>) {
        let before = match deadline {
            Some(deadline) => {
                self.queue.insert((deadline, slot));
                self.by_slot.insert(slot, deadline)
            }
            None => self.by_slot.remove(&slot),
        };
        if let Some(before) = before.filter(|before| Some(*before) != deadline) {
            self.queue.remove(&(before, slot));
        }
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the slots whose time has come.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some((_, slot)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.set(slot, None);
            due.push(slot);
        }
        due
    }
}
