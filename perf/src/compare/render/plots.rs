//! Plots of the report.

use super::super::data::Raw;
use super::super::peer::Kind;
use super::super::scenario::TRAFFIC;
use super::{median, tables, values};
use crate::output::{Bar, COLORS, Color, Curve, bars, curves};

/// Name and content of every plot there are figures for.
pub(super) fn all(raw: &Raw) -> Vec<(&'static str, String)> {
    let mut plots = Vec::new();
    plots.extend(cpu(raw));
    for (key, name) in [("rate", "rate.svg"), ("half", "half.svg")] {
        plots.extend(latency(raw, key).map(|plot| (name, plot)));
    }
    plots
}

fn color(kind: Kind) -> Color {
    let at = Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
    COLORS[at % COLORS.len()]
}

/// CPU per request of all scenarios but the one with large bodies, which would dwarf the others.
fn cpu(raw: &Raw) -> Option<(&'static str, String)> {
    let groups: Vec<_> = TRAFFIC
        .iter()
        .filter(|scenario| scenario.key != "l16")
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
    let title = "CPU time of the proxy per request (median; the line is the range)";
    Some(("cpu.svg", bars(title, "µs", &groups)))
}

/// Latency by percentile, of each peer the run whose p99 is in the middle.
fn latency(raw: &Raw, key: &str) -> Option<String> {
    let scenario = TRAFFIC.iter().find(|scenario| scenario.key == key)?;
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
