//! Suite xds: configuration over ADS, very large ones, restarts.
//!
//! One control plane for all proxies ([`crate::ads`]). In each round each proxy runs all scenarios,
//! and the next round begins with another proxy. A scenario that fails becomes a note.

mod figures;
mod live;
mod moves;
mod proxy;
mod render;
mod restart;
#[cfg(test)]
mod tests;

use super::machine::{self, Machine};
use super::peer::{Installed, Kind};
use super::scenario::Selection;
use super::scratch::Scratch;
use super::{Suite, targets};
use crate::cli::CompareArgs;
use crate::load::{Load, Report, Target};
use crate::{proc, upstream};
use anyhow::{Context, Result, ensure};
use figures::{Raw, Run, SCENARIOS};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Names of the scenarios, for `--only`.
pub(super) const KEYS: [&str; SCENARIOS.len()] = {
    let mut keys = [""; SCENARIOS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = SCENARIOS[at].key;
        at += 1;
    }
    keys
};

/// Endpoints of each cluster.
const ENDPOINTS: usize = 2;
/// Connections with requests.
const CONNECTIONS: usize = 64;

/// Runs the suite and writes its report.
///
/// # Errors
/// As those of [`super::command`].
pub(super) fn command(args: &CompareArgs) -> Result<ExitCode> {
    let raw = match &args.render {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?
        }
        None => run(args)?,
    };
    let out = args.out();
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    for (name, text) in render::files(&raw) {
        write(name, &text)?;
    }
    write("raw.json", &serde_json::to_string(&raw)?)?;
    println!("{}", render::summary(&raw));
    println!("report: {}", out.join("README.md").display());
    let missed = raw.checks().iter().any(targets::Check::failed);
    Ok(if args.check && missed { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn run(args: &CompareArgs) -> Result<Raw> {
    let selection = Selection::new(Suite::Xds, &args.only)?;
    ensure!(args.rounds() > 0, "--rounds 0: nothing would be measured");
    ensure!(args.clusters > 1, "--clusters {}: at least two are needed", args.clusters);
    let _ = proc::raise_open_files();
    let mut raw = Raw {
        suite: Suite::Xds,
        date: machine::date(),
        machine: Machine::this(),
        rounds: args.rounds(),
        clusters: args.clusters,
        endpoints: ENDPOINTS,
        cores: (args.proxy_core, args.load_core),
        ..Raw::default()
    };
    // The others speak no xDS.
    let speaks = |kind| matches!(kind, Kind::Ringway | Kind::Envoy);
    let peers = Installed::all(args, speaks, &mut raw.notes)?;
    raw.peers = peers.iter().map(Installed::peer).collect();
    let dir = Scratch::new()?;
    let upstream = upstream::Background::everywhere(Some(args.load_core))?;
    let keys: Vec<_> = KEYS.into_iter().filter(|key| selection.has(key)).collect();
    let bar = bar(if args.quiet { 0 } else { keys.len() * peers.len() * args.rounds() });
    let mut runner = Runner { args, keys, upstream, dir, bar, raw };
    // Whatever this thread does is the load's, not the proxy's.
    std::thread::scope(|scope| {
        let runner = &mut runner;
        let thread = scope.spawn(move || -> Result<()> {
            proc::pin(args.load_core)?;
            runner.rounds(&peers);
            Ok(())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    runner.bar.finish_and_clear();
    Ok(runner.raw)
}

/// Figures of one run.
type Figures = BTreeMap<&'static str, f64>;

struct Runner<'a> {
    args: &'a CompareArgs,
    keys: Vec<&'static str>,
    upstream: upstream::Background,
    dir: Scratch,
    bar: ProgressBar,
    raw: Raw,
}

impl Runner<'_> {
    fn rounds(&mut self, peers: &[Installed]) {
        for round in 0..self.args.rounds() {
            for at in 0..peers.len() {
                let peer = &peers[(at + round) % peers.len()];
                self.live(peer, round);
                for key in ["routes", "restart"] {
                    self.scenario(key, peer, round, |runner| match key {
                        "routes" => runner.routes(peer),
                        _ => runner.restart(peer),
                    });
                }
            }
        }
    }

    fn has(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    /// Runs a scenario if it was asked for; what goes wrong becomes a note.
    fn scenario(
        &mut self,
        key: &'static str,
        peer: &Installed,
        round: usize,
        run: impl FnOnce(&Self) -> Result<Figures>,
    ) {
        if !self.has(key) {
            return;
        }
        self.bar.set_message(format!("round {}: {key}, {}", round + 1, peer.kind.title()));
        let result = run(self);
        self.bar.inc(1);
        match result {
            Ok(figures) => {
                let figures = figures.into_iter().map(|(key, value)| (key.to_owned(), value));
                let figures = figures.collect();
                self.raw.runs.push(Run {
                    scenario: key.to_owned(),
                    peer: peer.kind,
                    round,
                    figures,
                });
            }
            Err(err) => self.note(format!("{}, {key}: {err:#}", peer.kind.title())),
        }
    }

    fn note(&mut self, note: String) {
        self.bar.println(format!("ringway-perf: {note}"));
        if !self.raw.notes.contains(&note) {
            self.raw.notes.push(note);
        }
    }

    /// Load on a port, as fast as it goes or at a rate.
    fn load(&self, port: u16, path: &str, seconds: f64, rate: Option<f64>) -> Result<Load> {
        Ok(Load {
            connections: CONNECTIONS,
            rate,
            duration: Duration::from_secs_f64(seconds * self.args.scale()),
            warmup: Duration::from_millis(300),
            pin: Some(self.args.load_core),
            ..Load::trial(Target::get(&format!("http://127.0.0.1:{port}{path}"), true)?)
        })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// First and last of many routes.
    fn routes(&self, peer: &Installed) -> Result<Figures> {
        let port = super::peer::free_port()?;
        let routes = self.args.routes.max(2);
        let config = restart::fixed(port, self.upstream.addr.port(), routes);
        let mut proxy =
            proxy::Proxy::launch(peer, &config, port, &["--disable-hot-restart"], self.dir())?;
        let path = |index| super::config::prefix(index) + "100b";
        proxy.first_request(&path(0))?;
        let pid = proxy.running.pid();
        let run = |index| -> Result<Report> {
            let load = self.load(port, &path(index), 1.0, None)?;
            let report = Load { watch: Some(pid), ..load }.run(false)?;
            ensure!(report.failed() == 0, "requests failed: {:?}", report.failures);
            Ok(report)
        };
        // In turn, so that what happens on the machine meanwhile hurts both alike.
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            first.push(run(0)?);
            last.push(run(routes - 1)?);
        }
        proxy.running.check()?;
        let middle = |reports: &[Report], value: fn(&Report) -> f64| {
            let all: Vec<_> = reports.iter().map(value).collect();
            super::render::median(&all).unwrap_or(f64::NAN)
        };
        let rate = |reports: &[Report]| middle(reports, |report| report.requests_per_second);
        let cpu = |reports: &[Report]| middle(reports, super::render::cpu);
        Ok(Figures::from([
            ("first", rate(&first)),
            ("last", rate(&last)),
            ("ratio", rate(&last) / rate(&first)),
            ("cpu_first", cpu(&first)),
            ("cpu_last", cpu(&last)),
            ("cpu_ratio", cpu(&last) / cpu(&first)),
            ("rss", proc::resident(pid)? as f64),
        ]))
    }
}

fn bar(steps: usize) -> ProgressBar {
    if steps == 0 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{msg:>36} {wide_bar} {pos}/{len}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
