//! Autobahn: WebSocket case by case, the client through the proxy to its own echo server.

use super::{Outcome, Running, Setup, run};
use crate::proxy::{self, Kind};
use crate::{bins, ports};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Cases of protocol and text; the long ones on size and compression come with `WHOLE`.
pub const SHORT: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];
/// A sample of the long ones.
pub const LONG: [&str; 4] = ["9.1.*", "9.3.*", "9.7.1", "12.1.*"];

fn tool() -> Result<(PathBuf, PathBuf)> {
    let folder = bins::suite("py2").map_err(anyhow::Error::msg)?;
    let python = bins::suite("bin/python2.7").map_err(anyhow::Error::msg)?;
    Ok((folder, python))
}

fn wstest(mode: &str) -> Result<Command> {
    let (folder, python) = tool()?;
    let mut command = Command::new(python);
    command.arg(folder.join("bin/wstest")).args(["-m", mode]).env("PYTHONPATH", folder);
    Ok(command)
}

/// Runs the cases of these patterns.
///
/// # Errors
/// The suite is missing, or says nothing.
pub fn autobahn(kind: Kind, cases: &[&str]) -> Result<Outcome> {
    let port = ports::free();
    let server = format!("ws://127.0.0.1:{port}");
    let _server = Running::server(wstest("testeeserver")?.args(["-w", &server]), port)?;
    let setup = Setup::start(kind, "websocket", port)?;
    let dir = proxy::new_dir()?;
    let spec = json!({
        "outdir": dir.join("out"),
        "servers": [{
            "agent": "proxy",
            "url": format!("ws://127.0.0.1:{}", setup.port("plain")?),
        }],
        "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
    });
    let file = dir.join("spec.json");
    std::fs::write(&file, spec.to_string())?;
    let (said, _) = run(wstest("fuzzingclient")?.arg("-s").arg(&file), Duration::from_secs(230))?;
    let index =
        std::fs::read_to_string(dir.join("out/index.json")).with_context(|| said.clone())?;
    std::fs::remove_dir_all(&dir).ok();
    let outcome = outcome(&serde_json::from_str(&index)?);
    ensure!(outcome.total > 0, "no case ran:\n{said}");
    Ok(outcome)
}

fn outcome(index: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, case) in index["proxy"].as_object().into_iter().flatten() {
        outcome.total += 1;
        let word = |field: &str| case[field].as_str().unwrap_or_default().to_owned();
        let (behavior, close) = (word("behavior"), word("behaviorClose"));
        let fine = |word: &str| matches!(word, "OK" | "NON-STRICT" | "INFORMATIONAL");
        if !fine(&behavior) || !fine(&close) {
            outcome.failed.push(format!("{name}: {behavior}, close {close}"));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_passes_with_a_clean_close() {
        let index = json!({ "proxy": {
            "1.1.1": { "behavior": "OK", "behaviorClose": "OK" },
            "7.1.1": { "behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL" },
            "9.1.1": { "behavior": "OK", "behaviorClose": "UNCLEAN" },
        } });
        let outcome = outcome(&index);
        assert_eq!((outcome.total, outcome.failed.len()), (3, 1));
    }
}
