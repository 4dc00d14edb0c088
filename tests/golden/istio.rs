//! What of the configuration that istiod sends is taken: every resource of every dump, and Istio's
//! bootstraps, each on its own. The outcome is the page `deploy/ISTIO.md`, which must be right:
//! `RINGWAY_REFRESH=1` writes it anew.

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::istio::{self, Report};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let data = bins::shared("istio");
    if let Err(reason) = &data
        && !arguments.list
    {
        eprintln!("skipped: istio::dumps: {reason}");
    }
    let test = || dumps().map_err(|error| Failed::from(format!("{error:#}")));
    let trial = Trial::test("istio::dumps", test).with_ignored_flag(data.is_err());
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn dumps() -> Result<()> {
    let folder = bins::shared("istio").map_err(anyhow::Error::msg)?;
    let report: Report = istio::judge(&folder)?;
    let page = report.page();
    let file = bins::workspace().join("deploy/ISTIO.md");
    if std::env::var_os("RINGWAY_REFRESH").is_some() {
        return std::fs::write(&file, page).with_context(|| file.display().to_string());
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    if known == page {
        return Ok(());
    }
    let changed: Vec<String> = page
        .lines()
        .filter(|line| !known.lines().any(|old| old == *line))
        .map(|line| format!("+ {line}"))
        .chain(
            known
                .lines()
                .filter(|line| !page.lines().any(|new| new == *line))
                .map(|line| format!("- {line}")),
        )
        .collect();
    bail!("deploy/ISTIO.md is out of date (RINGWAY_REFRESH=1):\n{}", changed.join("\n"))
}
