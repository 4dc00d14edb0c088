//! Which crate of the workspace may depend on which.

use crate::bins;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Command;

/// Package, and the packages of this workspace it may know.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("ringway-runtime", &[]),
    ("ringway-wire", &[]),
    ("ringway-xds", &[]),
    ("ringway", &["ringway-runtime", "ringway-wire", "ringway-xds"]),
    ("ringway-perf", &["ringway-runtime", "ringway-wire", "ringway-xds"]),
    (
        "ringway-tests",
        &["ringway-runtime", "ringway-wire", "ringway-xds", "ringway", "ringway-perf"],
    ),
];

/// What `cargo metadata` says of the workspace.
///
/// # Errors
/// cargo fails.
pub fn metadata() -> Result<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(bins::workspace())
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The dependencies between packages of the workspace that are not allowed.
#[must_use]
pub fn check(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            found.push(format!("package {name} has no arrows: add it to tests/src/tidy/arrows.rs"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            // Only dependencies inside the workspace have a path.
            let target = dependency["name"].as_str().unwrap_or_default();
            if dependency["path"].is_string() && !allowed.contains(&target) {
                found.push(format!("{name} must not depend on {target}"));
            }
        }
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
