//! Every configuration that Envoy judged, through `ringway --mode validate`: the shares are written
//! to `target/reports/envoy-configs.md` and must not fall below `envoy_configs.limits`.

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::bins;
use ringway_tests::corpus::configs::{self, Figures};
use ringway_tests::proxy::Kind;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Envoy's own verdicts are checked on one file in so many: it takes longer for each.
const SAMPLE: usize = 25;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let ringway = bins::shared("envoy-configs").and_then(|_| bins::ringway());
    let envoy = bins::shared("envoy-configs").and_then(|_| bins::envoy());
    let trials = vec![
        trial("ringway::envoy_configs", &ringway, &arguments, judge_ringway),
        trial("envoy::envoy_configs", &envoy, &arguments, judge_envoy),
        trial("ringway::examples", &bins::ringway(), &arguments, || examples(bins::ringway())),
        trial("examples", &bins::envoy(), &arguments, || examples(bins::envoy())),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial<T>(
    name: &str,
    needed: &Result<T, String>,
    arguments: &Arguments,
    test: fn() -> Result<()>,
) -> Trial {
    if let Err(reason) = needed
        && !arguments.list
    {
        eprintln!("skipped: {name}: {reason}");
    }
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
        .with_ignored_flag(needed.is_err())
}

fn judge_ringway() -> Result<()> {
    // The backend makes no difference: nothing is started.
    let figures = judge(Kind::Ringway("auto"), 1)?;
    let file = bins::workspace().join("tests/golden/envoy_configs.limits");
    let limits = configs::limits(&std::fs::read_to_string(file)?)?;
    let plain = figures.as_envoy("tier 1, plain HTTP/1");
    let tier_1 = plain + figures.as_envoy("tier 1, more");
    let accepted = tier_1 + figures.as_envoy("later tiers");
    let reached = [
        ("plain_accepted_min", plain),
        ("tier_1_accepted_min", tier_1),
        ("accepted_min", accepted),
        ("pgv_rejected_min", figures.as_envoy("pgv")),
        ("semantic_rejected_min", figures.as_envoy("semantic")),
        ("unknown_field_rejected_min", figures.as_envoy("unknown-field")),
    ];
    let mut short = Vec::new();
    for (name, reached) in reached {
        let limit = *limits.get(name).with_context(|| format!("no limit {name}"))?;
        println!("{name}: reached {reached}, limit {limit}");
        if reached < limit {
            short.push(format!("{name} {limit}: only {reached}"));
        }
    }
    let wrong = figures.wrongly_accepted.len();
    let limit = *limits.get("wrongly_accepted_max").context("no limit wrongly_accepted_max")?;
    println!("wrongly_accepted_max: reached {wrong}, limit {limit}");
    if wrong > limit {
        let list = figures.wrongly_accepted.join("\n");
        short.push(format!("wrongly_accepted_max {limit}: {wrong}\n{list}"));
    }
    if !short.is_empty() {
        bail!("fell below tests/golden/envoy_configs.limits:\n{}", short.join("\n"));
    }
    Ok(())
}

fn judge_envoy() -> Result<()> {
    let figures = judge(Kind::Envoy, SAMPLE)?;
    for (class, [files, same, ..]) in &figures.classes {
        // Envoy crashes on the class `segfault`: there is nothing to reach.
        if files != same && class != "segfault" {
            bail!("{class}: Envoy judges {same} of {files} as recorded");
        }
    }
    Ok(())
}

fn judge(kind: Kind, step: usize) -> Result<Figures> {
    let corpus = bins::shared("envoy-configs").map_err(anyhow::Error::msg)?;
    let judged = configs::run(kind, &corpus, step)?;
    let figures = configs::figures(&judged);
    println!("{}", configs::report(kind, &judged, &figures)?);
    if !figures.broken.is_empty() && kind != Kind::Envoy {
        bail!("crashed or hung on {} files:\n{}", figures.broken.len(), figures.broken.join("\n"));
    }
    Ok(figures)
}

/// Every example in deploy/ is a valid configuration.
fn examples(binary: Result<std::path::PathBuf, String>) -> Result<()> {
    let binary = binary.map_err(anyhow::Error::msg)?;
    let dir = bins::workspace().join("deploy/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "yaml" || e == "json") {
            validate(&binary, &file)?;
            seen += 1;
        }
    }
    if seen == 0 {
        bail!("no example in {}", dir.display());
    }
    Ok(())
}

fn validate(binary: &Path, file: &Path) -> Result<()> {
    let output = Command::new(binary).args(["--mode", "validate", "-c"]).arg(file).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} is refused:\n{text}", file.display());
    }
    Ok(())
}
