//! What the whole process is doing, as `/ready` and `/server_info` tell it.
//!
//! Written by the control thread alone and read by the admin thread: plain atomics.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::clock;

/// `envoy.admin.v3.ServerInfo.State`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Accepting traffic.
    Live = 0,
    /// `/healthcheck/fail` was called, or the process is ending.
    Draining = 1,
    /// Clusters are not complete yet.
    PreInitializing = 2,
    /// Listeners wait for their dependencies.
    Initializing = 3,
}

impl State {
    /// The name in JSON and on `/ready`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// State of the process.
#[derive(Debug)]
pub struct Server {
    started: Duration,
    phase: AtomicU8,
    health_check_failed: AtomicBool,
    /// When the first process of a chain of hot restarts began, in ms since 1970.
    origin: AtomicU64,
}

impl Server {
    /// A process that has just begun to load its configuration.
    pub fn starting() -> Self {
        Self {
            started: clock::unix_now(),
            phase: AtomicU8::new(State::PreInitializing as u8),
            health_check_failed: AtomicBool::new(false),
            origin: AtomicU64::new(u64::MAX),
        }
    }

    /// This process continues another one, which began at that time since 1970.
    pub fn continues(&self, started: Duration) {
        let millis = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
        self.origin.store(millis, Ordering::Release);
    }

    /// Time since the first process of a chain of hot restarts started.
    pub fn uptime_of_all(&self) -> Duration {
        let origin = Duration::from_millis(self.origin.load(Ordering::Acquire));
        clock::unix_now().saturating_sub(origin.min(self.started))
    }

    /// When the process started, as time since 1970.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Time since the process started.
    pub fn uptime(&self) -> Duration {
        clock::unix_now().saturating_sub(self.started)
    }

    /// Moves to another phase.
    pub fn set(&self, state: State) {
        self.phase.store(state as u8, Ordering::Release);
    }

    /// `/healthcheck/fail` and `/healthcheck/ok`.
    pub fn set_health_check_failed(&self, failed: bool) {
        self.health_check_failed.store(failed, Ordering::Release);
    }

    /// As Envoy reports it: a failed health check shows as draining.
    pub fn state(&self) -> State {
        match self.phase.load(Ordering::Acquire) {
            0 if self.health_check_failed.load(Ordering::Acquire) => State::Draining,
            0 => State::Live,
            1 => State::Draining,
            2 => State::PreInitializing,
            _ => State::Initializing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_health_check_shows_as_draining_until_it_is_ok() {
        let server = Server::starting();
        server.set_health_check_failed(true);
        assert_eq!(server.state(), State::PreInitializing);
        server.set(State::Live);
        assert_eq!(server.state(), State::Draining);
        server.set_health_check_failed(false);
        assert_eq!(server.state().name(), "LIVE");
    }
}
