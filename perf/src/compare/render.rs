//! The report: README.md and its plots.

mod plots;
mod tables;

use super::data::Raw;
use super::peer::Kind;
use super::scenario::TRAFFIC;
use super::targets::checks;
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
    let runs = raw.traffic.iter().filter(|run| !run.wrk && run.peer == peer);
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
    let checks = checks(raw);
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["scenario", "target", "limit", "measured", ""]);
    for check in &checks {
        let verdict = if check.met { "met" } else { "MISSED" };
        table.add_row([check.scenario, &check.what, &check.limit, &check.figure, verdict]);
    }
    let notes: String = raw.notes.iter().map(|note| format!("note: {note}\n")).collect();
    match checks.is_empty() {
        true => format!("{notes}no targets: ringway or Envoy did not take part"),
        false => format!("{notes}{table}"),
    }
}

fn readme(raw: &Raw, plots: &[&str]) -> String {
    let mut out = String::from("# Comparison\n\n");
    out += &setting(raw);
    if !raw.notes.is_empty() {
        out += "\nNotes:\n";
        raw.notes.iter().for_each(|note| {
            let _ = writeln!(out, "- {note}");
        });
    }
    out += &targets(raw);
    if plots.contains(&"cpu.svg") {
        out += "\n![CPU per request](cpu.svg)\n";
    }
    for scenario in TRAFFIC {
        let table = tables::traffic(raw, scenario.key, false);
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
    out += &tables::idle(raw);
    out += &tables::routes(raw);
    if let Some(version) = &raw.wrk {
        let _ = writeln!(out, "\n## The same by wrk {version}\n");
        out += "No warm-up: the CPU time includes opening the connections.\n";
        for scenario in TRAFFIC.iter().filter(|scenario| scenario.wrk) {
            let table = tables::traffic(raw, scenario.key, true);
            if !table.is_empty() {
                let _ = writeln!(out, "\n**{}**\n\n{table}", scenario.title);
            }
        }
    }
    out + READING
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
         {load}.\nHTTP/1.1, keep-alive, loopback; {rounds} rounds of {seconds} s per run, the \
         peers taking turns.\nringway reads Envoy's configuration file. Made by `make bench`.\n",
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

fn targets(raw: &Raw) -> String {
    let checks = checks(raw);
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
        let verdict = if check.met { "met" } else { "**missed**" };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {verdict} |",
            check.scenario, check.what, check.limit, check.figure
        );
    }
    out
}
