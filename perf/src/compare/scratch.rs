//! Where configurations and certificates of a run are.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A folder of its own, removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ringway-perf-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self(dir))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is a few configurations in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
