//! What a comparison has measured: the content of raw.json.

use super::machine::Machine;
use super::peer::Kind;
use super::scenario::Suite;
use super::storm::PATIENCE;
use crate::load::Report;
use crate::load::storm::Handshakes;
use serde::{Deserialize, Serialize};

/// Everything a report is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Raw {
    /// What was run.
    #[serde(default)]
    pub suite: Suite,
    /// Date and time of the start, UTC.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// Rounds asked for.
    pub rounds: usize,
    /// Seconds measured per run.
    pub seconds: f64,
    /// Core of the proxy, core of generator and upstream.
    pub cores: (usize, usize),
    /// Who took part.
    pub peers: Vec<Peer>,
    /// Version of the second generator (wrk, h2load), when it took part.
    #[serde(alias = "wrk")]
    pub second: Option<String>,
    /// What was left out or failed, in words.
    pub notes: Vec<String>,
    /// Requests per second of scenario `half`.
    pub half_rate: Option<f64>,
    /// Runs that send requests.
    pub traffic: Vec<TrafficRun>,
    /// Memory runs.
    pub idle: Vec<IdleRun>,
    /// Runs with many routes.
    pub routes: Vec<RoutesRun>,
    /// Runs with a storm of handshakes.
    #[serde(default)]
    pub storms: Vec<StormRun>,
}

/// A proxy that took part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub kind: Kind,
    /// As it says itself.
    pub version: String,
}

/// One run of one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrafficRun {
    /// Key of the scenario.
    pub scenario: String,
    /// Which proxy.
    pub peer: Kind,
    /// From 0.
    pub round: usize,
    /// Whether the second generator made the load.
    #[serde(alias = "wrk")]
    pub second: bool,
    /// What the generator saw.
    pub report: Report,
    /// Share of the proxy's core used by others, warm-up included.
    pub foreign: f64,
    /// Share of the generator's core in use.
    pub load_core: f64,
}

/// Memory of one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleRun {
    /// Key of the scenario.
    #[serde(default = "idle")]
    pub scenario: String,
    /// Which proxy.
    pub peer: Kind,
    /// From 0.
    pub round: usize,
    /// Idle connections that were open.
    pub connections: usize,
    /// Resident bytes after the start, before any request.
    pub process: u64,
    /// Resident bytes with the connections open and idle, each after one request.
    pub connected: u64,
}

/// Reports once had only this one.
fn idle() -> String {
    "idle".to_owned()
}

impl IdleRun {
    /// Bytes for one connection.
    #[must_use]
    pub fn per_connection(&self) -> f64 {
        self.connected.saturating_sub(self.process) as f64 / self.connections.max(1) as f64
    }
}

/// One peer with many routes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoutesRun {
    /// Which proxy.
    pub peer: Kind,
    /// From 0.
    pub round: usize,
    /// How many.
    pub routes: usize,
    /// All requests to the first route.
    pub first: Report,
    /// All requests to the last route.
    pub last: Report,
}

/// One peer under a storm of new TLS connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StormRun {
    /// Which proxy.
    pub peer: Kind,
    /// From 0.
    pub round: usize,
    /// Handshakes per second it can do when it does nothing else.
    pub capacity: f64,
    /// Live connections without the storm.
    pub calm: Report,
    /// The same within it.
    pub stormy: Report,
    /// New connections per second asked for in it.
    pub rate: f64,
    /// What became of them.
    pub handshakes: Handshakes,
}

impl StormRun {
    /// The live connections' p99 in microseconds; the time a client waits at most when more than
    /// one request in a hundred failed.
    #[must_use]
    pub fn p99(report: &Report) -> f64 {
        let failed = report.failed();
        let all = report.statuses.values().sum::<u64>() + failed;
        match failed * 100 > all {
            true => PATIENCE.as_secs_f64() * 1e6,
            false => report.latency.p99,
        }
    }

    /// How much longer that is in the storm.
    #[must_use]
    pub fn p99_ratio(&self) -> f64 {
        Self::p99(&self.stormy) / Self::p99(&self.calm).max(1e-9)
    }
}
