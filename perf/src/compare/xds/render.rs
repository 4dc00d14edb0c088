//! The report of suite xds.

use super::super::peer::Kind;
use super::super::render::{check_table, median, plots::color, targets_of};
use super::figures::{Figure, Raw, SCENARIOS, Scenario, Unit};
use crate::output::{Bar, bars};
use crate::units;
use std::fmt::Write;

/// Every file but raw.json: name and content.
pub(super) fn files(raw: &Raw) -> Vec<(&'static str, String)> {
    let mut files: Vec<_> = PLOTS
        .iter()
        .filter_map(|(name, title, unit, factor, bars)| {
            Some((*name, plot(raw, title, unit, *factor, bars)?))
        })
        .collect();
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    files.push(("README.md", readme(raw, &names)));
    files
}

/// For the terminal: the targets, or that there are none.
pub(super) fn summary(raw: &Raw) -> String {
    check_table(&raw.checks(), &raw.notes)
}

/// File, title, unit, what values are divided by, bars: scenario, figure, name.
type Plot = (
    &'static str,
    &'static str,
    &'static str,
    f64,
    &'static [(&'static str, &'static str, &'static str)],
);

const PLOTS: [Plot; 4] = [
    (
        "start.svg",
        "Start with all clusters over ADS (median; the line is the range)",
        "ms",
        1000.0,
        &[("start", "first", "to the first request"), ("start", "cpu", "CPU time")],
    ),
    (
        "memory.svg",
        "Memory",
        "MB",
        1024.0 * 1024.0,
        &[("start", "rss", "all clusters"), ("routes", "rss", "10 000 routes, under load")],
    ),
    (
        "move.svg",
        "From an EDS update to the first request on the new endpoint",
        "ms",
        1000.0,
        &[("move", "p50", "p50"), ("move", "p99", "p99")],
    ),
    (
        "updates.svg",
        "p99 of traffic at half of saturation",
        "ms",
        1000.0,
        &[
            ("updates", "calm", "no updates"),
            ("updates", "p99_200", "200 EDS updates/s"),
            ("updates", "p99_1000", "1 000 EDS updates/s"),
        ],
    ),
];

fn plot(
    raw: &Raw,
    title: &str,
    unit: &str,
    factor: f64,
    list: &[(&str, &str, &str)],
) -> Option<String> {
    let mut groups = Vec::new();
    for (scenario, figure, name) in list {
        let bar = |kind: Kind| {
            let values = raw.values(scenario, kind, figure);
            let values: Vec<_> = values.iter().map(|value| value / factor).collect();
            Some(Bar {
                name: kind.title().to_owned(),
                color: color(kind),
                value: median(&values)?,
                range: range(&values),
            })
        };
        let group: Vec<_> = raw.peers.iter().filter_map(|peer| bar(peer.kind)).collect();
        if !group.is_empty() {
            groups.push(((*name).to_owned(), group));
        }
    }
    (!groups.is_empty()).then(|| bars(title, unit, &groups))
}

fn range(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    Some((low, values.iter().copied().reduce(f64::max)?))
}

fn readme(raw: &Raw, plots: &[&str]) -> String {
    let machine = &raw.machine;
    let peers: Vec<_> =
        raw.peers.iter().map(|peer| format!("{} {}", peer.kind.title(), peer.version)).collect();
    let mut out = format!(
        "# Comparison: xDS\n\n\
         {date}. {cpu}, {cores} cores, {memory}, Linux {kernel}. {peers}.\n\n\
         Each proxy has two workers and runs on core {proxy}, all threads of it; control plane, \
         generator and upstream share core {load}.\n{clusters} EDS clusters with {endpoints} \
         endpoints each over ADS (state of the world), loopback; {rounds} rounds, the proxies \
         taking turns.\nMade by `make bench-xds`.\n",
        date = raw.date,
        cpu = machine.cpu,
        cores = machine.cores,
        memory = units::bytes(machine.memory as f64),
        kernel = machine.kernel,
        peers = peers.join(", "),
        proxy = raw.cores.0,
        load = raw.cores.1,
        clusters = units::grouped(raw.clusters as f64),
        endpoints = raw.endpoints,
        rounds = raw.rounds,
    );
    if machine.load > 0.5 {
        let _ = writeln!(
            out,
            "\nThe machine was busy when the runs began (load average {:.1}).",
            machine.load
        );
    }
    if !raw.notes.is_empty() {
        out += "\nNotes:\n";
        raw.notes.iter().for_each(|note| {
            let _ = writeln!(out, "- {note}");
        });
    }
    out += &targets_of(&raw.checks());
    for (name, title, ..) in PLOTS.iter().filter(|plot| plots.contains(&plot.0)) {
        let _ = writeln!(out, "\n![{title}]({name})");
    }
    SCENARIOS.iter().for_each(|scenario| out += &table(raw, scenario));
    out + READING
}

const READING: &str = "
## How to read it

- Figures are medians over the rounds, ranges in brackets; of failures the worst round counts.
- CPU time is that of threads, from `/proc/PID/task/*/schedstat`: the control thread is the first
  of the process, workers are those named so.
- `raw.json` has every run; `ringway-perf compare --suite xds --render raw.json --out .` makes this
  file again.
";

fn table(raw: &Raw, scenario: &Scenario) -> String {
    if !raw.runs.iter().any(|run| run.scenario == scenario.key) {
        return String::new();
    }
    let titles: String = scenario.figures.iter().map(|f| format!(" {} |", f.title)).collect();
    let mut out = format!(
        "\n## {}: {}\n\n| |{titles}\n|---|{}\n",
        scenario.key,
        scenario.title,
        "---|".repeat(scenario.figures.len())
    );
    for peer in &raw.peers {
        let cells =
            scenario.figures.iter().map(|f| format!(" {} |", cell(raw, scenario, peer.kind, f)));
        let _ = writeln!(out, "| {} |{}", peer.kind.title(), cells.collect::<String>());
    }
    if !scenario.note.is_empty() {
        let _ = writeln!(out, "\n{}", scenario.note);
    }
    out
}

fn cell(raw: &Raw, scenario: &Scenario, kind: Kind, figure: &Figure) -> String {
    let Some(value) = raw.value(scenario.key, kind, figure) else { return "–".to_owned() };
    let show = |value| match figure.unit {
        Unit::Time if value == 0.0 => "0".to_owned(),
        unit => unit.show(value),
    };
    let values = raw.values(scenario.key, kind, figure.key);
    match range(&values).map(|(low, high)| (show(low), show(high))) {
        Some((low, high)) if low != high => format!("{} ({low}–{high})", show(value)),
        _ => show(value),
    }
}
