//! Where lines go.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static PATH: OnceLock<PathBuf> = OnceLock::new();
/// Grows with every request to open the file again (it may have been moved away).
static GENERATION: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This thread's handle and the generation it was opened in. One handle per thread: swapping a
    /// shared one would need a lock.
    static FILE: RefCell<Option<(u64, File)>> = const { RefCell::new(None) };
}

/// Sends lines to this file from now on.
pub(super) fn use_file(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    FILE.with_borrow_mut(|slot| *slot = Some((GENERATION.load(Ordering::Relaxed), file)));
    let _second_call = PATH.set(path.to_owned());
    Ok(())
}

/// Opens the log file again before the next line (SIGUSR1).
pub fn reopen() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Writes one line. What cannot be written is dropped: there is nowhere to report it.
pub(super) fn write(line: &[u8]) {
    let Some(path) = PATH.get() else {
        let _broken_stderr = io::stderr().write_all(line);
        return;
    };
    FILE.with_borrow_mut(|slot| {
        let generation = GENERATION.load(Ordering::Relaxed);
        if slot.as_ref().is_none_or(|(opened, _)| *opened != generation) {
            match open(path) {
                Ok(file) => *slot = Some((generation, file)),
                // Keep the old handle, if any: better a line in the moved file than none.
                Err(_) if slot.is_some() => {}
                Err(_) => return,
            }
        }
        if let Some((_, file)) = slot {
            let _disk_full = file.write_all(line);
        }
    });
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}
