//! Where inputs come from: seeds in this repository, folders somebody names, the shared data.

use super::Target;
use crate::bins;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Largest file taken from a folder that is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An input and the file it was read from.
#[derive(Clone, Debug)]
pub struct Input {
    /// For messages.
    pub file: PathBuf,
    /// Content.
    pub bytes: Vec<u8>,
}

/// The seeds of a target, `tests/fuzz/corpus/NAME`.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn seeds(target: &Target) -> Result<Vec<Input>> {
    let dir = bins::workspace().join("tests/fuzz/corpus").join(target.name);
    let seeds = read(&dir)?;
    ensure!(!seeds.is_empty(), "no seeds in {}", dir.display());
    Ok(seeds)
}

/// What `RINGWAY_FUZZ_CORPUS` names: the files in its folder NAME if it has one, else all of them.
///
/// # Errors
/// The folder is named but cannot be read.
pub fn named(target: &Target) -> Result<Vec<Input>> {
    let Some(dir) = std::env::var_os("RINGWAY_FUZZ_CORPUS").map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let own = dir.join(target.name);
    read(if own.is_dir() { &own } else { &dir })
}

/// The files of the shared data for a target; `Err` says that there are none.
///
/// # Errors
/// Outer: they cannot be read.
pub fn shared(target: &Target) -> Result<Result<Vec<Input>, String>> {
    match bins::shared(target.shared) {
        Ok(dir) => read(&dir).map(Ok),
        Err(reason) => Ok(Err(reason)),
    }
}

/// All files in a folder and its folders, by name.
fn read(dir: &Path) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let file = entry.path();
            let kind = entry.metadata()?;
            if kind.is_dir() {
                open.push(file);
            } else if kind.is_file() && kind.len() <= FILE_BYTES_MAX {
                let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
                inputs.push(Input { file, bytes });
            }
        }
    }
    inputs.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(inputs)
}
