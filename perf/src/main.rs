//! The `ringway-perf` binary.

use clap::Parser;
use ringway_perf::cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Upstream(args) => ringway_perf::upstream::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Ads(args) => ringway_perf::ads::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Load(args) => ringway_perf::load::command(&args),
        Command::Compare(args) => ringway_perf::compare::command(&args),
    };
    done.unwrap_or_else(|err| {
        eprintln!("ringway-perf: {err:#}");
        ExitCode::FAILURE
    })
}
