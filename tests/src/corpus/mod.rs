//! Judges over data that was recorded from the real Envoy and lies outside this repository.

pub mod configs;
pub mod h1;
pub mod h2;
pub mod lane;
pub mod pp;
pub mod verdict;

use crate::bins;
use crate::proxy::Kind;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;

/// A corpus of raw connections, and who judges what a proxy does with them.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    /// Its folder in the shared data.
    pub folder: &'static str,
    /// What the test is called.
    pub test: &'static str,
    /// What it is called where it is skipped.
    pub title: &'static str,
    /// Runs it: the report, as an error where the proxy falls short.
    pub judge: fn(Kind, &Path) -> anyhow::Result<Result<String, String>>,
}

impl Corpus {
    /// The `main` of its test: a trial for Envoy, and one for ringway on each I/O level.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let levels = ["uring", "uring-5.11", "epoll"].map(Kind::Ringway);
        let subjects = [Kind::Envoy].into_iter().chain(levels);
        let trials = subjects.map(|subject| {
            let missing = self.missing(subject);
            if let Err(reason) = &missing
                && !arguments.list
            {
                eprintln!("skipped: {} through {}: {reason}", self.title, subject.name());
            }
            Trial::test(format!("{}::{}", subject.name(), self.test), move || self.run(subject))
                .with_ignored_flag(missing.is_err())
        });
        libtest_mimic::run(&arguments, trials.collect()).exit_code()
    }

    fn missing(self, subject: Kind) -> Result<(), String> {
        bins::shared(self.folder)?;
        match subject {
            Kind::Envoy => bins::envoy().map(drop),
            Kind::Ringway(_) => bins::ringway().map(drop),
        }
    }

    fn run(self, subject: Kind) -> Result<(), Failed> {
        let corpus = bins::shared(self.folder)?;
        match (self.judge)(subject, &corpus) {
            Ok(Ok(text)) => {
                println!("{text}");
                Ok(())
            }
            Ok(Err(text)) => Err(text.into()),
            Err(error) => Err(format!("{error:#}").into()),
        }
    }
}
