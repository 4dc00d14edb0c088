//! The same load through this proxy and its peers, and a report of it.

mod certificates;
mod config;
mod data;
mod machine;
mod peer;
mod render;
mod runner;
mod scenario;
mod scratch;
mod second;
mod storm;
mod targets;
#[cfg(test)]
mod tests;
mod xds;

pub use data::{IdleRun, Peer, Raw, RoutesRun, StormRun, TrafficRun};
pub use peer::Kind;
pub use scenario::Suite;

use crate::cli::CompareArgs;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;

/// Runs `ringway-perf compare`.
///
/// # Errors
/// Unknown names of scenarios or peers, no peer at all, no core to pin to, files that cannot be
/// written. A single run that fails is a note in the report, not an error.
pub fn command(args: &CompareArgs) -> Result<ExitCode> {
    if args.suite == Suite::Xds {
        return xds::command(args);
    }
    let raw = match &args.render {
        Some(path) => read(path)?,
        None => runner::run(args)?,
    };
    let out = args.out();
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    for (name, text) in render::files(&raw) {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    // Last: with it, everything else can be made again.
    let path = out.join("raw.json");
    std::fs::write(&path, serde_json::to_string(&raw)?)
        .with_context(|| format!("writing {}", path.display()))?;
    println!("{}", render::summary(&raw));
    println!("report: {}", out.join("README.md").display());
    let missed = targets::checks(&raw).iter().any(targets::Check::failed);
    Ok(if args.check && missed { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> Result<Raw> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{}: not written by `compare`", path.display()))
}
