//! Live connections while more new TLS connections come than the proxy can take.

use super::data::StormRun;
use super::peer::{Installed, Running};
use super::runner::Runner;
use super::scenario::{Front, Key, Pace, Scenario, Work};
use crate::load::storm::Handshakes;
use crate::load::{Load, Report, storm};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is listened for.
pub(super) const FRONT: Front = Front::Tls(Key::P256);

/// New connections per second above what the proxy can take.
const ABOVE: f64 = 500.0;

/// The live connections: far from what the proxy can do, as without a storm.
const LIVE: Scenario = Scenario {
    pace: Pace::Fixed(LIVE_RATE),
    ..Scenario::closed("storm", "", FRONT, Work::Get("/100b"), 64)
};
const LIVE_RATE: f64 = 2000.0;

/// Time the storm blows before it is measured in.
const BUILD_UP: Duration = Duration::from_millis(700);

/// Time after which a request on a live connection has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

impl Runner<'_> {
    /// Measures what the proxy can take, the live connections alone, and both together.
    pub(super) fn storm(&self, peer: &Installed, round: usize) -> Result<StormRun> {
        let mut proxy = self.start(peer, &LIVE)?;
        self.step("storm: capacity", peer.kind, round);
        let capacity = self.capacity(&proxy)?;
        self.step("storm: without", peer.kind, round);
        let calm = self.live(&proxy)?.run(false)?;
        self.step("storm: within", peer.kind, round);
        let rate = capacity + ABOVE;
        let (stormy, handshakes) = self.within(&proxy, rate)?;
        proxy.check()?;
        let mut run = StormRun { peer: peer.kind, round, capacity, calm, stormy, rate, handshakes };
        run.calm.curve.clear();
        run.stormy.curve.clear();
        Ok(run)
    }

    /// Handshakes per second when the proxy does nothing else.
    fn capacity(&self, proxy: &Running) -> Result<f64> {
        let target = LIVE.target(proxy.port)?;
        let stop = AtomicBool::new(false);
        let core = Some(self.args.load_core);
        let seen = std::thread::scope(|scope| {
            let storm =
                scope.spawn(|| storm::handshakes(&target, storm::Pace::Closed, core, &stop));
            std::thread::sleep(self.args.duration());
            stop.store(true, Ordering::Relaxed);
            storm.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Ok(seen.per_second())
    }

    /// The live connections, with the storm from when they are open.
    fn within(&self, proxy: &Running, rate: f64) -> Result<(Report, Handshakes)> {
        let target = LIVE.target(proxy.port)?;
        let opened = Arc::new(AtomicBool::new(false));
        let stop = AtomicBool::new(false);
        let core = Some(self.args.load_core);
        let live = Load {
            warmup: self.args.warmup() + BUILD_UP,
            opened: Some(Arc::clone(&opened)),
            ..self.live(proxy)?
        };
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| {
                while !opened.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                storm::handshakes(&target, storm::Pace::Rate(rate), core, &stop)
            });
            let report = live.run(false);
            stop.store(true, Ordering::Relaxed);
            let seen = storm.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((report?, seen))
        })
    }

    fn live(&self, proxy: &Running) -> Result<Load> {
        Ok(Load {
            connections: LIVE.connections,
            rate: Some(LIVE_RATE),
            timeout: PATIENCE,
            ..self.load(LIVE.target(proxy.port)?, proxy.pid())
        })
    }
}
