//! h2spec: RFC 9113 and RFC 7541 case by case, in plain and in TLS.

use super::{Outcome, Setup, run};
use crate::certs::Store;
use crate::diff::case::{Action, Rule, UpstreamOptions};
use crate::diff::upstream::Upstream;
use crate::proxy::Kind;
use crate::{bins, proxy};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Runs all cases against the plain listener, or the one with TLS. The server behind reads the body
/// and answers with 27 bytes: with an empty answer some cases prove nothing.
///
/// # Errors
/// The tool is missing or says nothing.
pub fn h2spec(kind: Kind, tls: bool) -> Result<Outcome> {
    let tool = bins::suite("bin/h2spec").map_err(anyhow::Error::msg)?;
    let answer = Action::Reply(200, b"an answer of 27 bytes text.".to_vec(), vec![]);
    let rule = Rule { upstream: 0, path: "/".into(), script: vec![answer] };
    let server =
        Upstream::start(vec![rule], UpstreamOptions::default(), &Arc::new(Store::default()))?;
    let (name, listener) = if tls { ("h2spec_tls", "tls") } else { ("h2spec", "plain") };
    let setup = Setup::start(kind, name, server.port)?;
    let dir = proxy::new_dir()?;
    let report = dir.join("report.xml");
    let port = setup.port(listener)?;
    let mut command = Command::new(tool);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-o", "2", "-j"]).arg(&report);
    if tls {
        command.args(["-t", "-k"]);
    }
    let (said, _) = run(&mut command, Duration::from_secs(220))?;
    let xml = std::fs::read_to_string(&report).with_context(|| said.clone())?;
    std::fs::remove_dir_all(&dir).ok();
    let outcome = outcome(&xml);
    ensure!(outcome.total > 100, "only {} cases:\n{said}", outcome.total);
    Ok(outcome)
}

/// Reads a JUnit report: one `testcase` each, with `failure` or `error` inside when it failed.
fn outcome(xml: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for case in xml.split("<testcase").skip(1) {
        let case = case.split("</testcase>").next().unwrap_or_default();
        outcome.total += 1;
        if case.contains("<failure") || case.contains("<error") {
            let attribute = |name: &str| {
                let from = case.split_once(&format!(" {name}=\""))?.1;
                from.split('"').next()
            };
            let (package, title) = (attribute("package"), attribute("classname"));
            let title = format!("{} {}", package.unwrap_or("?"), title.unwrap_or("?"));
            outcome.failed.push(title);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report() {
        let xml = "<testsuite>\
                   <testcase package=\"http2/5.1\" classname=\"a\" time=\"0\"></testcase>\
                   <testcase package=\"http2/6.9\" classname=\"b\"><failure>x</failure></testcase>";
        let outcome = outcome(xml);
        assert_eq!((outcome.total, outcome.failed), (2, vec!["http2/6.9 b".to_owned()]));
    }
}
