//! Comparison of two proxies: the same bootstrap, the same bytes from clients, the same behaviour
//! of servers; then what the clients got, what the servers saw, statistics and access logs have to
//! be equal, except for times, identifiers and ports.
//!
//! LIFECYCLE of a file: both sides start → for each case: both run it at once → the transcripts
//! are read until they are equal or time is up (statistics and logs come late) → both sides end.

pub mod case;
pub mod client;
pub mod normal;
pub mod report;
pub mod side;
pub mod text;
pub mod upstream;

use crate::bins;
use crate::certs::Store;
use crate::proxy::Kind;
use anyhow::{Context, Result};
use case::{Case, File};
use client::Clients;
use report::Transcript;
use side::{Before, Side};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long late statistics and log lines are waited for.
const SETTLE: Duration = Duration::from_secs(3);

/// The folder with `cases` and `configs`.
#[must_use]
pub fn e2e_dir() -> PathBuf {
    bins::workspace().join("tests/e2e")
}

/// The names of all case files, sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn files() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(e2e_dir().join("cases"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "case")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a case file and its configuration template.
///
/// # Errors
/// Missing, or a mistake in the cases.
pub fn load(name: &str) -> Result<(File, String)> {
    let dir = e2e_dir();
    let cases = dir.join(format!("cases/{name}.case"));
    let config = dir.join(format!("configs/{name}.yaml"));
    let source = std::fs::read_to_string(&cases).with_context(|| cases.display().to_string())?;
    let file = File::parse(&source).with_context(|| cases.display().to_string())?;
    let template =
        std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    Ok((file, template))
}

/// Runs all cases of a file on Envoy and on `subject`.
///
/// # Errors
/// The text lists every case that differs, with both sides.
pub fn run(name: &str, subject: Kind) -> Result<()> {
    let (file, template) = load(name)?;
    let certs = Arc::new(Store::make(&file.certs)?);
    let (oracle, subject) = std::thread::scope(|scope| {
        let oracle = scope.spawn(|| Side::start(Kind::Envoy, &template, &file, &certs));
        let subject = Side::start(subject, &template, &file, &certs);
        (oracle.join().unwrap_or_else(|_| panic!("the thread of the oracle panicked")), subject)
    });
    let (mut oracle, mut subject) = (oracle?, subject?);
    let only = std::env::var("RINGWAY_CASE").unwrap_or_default();
    let mut failures = Vec::new();
    for case in file.cases.iter().filter(|case| case.name.contains(&only)) {
        if let Some(text) = compare(case, &oracle, &subject)? {
            failures.push(format!("case {} ({name}.case:{})\n{text}", case.name, case.line));
        }
        for side in [&mut oracle, &mut subject] {
            if !side.proxy.alive() {
                failures.push(format!(
                    "{} died in case {}:\n{}",
                    side.kind().name(),
                    case.name,
                    side.proxy.log_tail()
                ));
                return Err(summary(&failures, file.cases.len()));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(summary(&failures, file.cases.len())) }
}

fn summary(failures: &[String], cases: usize) -> anyhow::Error {
    let text = failures.join("\n");
    anyhow::anyhow!("{} of {cases} cases differ (- envoy, + subject)\n\n{text}", failures.len())
}

fn compare(case: &Case, oracle: &Side, subject: &Side) -> Result<Option<String>> {
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| play(case, oracle));
        let right = play(case, subject);
        (left.join().unwrap_or_else(|_| panic!("the thread of the oracle panicked")), right)
    });
    let ((left, left_before), (right, right_before)) = (left?, right?);
    let deadline = Instant::now() + SETTLE;
    loop {
        let a = oracle.transcript(case, &left, &left_before);
        let b = subject.transcript(case, &right, &right_before);
        let complete = oracle.logs_complete(case, &left_before);
        let settled = complete && left.surprises.is_empty();
        if settled && (a == b || (case.opts.may_refuse && b.refuses())) {
            if std::env::var_os("RINGWAY_SHOW").is_some() {
                println!("case {}\n{}", case.name, a.text());
            }
            return Ok(None);
        }
        if Instant::now() > deadline || !left.surprises.is_empty() {
            return Ok(Some(mismatch(&a, &b, complete, &left.surprises)));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn play<'a>(case: &Case, side: &'a Side) -> Result<(Clients<'a>, Before)> {
    let before = side.begin(case)?;
    let mut clients = Clients::new(side);
    clients.run(case);
    Ok((clients, before))
}

fn mismatch(a: &Transcript, b: &Transcript, complete: bool, surprises: &[String]) -> String {
    let mut text = String::new();
    for surprise in surprises {
        text.push_str(&format!("  the case itself is wrong about Envoy: {surprise}\n"));
    }
    if !complete {
        text.push_str("  the case itself is wrong about Envoy: other number of log lines\n");
    }
    match report::difference(a, b) {
        Some(difference) => text.push_str(&difference),
        None => text.push_str(&a.text()),
    }
    text
}
