//! slowhttptest: clients that send heads or bodies slowly, or read answers slowly.

use super::{Outcome, Setup, run};
use crate::certs::Store;
use crate::diff::case::{Action, Rule, UpstreamOptions};
use crate::diff::upstream::Upstream;
use crate::proxy::Kind;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the attackers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// A head that never ends.
    Headers,
    /// A body that never ends.
    Body,
    /// A small window for a large answer.
    Read,
}

/// The tool, as the distribution installs it.
///
/// # Errors
/// Says that it is missing.
pub fn tool() -> Result<&'static Path, String> {
    let path = Path::new("/usr/bin/slowhttptest");
    if path.exists() { Ok(path) } else { Err("no slowhttptest (run `.ci/tools suites`)".into()) }
}

/// 300 connections of one attack on a listener with timeouts: all have to be gone within 25 s, and
/// memory stays bounded.
///
/// # Errors
/// The tool is missing, or the proxy does not start.
pub fn slow(kind: Kind, attack: Attack) -> Result<Outcome> {
    let answer = Action::Reply(200, vec![b'x'; 2_000_000], vec![]);
    let rule = Rule { upstream: 0, path: "/large".into(), script: vec![Action::Body, answer] };
    let certs = Arc::new(Store::default());
    let server = Upstream::start(vec![rule], UpstreamOptions::default(), &certs)?;
    let setup = Setup::start(kind, "slow", server.port)?;
    let url = format!("http://127.0.0.1:{}/large", setup.port("plain")?);
    let mut command = Command::new(tool().map_err(anyhow::Error::msg)?);
    match attack {
        Attack::Headers => command.arg("-H"),
        Attack::Body => command.args(["-B", "-s", "8192"]),
        Attack::Read => {
            command.args(["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"])
        }
    };
    command
        .args(["-c", "300", "-r", "150", "-i", "5", "-x", "10", "-p", "3", "-l", "35", "-u", &url]);
    let before = rss_kb(setup.proxy.pid())?;
    let began = Instant::now();
    let (said, _) = run(&mut command, Duration::from_secs(60))?;
    let grown = rss_kb(setup.proxy.pid())?.saturating_sub(before) / 1024;
    let time = began.elapsed().as_secs();
    let closed = said.contains("No open connections left");
    let notes = vec![format!("{attack:?}: {time} s, memory +{grown} MB, all closed: {closed}")];
    let mut outcome = Outcome { total: 2, failed: vec![], notes };
    if attack != Attack::Read && (!closed || time > 25) {
        let end: Vec<&str> = said.lines().rev().take(12).collect();
        outcome.failed.push(format!("connections are held: {}", end.join(" / ")));
    }
    // Slow readers: what is buffered for each is bounded by the limits of its connection.
    let most = if attack == Attack::Read { 100 } else { 40 };
    if grown > most {
        outcome.failed.push(format!("memory grows by {grown} MB"));
    }
    Ok(outcome)
}

/// Resident memory of a process, in KB.
///
/// # Errors
/// It is gone.
pub fn rss_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").trim().parse()?)
}
