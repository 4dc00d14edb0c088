//! Time: a clock cached once per turn, and timers on a hierarchical wheel of 1 ms ticks.

mod sleep;
#[cfg(test)]
mod tests;
pub(crate) mod wheel;

pub use sleep::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout};

use crate::current;
use std::cell::Cell;
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Nanoseconds of one tick of the wheel.
pub(crate) const TICK: u64 = 1_000_000;

/// A point of monotonic time, in nanoseconds. All arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Later than every deadline: a timer that never fires.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// From nanoseconds of the monotonic clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the monotonic clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Time passed since this point, by the cached clock.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Now, as read once in this turn. Outside of a runtime the clock is read.
pub fn now() -> Instant {
    current::try_with(|shared| shared.clock.now()).unwrap_or_else(read_monotonic)
}

/// Time since 1970, as read once in this turn. For logs and `date`, never for deadlines.
pub fn unix_now() -> Duration {
    current::try_with(|shared| shared.clock.unix()).unwrap_or_else(read_unix)
}

/// Now, read from the clock (virtual time where the runtime is simulated).
pub fn precise_now() -> Instant {
    current::try_with(|shared| shared.clock.precise()).unwrap_or_else(read_monotonic)
}

/// The clock of one runtime.
pub(crate) struct Clock {
    now: Cell<Instant>,
    /// Wall clock; read when first asked for in a turn.
    unix: Cell<Option<Duration>>,
    virtual_time: bool,
}

/// What the virtual clock starts at, in both of its faces.
pub(crate) const SIM_EPOCH: Duration = Duration::from_secs(1_700_000_000);

impl Clock {
    /// Starts at `virtual_now` where time is simulated.
    pub(crate) fn new(virtual_now: Option<Instant>) -> Self {
        Self {
            now: Cell::new(virtual_now.unwrap_or_else(read_monotonic)),
            unix: Cell::new(None),
            virtual_time: virtual_now.is_some(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Takes a new reading, once per turn; `virtual_now` where time is simulated.
    pub(crate) fn update(&self, virtual_now: Option<Instant>) -> Instant {
        let now = virtual_now.unwrap_or_else(read_monotonic).max(self.now.get());
        self.now.set(now);
        self.unix.set(None);
        now
    }

    fn unix(&self) -> Duration {
        if self.virtual_time {
            return SIM_EPOCH + Duration::from_nanos(self.now.get().0);
        }
        self.unix.get().unwrap_or_else(|| {
            let unix = read_unix();
            self.unix.set(Some(unix));
            unix
        })
    }

    pub(crate) fn precise(&self) -> Instant {
        if self.virtual_time { self.now.get() } else { read_monotonic() }
    }
}

fn read_monotonic() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    Instant(secs.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

fn read_unix() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), time.tv_nsec as u32)
}
