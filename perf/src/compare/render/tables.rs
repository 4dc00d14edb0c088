//! Tables of the report.

use super::super::data::{IdleRun, Raw, RoutesRun, StormRun, TrafficRun};
use super::super::peer::Kind;
use super::super::scenario::Scenario;
use super::median;
use crate::load::{Handshake, Latency, Report};
use crate::units;
use std::fmt::Write;

/// One scenario; empty when it did not run. `second`: by the second generator.
pub(super) fn traffic(raw: &Raw, scenario: &Scenario, second: bool) -> String {
    let runs = |kind| -> Vec<&TrafficRun> {
        let all = raw.traffic.iter().filter(|run| run.second == second && run.peer == kind);
        all.filter(|run| run.scenario == scenario.key).collect()
    };
    let all: Vec<_> = raw.peers.iter().flat_map(|peer| runs(peer.kind)).collect();
    if all.is_empty() {
        return String::new();
    }
    let columns = columns(scenario, second, &all);
    let envoy = median(&each(&runs(Kind::Envoy), |run| cpu(&run.report)));
    let mut out =
        format!("| |{}", columns.iter().map(|(name, _)| format!(" {name} |")).collect::<String>());
    out += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
    for peer in &raw.peers {
        let runs = runs(peer.kind);
        if runs.is_empty() {
            continue;
        }
        let cells = columns.iter().map(|(_, show)| format!(" {} |", show(&runs, envoy)));
        let _ = writeln!(out, "| {} |{}", peer.kind.title(), cells.collect::<String>());
    }
    out
}

/// A cell: from the runs of one peer and Envoy's CPU per request.
type Cell = Box<dyn Fn(&[&TrafficRun], Option<f64>) -> String>;

fn columns(scenario: &Scenario, second: bool, all: &[&TrafficRun]) -> Vec<(String, Cell)> {
    let (unit, bytes) = (scenario.unit, scenario.bytes as f64);
    let mut columns: Vec<(String, Cell)> = vec![
        (format!("CPU µs/{unit}"), over(|run| cpu(&run.report), |us| format!("{us:.1}"))),
        (
            "÷ Envoy".to_owned(),
            Box::new(|runs, envoy| share(median(&each(runs, |run| cpu(&run.report))), envoy)),
        ),
    ];
    if scenario.bytes > 0 {
        let per_gb = move |run: &TrafficRun| cpu(&run.report) / 1e6 / (bytes / 1e9);
        columns.push(("CPU s/GB".to_owned(), over(per_gb, |s| format!("{s:.3}"))));
        let rate = move |run: &TrafficRun| run.report.requests_per_second * bytes / 1e9;
        columns.push(("GB/s".to_owned(), over(rate, |rate| format!("{rate:.2}"))));
    }
    // h2load gives none.
    let percentiles = all.iter().any(|run| run.report.latency.p50 > 0.0);
    let rate = over(|run| run.report.requests_per_second, units::grouped);
    columns.push((format!("{unit}s/s"), rate));
    let latency =
        |value: fn(&Latency) -> f64| over(move |run| value(&run.report.latency), units::micros);
    if percentiles {
        columns.push(("p50".to_owned(), latency(|latency| latency.p50)));
        columns.push(("p99".to_owned(), latency(|latency| latency.p99)));
    } else {
        columns.push(("mean".to_owned(), latency(|latency| latency.mean)));
        columns.push(("longest".to_owned(), latency(|latency| latency.max)));
    }
    if !second {
        columns.push(("p99.9".to_owned(), latency(|latency| latency.p99_9)));
    }
    let middle = |value: fn(&TrafficRun) -> f64, show: fn(f64) -> String| -> Cell {
        Box::new(move |runs, _| show(median(&each(runs, value)).unwrap_or(0.0)))
    };
    columns.push(("RSS".to_owned(), middle(|run| resident(&run.report), units::bytes)));
    columns.push((
        "failed".to_owned(),
        Box::new(|runs, _| runs.iter().map(|run| run.report.failed()).sum::<u64>().to_string()),
    ));
    if all.iter().any(|run| !run.report.handshakes.is_empty()) && !scenario.keep_alive() {
        columns.push(("resumed".to_owned(), middle(|run| resumed(&run.report), percent)));
    }
    if all.iter().any(|run| run.report.rate.is_some()) {
        columns.push(("sent late p50, p99".to_owned(), Box::new(|runs, _| late(runs))));
    }
    columns.push(("generator core".to_owned(), middle(|run| run.load_core, percent)));
    columns.push(("others".to_owned(), middle(|run| run.foreign, percent)));
    columns
}

/// Median and range of a value.
fn over(
    value: impl Fn(&TrafficRun) -> f64 + 'static,
    show: impl Fn(f64) -> String + 'static,
) -> Cell {
    Box::new(move |runs, _| spread(&each(runs, &value), &show))
}

fn late(runs: &[&TrafficRun]) -> String {
    let of = |value: fn(&Latency) -> f64| {
        // All connections were busy all the time: the generator was never free to be late.
        let all = runs.iter().filter_map(|run| run.report.sent_late.as_ref());
        let all: Vec<_> = all.filter(|late| late.max > 0.0).map(value).collect();
        median(&all).map_or_else(|| "–".to_owned(), units::micros)
    };
    format!("{}, {}", of(|late| late.p50), of(|late| late.p99))
}

/// Share of the handshakes that used a ticket.
fn resumed(report: &Report) -> f64 {
    let all: u64 = report.handshakes.values().sum();
    let resumed = report.handshakes.get(Handshake::Resumed.name()).copied().unwrap_or(0);
    resumed as f64 / all.max(1) as f64
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Memory of idle connections, with its heading.
pub(super) fn idle(raw: &Raw, scenario: &Scenario) -> String {
    let all = || raw.idle.iter().filter(|run| run.scenario == scenario.key);
    let Some(connections) = all().map(|run| run.connections).max() else { return String::new() };
    let mut out = format!(
        "\n## {}: memory, {} idle connections: {}\n\n\
         | | process, no connection | all connections open | per idle connection |\n\
         |---|---|---|---|\n",
        scenario.key,
        units::grouped(connections as f64),
        scenario.title,
    );
    for peer in &raw.peers {
        let runs: Vec<_> = all().filter(|run| run.peer == peer.kind).collect();
        if runs.is_empty() {
            continue;
        }
        let column = |value: &dyn Fn(&IdleRun) -> f64| {
            let values: Vec<_> = runs.iter().map(|run| value(run)).collect();
            spread(&values, units::bytes)
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            peer.kind.title(),
            column(&|run| run.process as f64),
            column(&|run| run.connected as f64),
            column(&IdleRun::per_connection),
        );
    }
    out
}

/// Storms, with their heading.
pub(super) fn storm(raw: &Raw) -> String {
    let Some(first) = raw.storms.first() else { return String::new() };
    let mut out = format!(
        "\n## storm: {} requests/s on {} live TLS connections, while 500 new ones per second more \
         come than the proxy can take\n\n\
         | | p99 without | p99 within | within ÷ without | live, failed | handshakes/s it can do | \
         asked for in the storm | completed | failed or left out |\n|---|{}\n",
        units::grouped(first.calm.rate.unwrap_or(0.0)),
        first.calm.connections,
        "---|".repeat(8),
    );
    for peer in &raw.peers {
        let runs: Vec<_> = raw.storms.iter().filter(|run| run.peer == peer.kind).collect();
        if runs.is_empty() {
            continue;
        }
        let column = |value: &dyn Fn(&StormRun) -> f64, show: fn(f64) -> String| {
            spread(&runs.iter().map(|run| value(run)).collect::<Vec<_>>(), show)
        };
        let lost = |run: &StormRun| {
            let seconds = run.handshakes.seconds.max(1e-9);
            (run.handshakes.failed + run.handshakes.left_out) as f64 / seconds
        };
        let failed = |run: &StormRun| (run.calm.failed() + run.stormy.failed()) as f64;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {}/s | {}/s | {}/s |",
            peer.kind.title(),
            column(&|run| StormRun::p99(&run.calm), units::micros),
            column(&|run| StormRun::p99(&run.stormy), units::micros),
            column(&StormRun::p99_ratio, |ratio| format!("{ratio:.2}")),
            column(&failed, units::grouped),
            column(&|run| run.capacity, units::grouped),
            column(&|run| run.rate, units::grouped),
            column(&|run| run.handshakes.per_second(), units::grouped),
            column(&lost, units::grouped),
        );
    }
    out
}

/// Many routes, with its heading.
pub(super) fn routes(raw: &Raw) -> String {
    let Some(first) = raw.routes.first() else { return String::new() };
    let mut out = format!(
        "\n## routes: {} prefix routes, 64 connections, 100 B\n\n\
         HAProxy looks prefixes up in a map, nginx in its locations.\n\n\
         | | requests/s, first route | last route | last ÷ first | CPU µs/request, first | \
         last | RSS |\n|---|---|---|---|---|---|---|\n",
        units::grouped(first.routes as f64)
    );
    for peer in &raw.peers {
        let runs: Vec<_> = raw.routes.iter().filter(|run| run.peer == peer.kind).collect();
        if runs.is_empty() {
            continue;
        }
        let values = |value: &dyn Fn(&RoutesRun) -> f64| -> Vec<f64> {
            runs.iter().map(|run| value(run)).collect()
        };
        let rate = |value: &dyn Fn(&RoutesRun) -> f64| spread(&values(value), units::grouped);
        let ratio = values(&|run| run.last.requests_per_second / run.first.requests_per_second);
        let micros = |us: f64| format!("{us:.1}");
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            peer.kind.title(),
            rate(&|run| run.first.requests_per_second),
            rate(&|run| run.last.requests_per_second),
            spread(&ratio, |ratio| format!("{ratio:.2}")),
            spread(&values(&|run| cpu(&run.first)), micros),
            spread(&values(&|run| cpu(&run.last)), micros),
            units::bytes(median(&values(&|run| resident(&run.last))).unwrap_or(0.0)),
        );
    }
    out
}

/// CPU microseconds of the proxy per request.
pub(in super::super) fn cpu(report: &Report) -> f64 {
    report.watched.map_or(f64::NAN, |cpu| cpu.micros_per_request)
}

fn resident(report: &Report) -> f64 {
    report.watched.map_or(f64::NAN, |cpu| cpu.resident_bytes as f64)
}

fn each(runs: &[&TrafficRun], value: impl Fn(&TrafficRun) -> f64) -> Vec<f64> {
    runs.iter().map(|run| value(run)).collect()
}

/// Median, and the range in brackets when there is one.
fn spread(values: &[f64], show: impl Fn(f64) -> String) -> String {
    let Some(middle) = median(values) else { return "–".to_owned() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (middle, low, high) = (show(middle), show(low), show(high));
    if low == high { middle } else { format!("{middle} ({low}–{high})") }
}

fn share(value: Option<f64>, of: Option<f64>) -> String {
    value.zip(of).map_or_else(|| "–".to_owned(), |(value, of)| format!("{:.2}", value / of))
}
