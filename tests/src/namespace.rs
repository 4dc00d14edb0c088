//! Tests in a network namespace of their own: the program runs itself again below `unshare -n`,
//! with the name of the subject in `RINGWAY_IN_NAMESPACE`.

use crate::proxy::Kind;
use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, ExitCode};

const INSIDE: &str = "RINGWAY_IN_NAMESPACE";

/// Whether rules in these tables of iptables can be made in a namespace here; the reason, if not.
pub fn available(tables: &[&str]) -> Result<(), String> {
    let listings = tables.iter().map(|table| format!(" && iptables -t {table} -S"));
    let script = format!("ip link set lo up{}", listings.collect::<String>());
    match Command::new("unshare").args(["-n", "sh", "-c", &script]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(format!("no iptables in a network namespace: {}", text.trim()))
        }
        Err(error) => Err(format!("cannot run unshare: {error}")),
    }
}

/// Runs this program again in a namespace, for `kind`; what it said is the error if it fails.
pub fn run(kind: Kind) -> Result<()> {
    let output = Command::new("unshare")
        .args(["-n", "--"])
        .arg(std::env::current_exe()?)
        .env(INSIDE, kind.name())
        .output()?;
    if !output.status.success() {
        let (out, err) = (&output.stdout, &output.stderr);
        bail!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    }
    Ok(())
}

/// If this process is the one in the namespace, runs `test` for the subject it was started for.
pub fn inside(subjects: &[Kind], test: fn(Kind) -> Result<()>) -> Option<ExitCode> {
    let name = std::env::var(INSIDE).ok()?;
    let subject = subjects.iter().copied().find(|kind| kind.name() == name);
    Some(match subject.context("no such subject").and_then(test) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Runs a script of shell commands, each of which must succeed.
pub fn sh(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-e", "-c", script]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the network cannot be set up: {}", text.trim());
    Ok(())
}
