//! Scenarios of one proxy with all clusters: it is started once and runs them one after the other.

use super::super::peer::{Installed, free_port};
use super::proxy::{Client, Proxy, from_ads, get};
use super::{Figures, Runner, moves};
use crate::ads::{self, Kind};
use crate::proc;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time a proxy has after its first answer before it is looked at.
const SETTLE: Duration = Duration::from_millis(500);
/// Times the clusters are sent again, and the time for each.
const RESENDS: usize = 12;
const RESEND_EVERY: Duration = Duration::from_millis(120);
/// Moves of the endpoint.
const MOVES: usize = 200;
/// EDS updates per second for the CPU time of one.
const CPU_RATE: f64 = 200.0;
/// Longest wait for the proxy to accept what was sent.
const PATIENCE: Duration = Duration::from_secs(20);
/// Old connections of a changed listener go within this.
const DRAIN: [&str; 3] = ["--disable-hot-restart", "--drain-time-s", "2"];

/// A proxy, its control plane, and what the scenarios have in common.
struct Live {
    proxy: Proxy,
    ads: ads::Background,
    port: u16,
    /// Half of saturation, and the p99 at that rate with nothing else going on.
    calm: Option<(f64, f64)>,
}

impl Runner<'_> {
    /// Everything that needs the clusters over ADS.
    pub(super) fn live(&mut self, peer: &Installed, round: usize) {
        const HERE: [&str; 6] = ["start", "resend", "move", "updates", "stats", "listener"];
        if !HERE.iter().any(|key| self.has(key)) {
            return;
        }
        let mut live = match self.start(peer) {
            Ok((live, figures)) => {
                self.scenario("start", peer, round, |_| Ok(figures));
                live
            }
            Err(err) => return self.note(format!("{}, start: {err:#}", peer.kind.title())),
        };
        for key in &HERE[1..] {
            self.scenario(key, peer, round, |runner| {
                live.proxy.running.check()?;
                match *key {
                    "resend" => live.resend(),
                    "move" => live.moves(),
                    "updates" => live.updates(runner),
                    "stats" => live.stats(runner),
                    _ => live.listener(runner),
                }
            });
        }
        if let Err(err) = live.refusals() {
            self.note(format!("{}: {err:#}", peer.kind.title()));
        }
    }

    fn start(&self, peer: &Installed) -> Result<(Live, Figures)> {
        let port = free_port()?;
        let plan = ads::Plan {
            clusters: self.args.clusters,
            endpoints: super::ENDPOINTS,
            upstream: self.upstream.addr.port(),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let ads = ads::Background::start(plan, Some(self.args.load_core))?;
        let mut proxy = Proxy::launch(peer, &from_ads(ads.addr), port, &DRAIN, self.dir())?;
        let first = proxy.first_request("/100b")?;
        std::thread::sleep(SETTLE);
        let pid = proxy.running.pid();
        let figures = Figures::from([
            ("first", first.as_secs_f64() * 1e6),
            ("cpu", proc::cpu_time(pid)?.as_secs_f64() * 1e6),
            ("rss", proc::resident(pid)? as f64),
        ]);
        Ok((Live { proxy, ads, port, calm: None }, figures))
    }
}

impl Live {
    fn resend(&mut self) -> Result<Figures> {
        // Both are the same but for the resending.
        let idle = self.proxy.cpu()?;
        std::thread::sleep(RESEND_EVERY * RESENDS as u32);
        let before = self.proxy.cpu()?;
        let acks = self.ads.run(|server| async move { Ok(server.heard().acks) })?;
        for _ in 0..RESENDS {
            let next = Instant::now() + RESEND_EVERY;
            self.ads.run(|server| async move { server.push(Kind::Cluster, ads::unchanged) })?;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let begun = Instant::now();
        while self.ads.run(|server| async move { Ok(server.heard().acks) })? < acks + RESENDS as u64
        {
            ensure!(begun.elapsed() < PATIENCE, "not all responses were accepted");
            std::thread::sleep(Duration::from_millis(20));
        }
        let after = self.proxy.cpu()?;
        let (spent, idle) = (after.since(before), before.since(idle));
        let each = |spent: f64, idle: f64| ((spent - idle) / RESENDS as f64).max(0.0);
        Ok(Figures::from([("control", each(spent.0, idle.0)), ("shards", each(spent.1, idle.1))]))
    }

    fn moves(&mut self) -> Result<Figures> {
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port));
        let times = self.ads.run(move |server| moves::run(server, addr, MOVES))?;
        let at = |quantile: f64| -> Result<f64> {
            let index = ((times.len() as f64 * quantile).ceil() as usize).max(1) - 1;
            let time = times.get(index).context("no moves")?;
            Ok(time.as_secs_f64() * 1e6)
        };
        let length = Duration::from_secs(1);
        let idle = self.proxy.cpu()?;
        std::thread::sleep(length);
        let before = self.proxy.cpu()?;
        let ((), sent) = self.ads.with_updates(CPU_RATE, || {
            std::thread::sleep(length);
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(50));
        let (spent, idle) = (self.proxy.cpu()?.since(before).0, before.since(idle).0);
        Ok(Figures::from([
            ("p50", at(0.5)?),
            ("p99", at(0.99)?),
            ("cpu", (spent - idle).max(0.0) / sent.max(1) as f64),
        ]))
    }

    fn updates(&mut self, runner: &Runner<'_>) -> Result<Figures> {
        let (rate, calm) = self.calm(runner)?;
        let port = self.port;
        let mut failed = 0;
        let mut p99 = |updates: f64| -> Result<f64> {
            let load = runner.load(port, "/100b", 2.5, Some(rate))?;
            let (report, _) = self.ads.with_updates(updates, || load.run(false))?;
            failed += report.failed();
            Ok(report.latency.p99)
        };
        let (some, many) = (p99(200.0)?, p99(1000.0)?);
        std::thread::sleep(SETTLE);
        let again = runner.load(port, "/100b", 1.5, Some(rate))?.run(false)?;
        let calm = (calm + again.latency.p99) / 2.0;
        Ok(Figures::from([
            ("rate", rate),
            ("calm", calm),
            ("p99_200", some),
            ("ratio_200", some / calm),
            ("p99_1000", many),
            ("ratio_1000", many / calm),
            ("failed", failed as f64),
        ]))
    }

    /// Half of what the proxy reaches, and its p99 there.
    fn calm(&mut self, runner: &Runner<'_>) -> Result<(f64, f64)> {
        if let Some(calm) = self.calm {
            return Ok(calm);
        }
        let most = runner.load(self.port, "/100b", 1.5, None)?.run(false)?;
        ensure!(most.failed() == 0, "requests failed: {:?}", most.failures);
        let rate = (most.requests_per_second / 2.0 / 100.0).round().max(1.0) * 100.0;
        let calm = runner.load(self.port, "/100b", 1.5, Some(rate))?.run(false)?;
        let calm = (rate, calm.latency.p99);
        self.calm = Some(calm);
        Ok(calm)
    }

    fn stats(&mut self, runner: &Runner<'_>) -> Result<Figures> {
        const PAGE: &str = "/stats/prometheus";
        let (pid, admin) = (self.proxy.running.pid(), self.proxy.admin);
        let before = proc::resident(pid)?;
        let (pages, ready) =
            with_ready(admin, || (0..3).map(|_| get(admin, PAGE)).collect::<Result<Vec<_>>>())?;
        let grown = proc::resident(pid)?.saturating_sub(before);
        let (rate, calm) = self.calm(runner)?;
        let load = runner.load(self.port, "/100b", 2.0, Some(rate))?;
        let stop = AtomicBool::new(false);
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Its time was taken above.
                    let _ = get(admin, PAGE);
                    std::thread::sleep(Duration::from_millis(250));
                }
            });
            let report = load.run(false);
            stop.store(true, Ordering::Relaxed);
            report
        })?;
        let middle = |value: &dyn Fn(&super::proxy::Page) -> Duration| {
            let all: Vec<_> = pages.iter().map(|page| value(page).as_secs_f64() * 1e6).collect();
            super::super::render::median(&all).unwrap_or(f64::NAN)
        };
        Ok(Figures::from([
            ("page", middle(&|page| page.whole)),
            ("first", middle(&|page| page.first_byte)),
            ("size", pages.first().map_or(0.0, |page| page.size as f64)),
            ("grown", grown as f64),
            ("ready", ready.as_secs_f64() * 1e6),
            ("traffic", report.latency.p99 / calm),
        ]))
    }

    fn listener(&mut self, runner: &Runner<'_>) -> Result<Figures> {
        let load = runner.load(self.port, "/100b", 4.0, None)?;
        let report = std::thread::scope(|scope| {
            let thread = scope.spawn(|| load.run(false));
            for change in 1..=2 {
                std::thread::sleep(Duration::from_millis(800));
                self.ads.run(move |server| async move {
                    server.push(Kind::Listener, |world| Ok(vec![world.change_listener(change)?]))
                })?;
            }
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Ok(Figures::from([
            ("failed", report.failed() as f64),
            ("answered", report.answered as f64),
        ]))
    }

    /// An error if the proxy has refused anything.
    fn refusals(&self) -> Result<()> {
        let heard = self.ads.run(|server| async move { Ok(server.heard()) })?;
        ensure!(heard.refusals.is_empty(), "refused: {}", heard.refusals.join("; "));
        Ok(())
    }
}

/// Asks for `/ready` every millisecond while something runs; the longest it took.
fn with_ready<T>(admin: SocketAddr, run: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Duration> {
            let mut client = Client::connect(admin)?;
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                ensure!(client.get("/ready")? == 200, "not ready");
                longest = longest.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(longest)
        });
        let result = run();
        stop.store(true, Ordering::Relaxed);
        let longest = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((result?, longest))
    })
}
