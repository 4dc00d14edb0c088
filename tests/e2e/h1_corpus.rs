//! Every raw request of the corpus through ringway, judged by what Envoy did: as Envoy or stricter,
//! never looser. `envoy` (profile `all`) judges Envoy itself, which checks the judge.

use ringway_tests::corpus::verdict::Verdict;
use ringway_tests::corpus::{Corpus, h1};
use ringway_tests::proxy::Kind;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    Corpus { folder: "h1-corpus", test: "h1_corpus", title: "corpus", judge }.main()
}

fn judge(subject: Kind, corpus: &Path) -> anyhow::Result<Result<String, String>> {
    let judged = h1::run(subject, corpus)?;
    let looser = judged.iter().any(|case| matches!(case.verdict, Verdict::Looser(_)));
    let text = h1::report(subject, &judged)?;
    Ok(if looser { Err(text) } else { Ok(text) })
}
