//! Fuzz targets in the ordinary test run: over the seeds, over folders somebody names, over the
//! shared data; and for as long as `RINGWAY_FUZZ_SECONDS` says over mutations of the seeds.

use anyhow::{Result, bail};
use ringway_tests::fuzz::corpus::{self, Input};
use ringway_tests::fuzz::{TARGETS, Target, mutate};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Each input through the target. A panic names the file; the others are still tried.
fn replay(target: &Target, inputs: &[Input]) -> Result<()> {
    let failed: Vec<String> = inputs
        .iter()
        .filter(|input| catch_unwind(AssertUnwindSafe(|| (target.run)(&input.bytes))).is_err())
        .map(|input| input.file.display().to_string())
        .collect();
    println!("{}: {} files", target.name, inputs.len());
    if !failed.is_empty() {
        bail!("{} breaks a promise on:\n{}", target.name, failed.join("\n"));
    }
    Ok(())
}

fn replay_all(target: &Target) -> Result<()> {
    replay(target, &corpus::seeds(target)?)?;
    replay(target, &corpus::named(target)?)?;
    match corpus::shared(target)? {
        Ok(inputs) => replay(target, &inputs),
        Err(reason) => {
            println!("skipped: {} over shared data: {reason}", target.name);
            Ok(())
        }
    }
}

fn mutations(target: &Target) -> Result<()> {
    let Some(seconds) = number("RINGWAY_FUZZ_SECONDS")? else {
        println!("skipped: mutations of {}: RINGWAY_FUZZ_SECONDS is not set", target.name);
        return Ok(());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("RINGWAY_FUZZ_SEED")?.unwrap_or(now.as_nanos() as u64);
    // Before anything runs: a stack overflow would leave no other trace.
    eprintln!("{}: RINGWAY_FUZZ_SEED={seed}", target.name);
    let mut seeds = corpus::seeds(target)?;
    seeds.extend(corpus::named(target)?);
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|input| input.bytes).collect();
    match mutate::run(target, &seeds, seed, Duration::from_secs(seconds))? {
        Ok(report) => {
            let mutate::Report { inputs, slowest } = report;
            println!("{}: {inputs} inputs, the slowest took {slowest:?}", target.name);
            Ok(())
        }
        Err(finding) => bail!(
            "{} breaks a promise on {} (round {} of RINGWAY_FUZZ_SEED={seed}); replay it with \
             RINGWAY_FUZZ_CORPUS={}",
            target.name,
            finding.file.display(),
            finding.round,
            finding.file.parent().unwrap_or(&finding.file).display(),
        ),
    }
}

fn number(variable: &str) -> Result<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("{variable}={text}: expected a whole number"),
        },
        Err(_) => Ok(None),
    }
}

/// Two tests per target, by its place in the list.
macro_rules! tests {
    ($($name:ident = $at:expr;)*) => {
        mod replay {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::replay_all(&super::TARGETS[$at])
            })*
        }
        mod mutate_seeds {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::mutations(&super::TARGETS[$at])
            })*
        }
        #[test]
        fn every_target_has_its_tests() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests! {
    h1_request = 0;
    h1_response = 1;
    h1_body = 2;
    h2_frames = 3;
    openings = 4;
    config = 5;
}
