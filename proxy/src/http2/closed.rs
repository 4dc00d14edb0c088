//! Streams that ended not long ago.

use std::collections::VecDeque;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// We reset it: what the peer sent before it knew is ignored.
    ResetHere,
    /// The peer reset it or ended it: it knows that nothing may follow.
    ByPeer,
}

/// The streams that ended last, so that late frames are told from wrong ones (RFC 9113 section
/// 5.1, "closed").
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<u32>);

/// Streams remembered; frames on older ones count as wrong, which ends a stream at most.
const KEPT: usize = 128;

impl Recent {
    pub(super) fn push(&mut self, id: u32, how: How) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(id << 1 | u32::from(how == How::ResetHere));
    }

    pub(super) fn find(&self, id: u32) -> Option<How> {
        let found = self.0.iter().rev().find(|entry| **entry >> 1 == id)?;
        Some(if found & 1 == 1 { How::ResetHere } else { How::ByPeer })
    }
}
