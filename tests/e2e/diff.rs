//! Every case file against Envoy, once per I/O backend of ringway, and Envoy against itself
//! (profile `all`), which proves that the cases are deterministic.

use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::proxy::Kind;
use ringway_tests::{bins, diff};
use std::process::ExitCode;

const SUBJECTS: [Kind; 4] =
    [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("uring-5.11"), Kind::Ringway("epoll")];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let files = match diff::files() {
        Ok(files) => files,
        Err(error) => panic!("no cases: {error:#}"),
    };
    let mut trials = vec![Trial::test("cases_are_enough", enough)];
    for subject in SUBJECTS {
        let missing = missing(subject);
        if let Err(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: cases of {}: {reason}", subject.name());
        }
        for file in &files {
            let (name, file) = (format!("{}::{file}", subject.name()), file.clone());
            let test = move || {
                diff::run(&file, subject).map_err(|error| Failed::from(format!("{error:#}")))
            };
            trials.push(Trial::test(name, test).with_ignored_flag(missing.is_err()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn missing(subject: Kind) -> Result<(), String> {
    bins::envoy()?;
    match subject {
        Kind::Envoy => Ok(()),
        Kind::Ringway(_) => bins::ringway().map(drop),
    }
}

/// The promised breadth does not shrink unseen.
fn enough() -> Result<(), Failed> {
    let names = diff::files().map_err(|e| format!("{e:#}"))?;
    let mut requests = 0;
    let mut cases = 0;
    for name in &names {
        let (file, _) = diff::load(name).map_err(|e| format!("{e:#}"))?;
        cases += file.cases.len();
        requests += file.requests();
    }
    println!("{} configurations, {cases} cases, {requests} responses compared", names.len());
    if names.len() < 80 || requests < 400 {
        return Err(format!("{} configurations, {requests} requests", names.len()).into());
    }
    Ok(())
}
