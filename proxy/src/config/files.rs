//! Files that fields of a configuration name.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// The file, through links, as it is now.
    pub(crate) fn of(path: &Path) -> Self {
        let look = |meta: std::fs::Metadata| {
            (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
        };
        Self(std::fs::metadata(path).ok().map(look))
    }
}

/// A file that a field names. Devices and pipes may never end, so only regular files are read; what
/// lies in `/dev`, `/proc` or `/sys` is refused by Envoy too ("Invalid path").
///
/// # Errors
/// Why it is not read, for a person.
pub(crate) fn read_file(path: impl AsRef<Path>) -> Result<Vec<u8>, String> {
    let path = path.as_ref();
    let failed = |error: std::io::Error| format!("cannot read '{}': {error}", path.display());
    let real = std::fs::canonicalize(path).map_err(failed)?;
    if ["/dev", "/proc", "/sys"].iter().any(|folder| real.starts_with(folder)) {
        let path = path.display();
        return Err(format!("'{path}' is no file to read: not below /dev, /proc or /sys"));
    }
    if !std::fs::metadata(&real).map_err(failed)?.is_file() {
        return Err(format!("'{}' is not a regular file", path.display()));
    }
    std::fs::read(&real).map_err(failed)
}
