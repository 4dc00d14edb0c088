//! The load generator.
//!
//! LIFECYCLE of a run, in each of its threads: open all connections → wait for the other threads →
//! warm up → measure → (open loop: wait for what is still due) → report. The phases are a
//! [`Phase`] in the thread's [`worker::State`]; connections only look at it.

mod client;
mod echo;
mod http1;
mod http2;
pub mod idle;
mod link;
mod multiplex;
mod pacer;
mod report;
pub mod storm;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod worker;

pub use report::{Latency, Report, WatchedCpu};
pub use tally::{Failure, Tally};
pub use target::{Http2Target, Protocol, Scheme, Target, Wish};
pub use tls::{Handshake, Tls};

use crate::cli::LoadArgs;
use crate::output;
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// A run.
#[derive(Clone, Debug)]
pub struct Load {
    /// What to ask for, and where.
    pub target: Target,
    /// Connections in all threads together.
    pub connections: usize,
    /// Requests per second in all threads together; `None`: closed loop.
    pub rate: Option<f64>,
    /// Time measured.
    pub duration: Duration,
    /// Time before it.
    pub warmup: Duration,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// Time for one request, the connection included where each has its own.
    pub timeout: Duration,
    /// Local addresses to connect from in turn; empty leaves it to the system.
    pub source: Vec<IpAddr>,
    /// Number of threads.
    pub threads: usize,
    /// Core of the first thread.
    pub pin: Option<usize>,
    /// I/O level, as `ringway_runtime::Backend` reads it.
    pub io_backend: String,
    /// Process whose CPU time to take.
    pub watch: Option<u32>,
    /// Set once all connections are open.
    pub opened: Option<Arc<AtomicBool>>,
}

/// What the threads tell the one that draws the progress bar.
#[derive(Debug, Default)]
struct Progress {
    requests: AtomicU64,
    failures: AtomicU64,
    /// Nanoseconds of load so far.
    elapsed: AtomicU64,
    finished: AtomicBool,
}

/// Runs `ringway-perf load`.
///
/// # Errors
/// The run is impossible: an argument, an address, a core, files that cannot be written.
pub fn command(args: &LoadArgs) -> Result<ExitCode> {
    let load = Load::from_args(args)?;
    let _ = crate::proc::raise_open_files();
    let report = load.run(!args.quiet)?;
    if let Some(path) = &args.plot {
        let html = path.extension().is_some_and(|extension| extension == "html");
        let page = if html { output::html(&report) } else { output::latency_svg(&report) };
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", output::text(&report));
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

impl Load {
    /// From the command line.
    ///
    /// # Errors
    /// Arguments that do not fit together.
    pub fn from_args(args: &LoadArgs) -> Result<Self> {
        let target = Target::new(args)?;
        ensure!(args.connections > 0, "--connections 0: at least one is needed");
        ensure!(args.threads > 0, "--threads 0: at least one is needed");
        ensure!(
            args.threads <= args.connections,
            "--threads {}: at most one per connection ({})",
            args.threads,
            args.connections
        );
        ensure!(!args.duration.is_zero(), "--duration 0: nothing would be measured");
        Ok(Self {
            target,
            connections: args.connections,
            rate: args.rate,
            duration: args.duration,
            warmup: args.warmup,
            keep_alive: !args.no_keepalive,
            timeout: args.timeout,
            source: args.source.clone(),
            threads: args.threads,
            pin: args.pin,
            io_backend: args.io_backend.clone(),
            watch: args.watch,
            opened: None,
        })
    }

    /// One connection for a tenth of a second, to see whether anything answers.
    #[must_use]
    pub fn trial(target: Target) -> Self {
        Self {
            target,
            connections: 1,
            rate: None,
            duration: Duration::from_millis(100),
            warmup: Duration::ZERO,
            keep_alive: true,
            timeout: Duration::from_secs(10),
            source: Vec::new(),
            threads: 1,
            pin: None,
            io_backend: "auto".to_owned(),
            watch: None,
            opened: None,
        }
    }

    /// Runs it to its end; with `bar` a progress bar is drawn when standard error is a terminal.
    ///
    /// # Errors
    /// No connection could be opened, a core or the I/O level is not there, the watched process is
    /// gone.
    pub fn run(&self, bar: bool) -> Result<Report> {
        let progress = Progress::default();
        let barrier = Barrier::new(self.threads);
        let outcomes = std::thread::scope(|scope| {
            let spawn = |index| {
                let (progress, barrier) = (&progress, &barrier);
                scope.spawn(move || worker::run(self, index, barrier, progress))
            };
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            if bar {
                self.draw(&progress, || threads.iter().all(|thread| thread.is_finished()));
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        Report::new(self, outcomes)
    }

    fn draw(&self, progress: &Progress, done: impl Fn() -> bool) {
        let total = (self.warmup + self.duration).as_millis();
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{msg:>28} {wide_bar} {eta_precise}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        while !done() && !progress.finished.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            if bar.is_hidden() {
                continue;
            }
            let elapsed = Duration::from_nanos(progress.elapsed.load(Ordering::Relaxed));
            let requests = progress.requests.load(Ordering::Relaxed);
            let failures = progress.failures.load(Ordering::Relaxed);
            let measured = elapsed.saturating_sub(self.warmup);
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            bar.set_message(if measured.is_zero() {
                "warming up".to_owned()
            } else {
                let rate = requests as f64 / measured.as_secs_f64();
                format!("{}/s, {failures} failed", crate::units::grouped(rate))
            });
        }
        bar.finish_and_clear();
    }
}
