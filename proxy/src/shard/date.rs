//! The `date` header, written once a second.

use std::cell::Cell;

use ringway_wire::date::{IMF_FIXDATE_LEN, imf_fixdate};

/// The text of the current second.
#[derive(Debug)]
pub(super) struct DateCache {
    second: Cell<u64>,
    text: Cell<[u8; IMF_FIXDATE_LEN]>,
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: Cell::new(0), text: Cell::new(imf_fixdate(0)) }
    }
}

impl DateCache {
    /// Lends the text to `f`.
    pub(super) fn with<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let second = ringway_runtime::unix_now().as_secs();
        if self.second.replace(second) != second {
            self.text.set(imf_fixdate(second));
        }
        f(&self.text.get())
    }
}
