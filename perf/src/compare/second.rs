//! Second generators, independent of ours.

pub(super) mod h2load;
pub(super) mod wrk;

use crate::load::{Report, WatchedCpu};
use crate::proc;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// A second generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// For HTTP/1.1.
    Wrk,
    /// For HTTP/2.
    H2load,
}

/// What it is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) url: &'a str,
    pub(super) connections: usize,
    /// Requests at once on each.
    pub(super) streams: usize,
    pub(super) duration: Duration,
    /// Its core.
    pub(super) core: usize,
    /// The proxy, whose CPU time is taken.
    pub(super) pid: u32,
}

impl Second {
    /// As `--only` takes it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
        }
    }

    /// Name and version.
    ///
    /// # Errors
    /// It is not installed.
    pub(super) fn version(self) -> Result<String> {
        match self {
            Self::Wrk => wrk::version(),
            Self::H2load => h2load::version(),
        }
    }

    /// One run, without a warm-up.
    ///
    /// # Errors
    /// It fails, or prints what cannot be read.
    pub(super) fn run(self, run: &Run<'_>) -> Result<Report> {
        let mut command = match self {
            Self::Wrk => wrk::command(run),
            Self::H2load => h2load::command(run),
        };
        let before = proc::cpu_time(run.pid)?;
        let core = run.core;
        let thread = std::thread::spawn(move || -> Result<_> {
            proc::pin(core)?;
            Ok(command.output()?)
        });
        let output = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let cpu = proc::cpu_time(run.pid)?.saturating_sub(before);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{self:?}: {text}{errors}");
        let report = match self {
            Self::Wrk => wrk::parse(&text),
            Self::H2load => h2load::parse(&text),
        };
        let report = report.with_context(|| format!("cannot read what {self:?} says: {text}"))?;
        Ok(Report {
            url: run.url.to_owned(),
            connections: run.connections,
            watched: Some(WatchedCpu {
                pid: run.pid,
                micros_per_request: cpu.as_secs_f64() * 1e6 / report.answered.max(1) as f64,
                cores: cpu.as_secs_f64() / report.seconds,
                resident_bytes: proc::resident(run.pid)?,
            }),
            ..report
        })
    }
}
