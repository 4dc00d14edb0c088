//! The result of a run.

use super::Load;
use super::tally::Tally;
use super::worker::Outcome;
use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The result of a run. All times are in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub url: String,
    /// Connections.
    pub connections: usize,
    /// Requests per second asked for; `None` in the closed loop.
    pub rate: Option<f64>,
    /// Time measured.
    pub seconds: f64,
    /// Answers in that time.
    pub answered: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// Bytes received per second.
    pub bytes_per_second: f64,
    /// From when a request was sent (closed loop) or due (open loop) to its last byte.
    pub latency: Latency,
    /// Open loop: from when a request was due to when it was sent, where a connection was free: the
    /// generator's own lateness. `latency` includes it.
    pub sent_late: Option<Latency>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// TLS handshakes by kind, those of connections opened before the measured time included.
    #[serde(default)]
    pub handshakes: BTreeMap<String, u64>,
    /// Failed requests by kind.
    pub failures: BTreeMap<String, u64>,
    /// Of the process given with `--watch`.
    pub watched: Option<WatchedCpu>,
    /// Latency by quantile, for plots.
    pub curve: Vec<(f64, f64)>,
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it: quantiles")]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p75: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

/// What a process used during the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchedCpu {
    /// Which.
    pub pid: u32,
    /// CPU microseconds per answer.
    pub micros_per_request: f64,
    /// CPU seconds per second.
    pub cores: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
}

impl Report {
    /// From what each thread has counted.
    pub(super) fn new(load: &Load, outcomes: Vec<Outcome>) -> Result<Self> {
        let mut all = Tally::new();
        let mut seconds = 0.0_f64;
        let mut watched = None;
        for outcome in &outcomes {
            all.merge(&outcome.tally);
            seconds = seconds.max(outcome.elapsed.as_secs_f64());
            watched = watched.or(outcome.watched);
        }
        let watched = watched.zip(load.watch).map(|((cpu, resident_bytes), pid)| WatchedCpu {
            pid,
            micros_per_request: cpu.as_secs_f64() * 1e6 / (all.answered.max(1) as f64),
            cores: cpu.as_secs_f64() / seconds,
            resident_bytes,
        });
        Ok(Self {
            url: load.target.url.clone(),
            connections: load.connections,
            rate: load.rate,
            seconds,
            answered: all.answered,
            requests_per_second: all.answered as f64 / seconds,
            bytes_per_second: all.bytes as f64 / seconds,
            latency: Latency::of(&all.latency),
            sent_late: load.rate.map(|_| Latency::of(&all.lag)),
            statuses: all.statuses.clone(),
            handshakes: all.handshakes.iter().map(|(h, n)| (h.name().to_owned(), *n)).collect(),
            failures: all.failures.iter().map(|(f, n)| (f.name().to_owned(), *n)).collect(),
            watched,
            curve: curve(&all.latency),
        })
    }

    /// All failed requests.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Latency {
    /// From nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            min: micros(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(histogram.max()),
        }
    }
}

/// Quantiles as dense towards 1 as the number of values allows.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines_max = (histogram.len().max(1) as f64).log10();
    let steps = (nines_max * 20.0).floor() as u32;
    let quantile = |step: u32| 1.0 - 10_f64.powf(-f64::from(step) / 20.0);
    (0..=steps)
        .map(quantile)
        .map(|quantile| (quantile, micros(histogram.value_at_quantile(quantile))))
        .collect()
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
