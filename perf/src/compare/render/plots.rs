//! Plots of the report.

use super::super::data::Raw;
use super::super::peer::Kind;
use super::super::scenario::{Scenario, Suite};
use super::{median, tables, values};
use crate::output::{Bar, COLORS, Color, Curve, bars, curves};

/// Name and content of every plot there are figures for.
pub(super) fn all(raw: &Raw) -> Vec<(&'static str, String)> {
    let mut plots = Vec::new();
    for (name, title, scenarios) in charts(raw.suite) {
        plots.extend(cpu(raw, title, &scenarios).map(|plot| (name, plot)));
    }
    if raw.suite == Suite::Http1 {
        for (key, name) in [("rate", "rate.svg"), ("half", "half.svg")] {
            plots.extend(latency(raw, key).map(|plot| (name, plot)));
        }
    }
    plots
}

type Chart = (&'static str, &'static str, Vec<&'static Scenario>);

/// Bars of CPU time: file, title, scenarios of about the same cost, lest some dwarf the others.
fn charts(suite: Suite) -> Vec<Chart> {
    let pick = |wanted: &dyn Fn(&Scenario) -> bool| -> Vec<_> {
        suite.traffic().iter().filter(|scenario| wanted(scenario)).collect()
    };
    let cpu = "CPU time of the proxy per request (median; the line is the range)";
    match suite {
        Suite::Http1 => vec![("cpu.svg", cpu, pick(&|scenario| scenario.key != "l16"))],
        Suite::Xds => Vec::new(),
        Suite::Protocols => {
            let small = |scenario: &Scenario| scenario.keep_alive() && scenario.bytes == 0;
            vec![
                ("cpu.svg", cpu, pick(&small)),
                (
                    "connections.svg",
                    "CPU time of the proxy per connection with one request",
                    pick(&|scenario| !scenario.keep_alive()),
                ),
                (
                    "bytes.svg",
                    "CPU time of the proxy per 64 KB chunk or 1 MB body",
                    pick(&|scenario| scenario.bytes > 0),
                ),
            ]
        }
    }
}

pub(in super::super) fn color(kind: Kind) -> Color {
    let at = Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
    COLORS[at % COLORS.len()]
}

/// CPU per request.
fn cpu(raw: &Raw, title: &str, scenarios: &[&Scenario]) -> Option<String> {
    let groups: Vec<_> = scenarios
        .iter()
        .filter_map(|scenario| {
            let group: Vec<_> = raw
                .peers
                .iter()
                .filter_map(|peer| {
                    let all = values(raw, scenario.key, peer.kind, tables::cpu);
                    Some(Bar {
                        name: peer.kind.title().to_owned(),
                        color: color(peer.kind),
                        value: median(&all)?,
                        range: Some((
                            all.iter().copied().fold(f64::INFINITY, f64::min),
                            all.iter().copied().fold(0.0, f64::max),
                        )),
                    })
                })
                .collect();
            (!group.is_empty()).then(|| (scenario.title.to_owned(), group))
        })
        .collect();
    if groups.is_empty() {
        return None;
    }
    Some(bars(title, "µs", &groups))
}

/// Latency by percentile, of each peer the run whose p99 is in the middle.
fn latency(raw: &Raw, key: &str) -> Option<String> {
    let scenario = raw.suite.find(key)?;
    let curve = |kind: Kind| {
        let runs = raw.traffic.iter().filter(|run| run.peer == kind && run.scenario == key);
        let mut runs: Vec<_> = runs.filter(|run| !run.report.curve.is_empty()).collect();
        runs.sort_by(|a, b| a.report.latency.p99.total_cmp(&b.report.latency.p99));
        let run = runs.get(runs.len() / 2)?;
        let name = kind.title().to_owned();
        Some(Curve { name, color: color(kind), points: run.report.curve.clone() })
    };
    let all: Vec<_> = raw.peers.iter().filter_map(|peer| curve(peer.kind)).collect();
    let title = format!("Latency by percentile: {}", scenario.title);
    (!all.is_empty()).then(|| curves(&title, &all))
}
