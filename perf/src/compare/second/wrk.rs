//! wrk: HTTP/1.1 by an independent generator.

use super::super::peer::version_in;
use super::Run;
use crate::load::{Latency, Report};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Its version.
///
/// # Errors
/// It is not installed.
pub(in super::super) fn version() -> Result<String> {
    // Its exit code for --version is 1.
    let output = Command::new("wrk").arg("--version").output().context("wrk is not installed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(1);
    Ok(format!("wrk {}", version.map_or_else(|| version_in(&text), str::to_owned)))
}

/// What to start.
pub(in super::super) fn command(run: &Run<'_>) -> Command {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", &format!("-c{}", run.connections)]);
    command.arg(format!("-d{}s", run.duration.as_secs().max(1))).arg(run.url);
    command
}

/// Reads wrk's output.
pub(in super::super) fn parse(text: &str) -> Result<Report> {
    let mut report = Report::default();
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["50%", value] => report.latency.p50 = time(value)?,
            ["75%", value] => report.latency.p75 = time(value)?,
            ["90%", value] => report.latency.p90 = time(value)?,
            ["99%", value] => report.latency.p99 = time(value)?,
            [count, "requests", "in", seconds, ..] => {
                report.answered = count.parse()?;
                report.seconds = time(seconds.trim_end_matches(','))? / 1e6;
            }
            ["Requests/sec:", rate] => report.requests_per_second = rate.parse()?,
            ["Socket", "errors:", kinds @ ..] => {
                for pair in kinds.chunks_exact(2) {
                    let count = pair[1].trim_end_matches(',').parse()?;
                    if count > 0 {
                        report.failures.insert(pair[0].to_owned(), count);
                    }
                }
            }
            ["Non-2xx", .., count] => {
                report.failures.insert("status".to_owned(), count.parse()?);
            }
            _ => {}
        }
    }
    if report.answered == 0 || report.seconds <= 0.0 || report.latency == Latency::default() {
        bail!("no figures");
    }
    Ok(report)
}

/// Microseconds of `87.00us`, `1.23ms`, `2.00s`.
pub(super) fn time(text: &str) -> Result<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).context("no unit")?;
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => bail!("unit {unit:?}"),
    };
    Ok(number.parse::<f64>()? * factor)
}
