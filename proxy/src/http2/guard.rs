//! Counts that end a connection whose peer makes work without asking for anything.

use std::time::Duration;

use ringway_runtime::Instant;

use crate::plan::http2::{Http2Options, PrematureResets, ResetRate};

/// What the peer has sent so far, as the flood limits count it. Each check is false when a limit
/// is passed.
#[derive(Debug)]
pub(super) struct Guard {
    /// HEADERS, CONTINUATION and DATA frames in a row without payload and END_STREAM.
    empty: u32,
    priority: u64,
    window_updates: u64,
    /// Streams opened, by whichever end opens them.
    streams: u64,
    /// DATA frames we have sent.
    data_sent: u64,
    resets: Bucket,
    ended: u64,
    premature: u64,
    /// Streams refused.
    refused: u32,
}

/// Streams that a client may open beyond the limit before it has acknowledged our settings.
const REFUSED_MAX: u32 = 1000;

impl Guard {
    pub(super) fn new(options: &Http2Options, now: Instant) -> Self {
        Self {
            empty: 0,
            priority: 0,
            window_updates: 0,
            streams: 0,
            data_sent: 0,
            resets: Bucket { tokens: options.reset_rate.burst, filled: now },
            ended: 0,
            premature: 0,
            refused: 0,
        }
    }

    pub(super) fn stream_opened(&mut self) {
        self.streams += 1;
    }

    pub(super) fn data_sent(&mut self) {
        self.data_sent += 1;
    }

    /// A frame with a payload of `len` bytes that may carry part of a message.
    pub(super) fn payload(&mut self, options: &Http2Options, len: u32, end: bool) -> bool {
        if len > 0 || end {
            self.empty = 0;
            return true;
        }
        self.empty += 1;
        self.empty <= options.max_consecutive_empty_frames
    }

    /// Envoy: at most `max_inbound_priority_frames_per_stream * (1 + opened_streams)`.
    pub(super) fn priority(&mut self, options: &Http2Options) -> bool {
        self.priority += 1;
        let per_stream = u64::from(options.max_priority_frames_per_stream);
        self.priority <= per_stream.saturating_mul(1 + self.streams)
    }

    /// Envoy: at most `5 + 2 * (opened_streams +
    /// max_inbound_window_update_frames_per_data_frame_sent * outbound_data_frames)`.
    pub(super) fn window_update(&mut self, options: &Http2Options) -> bool {
        self.window_updates += 1;
        let per_data = u64::from(options.max_window_updates_per_data_frame);
        let allowed = self.streams + per_data.saturating_mul(self.data_sent);
        self.window_updates <= 5 + 2 * allowed
    }

    /// A stream is refused; false once there were too many for a client that does not know better.
    pub(super) fn may_be_refused(&mut self) -> bool {
        self.refused = self.refused.saturating_add(1);
        self.refused <= REFUSED_MAX
    }

    /// RST_STREAM came.
    pub(super) fn reset(&mut self, options: &Http2Options, now: Instant) -> bool {
        self.resets.take(options.reset_rate, now)
    }

    /// A stream ended; `early`: the peer reset it, or made us reset it, before it was answered and
    /// `age` after it began.
    pub(super) fn stream_ended(
        &mut self,
        options: &Http2Options,
        early: bool,
        age: Duration,
    ) -> bool {
        let Some(PrematureResets { total, lifetime }) = options.premature_resets else {
            return true;
        };
        self.ended += 1;
        // Whole seconds are compared, as Envoy does.
        if early && age.as_secs() <= lifetime.as_secs() {
            self.premature += 1;
        }
        // Where even good streams from now on could not bring the share below one half by the time
        // there have been `total`, the connection ends now.
        self.premature * 2 < self.ended.max(total) || total == 0
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, rate: ResetRate, now: Instant) -> bool {
        let seconds = now.since(self.filled).as_secs();
        if seconds > 0 {
            self.tokens =
                self.tokens.saturating_add(seconds.saturating_mul(rate.per_second)).min(rate.burst);
            self.filled += Duration::from_secs(seconds);
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}
