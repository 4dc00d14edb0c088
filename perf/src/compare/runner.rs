//! Runs everything, in rounds.
//!
//! Within a scenario the peers take turns, and each round begins with another one, so that what
//! happens on the machine meanwhile hurts all alike. A run that fails becomes a note.

use super::config::{self, Task};
use super::data::{IdleRun, Peer, Raw, RoutesRun, TrafficRun};
use super::machine::{self, Machine};
use super::peer::{Installed, Kind, Running};
use super::scenario::{Pace, Scenario, Selection, TRAFFIC};
use super::{render, wrk};
use crate::cli::CompareArgs;
use crate::load::{Load, Report, Target, idle};
use crate::proc;
use crate::upstream::Background;
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most connections of a scenario that sends requests, with room to spare.
const TRAFFIC_CONNECTIONS: usize = 8192;
/// Time idle connections are left alone before memory is read.
const SETTLE: Duration = Duration::from_millis(1500);

/// Runs what was asked for.
pub(super) fn run(args: &CompareArgs) -> Result<Raw> {
    let selection = Selection::new(&args.only)?;
    ensure!(args.rounds > 0, "--rounds 0: nothing would be measured");
    let open_files = proc::raise_open_files();
    let mut raw = Raw {
        date: machine::date(),
        machine: Machine::this(),
        rounds: args.rounds,
        seconds: args.duration.as_secs_f64(),
        cores: (args.proxy_core, args.load_core),
        half_rate: args.half_rate,
        ..Raw::default()
    };
    let peers = find_peers(args, &mut raw)?;
    if raw.machine.load > 0.5 {
        let load = raw.machine.load;
        raw.notes.push(format!(
            "The machine was busy when the runs began (load average {load:.1}): latencies and \
             requests per second are lower bounds; CPU per request suffers less."
        ));
    }
    let with_wrk = selection.has("wrk") && installed_wrk(&mut raw);
    let dir = Scratch::new()?;
    let upstream = Background::start(Some(args.load_core))?;
    let steps = args.rounds * peers.len() * steps(&selection, with_wrk);
    let bar = bar(if args.quiet { 0 } else { steps });
    let mut runner =
        Runner { args, selection, peers, upstream, open_files, with_wrk, dir, bar, raw };
    for round in 0..args.rounds {
        runner.round(round);
    }
    runner.bar.finish_and_clear();
    let mut seen = HashSet::new();
    runner.raw.notes.retain(|note| seen.insert(note.clone()));
    Ok(runner.raw)
}

struct Runner<'a> {
    args: &'a CompareArgs,
    selection: Selection,
    peers: Vec<Installed>,
    upstream: Background,
    open_files: u64,
    with_wrk: bool,
    dir: Scratch,
    bar: ProgressBar,
    raw: Raw,
}

impl Runner<'_> {
    fn round(&mut self, round: usize) {
        let count = self.peers.len();
        self.peers.rotate_left(usize::from(round > 0) % count);
        let scenarios: Vec<_> = self.selection.traffic().collect();
        if !scenarios.is_empty() || self.with_wrk {
            let mut running: Vec<Running> = Vec::new();
            for peer in self.peers.clone() {
                let started =
                    peer.start(self.task(TRAFFIC_CONNECTIONS.min(self.room()), 0), self.dir.path());
                running.extend(self.noted(peer.kind, started));
            }
            for scenario in scenarios {
                self.scenario(scenario, round, &mut running);
            }
            if self.with_wrk {
                self.wrk(round, &mut running);
            }
        }
        for peer in self.peers.clone() {
            if self.selection.has("routes") {
                let result = self.routes(&peer, round);
                let run = self.noted(peer.kind, result);
                self.raw.routes.extend(run);
            }
            if self.selection.has("idle") {
                let result = self.idle(&peer, round);
                let run = self.noted(peer.kind, result);
                self.raw.idle.extend(run);
            }
        }
    }

    fn scenario(&mut self, scenario: &Scenario, round: usize, running: &mut [Running]) {
        let rate = match scenario.pace {
            Pace::Closed => None,
            Pace::Fixed(rate) => Some(rate),
            Pace::HalfOfEnvoy => match self.half_rate(running) {
                Ok(rate) => Some(rate),
                Err(err) => {
                    self.raw.notes.push(format!("half: {err:#}"));
                    return;
                }
            },
        };
        for proxy in running {
            self.step(scenario.key, proxy.kind, round);
            let target = Target::get(&proxy.url(scenario.path), true);
            let result = target.and_then(|target| {
                let load = Load {
                    connections: scenario.connections,
                    rate,
                    ..self.load(target, proxy.pid())
                };
                let mut run = self.observed(proxy, || load.run(false))?;
                run.scenario = scenario.key.to_owned();
                // For one plot each; the closed loops' curves would only swell the file.
                if rate.is_none() {
                    run.report.curve.clear();
                }
                Ok(TrafficRun { round, ..run })
            });
            let run = self.noted(proxy.kind, result);
            self.raw.traffic.extend(run);
        }
    }

    fn wrk(&mut self, round: usize, running: &mut [Running]) {
        let repeated = TRAFFIC.iter().filter(|scenario| scenario.wrk);
        for scenario in repeated {
            for proxy in running.iter_mut() {
                self.step("wrk", proxy.kind, round);
                let (url, pid) = (proxy.url(scenario.path), proxy.pid());
                let (duration, core) = (self.args.duration, self.args.load_core);
                let result = self
                    .observed(proxy, || wrk::run(&url, scenario.connections, duration, core, pid));
                if let Some(run) = self.noted(proxy.kind, result) {
                    let scenario = scenario.key.to_owned();
                    self.raw.traffic.push(TrafficRun { scenario, round, wrk: true, ..run });
                }
            }
        }
    }

    /// Half of what Envoy reaches, the same in all rounds.
    fn half_rate(&mut self, running: &mut [Running]) -> Result<f64> {
        if let Some(rate) = self.raw.half_rate {
            return Ok(rate);
        }
        let known =
            render::values(&self.raw, "s64", Kind::Envoy, |report| report.requests_per_second);
        let rate = match known.first() {
            Some(rate) => *rate,
            None => {
                let proxy = running.iter_mut().find(|proxy| proxy.kind == Kind::Envoy);
                let proxy = proxy.context("needs Envoy, or a rate by --half-rate")?;
                let target = Target::get(&proxy.url("/100b"), true)?;
                let load = Load { connections: 64, ..self.load(target, proxy.pid()) };
                load.run(false)?.requests_per_second
            }
        };
        // Round figures read better, and the exact half means nothing.
        let rate = (rate / 2.0 / 100.0).round().max(1.0) * 100.0;
        self.raw.half_rate = Some(rate);
        Ok(rate)
    }

    fn routes(&mut self, peer: &Installed, round: usize) -> Result<RoutesRun> {
        let routes = self.args.routes.max(2);
        let mut proxy =
            peer.start(self.task(TRAFFIC_CONNECTIONS.min(self.room()), routes), self.dir.path())?;
        let mut run = |index| -> Result<Report> {
            self.step("routes", peer.kind, round);
            let url = proxy.url(&(config::prefix(index) + "100b"));
            let load = self.load(Target::get(&url, true)?, proxy.pid());
            let mut report = Load { connections: 64, ..load }.run(false)?;
            proxy.check()?;
            report.curve.clear();
            Ok(report)
        };
        let (first, last) = (run(0)?, run(routes - 1)?);
        Ok(RoutesRun { peer: peer.kind, round, routes, first, last })
    }

    fn idle(&mut self, peer: &Installed, round: usize) -> Result<IdleRun> {
        self.step("idle", peer.kind, round);
        let connections = self.args.idle_connections.clamp(1, self.room());
        if connections < self.args.idle_connections {
            self.raw.notes.push(format!(
                "idle: {connections} connections instead of {}: this machine allows {} open \
                 files per process, and HAProxy reserves two per connection.",
                self.args.idle_connections, self.open_files
            ));
        }
        let task = self.task(connections + 300, 0);
        let mut proxy = peer.start_untouched(task, self.dir.path())?;
        std::thread::sleep(Duration::from_millis(500));
        let process = proc::resident(proxy.pid())?;
        let target = Target::get(&proxy.url("/100b"), true)?;
        let core = Some(self.args.load_core);
        let pid = proxy.pid();
        let look = || proc::resident(pid);
        let connected = std::thread::scope(|scope| {
            let thread = scope.spawn(|| idle::with_idle(&target, connections, core, SETTLE, look));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        proxy.check()?;
        Ok(IdleRun { peer: peer.kind, round, connections, process, connected })
    }

    /// Connections a proxy can have: HAProxy reserves two descriptors for each, and some.
    fn room(&self) -> usize {
        let allowed = usize::try_from(self.open_files).unwrap_or(usize::MAX) / 2;
        allowed.saturating_sub(500).max(1)
    }

    /// Runs `run` and says what else used the cores meanwhile.
    fn observed(
        &self,
        proxy: &mut Running,
        run: impl FnOnce() -> Result<Report>,
    ) -> Result<TrafficRun> {
        let (proxy_core, load_core) = self.raw.cores;
        let pid = proxy.pid();
        let look = || -> Result<_> {
            Ok([proc::core_busy(proxy_core)?, proc::core_busy(load_core)?, proc::cpu_time(pid)?])
        };
        let (started, before) = (Instant::now(), look()?);
        let report = run()?;
        let (elapsed, after) = (started.elapsed().as_secs_f64(), look()?);
        proxy.check()?;
        let share = |at: usize| (after[at].saturating_sub(before[at])).as_secs_f64() / elapsed;
        Ok(TrafficRun {
            scenario: String::new(),
            peer: proxy.kind,
            round: 0,
            wrk: false,
            report,
            foreign: (share(0) - share(2)).max(0.0),
            load_core: share(1),
        })
    }

    fn load(&self, target: Target, pid: u32) -> Load {
        Load {
            duration: self.args.duration,
            warmup: self.args.warmup,
            pin: Some(self.args.load_core),
            watch: Some(pid),
            ..Load::trial(target)
        }
    }

    fn task(&self, connections: usize, routes: usize) -> Task {
        Task { port: 0, upstream: self.upstream.addr, connections, routes }
    }

    fn step(&self, scenario: &str, kind: Kind, round: usize) {
        self.bar.inc(1);
        self.bar.set_message(format!("round {}: {scenario}, {}", round + 1, kind.title()));
    }

    /// Turns an error into a note.
    fn noted<T>(&mut self, kind: Kind, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(err) => {
                let note = format!("{}: {err:#}", kind.title());
                self.bar.println(format!("ringway-perf: {note}"));
                self.raw.notes.push(note);
                None
            }
        }
    }
}

fn find_peers(args: &CompareArgs, raw: &mut Raw) -> Result<Vec<Installed>> {
    let mut peers = Vec::new();
    for name in &args.peers {
        match Installed::find(Kind::from_name(name)?, args) {
            Ok(peer) => {
                raw.peers.push(Peer { kind: peer.kind, version: peer.version.clone() });
                peers.push(peer);
            }
            Err(err) => {
                eprintln!("ringway-perf: left out: {err:#}");
                raw.notes.push(format!("Left out: {err:#}."));
            }
        }
    }
    ensure!(!peers.is_empty(), "none of the peers is installed");
    Ok(peers)
}

fn installed_wrk(raw: &mut Raw) -> bool {
    match wrk::version() {
        Ok(version) => {
            raw.wrk = Some(version);
            true
        }
        Err(err) => {
            raw.notes.push(format!("No second generator: {err:#}."));
            false
        }
    }
}

/// Calls of [`Runner::step`] per round and peer.
fn steps(selection: &Selection, with_wrk: bool) -> usize {
    let repeated = TRAFFIC.iter().filter(|scenario| scenario.wrk).count();
    selection.traffic().count()
        + usize::from(with_wrk) * repeated
        + usize::from(selection.has("routes")) * 2
        + usize::from(selection.has("idle"))
}

/// A bar over `steps`; a hidden one for 0.
fn bar(steps: usize) -> ProgressBar {
    if steps == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:>28} {wide_bar} {pos}/{len} {eta_precise}");
    ProgressBar::new(steps as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A folder of its own, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ringway-perf-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is a few configurations in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
