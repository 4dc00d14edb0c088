//! What ringway must reach.

use super::data::Raw;
use super::peer::Kind;
use super::render::{median, values};
use crate::load::Report;

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
}

#[derive(Clone, Copy, Debug)]
enum Metric {
    Cpu,
    P99,
}

/// Scenario, figure, at most this share of whose.
const RATIOS: [(&str, Metric, f64, Kind); 12] = [
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

const MEGABYTE: f64 = 1024.0 * 1024.0;

/// All targets for which there are figures.
pub(super) fn checks(raw: &Raw) -> Vec<Check> {
    let ratios = RATIOS.iter().filter_map(|target| ratio(raw, *target));
    ratios.chain(idle(raw)).chain(routes(raw)).collect()
}

fn ratio(raw: &Raw, target: (&'static str, Metric, f64, Kind)) -> Option<Check> {
    let (scenario, metric, limit, peer) = target;
    let of = |kind| median(&values(raw, scenario, kind, |report| metric.of(report)));
    let share = of(Kind::Ringway)? / of(peer)?.max(1e-9);
    let name = match metric {
        Metric::Cpu => "CPU per request",
        Metric::P99 => "p99",
    };
    Some(Check {
        scenario,
        what: format!("{name} ÷ {}", peer.title()),
        limit: format!("≤ {limit:.2}"),
        figure: format!("{share:.2}"),
        met: share <= limit,
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
