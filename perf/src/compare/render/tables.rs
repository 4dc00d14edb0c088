//! Tables of the report.

use super::super::data::{IdleRun, Raw, RoutesRun, TrafficRun};
use super::super::peer::Kind;
use super::median;
use crate::load::Report;
use crate::units;
use std::fmt::Write;

/// One scenario; empty when it did not run.
pub(super) fn traffic(raw: &Raw, scenario: &str, wrk: bool) -> String {
    let runs = |kind| -> Vec<&TrafficRun> {
        let all = raw.traffic.iter().filter(|run| run.wrk == wrk && run.peer == kind);
        all.filter(|run| run.scenario == scenario).collect()
    };
    let envoy = median(&each(&runs(Kind::Envoy), |run| cpu(&run.report)));
    let open = raw.traffic.iter().any(|run| run.scenario == scenario && run.report.rate.is_some());
    let tail = if wrk { "" } else { " p99.9 |" };
    let late = if open { " sent late p50, p99 |" } else { "" };
    let mut out = format!(
        "| | CPU µs/request | ÷ Envoy | requests/s | p50 | p99 |{tail} RSS | failed |{late} \
         generator core | others |\n|---|"
    );
    let columns = 9 + usize::from(!wrk) + usize::from(open);
    out += &"---|".repeat(columns);
    out.push('\n');
    let mut rows = 0;
    for peer in &raw.peers {
        let runs = runs(peer.kind);
        if runs.is_empty() {
            continue;
        }
        rows += 1;
        let cpus = each(&runs, |run| cpu(&run.report));
        let latency = |value: fn(&Report) -> f64| {
            spread(&each(&runs, |run| value(&run.report)), units::micros)
        };
        let of = |value: &dyn Fn(&TrafficRun) -> f64| median(&each(&runs, value)).unwrap_or(0.0);
        let _ = write!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            peer.kind.title(),
            spread(&cpus, |us| format!("{us:.1}")),
            share(median(&cpus), envoy),
            spread(&each(&runs, |run| run.report.requests_per_second), units::grouped),
            latency(|report| report.latency.p50),
            latency(|report| report.latency.p99),
        );
        if !wrk {
            let _ = write!(out, " {} |", latency(|report| report.latency.p99_9));
        }
        let memory = of(&|run| resident(&run.report));
        let failed: u64 = runs.iter().map(|run| run.report.failed()).sum();
        let _ = write!(out, " {} | {failed} |", units::bytes(memory));
        if open {
            let late = |value: fn(&crate::load::Latency) -> f64| {
                // All connections were busy all the time: the generator was never free to be late.
                let all = runs.iter().filter_map(|run| run.report.sent_late.as_ref());
                let all: Vec<_> = all.filter(|late| late.max > 0.0).map(value).collect();
                median(&all).map_or_else(|| "–".to_owned(), units::micros)
            };
            let _ = write!(out, " {}, {} |", late(|late| late.p50), late(|late| late.p99));
        }
        let percent = |value: f64| format!("{:.0} %", value * 100.0);
        let (busy, others) = (of(&|run| run.load_core), of(&|run| run.foreign));
        let _ = writeln!(out, " {} | {} |", percent(busy), percent(others));
    }
    if rows == 0 { String::new() } else { out }
}

/// Memory of idle connections, with its heading.
pub(super) fn idle(raw: &Raw) -> String {
    if raw.idle.is_empty() {
        return String::new();
    }
    let connections = raw.idle.iter().map(|run| run.connections).max().unwrap_or(0);
    let mut out = format!(
        "\n## idle: memory, {} idle connections after one request each\n\n\
         | | process, no connection | all connections open | per idle connection |\n\
         |---|---|---|---|\n",
        units::grouped(connections as f64)
    );
    for peer in &raw.peers {
        let runs: Vec<_> = raw.idle.iter().filter(|run| run.peer == peer.kind).collect();
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
pub(super) fn cpu(report: &Report) -> f64 {
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
