//! wrk as an independent second generator.

use super::peer::version_in;
use crate::load::{Latency, Report, WatchedCpu};
use crate::proc;
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;
use std::time::Duration;

/// Its version.
///
/// # Errors
/// It is not installed.
pub(super) fn version() -> Result<String> {
    // Its exit code for --version is 1.
    let output = Command::new("wrk").arg("--version").output().context("wrk is not installed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().nth(1).map_or_else(|| version_in(&text), str::to_owned))
}

/// One run; `pid` is the proxy.
///
/// # Errors
/// wrk fails or prints what cannot be read.
pub(super) fn run(
    url: &str,
    connections: usize,
    duration: Duration,
    core: usize,
    pid: u32,
) -> Result<Report> {
    let seconds = duration.as_secs().max(1);
    let before = proc::cpu_time(pid)?;
    let url = url.to_owned();
    let arguments = [
        "-t1".to_owned(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        "--latency".to_owned(),
        url.clone(),
    ];
    let thread = std::thread::spawn(move || -> Result<_> {
        proc::pin(core)?;
        Ok(Command::new("wrk").args(arguments).output()?)
    });
    let output = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let cpu = proc::cpu_time(pid)?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
    let mut report = parse(&text).with_context(|| format!("cannot read what wrk says: {text}"))?;
    report.url = url;
    report.connections = connections;
    report.watched = Some(WatchedCpu {
        pid,
        micros_per_request: cpu.as_secs_f64() * 1e6 / report.answered.max(1) as f64,
        cores: cpu.as_secs_f64() / report.seconds,
        resident_bytes: proc::resident(pid)?,
    });
    Ok(report)
}

/// Reads wrk's output.
pub(super) fn parse(text: &str) -> Result<Report> {
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
fn time(text: &str) -> Result<f64> {
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
