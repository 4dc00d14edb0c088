//! Spare heads and streams of a shard: a head that has come waits in one of these until its
//! stream's task takes it by swapping buffers, so that in the steady state nothing is allocated for
//! a stream.

use std::cell::RefCell;

use ringway_wire::http2::HeaderBlock;
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

use super::stream::StreamState;

/// Heads nobody uses at the moment, and the block that sessions decode into.
#[derive(Default)]
pub(crate) struct Heads {
    pub(super) block: RefCell<HeaderBlock>,
    requests: Spare<RequestHead>,
    responses: Spare<ResponseHead>,
    trailers: Spare<HeaderMap>,
    streams: Spare<StreamState>,
}

/// Boxed, because they move in and out for every stream: 8 bytes each.
struct Spare<T>(RefCell<Vec<Box<T>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

/// Heads kept of a kind.
const KEPT: usize = 256;
/// Header bytes a spare head may hold room for.
const ROOM_KEPT: usize = 8 << 10;

impl<T: Default> Spare<T> {
    fn take(&self) -> Box<T> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    fn put(&self, head: Box<T>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < KEPT {
            spare.push(head);
        }
    }
}

impl Heads {
    pub(super) fn request(&self) -> Box<RequestHead> {
        self.requests.take()
    }

    pub(super) fn put_request(&self, mut head: Box<RequestHead>) {
        head.clear();
        head.headers.trim(ROOM_KEPT);
        self.requests.put(head);
    }

    pub(super) fn response(&self) -> Box<ResponseHead> {
        self.responses.take()
    }

    pub(super) fn put_response(&self, mut head: Box<ResponseHead>) {
        head.clear();
        head.headers.trim(ROOM_KEPT);
        self.responses.put(head);
    }

    /// A stream that is nobody's.
    pub(super) fn stream(&self) -> Box<StreamState> {
        self.streams.take()
    }

    pub(super) fn put_stream(&self, mut stream: Box<StreamState>) {
        stream.renew(self);
        self.streams.put(stream);
    }

    pub(super) fn trailers(&self) -> Box<HeaderMap> {
        self.trailers.take()
    }

    pub(super) fn put_trailers(&self, mut map: Box<HeaderMap>) {
        map.clear();
        map.trim(ROOM_KEPT);
        self.trailers.put(map);
    }
}
