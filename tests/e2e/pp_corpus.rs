//! Every PROXY protocol opening of the corpus through ringway: as Envoy, or stricter where the list
//! says so. `envoy` (profile `all`) judges Envoy itself, which checks the judge.

use ringway_tests::corpus::{Corpus, pp};
use ringway_tests::proxy::Kind;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let title = "PROXY protocol corpus";
    Corpus { folder: "pp-corpus", test: "pp_corpus", title, judge }.main()
}

fn judge(subject: Kind, corpus: &Path) -> anyhow::Result<Result<String, String>> {
    let (wrong, text) = pp::run(subject, corpus)?;
    Ok(if wrong.is_empty() { Ok(text) } else { Err(format!("{text}\n{}", wrong.join("\n"))) })
}
