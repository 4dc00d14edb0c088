//! Where the binaries and the data of the tests are, and what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The target folder this test was built into.
#[must_use]
pub fn target_dir() -> PathBuf {
    // target/PROFILE/deps/TEST: three levels up.
    env::current_exe()
        .ok()
        .and_then(|exe| exe.ancestors().nth(3).map(Path::to_path_buf))
        .unwrap_or_else(|| workspace().join("target"))
}

/// Where reports of this run are written (`target/reports`), created when missing.
///
/// # Errors
/// The folder cannot be created.
pub fn reports_dir() -> std::io::Result<PathBuf> {
    let dir = target_dir().join("reports");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The proxy under test: `RINGWAY_BIN`, or the binary beside this test.
///
/// # Errors
/// Says what is missing and how to get it.
pub fn ringway() -> Result<PathBuf, String> {
    let path = match env::var_os("RINGWAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_this_test("ringway"),
    };
    if !path.is_file() {
        return Err(format!(
            "no ringway binary at {} (set RINGWAY_BIN or run `cargo build`)",
            path.display()
        ));
    }
    match Command::new(&path).arg("--version").output() {
        Ok(out) if !out.stdout.is_empty() => Ok(path),
        Ok(_) => Err(format!("{} --version prints nothing: not a proxy yet", path.display())),
        Err(error) => Err(format!("{} does not start: {error}", path.display())),
    }
}

fn beside_this_test(name: &str) -> PathBuf {
    let exe = env::current_exe().unwrap_or_default();
    exe.ancestors().nth(2).map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
}

/// The oracle, Envoy 1.40: `RINGWAY_ENVOY`, or what `.ci/tools` put into the cache folder.
///
/// # Errors
/// Says what is missing and how to get it.
pub fn envoy() -> Result<PathBuf, String> {
    let path = match env::var_os("RINGWAY_ENVOY") {
        Some(path) => PathBuf::from(path),
        None => cache_dir().join("envoy/bin/envoy"),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(format!("no Envoy at {} (set RINGWAY_ENVOY or run `.ci/tools test`)", path.display()))
}

/// A tool of a suite that others wrote, by its path in the folder `suites` of the cache.
///
/// # Errors
/// Says what is missing and how to get it.
pub fn suite(path: &str) -> Result<PathBuf, String> {
    let path = cache_dir().join("suites").join(path);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("no {} (run `.ci/tools suites`)", path.display()))
}

fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("RINGWAY_CACHE") {
        return PathBuf::from(dir);
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("ringway")
}

/// A folder of the data shared between projects: `RINGWAY_SHARED`, or `../shared/data`.
///
/// # Errors
/// Says where it was looked for.
pub fn shared(folder: &str) -> Result<PathBuf, String> {
    let root = env::var_os("RINGWAY_SHARED")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    [root.join(folder), workspace().join("../../shared/data").join(folder)]
        .into_iter()
        .find(|path| path.is_dir())
        .ok_or_else(|| format!("no {folder} in {} (set RINGWAY_SHARED)", root.display()))
}
