//! What a comparison has measured: the content of raw.json.

use super::machine::Machine;
use super::peer::Kind;
use crate::load::Report;
use serde::{Deserialize, Serialize};

/// Everything a report is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Raw {
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
    /// Version of wrk, when it took part.
    pub wrk: Option<String>,
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
    /// Whether wrk made the load.
    pub wrk: bool,
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
