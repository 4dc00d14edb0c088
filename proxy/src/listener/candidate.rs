//! A connection on its way to its filter chain.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use ringway_runtime::{Chunk, Instant, Sleep, Stream, sleep_until};

use super::Meta;
use crate::shard::balance::Share;

/// A connection no chain has taken yet.
pub(super) struct Candidate {
    pub stream: Stream,
    pub meta: Meta,
    pub inbox: Inbox,
    /// When it was accepted.
    pub opened: Instant,
    load: Share,
}

/// Bytes received that filters have looked at and nobody has consumed. Small reads are joined, so
/// that filters see one slice however the bytes came.
#[derive(Default)]
pub(super) struct Inbox {
    first: Chunk,
    joined: Vec<u8>,
}

/// How a wait for more bytes ended.
pub(super) enum Filled {
    More,
    /// The client is gone, or says nothing more.
    Closed,
    /// The connection broke.
    Failed,
    /// `listener_filters_timeout` is over.
    Late,
}

impl Candidate {
    pub(super) fn new(stream: Stream, meta: Meta, load: Share) -> Self {
        Self { stream, meta, inbox: Inbox::default(), opened: ringway_runtime::now(), load }
    }

    /// Waits for more bytes, until `deadline` at the most.
    pub(super) async fn fill(&mut self, deadline: Option<Instant>) -> Filled {
        let mut timer: Option<Sleep> = None;
        poll_fn(|cx| {
            match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.inbox.push(chunk);
                    return Poll::Ready(Filled::More);
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Filled::Closed),
                Poll::Ready(Err(_)) => return Poll::Ready(Filled::Failed),
                Poll::Pending => {}
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| sleep_until(deadline));
            Pin::new(timer).poll(cx).map(|()| Filled::Late)
        })
        .await
    }

    /// Lets go of a connection that is not served. As with a socket that is closed with bytes
    /// unread, the client is told by a reset.
    pub(super) fn refuse(self) {
        if self.inbox.bytes().is_empty() {
            self.stream.close();
        } else {
            self.stream.reset();
        }
    }

    /// The connection as whoever serves it reads it: from the first byte nobody consumed.
    pub(super) fn into_parts(self) -> (Stream, Meta, Share) {
        let rest = self.inbox.into_chunk();
        if !rest.is_empty() {
            self.stream.unread(rest);
        }
        (self.stream, self.meta, self.load)
    }
}

impl Inbox {
    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined }
    }

    fn push(&mut self, chunk: Chunk) {
        if !self.joined.is_empty() {
            self.joined.extend_from_slice(&chunk);
            return;
        }
        if self.first.is_empty() {
            self.first = chunk;
            return;
        }
        match std::mem::take(&mut self.first).unsplit(chunk) {
            Ok(one) => self.first = one,
            Err((first, next)) => {
                self.joined.reserve(first.len() + next.len());
                self.joined.extend_from_slice(&first);
                self.joined.extend_from_slice(&next);
            }
        }
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        if self.joined.is_empty() {
            self.first.advance(count.min(self.first.len()));
        } else {
            self.joined.drain(..count.min(self.joined.len()));
        }
    }

    fn into_chunk(self) -> Chunk {
        if self.joined.is_empty() { self.first } else { Chunk::from(self.joined) }
    }
}
