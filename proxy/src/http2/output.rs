//! What is to be sent next.

use ringway_runtime::{BufMut, Chain, Chunk};
use ringway_wire::http1::Sink;

use crate::transport::Stream;

/// Frames of one turn. Small things are copied together; large body chunks go between them as
/// they are.
#[derive(Default)]
pub(super) struct Out {
    chain: Chain,
    tail: BufMut,
    /// Frames in it.
    frames: u32,
    /// PING, SETTINGS and RST_STREAM among them.
    control: u32,
}

/// Body chunks up to this size are copied behind their frame header.
const COPY_MAX: usize = 4 << 10;
/// The first buffer of a turn, and what each further one may grow to.
const TAIL_MIN: usize = 512;
const TAIL_MAX: usize = 16 << 10;

impl Out {
    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.chain.len() + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames in it, and the control frames among them.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.frames, self.control)
    }

    /// A frame will be written.
    pub(super) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// A PING, SETTINGS or RST_STREAM frame will be written.
    pub(super) fn count_control(&mut self) {
        self.frames += 1;
        self.control += 1;
    }

    /// A DATA frame, without a copy of its payload if that is large.
    pub(super) fn data(&mut self, header: &[u8], payload: Chunk) {
        self.count_frame();
        if payload.len() <= COPY_MAX {
            self.make_room(header.len() + payload.len());
            self.tail.extend_from_slice(header);
            self.tail.extend_from_slice(&payload);
        } else {
            self.put(header);
            self.roll(0);
            self.chain.push(payload);
        }
    }

    /// Hands everything to the transport; answers how many bytes, frames and control frames.
    pub(super) fn hand_over(&mut self, transport: &Stream) -> (usize, u32, u32) {
        let bytes = self.len();
        let tail = std::mem::take(&mut self.tail).freeze();
        // Mostly it is one piece, for which a list would be an allocation.
        if self.chain.is_empty() {
            transport.write(tail);
        } else {
            self.chain.push(tail);
            transport.write_chain(std::mem::take(&mut self.chain));
        }
        let (frames, control) = (self.frames, self.control);
        (self.frames, self.control) = (0, 0);
        (bytes, frames, control)
    }

    /// Another buffer when the one begun has no room left: growing it would copy what is in it.
    fn make_room(&mut self, bytes: usize) {
        if self.tail.capacity() - self.tail.len() < bytes {
            self.roll(bytes);
        }
    }

    fn roll(&mut self, bytes: usize) {
        let grown = (self.tail.capacity() * 4).clamp(TAIL_MIN, TAIL_MAX);
        let next = if bytes == 0 { BufMut::new() } else { BufMut::with_capacity(bytes.max(grown)) };
        let full = std::mem::replace(&mut self.tail, next);
        self.chain.push(full.freeze());
    }
}

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.tail.extend_from_slice(bytes);
    }

    fn reserve(&mut self, bytes: usize) {
        self.make_room(bytes.min(TAIL_MAX));
    }
}
