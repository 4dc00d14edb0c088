//! How fast a management server is listened to, and how soon it is called again.

use std::time::Duration;

use ringway_runtime::Instant;

/// Wait between two attempts to open a stream: a random part of a bound that doubles with every
/// attempt, as Envoy's jittered exponential back-off.
#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((base, max): (Duration, Duration)) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, max: max.max(base), next: base }
    }

    /// How long to wait now. `random` answers a number in [0, 1).
    pub(super) fn wait(&mut self, random: f64) -> Duration {
        let wait = self.next.mul_f64(random.clamp(0.0, 1.0));
        self.next = self.next.saturating_mul(2).min(self.max);
        wait
    }

    /// The server has answered: the next attempt is a first one.
    pub(super) fn reset(&mut self) {
        self.next = self.base;
    }
}

/// Time of this thread that one stream may use up: what comes faster than it can be worked on
/// waits at the server, by flow control.
///
/// A burst as long as a whole large configuration is free; what is used beyond that is paid back
/// at [`Governor::SHARE`] of the time that passes.
#[derive(Debug)]
pub(super) struct Governor {
    used: Duration,
    at: Option<Instant>,
}

impl Governor {
    /// Free at once.
    const BURST: Duration = Duration::from_secs(1);
    /// Share of the thread that a stream has for good: one in so many.
    const SHARE: u32 = 3;

    pub(super) fn new() -> Self {
        Self { used: Duration::ZERO, at: None }
    }

    /// So much time was used up until now; how long the stream is to wait.
    pub(super) fn charge(&mut self, used: Duration, now: Instant) -> Duration {
        if let Some(at) = self.at.replace(now) {
            let free = now.since(at) / Self::SHARE;
            self.used = self.used.saturating_sub(free);
        }
        self.used = self.used.saturating_add(used);
        self.used.saturating_sub(Self::BURST).saturating_mul(Self::SHARE)
    }
}

/// `rate_limit_settings`: a bucket of tokens, one for each request.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Thousandths of a token.
    tokens: u64,
    max: u64,
    /// Thousandths of a token a second.
    fill: u64,
    at: Option<Instant>,
}

impl Bucket {
    /// `max` tokens at the most, and `fill` thousandths of one more every second.
    pub(super) fn new((max, fill): (u32, u64)) -> Self {
        let max = u64::from(max.max(1)) * 1000;
        Self { tokens: max, max, fill: fill.max(1), at: None }
    }

    /// Takes a token, or says how long to wait for one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(at) = self.at.replace(now) {
            let millis = now.since(at).as_micros();
            let more = u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(self.fill);
            self.tokens = self.tokens.saturating_add(more / 1_000_000).min(self.max);
        }
        if let Some(left) = self.tokens.checked_sub(1000) {
            self.tokens = left;
            return Ok(());
        }
        let missing = 1000 - self.tokens;
        Err(Duration::from_millis(missing.saturating_mul(1000) / self.fill + 1))
    }
}

#[cfg(test)]
mod tests;
