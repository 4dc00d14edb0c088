//! Every PROXY protocol opening of the corpus through ringway: as Envoy, or stricter where the list
//! says so. `envoy` (profile `all`) judges Envoy itself, which checks the judge.

use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::corpus::pp;
use ringway_tests::proxy::Kind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let subjects =
        [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("uring-5.11"), Kind::Ringway("epoll")];
    let trials = subjects.map(|subject| {
        let missing = missing(subject);
        if let Err(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: PROXY protocol corpus through {}: {reason}", subject.name());
        }
        Trial::test(format!("{}::pp_corpus", subject.name()), move || run(subject))
            .with_ignored_flag(missing.is_err())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn missing(subject: Kind) -> Result<(), String> {
    bins::shared("pp-corpus")?;
    match subject {
        Kind::Envoy => bins::envoy().map(drop),
        Kind::Ringway(_) => bins::ringway().map(drop),
    }
}

fn run(subject: Kind) -> Result<(), Failed> {
    let corpus = bins::shared("pp-corpus")?;
    let (wrong, text) = pp::run(subject, &corpus).map_err(|error| format!("{error:#}"))?;
    println!("{text}");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
