//! What suite xds measures: scenarios, their figures, and what ringway must reach.

use super::super::Peer;
use super::super::machine::Machine;
use super::super::peer::Kind;
use super::super::render::median;
use super::super::targets::Check;
use crate::units;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The content of raw.json.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Raw {
    /// Always `xds`: other suites have another form.
    pub(super) suite: super::super::Suite,
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    /// EDS clusters, and endpoints of each.
    pub(super) clusters: usize,
    pub(super) endpoints: usize,
    /// Core of the proxy, core of everything else.
    pub(super) cores: (usize, usize),
    pub(super) peers: Vec<Peer>,
    pub(super) notes: Vec<String>,
    pub(super) runs: Vec<Run>,
}

/// One run of a scenario by one proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) scenario: String,
    pub(super) peer: Kind,
    pub(super) round: usize,
    pub(super) figures: BTreeMap<String, f64>,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Microseconds.
    Time,
    Bytes,
    Count,
    Ratio,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Time => units::micros(value),
            Self::Bytes => units::bytes(value),
            Self::Count => units::grouped(value),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

/// What ringway must reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// A figure of a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) goal: Goal,
    /// The worst of all rounds counts, not the median.
    pub(super) worst: bool,
}

/// A scenario and its figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) figures: &'static [Figure],
    /// How it is measured.
    pub(super) note: &'static str,
}

const fn figure(key: &'static str, title: &'static str, unit: Unit, goal: Goal) -> Figure {
    Figure { key, title, unit, goal, worst: false }
}

/// Each one that fails is one too many.
const fn failures(key: &'static str, title: &'static str) -> Figure {
    Figure { key, title, unit: Count, goal: AtMost(0.0), worst: true }
}

const MS: f64 = 1000.0;
const MB: f64 = 1024.0 * 1024.0;

use Goal::{AtLeast, AtMost, None as Nothing};
use Unit::{Bytes, Count, Ratio, Time};

pub(super) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        key: "start",
        title: "start with all clusters over ADS",
        figures: &[
            figure("first", "start to first request", Time, AtMost(400.0 * MS)),
            figure("cpu", "CPU", Time, AtMost(300.0 * MS)),
            figure("rss", "RSS", Bytes, AtMost(40.0 * MB)),
        ],
        note: "CPU time and memory half a second after the first answer.",
    },
    Scenario {
        key: "resend",
        title: "all clusters sent again, unchanged, as another version",
        figures: &[
            figure("control", "CPU of the control thread", Time, AtMost(3.0 * MS)),
            figure("shards", "CPU of all workers", Time, AtMost(0.1 * MS)),
        ],
        note: "What the threads use anyway in that time is taken off.",
    },
    Scenario {
        key: "move",
        title: "one EDS update, until the first request on the new endpoint",
        figures: &[
            figure("p50", "p50", Time, AtMost(1.0 * MS)),
            figure("p99", "p99", Time, AtMost(2.0 * MS)),
            figure("cpu", "CPU of the control thread", Time, AtMost(0.1 * MS)),
        ],
        note: "One connection sends request after request; the clock runs from before the control \
               plane writes the update until the new endpoint reads a request. CPU is that of 200 \
               updates per second of other clusters, without traffic.",
    },
    Scenario {
        key: "updates",
        title: "traffic at half of saturation, while EDS updates come",
        figures: &[
            figure("rate", "requests/s", Count, Nothing),
            figure("calm", "p99 without", Time, Nothing),
            figure("p99_200", "p99 at 200 updates/s", Time, Nothing),
            figure("ratio_200", "÷ without", Ratio, AtMost(1.2)),
            figure("p99_1000", "p99 at 1 000 updates/s", Time, Nothing),
            figure("ratio_1000", "÷ without", Ratio, AtMost(1.2)),
            failures("failed", "failed requests"),
        ],
        note: "64 connections in an open loop, at half of the rate that this proxy reaches on this \
               machine. Without: the mean of a run before and a run after.",
    },
    Scenario {
        key: "stats",
        title: "/stats/prometheus, and /ready meanwhile",
        figures: &[
            figure("page", "whole page", Time, AtMost(200.0 * MS)),
            figure("first", "first byte", Time, AtMost(10.0 * MS)),
            figure("size", "size", Bytes, Nothing),
            figure("grown", "RSS grew by", Bytes, Nothing),
            figure("ready", "/ready, longest wait", Time, AtMost(2.0 * MS)),
            figure("traffic", "p99 of traffic ÷ without", Ratio, AtMost(1.2)),
        ],
        note: "The page is read four times a second while there is traffic.",
    },
    Scenario {
        key: "routes",
        title: "10 000 prefix routes in one table",
        figures: &[
            figure("first", "requests/s, first route", Count, Nothing),
            figure("last", "last route", Count, Nothing),
            figure("ratio", "last ÷ first", Ratio, AtLeast(0.97)),
            figure("cpu_first", "CPU per request, first", Time, Nothing),
            figure("cpu_last", "last", Time, Nothing),
            figure("cpu_ratio", "last ÷ first", Ratio, AtMost(1.05)),
            figure("rss", "RSS under load", Bytes, AtMost(15.0 * MB)),
        ],
        note: "",
    },
    Scenario {
        key: "listener",
        title: "the listener changes twice under full load",
        figures: &[
            failures("failed", "failed requests"),
            figure("answered", "answered", Count, Nothing),
        ],
        note: "64 keep-alive connections in a closed loop.",
    },
    Scenario {
        key: "restart",
        title: "another process takes over under full load",
        figures: &[
            failures("reuse_port", "SO_REUSEPORT and SIGTERM: failed"),
            failures("hot", "hot restart: failed"),
            failures("idle", "hot restart: idle connections closed"),
        ],
        note: "64 keep-alive connections in a closed loop; for the hot restart 64 more, idle.",
    },
];

impl Raw {
    /// A figure of a proxy in all rounds.
    pub(super) fn values(&self, scenario: &str, peer: Kind, figure: &str) -> Vec<f64> {
        let runs = self.runs.iter().filter(|run| run.peer == peer && run.scenario == scenario);
        runs.filter_map(|run| run.figures.get(figure).copied()).collect()
    }

    /// The one that counts.
    pub(super) fn value(&self, scenario: &str, peer: Kind, figure: &Figure) -> Option<f64> {
        let values = self.values(scenario, peer, figure.key);
        if figure.worst {
            return values.into_iter().reduce(f64::max);
        }
        median(&values)
    }

    /// All targets for which there are figures.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        // Whoever took part and has no figure did not reach it.
        if !self.peers.iter().any(|peer| peer.kind == Kind::Ringway) {
            return checks;
        }
        for scenario in &SCENARIOS {
            let ran = self.runs.iter().any(|run| run.scenario == scenario.key);
            for figure in scenario.figures.iter().filter(|_| ran) {
                let value = self.value(scenario.key, Kind::Ringway, figure);
                checks.extend(check(scenario, figure, value));
            }
        }
        checks
    }
}

fn check(scenario: &Scenario, figure: &Figure, value: Option<f64>) -> Option<Check> {
    let (sign, limit, met) = match figure.goal {
        Nothing => return None,
        AtMost(limit) => ("≤", limit, value.is_some_and(|value| value <= limit)),
        AtLeast(limit) => ("≥", limit, value.is_some_and(|value| value >= limit)),
    };
    Some(Check {
        scenario: scenario.key,
        what: figure.title.to_owned(),
        limit: format!("{sign} {}", figure.unit.show(limit)),
        figure: value.map_or_else(|| "no figure".to_owned(), |value| figure.unit.show(value)),
        met,
        aim: false,
    })
}
