//! Runs everything, in rounds.
//!
//! Within a scenario the peers take turns, and each round begins with another one, so that what
//! happens on the machine meanwhile hurts all alike. A run that fails becomes a note.

use super::config::{self, Task};
use super::data::{IdleRun, Raw, RoutesRun, TrafficRun};
use super::machine::{self, Machine};
use super::peer::{Installed, Kind, Running};
use super::scenario::{Front, Pace, Scenario, Selection, Suite, Work};
use super::scratch::Scratch;
use super::second::{Run, Second};
use super::{certificates, render};
use crate::cli::CompareArgs;
use crate::load::{Load, Report, Target, idle};
use crate::proc;
use crate::upstream::Background;
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most connections of a scenario that sends requests, with room to spare.
const TRAFFIC_CONNECTIONS: usize = 8192;
/// Time idle connections are left alone before memory is read.
const SETTLE: Duration = Duration::from_millis(1500);
/// Local addresses in turn where each request has its own connection, for their ports.
const SOURCES: u8 = 16;

/// Runs what was asked for.
pub(super) fn run(args: &CompareArgs) -> Result<Raw> {
    let selection = Selection::new(args.suite, &args.only)?;
    ensure!(args.rounds() > 0, "--rounds 0: nothing would be measured");
    let open_files = proc::raise_open_files();
    let mut raw = Raw {
        suite: args.suite,
        date: machine::date(),
        machine: Machine::this(),
        rounds: args.rounds(),
        seconds: args.duration().as_secs_f64(),
        cores: (args.proxy_core, args.load_core),
        half_rate: args.half_rate,
        ..Raw::default()
    };
    let peers = Installed::all(args, |_| true, &mut raw.notes)?;
    raw.peers = peers.iter().map(Installed::peer).collect();
    if raw.machine.load > 0.5 {
        let load = raw.machine.load;
        raw.notes.push(format!(
            "The machine was busy when the runs began (load average {load:.1}): latencies and \
             requests per second are lower bounds; CPU per request suffers less."
        ));
    }
    let second = selection.second().filter(|second| installed(*second, &mut raw));
    let dir = Scratch::new()?;
    certificates::write(dir.path())?;
    let upstream = Background::start(Some(args.load_core))?;
    let steps = args.rounds() * peers.len() * steps(&selection, second);
    let bar = bar(if args.quiet { 0 } else { steps });
    let mut runner = Runner { args, selection, peers, upstream, open_files, second, dir, bar, raw };
    for round in 0..args.rounds() {
        runner.round(round);
    }
    runner.bar.finish_and_clear();
    let mut seen = HashSet::new();
    runner.raw.notes.retain(|note| seen.insert(note.clone()));
    Ok(runner.raw)
}

pub(super) struct Runner<'a> {
    pub(super) args: &'a CompareArgs,
    selection: Selection,
    peers: Vec<Installed>,
    upstream: Background,
    open_files: u64,
    second: Option<Second>,
    dir: Scratch,
    bar: ProgressBar,
    pub(super) raw: Raw,
}

impl Runner<'_> {
    fn round(&mut self, round: usize) {
        let count = self.peers.len();
        self.peers.rotate_left(usize::from(round > 0) % count);
        for front in self.selection.fronts() {
            self.front(front, round);
        }
        for peer in self.peers.clone() {
            if self.selection.has("routes") {
                let result = self.routes(&peer, round);
                let run = self.noted(peer.kind, result);
                self.raw.routes.extend(run);
            }
            if self.selection.has("storm") && super::storm::FRONT.is_done_by(peer.kind) {
                let result = self.storm(&peer, round);
                let run = self.noted(peer.kind, result);
                self.raw.storms.extend(run);
            }
        }
        // Memory hardly differs from one run to the next.
        if round < self.args.idle_rounds() {
            let idle: Vec<_> = self.selection.idle().collect();
            for scenario in idle {
                for peer in self.peers_for(scenario.front) {
                    let result = self.idle(scenario, &peer, round);
                    let run = self.noted(peer.kind, result);
                    self.raw.idle.extend(run);
                }
            }
        }
    }

    /// All scenarios of one front: its proxies are started once and take turns.
    fn front(&mut self, front: Front, round: usize) {
        let scenarios: Vec<_> =
            self.selection.traffic().filter(|scenario| scenario.front == front).collect();
        let mut repeated = self.selection.repeated();
        repeated.retain(|scenario| self.second.is_some() && scenario.front == front);
        let Some(first) = scenarios.first().or_else(|| repeated.first()).copied() else { return };
        let mut running: Vec<Running> = Vec::new();
        for peer in self.peers_for(front) {
            let task = self.task(front, TRAFFIC_CONNECTIONS.min(self.room()), 0);
            let started = peer.start(task, first, self.dir.path());
            running.extend(self.noted(peer.kind, started));
        }
        for scenario in &scenarios {
            self.scenario(scenario, round, &mut running);
        }
        for scenario in &repeated {
            self.repeat(scenario, round, &mut running);
        }
    }

    fn peers_for(&self, front: Front) -> Vec<Installed> {
        self.peers.iter().filter(|peer| front.is_done_by(peer.kind)).cloned().collect()
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
            let result = scenario.target(proxy.port).and_then(|target| {
                let sources = 2..2 + if scenario.keep_alive() { 0 } else { SOURCES };
                let load = Load {
                    connections: scenario.connections,
                    rate,
                    keep_alive: scenario.keep_alive(),
                    source: sources.map(|last| IpAddr::from([127, 0, 0, last])).collect(),
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

    /// The same by the second generator.
    fn repeat(&mut self, scenario: &Scenario, round: usize, running: &mut [Running]) {
        let (Some(second), Work::Get(path)) = (self.second, scenario.work) else { return };
        for proxy in running.iter_mut() {
            self.step("again", proxy.kind, round);
            let url = format!("http://127.0.0.1:{}{path}", proxy.port);
            let run = Run {
                url: &url,
                connections: scenario.connections,
                streams: scenario.streams,
                duration: self.args.duration(),
                core: self.args.load_core,
                pid: proxy.pid(),
            };
            let result = self.observed(proxy, || second.run(&run));
            if let Some(run) = self.noted(proxy.kind, result) {
                let scenario = scenario.key.to_owned();
                self.raw.traffic.push(TrafficRun { scenario, round, second: true, ..run });
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
        let task = self.task(Front::Http1, TRAFFIC_CONNECTIONS.min(self.room()), routes);
        let any = self.raw.suite.traffic().first().context("no scenario")?;
        let mut proxy = peer.start(task, any, self.dir.path())?;
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

    fn idle(&mut self, scenario: &Scenario, peer: &Installed, round: usize) -> Result<IdleRun> {
        self.step(scenario.key, peer.kind, round);
        let connections = self.args.idle_connections.clamp(1, self.room());
        if connections < self.args.idle_connections {
            self.raw.notes.push(format!(
                "idle: {connections} connections instead of {}: this machine allows {} open \
                 files per process, and HAProxy reserves two per connection.",
                self.args.idle_connections, self.open_files
            ));
        }
        let task = self.task(scenario.front, connections + 300, 0);
        let mut proxy = peer.start_untouched(task, self.dir.path())?;
        std::thread::sleep(Duration::from_millis(500));
        let process = proc::resident(proxy.pid())?;
        let target = scenario.target(proxy.port)?;
        let core = Some(self.args.load_core);
        let pid = proxy.pid();
        let look = || proc::resident(pid);
        let connected = std::thread::scope(|scope| {
            let thread = scope.spawn(|| idle::with_idle(&target, connections, core, SETTLE, look));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        proxy.check()?;
        let scenario = scenario.key.to_owned();
        Ok(IdleRun { scenario, peer: peer.kind, round, connections, process, connected })
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
            second: false,
            report,
            foreign: (share(0) - share(2)).max(0.0),
            load_core: share(1),
        })
    }

    pub(super) fn load(&self, target: Target, pid: u32) -> Load {
        Load {
            duration: self.args.duration(),
            warmup: self.args.warmup(),
            pin: Some(self.args.load_core),
            watch: Some(pid),
            ..Load::trial(target)
        }
    }

    fn task(&self, front: Front, connections: usize, routes: usize) -> Task {
        Task {
            front,
            port: 0,
            upstream: self.upstream.addr,
            echo: self.upstream.echo,
            connections,
            routes,
            splice: self.raw.suite == Suite::Protocols,
            certificates: self.dir.path().to_owned(),
        }
    }

    /// One proxy alone.
    pub(super) fn start(&self, peer: &Installed, scenario: &Scenario) -> Result<Running> {
        let task = self.task(scenario.front, TRAFFIC_CONNECTIONS.min(self.room()), 0);
        peer.start(task, scenario, self.dir.path())
    }

    pub(super) fn step(&self, scenario: &str, kind: Kind, round: usize) {
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

fn installed(second: Second, raw: &mut Raw) -> bool {
    match second.version() {
        Ok(version) => {
            raw.second = Some(version);
            true
        }
        Err(err) => {
            raw.notes.push(format!("No second generator: {err:#}."));
            false
        }
    }
}

/// Calls of [`Runner::step`] per round and peer, about.
fn steps(selection: &Selection, second: Option<Second>) -> usize {
    selection.traffic().count()
        + usize::from(second.is_some()) * selection.repeated().len()
        + usize::from(selection.has("routes")) * 2
        + usize::from(selection.has("storm")) * 3
        + selection.idle().count()
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
