//! What one thread has counted.

use super::tls::Handshake;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest latency told apart, in nanoseconds; what is longer counts as this.
const LONGEST_NS: u64 = 300_000_000_000;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection ended before or within the answer.
    Closed,
    /// The connection broke (reset).
    Broken,
    /// What came is no HTTP/1.1.
    Malformed,
    /// A status of 400 or above.
    Status,
    /// Due, but not sent when the run ended: the server fell behind.
    NotSent,
}

impl Failure {
    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::NotSent => "not_sent",
        }
    }
}

/// Counts and latencies of the measured time.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Latency of answered requests, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Open loop: from the time a request was due to when it was sent, in nanoseconds; only where a
    /// connection was free, so that it is the generator's own.
    pub lag: Histogram<u64>,
    /// Answers within the measured time.
    pub answered: u64,
    /// Bytes received, heads included.
    pub bytes: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// TLS handshakes, those of connections opened before the measured time included.
    pub handshakes: BTreeMap<Handshake, u64>,
    /// Failed requests.
    pub failures: BTreeMap<Failure, u64>,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(100, LONGEST_NS, 3).expect("bounds that make sense");
        Self {
            latency: histogram(),
            lag: histogram(),
            answered: 0,
            bytes: 0,
            statuses: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Counts a failure.
    pub fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Adds an answer's latency and status.
    pub fn answer(&mut self, latency: Duration, status: u16) {
        self.latency.saturating_record(nanos(latency));
        *self.statuses.entry(status).or_default() += 1;
        if status >= 400 {
            self.fail(Failure::Status);
        }
    }

    /// Counts a handshake.
    pub fn shook_hands(&mut self, how: Handshake) {
        *self.handshakes.entry(how).or_default() += 1;
    }

    /// Adds the time a request was sent late by the generator.
    pub fn sent_late(&mut self, by: Duration) {
        self.lag.saturating_record(nanos(by));
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.latency, &other.latency), (&mut self.lag, &other.lag)] {
            let added = mine.add(theirs);
            debug_assert!(added.is_ok(), "histograms of the same bounds");
        }
        self.answered += other.answered;
        self.bytes += other.bytes;
        for (&status, count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (&how, count) in &other.handshakes {
            *self.handshakes.entry(how).or_default() += count;
        }
        for (&failure, count) in &other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS).min(LONGEST_NS)
}
