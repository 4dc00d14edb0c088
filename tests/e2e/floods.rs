//! Attacks on HTTP/2: memory bounded, another client served, the connection ended where Envoy ends
//! it. `envoy` (profile `all`) attacks Envoy itself.

use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::floods::{ATTACKS, Target};
use ringway_tests::proxy::Kind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for subject in [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("epoll")] {
        let missing = match subject {
            Kind::Envoy => bins::envoy().map(drop),
            Kind::Ringway(_) => bins::ringway().map(drop),
        };
        if let Err(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: floods on {}: {reason}", subject.name());
        }
        let trial = Trial::test(format!("{}::floods", subject.name()), move || run(subject));
        trials.push(trial.with_ignored_flag(missing.is_err()));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All attacks on one proxy, one after another: what one leaves behind is the next one's ground.
fn run(subject: Kind) -> Result<(), Failed> {
    let fail = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    let only = std::env::var("RINGWAY_CASE").unwrap_or_default();
    let mut target = Target::start(subject).map_err(fail)?;
    let mut faults = Vec::new();
    for attack in ATTACKS.iter().filter(|attack| attack.name.contains(&only)) {
        let outcome = target.attack(attack).map_err(|error| {
            Failed::from(format!("{} in {}: {error:#}", subject.name(), attack.name))
        })?;
        println!("{}: {}", attack.name, outcome.text());
        let found = outcome.faults(attack);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", attack.name)));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}
