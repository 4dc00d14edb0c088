//! TLS scanners: what they find wrong with a listener. Nothing may be wrong with ours that is not
//! wrong with Envoy's.

use super::{Outcome, Setup, run};
use crate::bins;
use crate::certs::Store;
use crate::diff::case::UpstreamOptions;
use crate::diff::upstream::Upstream;
use crate::proxy::{self, Kind};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// sslyze: protocols, suites, known vulnerabilities.
///
/// # Errors
/// The tool is missing or says nothing.
pub fn sslyze(kind: Kind) -> Result<Outcome> {
    let tool = bins::suite("sslyze/bin/sslyze").map_err(anyhow::Error::msg)?;
    let scan = || {
        scanned(kind, |port, report| {
            let mut command = Command::new(&tool);
            command
                .arg(format!("--json_out={}", report.display()))
                .arg(format!("127.0.0.1:{port}"));
            command
        })
    };
    let outcome = sslyze_outcome(&scan()?);
    if outcome.failed.is_empty() {
        return Ok(outcome);
    }
    // Its own time limits run out on a busy machine.
    Ok(sslyze_outcome(&scan()?))
}

/// testssl.sh: the same questions and more.
///
/// # Errors
/// The tool is missing or says nothing.
pub fn testssl(kind: Kind) -> Result<Outcome> {
    let tool = testssl_tool().map_err(anyhow::Error::msg)?;
    let report = scanned(kind, |port, report| {
        let mut command = Command::new(tool);
        command
            .args(["--quiet", "--color", "0", "--warnings", "off", "--fast"])
            .args(["-p", "-s", "-f", "-U", "-S", "--jsonfile"])
            .arg(report)
            .arg(format!("127.0.0.1:{port}"));
        command
    })?;
    Ok(testssl_outcome(&report))
}

/// testssl.sh, as the distribution installs it.
///
/// # Errors
/// Says that it is missing.
pub fn testssl_tool() -> Result<&'static Path, String> {
    let path = Path::new("/usr/bin/testssl");
    if path.exists() { Ok(path) } else { Err("no testssl (run `.ci/tools suites`)".into()) }
}

fn scanned(kind: Kind, command: impl Fn(u16, &Path) -> Command) -> Result<Value> {
    let certs = Arc::new(Store::default());
    let server = Upstream::start(vec![], UpstreamOptions::default(), &certs)?;
    let setup = Setup::start(kind, "scan", server.port)?;
    let dir = proxy::new_dir()?;
    let file = dir.join("report.json");
    let (said, _) = run(&mut command(setup.port("tls")?, &file), Duration::from_secs(230))?;
    let text = std::fs::read_to_string(&file).with_context(|| said.clone())?;
    std::fs::remove_dir_all(&dir).ok();
    serde_json::from_str(&without_long_numbers(&text)).with_context(|| said)
}

/// The modulus of an RSA key is no number for a JSON reader: runs of more than 100 digits become 0.
fn without_long_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        if digits.len() > 100 && digits.bytes().all(|b| b.is_ascii_digit()) {
            out.push('0');
            out.push_str(&part[digits.len()..]);
        } else {
            out.push_str(part);
        }
    }
    out
}

fn sslyze_outcome(report: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    let results = &report["server_scan_results"][0]["scan_result"];
    let mut check = |name: String, good: bool| {
        outcome.total += 1;
        if !good {
            outcome.failed.push(name);
        }
    };
    for (version, wanted) in [
        ("ssl_2_0", false),
        ("ssl_3_0", false),
        ("tls_1_0", false),
        ("tls_1_1", false),
        ("tls_1_2", true),
        ("tls_1_3", true),
    ] {
        let suites = &results[format!("{version}_cipher_suites")]["result"];
        let accepted = suites["accepted_cipher_suites"].as_array().map_or(0, Vec::len);
        check(format!("{version}: {accepted} suites"), (accepted > 0) == wanted);
    }
    for (name, field, bad) in [
        ("heartbleed", "is_vulnerable_to_heartbleed", true),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", true),
        ("tls_compression", "supports_compression", true),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", true),
        ("tls_fallback_scsv", "supports_fallback_scsv", false),
        ("tls_extended_master_secret", "supports_ems_extension", false),
    ] {
        let value = results[name]["result"][field].as_bool();
        check(format!("{name}: {field} is {value:?}"), value == Some(!bad));
    }
    let robot = results["robot"]["result"]["robot_result"].as_str().unwrap_or("?");
    check(format!("robot: {robot}"), robot.starts_with("NOT_VULNERABLE"));
    let curves = &results["elliptic_curves"]["result"]["supported_curves"];
    let curves: Vec<&str> =
        curves.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let p256 = curves.iter().any(|name| matches!(*name, "prime256v1" | "secp256r1"));
    check(format!("curves: {}", curves.join(" ")), p256 && curves.contains(&"X25519"));
    outcome
}

/// The identifiers of findings that are worse than informational, without what a self-made
/// certificate brings.
fn testssl_outcome(report: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    for finding in report.as_array().into_iter().flatten() {
        let word = |field: &str| finding[field].as_str().unwrap_or_default();
        outcome.total += 1;
        let bad = matches!(word("severity"), "LOW" | "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL");
        let of_certificate = word("id").starts_with("cert") || word("id").starts_with("DNS_CAA");
        if bad && !of_certificate {
            outcome.failed.push(format!("{}: {}", word("id"), word("finding")));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn findings_about_the_certificate_do_not_count() {
        let report = json!([
            { "id": "cert_chain_of_trust", "severity": "CRITICAL", "finding": "self signed" },
            { "id": "TLS1_2", "severity": "OK", "finding": "offered" },
            { "id": "BEAST", "severity": "MEDIUM", "finding": "vulnerable" },
        ]);
        let outcome = testssl_outcome(&report);
        assert_eq!((outcome.total, outcome.failed.len()), (3, 1));
    }

    #[test]
    fn a_modulus_becomes_a_small_number() {
        let long = format!("{{\"n\": {}, \"e\": 65537}}", "9".repeat(600));
        assert_eq!(without_long_numbers(&long), "{\"n\": 0, \"e\": 65537}");
    }

    #[test]
    fn an_empty_report_passes_nothing() {
        let outcome = sslyze_outcome(&json!({}));
        assert!(outcome.failed.len() >= outcome.total - 4, "{outcome:?}");
    }
}
