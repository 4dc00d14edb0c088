//! HTTP/1.1 with keep-alive.

use super::{Front, Pace, Scenario, Work};

pub(super) const TRAFFIC: [Scenario; 7] = [
    repeated("s64", "64 connections, 100 B", "/100b", 64),
    repeated("s1024", "1 024 connections, 100 B", "/100b", 1024),
    repeated("m64", "64 connections, 10 KB", "/10k", 64),
    closed("l16", "16 connections, 1 MB", "/1m", 16),
    closed("s1", "1 connection, 100 B", "/100b", 1),
    Scenario {
        pace: Pace::Fixed(10_000.0),
        ..closed("rate", "10 000 requests/s, 64 connections, 100 B", "/100b", 64)
    },
    Scenario {
        pace: Pace::HalfOfEnvoy,
        ..closed("half", "half of Envoy's saturation, 64 connections, 100 B", "/100b", 64)
    },
];

pub(super) const IDLE: [Scenario; 1] = [closed("idle", "after one request", "/100b", 0)];

const fn closed(
    key: &'static str,
    title: &'static str,
    path: &'static str,
    connections: usize,
) -> Scenario {
    Scenario::closed(key, title, Front::Http1, Work::Get(path), connections)
}

const fn repeated(
    key: &'static str,
    title: &'static str,
    path: &'static str,
    connections: usize,
) -> Scenario {
    Scenario { repeated: true, ..closed(key, title, path, connections) }
}
