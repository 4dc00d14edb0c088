//! The scenarios.

use anyhow::{Result, bail};

/// How fast requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// As fast as answers come.
    Closed,
    /// Requests per second.
    Fixed(f64),
    /// Half of what Envoy reaches in `s64`.
    HalfOfEnvoy,
}

/// A scenario that sends requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) connections: usize,
    pub(super) pace: Pace,
    /// Whether wrk repeats it.
    pub(super) wrk: bool,
}

/// All that send requests, in the order of the report.
pub(super) const TRAFFIC: [Scenario; 7] = [
    closed("s64", "64 connections, 100 B", "/100b", 64, true),
    closed("s1024", "1 024 connections, 100 B", "/100b", 1024, true),
    closed("m64", "64 connections, 10 KB", "/10k", 64, true),
    closed("l16", "16 connections, 1 MB", "/1m", 16, false),
    closed("s1", "1 connection, 100 B", "/100b", 1, false),
    Scenario {
        pace: Pace::Fixed(10_000.0),
        ..closed("rate", "10 000 requests/s, 64 connections, 100 B", "/100b", 64, false)
    },
    Scenario {
        pace: Pace::HalfOfEnvoy,
        ..closed("half", "half of Envoy's saturation, 64 connections, 100 B", "/100b", 64, false)
    },
];

const fn closed(
    key: &'static str,
    title: &'static str,
    path: &'static str,
    connections: usize,
    wrk: bool,
) -> Scenario {
    Scenario { key, title, path, connections, pace: Pace::Closed, wrk }
}

/// Those that are not in [`TRAFFIC`].
const OTHERS: [&str; 3] = ["idle", "routes", "wrk"];

/// What was asked for with `--only`.
#[derive(Clone, Debug)]
pub(super) struct Selection(Vec<String>);

impl Selection {
    /// All when `only` is empty.
    pub(super) fn new(only: &[String]) -> Result<Self> {
        let known = || TRAFFIC.iter().map(|scenario| scenario.key).chain(OTHERS);
        if let Some(wrong) = only.iter().find(|name| !known().any(|key| key == name.as_str())) {
            let all: Vec<_> = known().collect();
            bail!("--only {wrong}: unknown scenario; there are {}", all.join(", "));
        }
        if only.is_empty() {
            return Ok(Self(known().map(str::to_owned).collect()));
        }
        Ok(Self(only.to_vec()))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|name| name == key)
    }

    pub(super) fn traffic(&self) -> impl Iterator<Item = &'static Scenario> {
        TRAFFIC.iter().filter(|scenario| self.has(scenario.key))
    }
}
