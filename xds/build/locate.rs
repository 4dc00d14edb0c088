//! Finds the descriptor set of Envoy's API on this machine.
//!
//! The registry package `envoy-types` carries it. We want its data, not its code, so the manifest
//! names it under `[target.'cfg(any())'.dependencies]`: it is in the lock file with its checksum,
//! and is never compiled.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package, and where in it the descriptor set lies.
const PACKAGE: &str = "envoy-types";
const DESCRIPTORS: &str = "src/generated/types.bin";
/// Names the folder of the package directly, for builds that keep crates somewhere else.
const OVERRIDE: &str = "RINGWAY_ENVOY_TYPES_DIR";

/// The bytes of the `FileDescriptorSet`, or a text that says what to do.
pub(crate) fn descriptor_set() -> Result<Vec<u8>, String> {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let folder = match env::var_os(OVERRIDE) {
        Some(folder) => PathBuf::from(folder),
        None => package_folder()?,
    };
    let path = folder.join(DESCRIPTORS);
    println!("cargo::rerun-if-changed={}", path.display());
    std::fs::read(&path)
        .map_err(|e| format!("cannot read Envoy's descriptors at {}: {e}", path.display()))
}

/// Asks cargo without the network first; a package that no target compiles is not downloaded by
/// `cargo build`, so on a fresh machine the second question fetches it.
fn package_folder() -> Result<PathBuf, String> {
    let offline = metadata(&["--locked", "--offline"]);
    let answer = match offline {
        Ok(answer) => answer,
        Err(first) => metadata(&["--locked"]).map_err(|second| {
            format!(
                "cannot find the package `{PACKAGE}`, which carries Envoy's API descriptors.\n\
                 Run `cargo fetch --locked` once with access to the registry, or set {OVERRIDE} \
                 to the unpacked package.\n\
                 cargo metadata --offline said: {first}\ncargo metadata said: {second}"
            )
        })?,
    };
    manifest_of(&answer)
        .map(|manifest| manifest.parent().map_or_else(PathBuf::new, Path::to_path_buf))
        .ok_or_else(|| format!("Cargo.lock holds no package `{PACKAGE}`"))
}

fn metadata(arguments: &[&str]) -> Result<serde_json::Value, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(manifest.join("Cargo.toml"))
        .args(arguments)
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

fn manifest_of(metadata: &serde_json::Value) -> Option<PathBuf> {
    let packages = metadata.get("packages")?.as_array()?;
    let package = packages.iter().find(|p| p["name"] == PACKAGE)?;
    Some(PathBuf::from(package["manifest_path"].as_str()?))
}
