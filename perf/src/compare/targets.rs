//! What ringway must reach.

use super::data::Raw;
use super::peer::Kind;
use super::render::{median, values};
use super::scenario::Suite;
use crate::load::Report;
use crate::units;

/// A target and how it came out.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Key of the scenario.
    pub(super) scenario: &'static str,
    /// What is compared: `CPU / Envoy's`.
    pub(super) what: String,
    /// The limit, in words.
    pub(super) limit: String,
    /// The figure, in words.
    pub(super) figure: String,
    pub(super) met: bool,
    /// To be reached if possible: missing it is no failure.
    pub(super) aim: bool,
}

impl Check {
    /// How it came out, in a word or two.
    pub(super) const fn verdict(&self) -> &'static str {
        match (self.met, self.aim) {
            (true, _) => "met",
            (false, false) => "missed",
            (false, true) => "missed (an aim)",
        }
    }

    /// Whether something that must be reached was not.
    pub(super) const fn failed(&self) -> bool {
        !self.met && !self.aim
    }
}

#[derive(Clone, Copy, Debug)]
enum Metric {
    Cpu,
    P99,
}

/// Scenario, figure, at most this share of whose.
type Ratio = (&'static str, Metric, f64, Kind);

const HTTP1: [Ratio; 12] = [
    ("s64", Metric::Cpu, 0.50, Kind::Envoy),
    ("s64", Metric::Cpu, 1.0, Kind::Nginx),
    ("s1024", Metric::Cpu, 0.25, Kind::Envoy),
    ("s1024", Metric::Cpu, 0.65, Kind::Nginx),
    ("s1024", Metric::P99, 0.35, Kind::Envoy),
    ("m64", Metric::Cpu, 0.45, Kind::Envoy),
    ("m64", Metric::Cpu, 1.0, Kind::Nginx),
    ("l16", Metric::Cpu, 0.85, Kind::Envoy),
    ("l16", Metric::Cpu, 1.0, Kind::Nginx),
    ("s1", Metric::Cpu, 0.75, Kind::Envoy),
    ("rate", Metric::Cpu, 0.75, Kind::Envoy),
    ("rate", Metric::P99, 0.50, Kind::Envoy),
];

const PROTOCOLS: [Ratio; 15] = [
    ("h2-4x64", Metric::Cpu, 0.30, Kind::Envoy),
    ("h2-64x1", Metric::Cpu, 0.30, Kind::Envoy),
    ("h2h2-4x64", Metric::Cpu, 0.30, Kind::Envoy),
    ("h2h2-64x1", Metric::Cpu, 0.45, Kind::Envoy),
    ("grpc-unary", Metric::Cpu, 0.35, Kind::Envoy),
    ("tls-64", Metric::Cpu, 0.50, Kind::Envoy),
    ("tls-64", Metric::Cpu, 1.05, Kind::Haproxy),
    ("tls-1m", Metric::Cpu, 0.85, Kind::Envoy),
    ("tls-full", Metric::Cpu, 1.0, Kind::Envoy),
    ("tls-resumed", Metric::Cpu, 1.0, Kind::Envoy),
    ("tls-full-rsa", Metric::Cpu, 1.0, Kind::Envoy),
    ("new", Metric::Cpu, 0.50, Kind::Envoy),
    ("plain-1m", Metric::Cpu, 0.85, Kind::Envoy),
    ("plain-1m", Metric::Cpu, 1.0, Kind::Haproxy),
    ("tcp-16", Metric::Cpu, 0.80, Kind::Envoy),
];

/// Those that are to be reached if possible.
const AIMS: [Ratio; 4] = [
    ("h2-4x64", Metric::Cpu, 1.0, Kind::Haproxy),
    ("h2-64x1", Metric::Cpu, 1.0, Kind::Haproxy),
    ("h2h2-4x64", Metric::Cpu, 1.0, Kind::Haproxy),
    ("h2h2-64x1", Metric::Cpu, 1.0, Kind::Haproxy),
];

/// Idle connections: scenario, at most so many bytes each.
const MEMORY: [(&str, f64); 4] =
    [("idle-tcp", 2560.0), ("idle-h1", 2048.0), ("idle-tls", 10_240.0), ("idle-h2", 5120.0)];

const MEGABYTE: f64 = 1024.0 * 1024.0;

/// All targets for which there are figures.
pub(super) fn checks(raw: &Raw) -> Vec<Check> {
    match raw.suite {
        Suite::Http1 => {
            let ratios = HTTP1.iter().filter_map(|target| ratio(raw, *target));
            ratios.chain(idle(raw)).chain(routes(raw)).collect()
        }
        Suite::Xds => Vec::new(),
        Suite::Protocols => {
            let ratios = PROTOCOLS.iter().filter_map(|target| ratio(raw, *target));
            let aims = AIMS.iter().filter_map(|target| ratio(raw, *target));
            let aims = aims.map(|check| Check { aim: true, ..check });
            let memory = MEMORY.iter().filter_map(|(key, limit)| memory(raw, key, *limit));
            ratios.chain(aims).chain(memory).chain(storm(raw)).collect()
        }
    }
}

fn memory(raw: &Raw, scenario: &'static str, limit: f64) -> Option<Check> {
    let runs = raw.idle.iter().filter(|run| run.peer == Kind::Ringway && run.scenario == scenario);
    let each = median(&runs.map(super::IdleRun::per_connection).collect::<Vec<_>>())?;
    Some(Check {
        scenario,
        what: "memory of an idle connection".to_owned(),
        limit: format!("≤ {}", units::bytes(limit)),
        figure: units::bytes(each),
        met: each <= limit,
        aim: false,
    })
}

fn storm(raw: &Raw) -> Option<Check> {
    let runs = raw.storms.iter().filter(|run| run.peer == Kind::Ringway);
    let ratio = median(&runs.map(super::StormRun::p99_ratio).collect::<Vec<_>>())?;
    Some(Check {
        scenario: "storm",
        what: "p99 of live connections ÷ without the storm".to_owned(),
        limit: "≤ 2.00".to_owned(),
        figure: format!("{ratio:.2}"),
        met: ratio <= 2.0,
        aim: false,
    })
}

fn ratio(raw: &Raw, target: Ratio) -> Option<Check> {
    let (scenario, metric, limit, peer) = target;
    let of = |kind| median(&values(raw, scenario, kind, |report| metric.of(report)));
    let theirs = of(peer)?.max(1e-9);
    // Whoever took part and has no figure did not do it.
    let took_part = raw.peers.iter().any(|peer| peer.kind == Kind::Ringway);
    let share = of(Kind::Ringway).map(|ours| ours / theirs);
    if share.is_none() && !took_part {
        return None;
    }
    let name = match metric {
        Metric::Cpu => "CPU per request",
        Metric::P99 => "p99",
    };
    Some(Check {
        scenario,
        what: format!("{name} ÷ {}", peer.title()),
        limit: format!("≤ {limit:.2}"),
        figure: share.map_or_else(|| "no figure".to_owned(), |share| format!("{share:.2}")),
        met: share.is_some_and(|share| share <= limit),
        aim: false,
    })
}

impl Metric {
    fn of(self, report: &Report) -> f64 {
        match self {
            Self::Cpu => report.watched.map_or(f64::NAN, |cpu| cpu.micros_per_request),
            Self::P99 => report.latency.p99,
        }
    }
}

fn idle(raw: &Raw) -> Vec<Check> {
    let runs = || raw.idle.iter().filter(|run| run.peer == Kind::Ringway);
    let process = median(&runs().map(|run| run.process as f64).collect::<Vec<_>>());
    let each = median(&runs().map(|run| run.per_connection()).collect::<Vec<_>>());
    let check = |what: &str, value: Option<f64>, limit: f64, unit: f64, name: &str| {
        let value = value?;
        Some(Check {
            scenario: "idle",
            what: what.to_owned(),
            limit: format!("≤ {limit} {name}"),
            figure: format!("{:.1} {name}", value / unit),
            met: value <= limit * unit,
            aim: false,
        })
    };
    [
        check("memory of the process", process, 10.0, MEGABYTE, "MB"),
        check("memory of an idle connection", each, 2.0, 1024.0, "KB"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn routes(raw: &Raw) -> Vec<Check> {
    let runs: Vec<_> = raw.routes.iter().filter(|run| run.peer == Kind::Ringway).collect();
    let of = |value: &dyn Fn(&super::RoutesRun) -> f64| {
        median(&runs.iter().map(|run| value(run)).collect::<Vec<_>>())
    };
    let share = of(&|run| run.last.requests_per_second / run.first.requests_per_second);
    let cpu = of(&|run| {
        let micros = |report: &Report| Metric::Cpu.of(report);
        micros(&run.last) / micros(&run.first)
    });
    let memory = of(&|run| run.last.watched.map_or(f64::NAN, |cpu| cpu.resident_bytes as f64));
    let check = |what: &str, limit: &str, figure: String, met: bool| Check {
        scenario: "routes",
        what: what.to_owned(),
        limit: limit.to_owned(),
        figure,
        met,
        aim: false,
    };
    let mut checks = Vec::new();
    if let Some(share) = share {
        let what = "requests/s, last route ÷ first";
        checks.push(check(what, "≥ 0.97", format!("{share:.2}"), share >= 0.97));
    }
    if let Some(cpu) = cpu {
        // "The same" within what two runs of the same thing differ by.
        let what = "CPU per request, last route ÷ first";
        checks.push(check(what, "≤ 1.05", format!("{cpu:.2}"), cpu <= 1.05));
    }
    if let Some(memory) = memory {
        let figure = format!("{:.1} MB", memory / MEGABYTE);
        checks.push(check("memory", "≤ 15 MB", figure, memory <= 15.0 * MEGABYTE));
    }
    checks
}
