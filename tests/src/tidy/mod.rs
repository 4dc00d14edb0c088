//! Rules of the source tree that no lint of the compiler holds. `tests/tidy/main.rs` runs them over
//! the tracked files; each gives its findings as `FILE:LINE: what is wrong and what to do`.

pub mod arrows;
pub mod rust;

use crate::bins;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

#[cfg(test)]
mod tests;

/// Longest line, in characters.
const COLUMNS: usize = 100;
/// Longest file, in lines.
const LINES: usize = 700;

/// A tracked text file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the workspace.
    pub path: String,
    /// Content.
    pub text: String,
}

/// All tracked files that are UTF-8.
///
/// # Errors
/// No git, or no repository.
pub fn tracked() -> Result<Vec<Source>> {
    let root = bins::workspace();
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&root)
        .output()
        .context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: not a repository");
    let names = String::from_utf8(output.stdout)?;
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    Ok(names.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect())
}

/// Lines of at most 100 characters, files of at most 700 lines.
#[must_use]
pub fn lengths(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        // The URL of a type cannot be broken in YAML.
        if columns > COLUMNS && !line.contains("\"type.googleapis.com/") {
            let place = format!("{}:{}", source.path, at + 1);
            found.push(format!("{place}: {columns} columns, at most {COLUMNS}: break the line"));
        }
    }
    let lines = source.text.lines().count();
    if lines > LINES {
        found.push(format!("{}: {lines} lines, at most {LINES}: split the file", source.path));
    }
    found
}

/// No names of package registries' hosts and no folders of one machine in what is published.
#[must_use]
pub fn foreign_words(source: &Source) -> Vec<String> {
    // The lock file names the index of the registry: cargo writes it so.
    if source.path == "Cargo.lock" {
        return Vec::new();
    }
    // In two parts each, so that this file does not contain them.
    let words = [
        ("static.", "crates.io"),
        ("index.", "crates.io"),
        ("pypi", ".org"),
        ("files.python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("proxy.", "golang.org"),
        ("deb.", "debian.org"),
        ("/wo", "rk/"),
        ("/tmp/", "envoy"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
    ];
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for (head, tail) in words {
            let word = format!("{head}{tail}");
            if line.contains(&word) {
                found.push(format!("{}:{}: contains {word}", source.path, at + 1));
            }
        }
    }
    found
}

/// Every `tests.rs` is declared by the module it belongs to: otherwise it is never compiled.
#[must_use]
pub fn undeclared_tests(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with("/tests.rs")) {
        let Some(dir) = Path::new(&source.path).parent() else { continue };
        let parents =
            [dir.with_extension("rs"), dir.join("mod.rs"), dir.join("lib.rs"), dir.join("main.rs")];
        let declared = sources.iter().any(|other| {
            parents.iter().any(|parent| parent == Path::new(&other.path))
                && other.text.lines().any(|line| line.trim() == "mod tests;")
        });
        if !declared {
            found.push(format!("{}: no `mod tests;` beside it: it never runs", source.path));
        }
    }
    found
}
