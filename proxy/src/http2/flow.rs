//! Flow-control windows (RFC 9113 section 5.2).

use ringway_wire::http2::WINDOW_MAX;

/// What the peer may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecvWindow {
    /// Bytes it may send now. Negative after our setting has shrunk.
    left: i64,
    /// Bytes it may have under way when nothing waits here.
    size: i64,
    /// Bytes that were consumed and not given back.
    unreturned: i64,
}

impl RecvWindow {
    pub(super) const fn new(size: u32) -> Self {
        Self { left: size as i64, size: size as i64, unreturned: 0 }
    }

    /// Counts bytes that came; false if there was no room for them.
    #[must_use]
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        self.left -= i64::from(bytes);
        self.left >= 0
    }

    /// Counts bytes that were consumed. Some once half of the window is to be given back: the
    /// increment to send.
    pub(super) fn give(&mut self, bytes: u32) -> Option<u32> {
        self.unreturned += i64::from(bytes);
        if self.unreturned == 0 || self.unreturned * 2 < self.size {
            return None;
        }
        let increment = std::mem::take(&mut self.unreturned);
        self.left += increment;
        u32::try_from(increment).ok()
    }

    /// Another size. For streams the peer learns of it by SETTINGS, for the connection by the
    /// increment, which is the difference. Some if what was consumed is now to be given back.
    pub(super) fn resize(&mut self, size: u32) -> Option<u32> {
        self.left += i64::from(size) - self.size;
        self.size = i64::from(size);
        self.give(0)
    }
}

/// What the peer lets us send.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) const fn new(size: u32) -> Self {
        Self(size as i64)
    }

    /// Bytes that may be sent now.
    pub(super) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Counts bytes sent; at most [`SendWindow::room`].
    pub(super) fn take(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// More room, or less after a change of settings; false above 2^31 - 1.
    #[must_use]
    pub(super) fn add(&mut self, difference: i64) -> bool {
        self.0 += difference;
        self.0 <= i64::from(WINDOW_MAX)
    }
}
