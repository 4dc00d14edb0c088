//! The scenarios.

use super::peer::Kind;
use super::second::Second;
use super::xds;
use crate::load::{Target, Wish};
use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

mod http1;
mod protocols;

/// A family of scenarios with a report of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// HTTP/1.1 with keep-alive.
    #[default]
    Http1,
    /// Every other protocol: HTTP/2, gRPC, TLS, TCP, WebSocket, new connections.
    Protocols,
    /// Configuration over ADS, very large ones, and restarts.
    Xds,
}

impl Suite {
    /// Those that send requests, in the order of the report.
    pub(super) const fn traffic(self) -> &'static [Scenario] {
        match self {
            Self::Http1 => &http1::TRAFFIC,
            Self::Protocols => &protocols::TRAFFIC,
            Self::Xds => &[],
        }
    }

    /// Those that measure the memory of idle connections.
    pub(super) const fn idle(self) -> &'static [Scenario] {
        match self {
            Self::Http1 => &http1::IDLE,
            Self::Protocols => &protocols::IDLE,
            Self::Xds => &[],
        }
    }

    /// Those that are neither.
    pub(super) const fn others(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["routes", "wrk"],
            Self::Protocols => &["storm", "h2load"],
            Self::Xds => &xds::KEYS,
        }
    }

    /// Who repeats some of them.
    pub(super) const fn second(self) -> Option<Second> {
        match self {
            Self::Http1 => Some(Second::Wrk),
            Self::Protocols => Some(Second::H2load),
            Self::Xds => None,
        }
    }

    /// All names, in the order of the report.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let scenarios = self.traffic().iter().chain(self.idle());
        scenarios.map(|scenario| scenario.key).chain(self.others().iter().copied())
    }

    /// The scenario of this name, if it is one that sends requests.
    pub(super) fn find(self, key: &str) -> Option<&'static Scenario> {
        self.traffic().iter().find(|scenario| scenario.key == key)
    }
}

/// What a proxy listens for and how it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// HTTP/1.1 on both sides.
    Http1,
    /// The same, WebSocket allowed.
    WebSocket,
    /// HTTP/1.1 over TLS, forwarded without.
    Tls(Key),
    /// Bytes.
    Tcp,
    /// HTTP/2 with prior knowledge, forwarded as HTTP/1.1.
    Http2,
    /// HTTP/2 with prior knowledge on both sides.
    Http2Both,
    /// The same, for gRPC only.
    Grpc,
}

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// ECDSA on the curve P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

impl Front {
    /// Of a URL that is understood there.
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::WebSocket => "ws",
            Self::Tls(_) => "https",
            Self::Tcp => "tcp",
            Self::Http2 | Self::Http2Both => "h2c",
            Self::Grpc => "grpc",
        }
    }

    /// Whether this proxy can do it at all.
    pub(super) const fn is_done_by(self, kind: Kind) -> bool {
        // nginx speaks HTTP/2 to a server only for gRPC.
        !matches!((self, kind), (Self::Http2Both, Kind::Nginx))
    }
}

/// What is done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Requests for this path.
    Get(&'static str),
    /// One request for a path on each connection.
    Once {
        path: &'static str,
        /// Whether TLS sessions are resumed.
        resume: bool,
    },
    /// Messages of so many bytes that come back.
    Echo(u64),
    /// gRPC calls with a message that comes back; with `streaming` messages on open streams.
    Grpc { streaming: bool },
}

/// How fast requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// As fast as answers come.
    Closed,
    /// Requests per second.
    Fixed(f64),
    /// Half of what Envoy reaches in `s64`.
    HalfOfEnvoy,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) front: Front,
    pub(super) work: Work,
    pub(super) connections: usize,
    /// Exchanges at once on each.
    pub(super) streams: usize,
    pub(super) pace: Pace,
    /// Whether the suite's second generator repeats it.
    pub(super) repeated: bool,
    /// What is counted.
    pub(super) unit: &'static str,
    /// Bytes forwarded for one of it, both directions together; 0 where that says nothing.
    pub(super) bytes: u64,
}

impl Scenario {
    pub(super) const fn closed(
        key: &'static str,
        title: &'static str,
        front: Front,
        work: Work,
        connections: usize,
    ) -> Self {
        let (pace, repeated, unit) = (Pace::Closed, false, "request");
        let (streams, bytes) = (1, 0);
        Self { key, title, front, work, connections, streams, pace, repeated, unit, bytes }
    }

    /// What to send to the proxy on this port.
    ///
    /// # Errors
    /// None that a test would not have found.
    pub(super) fn target(&self, port: u16) -> Result<Target> {
        let (path, body, keep_alive, resume) = match self.work {
            Work::Get(path) => (path, 0, true, false),
            Work::Once { path, resume } => (path, 0, false, resume),
            Work::Echo(bytes) => ("", bytes, true, false),
            Work::Grpc { .. } => ("/echo.Echo/Say", 100, true, false),
        };
        let (streams, streaming) = (self.streams, self.work == Work::Grpc { streaming: true });
        let url = format!("{}://127.0.0.1:{port}{path}", self.front.scheme());
        Target::wish(&Wish { body, keep_alive, resume, streams, streaming, ..Wish::get(&url) })
    }

    /// Whether a connection serves more than one request.
    pub(super) const fn keep_alive(&self) -> bool {
        !matches!(self.work, Work::Once { .. })
    }
}

/// What was asked for with `--only`.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) suite: Suite,
    names: Vec<String>,
}

impl Selection {
    /// All when `only` is empty. What is no name stands for all that begin with it and a dash.
    pub(super) fn new(suite: Suite, only: &[String]) -> Result<Self> {
        let mut names = Vec::new();
        for wanted in only {
            let is_name = suite.names().any(|name| name == wanted);
            let is_meant = |name: &&str| match name.strip_prefix(wanted.as_str()) {
                Some("") => true,
                Some(rest) => !is_name && rest.starts_with('-'),
                None => false,
            };
            let before = names.len();
            names.extend(suite.names().filter(is_meant).map(str::to_owned));
            if names.len() == before {
                let all: Vec<_> = suite.names().collect();
                bail!("--only {wanted}: unknown scenario; there are {}", all.join(", "));
            }
        }
        if only.is_empty() {
            names = suite.names().map(str::to_owned).collect();
        }
        Ok(Self { suite, names })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.names.iter().any(|name| name == key)
    }

    pub(super) fn traffic(&self) -> impl Iterator<Item = &'static Scenario> {
        self.suite.traffic().iter().filter(|scenario| self.has(scenario.key))
    }

    /// The second generator, if it was asked for.
    pub(super) fn second(&self) -> Option<Second> {
        self.suite.second().filter(|second| self.has(second.key()))
    }

    pub(super) fn idle(&self) -> impl Iterator<Item = &'static Scenario> {
        self.suite.idle().iter().filter(|scenario| self.has(scenario.key))
    }

    /// What the second generator repeats: of what runs anyway, or all there is.
    pub(super) fn repeated(&self) -> Vec<&'static Scenario> {
        if self.second().is_none() {
            return Vec::new();
        }
        let chosen: Vec<_> = self.traffic().filter(|scenario| scenario.repeated).collect();
        let all = || self.suite.traffic().iter().filter(|scenario| scenario.repeated).collect();
        if chosen.is_empty() { all() } else { chosen }
    }

    /// Fronts that traffic needs, in order.
    pub(super) fn fronts(&self) -> Vec<Front> {
        let repeated = self.repeated();
        let needed = |scenario: &&Scenario| {
            self.has(scenario.key) || repeated.iter().any(|other| other.key == scenario.key)
        };
        let all = self.suite.traffic().iter().filter(needed);
        let mut fronts: Vec<Front> = all.map(|scenario| scenario.front).collect();
        fronts.dedup();
        fronts
    }
}
