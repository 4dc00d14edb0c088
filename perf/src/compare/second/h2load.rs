//! h2load: HTTP/2 by an independent generator.

use super::Run;
use super::wrk::time;
use crate::load::Report;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Its version.
///
/// # Errors
/// It is not installed.
pub(in super::super) fn version() -> Result<String> {
    let output = Command::new("h2load").arg("--version").output();
    let output = output.context("h2load is not installed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().rsplit('/').next().unwrap_or("unknown");
    Ok(format!("h2load {version}"))
}

/// What to start.
pub(in super::super) fn command(run: &Run<'_>) -> Command {
    let mut command = Command::new("h2load");
    command.arg(format!("-c{}", run.connections)).arg(format!("-m{}", run.streams));
    // Whole seconds: it takes no others.
    command.arg(format!("-D{}", run.duration.as_secs().max(1))).arg(run.url);
    command
}

/// Reads h2load's output. It gives no percentiles: the mean and the longest time stand alone.
pub(in super::super) fn parse(text: &str) -> Result<Report> {
    let mut report = Report::default();
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["finished", "in", seconds, rate, "req/s,", ..] => {
                report.seconds = time(seconds.trim_end_matches(','))? / 1e6;
                report.requests_per_second = rate.parse()?;
            }
            // requests: 1000 total, 1064 started, 1000 done, 1000 succeeded, 0 failed, …
            ["requests:", rest @ ..] => {
                for pair in rest.chunks_exact(2) {
                    let count = pair[0].parse()?;
                    match pair[1].trim_end_matches(',') {
                        "succeeded" => report.answered = count,
                        "failed" | "errored" if count > 0 => {
                            report.failures.insert(pair[1].trim_end_matches(',').into(), count);
                        }
                        _ => {}
                    }
                }
            }
            ["time", "for", "request:", least, most, mean, ..] => {
                report.latency.min = time(least)?;
                report.latency.max = time(most)?;
                report.latency.mean = time(mean)?;
            }
            _ => {}
        }
    }
    ensure!(report.answered > 0 && report.seconds > 0.0, "no figures");
    Ok(report)
}
