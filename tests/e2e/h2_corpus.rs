//! Every raw connection of the corpus through ringway, judged by what Envoy did: as Envoy or
//! stricter, never looser. `envoy` (profile `all`) judges Envoy itself, which checks the judge.

use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::corpus::h2;
use ringway_tests::corpus::verdict::Verdict;
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
            eprintln!("skipped: corpus through {}: {reason}", subject.name());
        }
        Trial::test(format!("{}::h2_corpus", subject.name()), move || run(subject))
            .with_ignored_flag(missing.is_err())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn missing(subject: Kind) -> Result<(), String> {
    bins::shared("h2-corpus")?;
    match subject {
        Kind::Envoy => bins::envoy().map(drop),
        Kind::Ringway(_) => bins::ringway().map(drop),
    }
}

fn run(subject: Kind) -> Result<(), Failed> {
    let judge = || -> anyhow::Result<(String, bool)> {
        let corpus = bins::shared("h2-corpus").map_err(anyhow::Error::msg)?;
        let judged = h2::run(subject, &corpus)?;
        let looser = judged.iter().any(|case| matches!(case.verdict, Verdict::Looser(_)));
        Ok((h2::report(subject, &judged)?, looser))
    };
    match judge() {
        Ok((text, true)) => Err(text.into()),
        Ok((text, false)) => {
            println!("{text}");
            Ok(())
        }
        Err(error) => Err(format!("{error:#}").into()),
    }
}
