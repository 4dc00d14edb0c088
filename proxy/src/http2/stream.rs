//! One stream's state, and the table of a session's streams.

use std::collections::VecDeque;
use std::task::Waker;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ringway_runtime::{Chain, Instant};
use ringway_wire::http2::StreamError;
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

use super::StreamEnd;
use super::flow::{RecvWindow, SendWindow};
use super::heads::Heads;

/// Place of a stream in its session's table. It stays the stream's for as long as its handle lives.
pub(super) type Key = u32;

/// A stream.
pub(super) struct StreamState {
    /// Its number; 0 until a client's request is sent.
    pub(super) id: u32,
    /// A handle exists.
    pub(super) held: bool,
    /// Counts as open (RFC 9113 section 5.1.2).
    pub(super) open: bool,
    pub(super) began: Instant,

    /// Server: the request, until it is taken.
    pub(super) request: Option<Box<RequestHead>>,
    /// Server: why there is no request.
    pub(super) refusal: Option<StreamError>,
    /// Server: `:protocol` of the request.
    pub(super) protocol: Option<Box<[u8]>>,
    /// Server: the request has a body.
    pub(super) has_body: bool,
    /// Client: heads that were not taken yet.
    pub(super) responses: VecDeque<Box<ResponseHead>>,
    /// The head that a body may follow has come.
    pub(super) head_received: bool,
    /// Client: no body follows, whatever `content-length` says.
    pub(super) bodiless: bool,
    /// Body bytes to come by `content-length`.
    pub(super) expected: Option<u64>,
    pub(super) inbox: Chain,
    pub(super) trailers: Option<Box<HeaderMap>>,
    /// END_STREAM came.
    pub(super) remote_ended: bool,
    pub(super) recv: RecvWindow,

    /// Our (final) head was sent.
    pub(super) head_sent: bool,
    /// Body bytes that wait for a window or the transport.
    pub(super) outbox: Chain,
    /// They are the last.
    pub(super) end_queued: bool,
    /// Trailers behind them. Their encoding depends on all that is sent before.
    pub(super) trailers_queued: Option<Box<HeaderMap>>,
    /// END_STREAM was written.
    pub(super) local_ended: bool,
    pub(super) send: SendWindow,
    /// It is in the queue of those with something to send.
    pub(super) scheduled: bool,

    pub(super) end: Option<StreamEnd>,
    /// Waits for something to come.
    pub(super) reader: Option<Waker>,
    /// Waits for the outbox to be as short as `below`.
    pub(super) writer: Option<Waker>,
    pub(super) below: usize,
    /// Bytes of its frames, headers included.
    pub(super) wire_sent: u64,
    pub(super) wire_received: u64,
}

impl Default for StreamState {
    fn default() -> Self {
        Self {
            id: 0,
            held: false,
            open: false,
            began: Instant::FAR_FUTURE,
            request: None,
            refusal: None,
            protocol: None,
            has_body: false,
            responses: VecDeque::new(),
            head_received: false,
            bodiless: false,
            expected: None,
            inbox: Chain::new(),
            trailers: None,
            remote_ended: false,
            recv: RecvWindow::new(0),
            head_sent: false,
            outbox: Chain::new(),
            end_queued: false,
            trailers_queued: None,
            local_ended: false,
            send: SendWindow::new(0),
            scheduled: false,
            end: None,
            reader: None,
            writer: None,
            below: 0,
            wire_sent: 0,
            wire_received: 0,
        }
    }
}

impl StreamState {
    /// Ready for another stream; keeps the room of its queues.
    pub(super) fn renew(&mut self, heads: &Heads) {
        if let Some(head) = self.request.take() {
            heads.put_request(head);
        }
        self.responses.drain(..).for_each(|head| heads.put_response(head));
        if let Some(map) = self.trailers.take() {
            heads.put_trailers(map);
        }
        self.inbox.clear();
        self.outbox.clear();
        let (responses, inbox, outbox) = (
            std::mem::take(&mut self.responses),
            std::mem::take(&mut self.inbox),
            std::mem::take(&mut self.outbox),
        );
        *self = Self { responses, inbox, outbox, ..Self::default() };
    }

    /// Something came: wakes who waits for it.
    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// The outbox is shorter: wakes who waits for that.
    pub(super) fn wake_writer(&mut self) {
        if self.outbox.len() <= self.below
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
    }

    /// Wakes whoever waits for anything.
    pub(super) fn wake(&mut self) {
        self.wake_reader();
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Everything this end has to say was given to the stream.
    pub(super) fn said_all(&self) -> bool {
        self.local_ended || self.end_queued
    }

    /// Waiting bytes, or an end that waits behind none.
    pub(super) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || self.end_queued
    }
}

/// The streams of a session: places that are used again, and their numbers. What a place holds
/// comes from the shard's spare ones, so that an idle session has none.
#[derive(Default)]
pub(super) struct Streams {
    slots: Vec<Option<Box<StreamState>>>,
    free: Vec<Key>,
    ids: HashMap<u32, Key, FixedState>,
}

/// Places an idle session keeps.
const SLOTS_KEPT: usize = 64;

impl Streams {
    /// A slot for a stream; `id` 0: its number comes later.
    pub(super) fn insert(&mut self, id: u32, heads: &Heads) -> Key {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as Key - 1
        });
        if let Some(slot) = self.slots.get_mut(key as usize) {
            *slot = Some(heads.stream());
        }
        self.name(key, id);
        key
    }

    /// Gives a stream its number.
    pub(super) fn name(&mut self, key: Key, id: u32) {
        if let Some(stream) = self.get_mut(key) {
            stream.id = id;
        }
        if id != 0 {
            self.ids.insert(id, key);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&StreamState> {
        self.slots.get(key as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut StreamState> {
        self.slots.get_mut(key as usize)?.as_deref_mut()
    }

    /// The place of a stream that is not closed.
    pub(super) fn find(&self, id: u32) -> Option<Key> {
        self.ids.get(&id).copied()
    }

    /// The number leads nowhere from now on: the stream is closed.
    pub(super) fn forget(&mut self, id: u32) {
        self.ids.remove(&id);
    }

    /// Takes a slot back. Nobody may refer to it.
    pub(super) fn free(&mut self, key: Key, heads: &Heads) {
        if let Some(stream) = self.slots.get_mut(key as usize).and_then(Option::take) {
            heads.put_stream(stream);
            self.free.push(key);
        }
        if self.free.len() == self.slots.len() && self.slots.len() > SLOTS_KEPT {
            *self = Self::default();
        }
    }

    /// All slots in use.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        0..self.slots.len() as Key
    }

    /// Slots in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
