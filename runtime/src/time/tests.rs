//! Unit tests: the wheel against the plainest model there is.

use super::wheel::Wheel;
use super::{Instant, Sleep, TICK};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A waker that tells which timer it belongs to by setting a bit.
struct Bit(Arc<AtomicU64>, u64);

impl Wake for Bit {
    fn wake(self: Arc<Self>) {
        self.0.fetch_or(1 << self.1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Reset(usize, u64),
    Remove(usize),
    Advance(u64),
    /// To exactly the tick the wheel names.
    AdvanceToNext,
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        0_u64..130,
        0_u64..10_000,
        0_u64..1_000_000_000,
        Just(1 << 36),
        Just((1 << 40) + 17),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => delay().prop_map(Step::Insert),
        2 => (any::<usize>(), delay()).prop_map(|(which, by)| Step::Reset(which, by)),
        1 => any::<usize>().prop_map(Step::Remove),
        3 => delay().prop_map(Step::Advance),
        3 => Just(Step::AdvanceToNext),
    ]
}

/// The wheel, and a map that says when each timer is due.
struct Pair {
    wheel: Wheel,
    now: u64,
    fired: Arc<AtomicU64>,
    /// Key → due tick and bit.
    due: BTreeMap<u32, (u64, u64)>,
    next_bit: u64,
}

impl Pair {
    fn new(start: u64) -> Self {
        Self {
            wheel: Wheel::new(start),
            now: start,
            fired: Arc::default(),
            due: BTreeMap::new(),
            next_bit: 0,
        }
    }

    fn waker(&self, bit: u64) -> Waker {
        Waker::from(Arc::new(Bit(Arc::clone(&self.fired), bit)))
    }

    fn pick(&self, which: usize) -> Option<u32> {
        let count = self.due.len();
        (count > 0).then(|| self.due.keys().nth(which % count).copied()).flatten()
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Insert(by) if self.next_bit < 64 => {
                let bit = self.next_bit;
                self.next_bit += 1;
                let key = self.wheel.insert(self.now + by, self.waker(bit));
                self.due.insert(key, (self.now + by, bit));
            }
            Step::Insert(_) => {}
            Step::Reset(which, by) => {
                if let Some(key) = self.pick(which) {
                    self.wheel.reset(key, self.now + by);
                    if let Some((due, _)) = self.due.get_mut(&key) {
                        *due = self.now + by;
                    }
                }
            }
            Step::Remove(which) => {
                if let Some(key) = self.pick(which) {
                    self.due.remove(&key);
                    assert!(self.wheel.remove(key).is_some());
                }
            }
            Step::Advance(by) => self.advance(self.now + by),
            Step::AdvanceToNext => {
                if let Some(next) = self.wheel.next() {
                    self.advance(next);
                }
            }
        }
        self.check_next();
    }

    /// Everything due by `to` fires, and nothing else.
    fn advance(&mut self, to: u64) {
        // A timer for "now" fires with the next tick.
        let moved = to > self.now;
        self.now = self.now.max(to);
        let mut wakers = Vec::new();
        self.wheel.advance(self.now, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        let fired = self.fired.load(Ordering::Relaxed);
        let now = self.now;
        self.due.retain(|&key, &mut (due, bit)| {
            let has_fired = fired >> bit & 1 == 1;
            if due > now {
                assert!(!has_fired, "a timer due at {due} fired at {now}");
            } else if moved {
                assert!(has_fired, "a timer due at {due} has not fired at {now}");
            }
            if has_fired {
                self.wheel.remove(key);
            }
            !has_fired
        });
        assert_eq!(self.wheel.len(), self.due.len());
    }

    /// The wheel never asks to be looked at too late.
    fn check_next(&self) {
        match (self.wheel.next(), self.due.values().map(|(due, _)| *due).min()) {
            (Some(next), Some(due)) => assert!(next <= due.max(self.now + 1), "{next} {due}"),
            (None, Some(due)) => panic!("a timer due at {due} is forgotten"),
            (_, None) => {}
        }
    }
}

proptest! {
    #[test]
    fn wheel_fires_on_time_and_never_early(
        start in prop_oneof![0_u64..200, any::<u32>().prop_map(u64::from)],
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::new(start);
        for step in steps {
            pair.run(step);
        }
    }
}

#[test]
fn extending_does_not_move_the_entry() {
    let mut pair = Pair::new(0);
    let key = pair.wheel.insert(10, pair.waker(0));
    let before = pair.wheel.next();
    pair.wheel.reset(key, 5000);
    assert_eq!(pair.wheel.next(), before, "lazily: it moves when the old slot comes up");
    let mut fired = Vec::new();
    pair.wheel.advance(4999, &mut fired);
    assert!(fired.is_empty());
    pair.wheel.advance(5000, &mut fired);
    assert_eq!(fired.len(), 1);
}

#[test]
fn instants_saturate() {
    let zero = Instant::from_nanos(0);
    let one = Instant::from_nanos(TICK);
    assert_eq!(zero - one, Duration::ZERO);
    assert_eq!(zero - Duration::from_secs(1), zero);
    assert_eq!(Instant::FAR_FUTURE + Duration::MAX, Instant::FAR_FUTURE);
    assert_eq!(one - zero, Duration::from_millis(1));
    assert!(size_of::<Sleep>() <= 40, "a timer per stream must stay small");
}
