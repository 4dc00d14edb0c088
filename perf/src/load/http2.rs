//! An HTTP/2 connection of the generator: many exchanges at once.
//!
//! An exchange is a request and its response on a stream of its own, or, on a gRPC stream that
//! stays open, a message and its echo.
//!
//! LIFECYCLE of a slot: idle → [`Http2::begin`] → (stream opened, unless it is open still) → sent,
//! as far as windows allow → answered → idle. A stream that ends, is reset or lies behind a GOAWAY
//! ends its exchange; a GOAWAY lets the others come to their end before the connection does.

use super::http1::Answer;
use super::link::Link;
use super::tally::Failure;
use super::target::Http2Target;
use crate::http2::{Connection, Seen};
use ringway_runtime::{Chunk, Instant};
use ringway_wire::http2::Role;
use ringway_wire::{HeaderMap, ResponseHead};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// What is sent on each stream.
pub(super) struct Work {
    pub(super) target: Http2Target,
    /// The body, or a message.
    pub(super) body: Chunk,
}

/// An exchange that came to its end: when it was due, and what came of it.
pub(super) type Outcome = (Instant, Result<Answer, Failure>);

/// One exchange at a time.
#[derive(Default)]
struct Slot {
    due: Option<Instant>,
    /// 0 until the head of the final response has come.
    status: u16,
    /// The last `grpc-status` was 0.
    grpc_ok: bool,
    /// Body bytes of this exchange.
    received: u64,
    /// Bytes of the body still to be sent.
    unsent: usize,
    /// Bytes that may be sent.
    window: i64,
    /// Bytes received on a stream that stays.
    taken: u32,
}

pub(super) struct Http2 {
    pub(super) link: Link,
    wire: Connection,
    work: Rc<Work>,
    slots: Vec<Slot>,
    /// The stream of each slot, 0 for none; apart because it is searched.
    streams: Vec<u32>,
    /// Slots without an exchange.
    idle: Vec<usize>,
    /// Number of the next stream.
    next: u32,
    /// The peer accepts no further streams.
    draining: bool,
    done: Vec<Outcome>,
    head: ResponseHead,
    trailers: HeaderMap,
}

impl Http2 {
    pub(super) fn new(link: Link, work: Rc<Work>) -> Self {
        let count = work.target.streams;
        Self {
            link,
            wire: Connection::new(Role::Client),
            slots: (0..count).map(|_| Slot::default()).collect(),
            streams: vec![0; count],
            idle: (0..count).rev().collect(),
            next: 1,
            draining: false,
            done: Vec::new(),
            head: ResponseHead::default(),
            trailers: HeaderMap::new(),
            work,
        }
    }

    /// Whether an exchange can begin now.
    pub(super) fn has_room(&self) -> bool {
        let limit = usize::try_from(self.wire.streams_max()).unwrap_or(usize::MAX);
        !self.draining && !self.idle.is_empty() && self.busy() < limit
    }

    /// Exchanges that have begun and not ended.
    pub(super) fn busy(&self) -> usize {
        self.slots.len() - self.idle.len()
    }

    /// Whether no exchange will ever begin again.
    pub(super) fn is_over(&self) -> bool {
        self.draining && self.busy() == 0
    }

    /// Begins an exchange that was due then; it leaves with the next [`Http2::flush`].
    pub(super) fn begin(&mut self, due: Instant) {
        let Some(at) = self.idle.pop() else { return };
        let (slot, target) = (&mut self.slots[at], &self.work.target);
        slot.due = Some(due);
        slot.received = 0;
        slot.unsent = self.work.body.len();
        if self.streams[at] == 0 {
            let stream = self.next;
            self.next += 2;
            self.streams[at] = stream;
            let window = self.wire.window_of_streams();
            *slot = Slot { due: slot.due, unsent: slot.unsent, window, ..Slot::default() };
            let end = slot.unsent == 0 && !target.streaming;
            self.wire.send_request(stream, &target.head, end);
        }
        self.pump(at);
    }

    /// Sends what has to be sent.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.wire.out() {
            Some(chunk) => self.link.send(&chunk),
            None => Ok(()),
        }
    }

    /// Receives once.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let chunk = ready!(self.link.poll_recv(cx)).map_err(|_| Failure::Broken)?;
        self.wire.feed(chunk.ok_or(Failure::Closed)?);
        loop {
            match self.wire.next() {
                Ok(Some(seen)) => self.see(seen),
                Ok(None) => return Poll::Ready(Ok(())),
                Err(_) => return Poll::Ready(Err(Failure::Malformed)),
            }
        }
    }

    /// Exchanges that ended since the last call.
    pub(super) fn done(&mut self) -> impl Iterator<Item = Outcome> + '_ {
        self.done.drain(..)
    }

    /// Ends all exchanges with this failure.
    pub(super) fn fail_all(&mut self, failure: Failure) {
        for at in 0..self.slots.len() {
            self.lose(at, failure);
        }
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Data { stream, bytes, end } => {
                let Some(at) = self.find(stream) else { return };
                self.data(at, bytes.len());
                if end {
                    self.ended(at);
                }
            }
            Seen::Head { stream, end } => {
                let Some(at) = self.find(stream) else { return };
                if !self.headers(at, end) {
                    self.wire.send_reset(stream);
                    self.lose(at, Failure::Malformed);
                } else if end {
                    self.ended(at);
                }
            }
            Seen::Reset { stream } => {
                if let Some(at) = self.find(stream) {
                    self.lose(at, Failure::Broken);
                }
            }
            Seen::GoAway { last } => {
                self.draining = true;
                for at in 0..self.slots.len() {
                    if self.streams[at] > last {
                        self.lose(at, Failure::Closed);
                    }
                }
            }
            Seen::Window { stream, bytes } => {
                if let Some(at) = self.find(stream) {
                    self.slots[at].window += i64::from(bytes);
                    self.pump(at);
                }
            }
            Seen::Windows { change } => {
                for at in 0..self.slots.len() {
                    if self.streams[at] != 0 {
                        self.slots[at].window += change;
                        self.pump(at);
                    }
                }
            }
        }
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.streams.iter().position(|known| *known == stream)
    }

    fn data(&mut self, at: usize, len: usize) {
        let slot = &mut self.slots[at];
        slot.received += len as u64;
        if self.work.target.streaming {
            slot.taken += len as u32;
            self.wire.give_back(self.streams[at], &mut slot.taken);
            if slot.due.is_some() && slot.received >= self.work.body.len() as u64 {
                self.finish(at, true);
            }
        }
    }

    /// A head or trailers; false if they are invalid.
    fn headers(&mut self, at: usize, end: bool) -> bool {
        let slot = &mut self.slots[at];
        let headers = if slot.status < 200 {
            if !self.wire.response(&mut self.head, end) {
                return false;
            }
            slot.status = self.head.status;
            &self.head.headers
        } else {
            if !self.wire.trailers(&mut self.trailers) {
                return false;
            }
            &self.trailers
        };
        if end && self.work.target.grpc {
            slot.grpc_ok = headers.get(b"grpc-status".as_slice()) == Some(b"0");
        }
        true
    }

    /// The peer ended the stream.
    fn ended(&mut self, at: usize) {
        let (target, slot) = (&self.work.target, &self.slots[at]);
        let whole = !target.grpc || slot.grpc_ok && slot.received >= self.work.body.len() as u64;
        if target.streaming {
            // Nobody asked for that.
            return self.lose(at, Failure::Closed);
        }
        if slot.unsent > 0 {
            self.wire.send_reset(self.streams[at]);
        }
        self.streams[at] = 0;
        self.finish(at, whole);
    }

    /// The stream is gone, and with it the exchange, if there is one.
    fn lose(&mut self, at: usize, failure: Failure) {
        self.streams[at] = 0;
        if let Some(due) = self.slots[at].due.take() {
            self.done.push((due, Err(failure)));
            self.idle.push(at);
        }
    }

    fn finish(&mut self, at: usize, whole: bool) {
        let slot = &mut self.slots[at];
        if let Some(due) = slot.due.take() {
            // A gRPC error has status 200: it counts as what it means.
            let status = if whole { slot.status } else { 500 };
            let answer = Answer { status, keep_alive: true, bytes: slot.received };
            self.done.push((due, Ok(answer)));
            self.idle.push(at);
        }
    }

    /// Sends as much of the body as windows allow.
    fn pump(&mut self, at: usize) {
        let (slot, stream) = (&mut self.slots[at], self.streams[at]);
        while slot.unsent > 0 {
            let room = self.wire.room(slot.window).min(slot.unsent);
            if room == 0 {
                return;
            }
            let from = self.work.body.len() - slot.unsent;
            slot.unsent -= room;
            slot.window -= room as i64;
            let end = slot.unsent == 0 && !self.work.target.streaming;
            let bytes = self.work.body.get(from..from + room).unwrap_or_default();
            self.wire.send_data(stream, bytes, end);
        }
    }
}
