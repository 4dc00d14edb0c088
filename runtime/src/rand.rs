//! Seeded random numbers, one generator per runtime. Not for secrets.

use crate::current;
use std::cell::Cell;

/// A uniformly distributed number.
///
/// # Panics
/// Outside of a runtime.
pub fn rand_u64() -> u64 {
    current::with(|shared| shared.rng.next())
}

/// A uniformly distributed number below `n`; 0 when `n` is 0.
pub fn rand_below(n: u64) -> u64 {
    current::with(|shared| shared.rng.below(n))
}

/// A uniformly distributed number in `0.0..1.0`.
pub fn rand_f64() -> f64 {
    (rand_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A small generator: a Weyl sequence through a 64 bit mixer.
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        // Multiply and keep the high half: the bias is below n / 2^64.
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// True with the probability given, in parts per million.
    pub(crate) fn chance(&self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
}
