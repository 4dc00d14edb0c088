//! A run as a table for a terminal.

use crate::load::{Latency, Report};
use crate::units::{bytes, grouped, micros};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

/// A run as a table for a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = format!("{}\n", report.url);
    let load = match report.rate {
        Some(rate) => format!("open loop at {} requests/s", grouped(rate)),
        None => "closed loop".to_owned(),
    };
    out += &format!("{} connections, {load}, {:.1} s\n\n", report.connections, report.seconds);
    out += &latency_table(report);
    out += &format!(
        "\n\nRequests   {} answered, {}/s\nReceived   {}/s\n",
        grouped(report.answered as f64),
        grouped(report.requests_per_second),
        bytes(report.bytes_per_second),
    );
    if !report.statuses.is_empty() {
        let statuses = report.statuses.iter();
        let list: Vec<_> = statuses.map(|(s, n)| format!("{s}: {}", grouped(*n as f64))).collect();
        out += &format!("Statuses   {}\n", list.join(", "));
    }
    if let Some(cpu) = report.watched {
        out += &format!(
            "Process    {:.2} µs CPU per request, {:.2} cores, {} resident (PID {})\n",
            cpu.micros_per_request,
            cpu.cores,
            bytes(cpu.resident_bytes as f64),
            cpu.pid
        );
    }
    let failures = report.failures.iter();
    let list: Vec<_> = failures.map(|(kind, n)| format!("{n} {kind}")).collect();
    out += &match list.is_empty() {
        true => "Failures   none".to_owned(),
        false => format!("Failures   {}", list.join(", ")),
    };
    out
}

fn latency_table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    table.add_row(row("latency", &report.latency));
    if let Some(late) = &report.sent_late {
        table.add_row(row("sent late by", late));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn row(name: &str, latency: &Latency) -> Vec<String> {
    let Latency { min, mean, p50, p75: _, p90, p99, p99_9, p99_99, max } = *latency;
    let mut row = vec![name.to_owned()];
    row.extend([min, mean, p50, p90, p99, p99_9, p99_99, max].map(micros));
    row
}
