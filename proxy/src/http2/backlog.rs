//! Frames that were handed to the transport and may not have left yet.

use std::collections::VecDeque;

/// How many frames are on their way out, as Envoy counts them for its flood limits: from the call
/// that makes them until the kernel has taken their last byte.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    batches: VecDeque<Batch>,
    /// Bytes the transport was given since it was last empty.
    given: u64,
    frames: u32,
    control: u32,
}

#[derive(Debug)]
struct Batch {
    /// Where it ends, on the scale of `given`.
    end: u64,
    frames: u32,
    control: u32,
}

/// Batches told apart; more of them are counted as one.
const BATCHES_MAX: usize = 32;

impl Backlog {
    /// Frames on their way, and the control frames among them.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.frames, self.control)
    }

    /// The transport was given `frames` (`control` among them), which made its queue longer by
    /// `bytes`.
    pub(super) fn add(&mut self, bytes: usize, frames: u32, control: u32) {
        self.given += bytes as u64;
        self.frames += frames;
        self.control += control;
        let full = self.batches.len() >= BATCHES_MAX;
        match self.batches.back_mut() {
            Some(last) if full => {
                last.end = self.given;
                last.frames += frames;
                last.control += control;
            }
            _ => self.batches.push_back(Batch { end: self.given, frames, control }),
        }
    }

    /// The transport has `queued` bytes left.
    pub(super) fn settle(&mut self, queued: usize) {
        if queued == 0 {
            self.batches.clear();
            (self.given, self.frames, self.control) = (0, 0, 0);
            return;
        }
        let gone = self.given.saturating_sub(queued as u64);
        while let Some(first) = self.batches.front()
            && first.end <= gone
        {
            self.frames -= first.frames;
            self.control -= first.control;
            self.batches.pop_front();
        }
    }
}
