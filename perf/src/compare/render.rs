//! The report: README.md and its plots.

pub(super) mod plots;
mod tables;

pub(super) use tables::cpu;

use super::data::Raw;
use super::peer::Kind;
use super::scenario::Suite;
use super::targets::{Check, checks};
use crate::load::Report;
use crate::units;
use std::fmt::Write;

/// Every file of the report but raw.json: name and content.
pub(super) fn files(raw: &Raw) -> Vec<(&'static str, String)> {
    let mut files = plots::all(raw);
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    files.push(("README.md", readme(raw, &names)));
    files
}

/// The figures of all rounds of one peer in one scenario, under this generator.
pub(super) fn values(
    raw: &Raw,
    scenario: &str,
    peer: Kind,
    value: impl Fn(&Report) -> f64,
) -> Vec<f64> {
    let runs = raw.traffic.iter().filter(|run| !run.second && run.peer == peer);
    runs.filter(|run| run.scenario == scenario).map(|run| value(&run.report)).collect()
}

/// The median; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get((sorted.len() - 1) / 2)?;
    Some((low + high) / 2.0)
}

/// For the terminal: the targets, or that there are none.
pub(super) fn summary(raw: &Raw) -> String {
    check_table(&checks(raw), &raw.notes)
}

/// Targets and notes for the terminal.
pub(super) fn check_table(checks: &[Check], notes: &[String]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["scenario", "target", "limit", "measured", ""]);
    for check in checks {
        let verdict = if check.met { "met".to_owned() } else { check.verdict().to_uppercase() };
        table.add_row([check.scenario, &check.what, &check.limit, &check.figure, &verdict]);
    }
    let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    match checks.is_empty() {
        true => format!("{notes}no targets: ringway or Envoy did not take part"),
        false => format!("{notes}{table}"),
    }
}

fn readme(raw: &Raw, plots: &[&str]) -> String {
    let mut out = match raw.suite {
        Suite::Http1 => "# Comparison\n\n".to_owned(),
        Suite::Protocols => "# Comparison: protocols\n\n".to_owned(),
        Suite::Xds => "# Comparison: xDS\n\n".to_owned(),
    };
    out += &setting(raw);
    if !raw.notes.is_empty() {
        out += "\nNotes:\n";
        raw.notes.iter().for_each(|note| {
            let _ = writeln!(out, "- {note}");
        });
    }
    out += &targets_of(&checks(raw));
    for (plot, title) in [
        ("cpu.svg", "CPU per request"),
        ("connections.svg", "CPU per connection"),
        ("bytes.svg", "CPU per chunk or body"),
    ] {
        if plots.contains(&plot) {
            let _ = writeln!(out, "\n![{title}]({plot})");
        }
    }
    for scenario in raw.suite.traffic() {
        let table = tables::traffic(raw, scenario, false);
        if table.is_empty() {
            continue;
        }
        let rate = raw.half_rate.filter(|_| scenario.key == "half");
        let at = rate.map(|rate| format!(" ({}/s)", units::grouped(rate))).unwrap_or_default();
        let _ = writeln!(out, "\n## {}: {}{at}\n\n{table}", scenario.key, scenario.title);
        let plot = format!("{}.svg", scenario.key);
        if plots.contains(&plot.as_str()) {
            let _ = writeln!(out, "\n![Latency by percentile]({plot})");
        }
    }
    raw.suite.idle().iter().for_each(|scenario| out += &tables::idle(raw, scenario));
    out += &tables::routes(raw);
    out += &tables::storm(raw);
    out += &again(raw);
    out + READING
}

/// What the second generator found.
fn again(raw: &Raw) -> String {
    let Some(version) = &raw.second else { return String::new() };
    let mut out = format!("\n## The same by {version}\n\n");
    out += "No warm-up: the CPU time includes opening the connections.\n";
    for scenario in raw.suite.traffic().iter().filter(|scenario| scenario.repeated) {
        let table = tables::traffic(raw, scenario, true);
        if !table.is_empty() {
            let _ = writeln!(out, "\n**{}**\n\n{table}", scenario.title);
        }
    }
    out
}

const READING: &str = "
## How to read it

- CPU µs/request is the CPU time of the proxy process, all of its threads, over the answers in the
  measured time, from `/proc/PID/task/*/schedstat`. It is the figure that counts where generator,
  upstream and proxy share a machine. On loopback the receiver's TCP work is charged to the sender.
- Figures are medians over the rounds, ranges in brackets. In the closed loop a fast proxy is held
  back by the generator's core: where *generator core* is near 100 %, requests/s is a lower bound.
- `rate` and `half` are open loops: requests are due at fixed times, and latency counts from then,
  so waiting behind a stall is part of it. *sent late* is the generator's own lateness: from when
  a request was due to when it was sent, where a connection was free.
- *others* is the share of the proxy's core used by other processes and by interrupts.
- `raw.json` has every run; `ringway-perf compare --render raw.json --out .` makes this file again.
";

fn setting(raw: &Raw) -> String {
    let machine = &raw.machine;
    let peers: Vec<_> =
        raw.peers.iter().map(|peer| format!("{} {}", peer.kind.title(), peer.version)).collect();
    format!(
        "{date}. {cpu}, {cores} cores, {memory}, Linux {kernel}. {peers}.\n\n\
         Each proxy has one worker and runs on core {proxy}; generator and upstream share core \
         {load}.\n{what}, loopback; {rounds} rounds of {seconds} s per run, the \
         peers taking turns.\nringway reads Envoy's configuration file. Made by `{command}`.\n",
        what = match raw.suite {
            Suite::Http1 => "HTTP/1.1, keep-alive",
            Suite::Protocols => "All clients offer TLS 1.3 with AES-128-GCM and X25519",
            Suite::Xds => "Configuration over ADS",
        },
        command = match raw.suite {
            Suite::Http1 => "make bench",
            Suite::Protocols => "make bench-protocols",
            Suite::Xds => "make bench-xds",
        },
        date = raw.date,
        cpu = machine.cpu,
        cores = machine.cores,
        memory = units::bytes(machine.memory as f64),
        kernel = machine.kernel,
        peers = peers.join(", "),
        proxy = raw.cores.0,
        load = raw.cores.1,
        rounds = raw.rounds,
        seconds = raw.seconds,
    )
}

/// Targets as a table of the report, with its heading.
pub(super) fn targets_of(checks: &[Check]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let met = checks.iter().filter(|check| check.met).count();
    let mut out = format!(
        "\n## Targets: {met} of {} met\n\n\
         | Scenario | | Target | Measured | |\n|---|---|---|---|---|\n",
        checks.len()
    );
    for check in checks {
        let verdict = match check.met {
            true => "met".to_owned(),
            false => format!("**{}**", check.verdict()),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {verdict} |",
            check.scenario, check.what, check.limit, check.figure
        );
    }
    out
}
