//! The timer wheel: six levels of 64 slots, 1 ms ticks, O(1) insert, cancel and extension.
//!
//! LIFECYCLE of an entry: linked (in the list of one slot) → fired (its waker is handed out) →
//! linked again by `reset`, or removed. Extending a deadline only stores it: when the old slot
//! comes up, an entry whose deadline has moved on is linked anew instead of fired.

use slab::Slab;
use std::task::Waker;

const LEVELS: usize = 6;
const SLOTS: u64 = 64;
const BITS: u32 = 6;
const NIL: u32 = u32::MAX;
/// No entry is linked further ahead than this; a later one is linked again when that comes up.
/// One slot short of the top level's turn, so that it never wraps onto the current slot.
const SPAN: u64 = (1 << (BITS * LEVELS as u32)) - (1 << (BITS * (LEVELS as u32 - 1))) - 1;

struct Entry {
    /// First tick at which it may fire.
    when: u64,
    waker: Option<Waker>,
    prev: u32,
    next: u32,
    /// Where it is linked: level and slot.
    place: Option<(u8, u8)>,
    fired: bool,
}

/// All timers of one runtime.
pub(crate) struct Wheel {
    entries: Slab<Entry>,
    heads: [[u32; SLOTS as usize]; LEVELS],
    occupied: [u64; LEVELS],
    /// Ticks up to here have been handled.
    tick: u64,
}

impl Wheel {
    pub(crate) fn new(tick: u64) -> Self {
        Self {
            entries: Slab::new(),
            heads: [[NIL; SLOTS as usize]; LEVELS],
            occupied: [0; LEVELS],
            tick,
        }
    }

    /// Adds a timer that fires at tick `when` or, if that has passed, at the next one.
    pub(crate) fn insert(&mut self, when: u64, waker: Waker) -> u32 {
        let key = self.entries.insert(Entry {
            when,
            waker: Some(waker),
            prev: NIL,
            next: NIL,
            place: None,
            fired: false,
        }) as u32;
        self.link(key);
        key
    }

    /// Whether the timer has fired; while it has not, `waker` is who it wakes.
    pub(crate) fn poll(&mut self, key: u32, waker: &Waker) -> bool {
        let entry = &mut self.entries[key as usize];
        if !entry.fired && !entry.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        entry.fired
    }

    /// Moves the deadline. Later than it is linked: O(1), nothing else happens.
    pub(crate) fn reset(&mut self, key: u32, when: u64) {
        let entry = &mut self.entries[key as usize];
        let later = when >= entry.when && entry.place.is_some();
        entry.when = when;
        entry.fired = false;
        if !later {
            self.unlink(key);
            self.link(key);
        }
    }

    /// Forgets the timer.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Waker> {
        self.unlink(key);
        self.entries.try_remove(key as usize).and_then(|entry| entry.waker)
    }

    /// The tick at which something may be due. It may turn out that a deadline was extended.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, at)| at)
    }

    /// Handles all ticks up to `now`, pushing the wakers of what fired.
    pub(crate) fn advance(&mut self, now: u64, fired: &mut Vec<Waker>) {
        while let Some((level, slot, at)) = self.next_slot() {
            if at > now {
                break;
            }
            self.tick = self.tick.max(at);
            self.occupied[level] &= !(1 << slot);
            let mut key = std::mem::replace(&mut self.heads[level][slot], NIL);
            while key != NIL {
                let entry = &mut self.entries[key as usize];
                let next = entry.next;
                entry.place = None;
                if entry.when <= now {
                    entry.fired = true;
                    fired.extend(entry.waker.take());
                } else {
                    self.link(key);
                }
                key = next;
            }
        }
        self.tick = self.tick.max(now);
    }

    /// Number of timers.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        // Entries of a level share all higher digits with `tick`, so they come before those of
        // every higher level.
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let shift = BITS * level as u32;
        let current = (self.tick >> shift) % SLOTS;
        let ahead = self.occupied[level].rotate_right(current as u32).trailing_zeros();
        let slot = (current + u64::from(ahead)) % SLOTS;
        let range = 1_u64 << (shift + BITS);
        let mut at = (self.tick & !(range - 1)) + (slot << shift);
        if slot < current {
            at += range;
        }
        Some((level, slot as usize, at))
    }

    fn link(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        let when = entry.when.clamp(self.tick + 1, self.tick + SPAN);
        let digits = ((self.tick ^ when) | (SLOTS - 1)).ilog2() / BITS;
        let level = (digits as usize).min(LEVELS - 1);
        let slot = ((when >> (BITS * level as u32)) % SLOTS) as usize;
        let head = std::mem::replace(&mut self.heads[level][slot], key);
        entry.prev = NIL;
        entry.next = head;
        entry.place = Some((level as u8, slot as u8));
        if head != NIL {
            self.entries[head as usize].prev = key;
        }
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(key as usize) else { return };
        let Some((level, slot)) = entry.place.take() else { return };
        let (prev, next) = (entry.prev, entry.next);
        let (level, slot) = (usize::from(level), usize::from(slot));
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if prev != NIL {
            self.entries[prev as usize].next = next;
        } else {
            self.heads[level][slot] = next;
            if next == NIL {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }
}
