//! Suites that others wrote: through ringway nothing fails that passes through Envoy. `envoy`
//! (profile `all`) runs them against Envoy itself and holds the figures that are known of it.
//!
//! A suite that is not installed is skipped with a word (`.ci/tools suites`).

use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::proxy::Kind;
use ringway_tests::suites::control_plane::{self, Mode};
use ringway_tests::suites::{Outcome, autobahn, connect, grpc, h2spec, scan, slow};
use std::process::ExitCode;

type Run = fn(Kind) -> anyhow::Result<Outcome>;

/// A suite: name, what must be there, how it runs, how many cases fail through Envoy (at most), and
/// whether it is part of the long run only.
struct Suite {
    name: &'static str,
    needs: fn() -> Result<(), String>,
    run: Run,
    envoy_fails: usize,
    /// Failures that are no fault of a proxy: ours may have as many as Envoy has.
    as_envoy: bool,
    long: bool,
}

fn suites() -> Vec<Suite> {
    let suite = |name, needs, run, envoy_fails, as_envoy, long| Suite {
        name,
        needs,
        run,
        envoy_fails,
        as_envoy,
        long,
    };
    let h2spec_tool = || bins::suite("bin/h2spec").map(drop);
    let connect_tool = || bins::suite("connect/connectconformance").map(drop);
    let wstest =
        || bins::suite("py2/bin/wstest").and_then(|_| bins::suite("bin/python2.7")).map(drop);
    let slow_tool = || slow::tool().map(drop);
    let mut all = control_planes();
    all.extend([
        suite("h2spec", h2spec_tool, |kind| h2spec::h2spec(kind, false), 12, false, false),
        suite("h2spec_tls", h2spec_tool, |kind| h2spec::h2spec(kind, true), 12, false, false),
        suite(
            "grpc",
            || bins::suite("grpc-client/client").map(drop),
            grpc::interop,
            0,
            false,
            false,
        ),
        suite("connect", connect_tool, connect::conformance, 0, false, false),
        suite(
            "autobahn",
            wstest,
            |kind| autobahn::autobahn(kind, &autobahn::SHORT),
            0,
            false,
            false,
        ),
        suite(
            "autobahn_long",
            wstest,
            |kind| autobahn::autobahn(kind, &autobahn::LONG),
            0,
            false,
            true,
        ),
        suite(
            "slow_headers",
            slow_tool,
            |kind| slow::slow(kind, slow::Attack::Headers),
            0,
            false,
            false,
        ),
        suite("slow_body", slow_tool, |kind| slow::slow(kind, slow::Attack::Body), 0, false, false),
        suite("slow_read", slow_tool, |kind| slow::slow(kind, slow::Attack::Read), 0, false, true),
        suite(
            "sslyze",
            || bins::suite("sslyze/bin/sslyze").map(drop),
            scan::sslyze,
            0,
            true,
            false,
        ),
        suite("testssl", || scan::testssl_tool().map(drop), scan::testssl, 0, true, true),
    ]);
    all
}

/// A control plane that others wrote, in each of its ways to serve.
fn control_planes() -> Vec<Suite> {
    let suite = |name, run: Run| Suite {
        name,
        needs: || bins::suite("bin/control-plane").map(drop),
        run,
        envoy_fails: 0,
        as_envoy: false,
        long: false,
    };
    vec![
        suite("control_plane_ads", |kind| control_plane::integration(kind, Mode::Ads)),
        suite("control_plane_sds", |kind| control_plane::integration(kind, Mode::AdsTls)),
        suite("control_plane_xds", |kind| control_plane::integration(kind, Mode::Xds)),
        suite("control_plane_mux", |kind| control_plane::integration(kind, Mode::XdsMux)),
        suite("control_plane_delta", |kind| control_plane::integration(kind, Mode::Delta)),
        suite("control_plane_delta_ads", |kind| control_plane::integration(kind, Mode::DeltaAds)),
        suite("control_plane_rest", |kind| control_plane::integration(kind, Mode::Rest)),
    ]
}

fn main() -> ExitCode {
    if let Some(wrapped) = connect::wrapper() {
        return if wrapped.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for subject in [Kind::Envoy, Kind::Ringway("uring")] {
        for suite in suites() {
            let missing = missing(subject, &suite);
            if let Err(reason) = &missing
                && !arguments.list
            {
                eprintln!("skipped: {} of {}: {reason}", suite.name, subject.name());
            }
            // The names say in which profile a trial runs.
            let part = match (subject, suite.long) {
                (Kind::Envoy, _) => "envoy",
                (_, true) => "long",
                (_, false) => subject.name(),
            };
            let trial =
                Trial::test(format!("{part}::{}", suite.name), move || judge(subject, &suite));
            trials.push(trial.with_ignored_flag(missing.is_err()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn missing(subject: Kind, suite: &Suite) -> Result<(), String> {
    (suite.needs)()?;
    if suite.as_envoy || subject == Kind::Envoy {
        bins::envoy()?;
    }
    match subject {
        Kind::Envoy => Ok(()),
        Kind::Ringway(_) => bins::ringway().map(drop),
    }
}

fn judge(subject: Kind, suite: &Suite) -> Result<(), Failed> {
    let fail = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    let outcome = (suite.run)(subject).map_err(fail)?;
    println!("{} through {}: {}", suite.name, subject.name(), outcome.text());
    let allowed: Vec<String> = match subject {
        Kind::Envoy if outcome.failed.len() <= suite.envoy_fails => outcome.failed.clone(),
        Kind::Ringway(_) if suite.as_envoy && !outcome.failed.is_empty() => {
            (suite.run)(Kind::Envoy).map_err(fail)?.failed
        }
        _ => vec![],
    };
    if outcome.failed.iter().all(|case| allowed.contains(case)) {
        return Ok(());
    }
    Err(outcome.text().into())
}
