//! The downstream side of a request: where its body comes from and its response goes to.
//!
//! LIFECYCLE of a request on an HTTP/1 connection: `begin` (head parsed) → `poll_body` until
//! [`Frame::End`] → the response is written → `is_complete` says whether the connection can carry
//! another. An HTTP/2 stream carries one request only.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ringway_runtime::{BufMut, Chunk};
use ringway_wire::HeaderMap;
use ringway_wire::http1::{BodyDecoder, BodyKind, H1Error};

use super::reply::LocalReply;
use crate::http2::StreamHandle;
use crate::listener::ActiveChain;
use crate::transport::Stream;

/// Where a request comes from and its response goes to.
pub(crate) enum Downstream {
    /// An HTTP/1 connection, which carries one request at a time.
    Http1(Http1),
    /// A stream of an HTTP/2 connection.
    Http2(Http2),
    /// An HTTP/2 connection itself: its streams carry the requests.
    Session,
}

/// A stream of an HTTP/2 connection.
pub(crate) struct Http2 {
    /// The stream.
    pub stream: StreamHandle,
    /// The request has been read to its end.
    complete: bool,
    /// Body bytes received.
    body_bytes: u64,
}

/// An HTTP/1 connection, read piece by piece.
pub(crate) struct Http1 {
    /// The connection.
    pub stream: Stream,
    /// Bytes received and not consumed yet.
    pub inbox: Chunk,
    /// What is left of the request's body; `None` once it has been read to its end.
    body: Option<Box<BodyDecoder>>,
    /// Body bytes received, without chunk framing.
    body_bytes: u64,
    /// Bytes received and not yet in a counter.
    received: u64,
    /// Whose end is its end.
    chain: Rc<ActiveChain>,
}

/// One piece of a message's body.
pub(crate) enum Frame {
    /// Bytes, at least one.
    Data(Chunk),
    /// The end; trailers, if any, are in the map that was passed in.
    End,
}

/// Why a body cannot be read further.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The peer broke the framing.
    Malformed(H1Error),
    /// The peer went away.
    Gone,
    /// A filter answers the request instead.
    Reply(Box<LocalReply>),
}

impl Downstream {
    /// What speaks HTTP/1 here.
    pub(crate) fn http1(&mut self) -> Option<&mut Http1> {
        match self {
            Self::Http1(http1) => Some(http1),
            Self::Http2(_) | Self::Session => None,
        }
    }

    /// Bytes received since the last call, for `downstream_cx_rx_bytes_total`.
    pub(crate) fn uncounted_rx(&mut self) -> u64 {
        match self {
            Self::Http1(http1) => std::mem::take(&mut http1.received),
            // Its driver counts.
            Self::Http2(_) | Self::Session => 0,
        }
    }

    /// Body bytes received, without framing.
    pub(crate) fn body_bytes(&self) -> u64 {
        match self {
            Self::Http1(http1) => http1.body_bytes,
            Self::Http2(http2) => http2.body_bytes,
            Self::Session => 0,
        }
    }

    /// Whether the whole request has been read.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.body.is_none(),
            Self::Http2(http2) => http2.complete || http2.stream.is_complete(),
            Self::Session => true,
        }
    }

    /// Whether more of the request is here already.
    pub(crate) fn has_unread(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.body.is_some() && !http1.inbox.is_empty(),
            Self::Http2(http2) => {
                !http2.complete && (http2.stream.unread() > 0 || http2.stream.is_complete())
            }
            Self::Session => false,
        }
    }

    /// The next piece of the request body.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<Frame, BodyError>> {
        match self {
            Self::Http1(http1) => http1.poll_body(cx, trailers),
            Self::Http2(http2) => http2.poll_body(cx, trailers),
            Self::Session => Poll::Ready(Ok(Frame::End)),
        }
    }

    /// Ready when the client has gone while a response is being made.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(http1) => http1.poll_gone(cx),
            Self::Http2(http2) => http2.stream.poll_gone(cx).map(|_| ()),
            Self::Session => Poll::Pending,
        }
    }

    /// Response bytes queued that nobody has taken off our hands.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Http1(http1) => http1.stream.queued(),
            Self::Http2(http2) => http2.stream.queued(),
            Self::Session => 0,
        }
    }

    /// Ready once no more than `below` of them are left.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Http1(http1) if http1.chain.is_over() => Poll::Ready(Err(BodyError::Gone)),
            Self::Http1(http1) => {
                http1.stream.poll_queued_below(cx, below).map_err(|_| BodyError::Gone)
            }
            Self::Http2(http2) => {
                http2.stream.poll_queued_below(cx, below).map_err(|_| BodyError::Gone)
            }
            Self::Session => Poll::Ready(Ok(())),
        }
    }

    /// Nothing that is written arrives any more.
    pub(crate) fn write_failed(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.stream.write_error().is_some() || http1.chain.is_over(),
            Self::Http2(http2) => http2.stream.end().is_some(),
            Self::Session => false,
        }
    }

    /// The client has said its last, or is gone.
    pub(crate) fn readable_closed(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.stream.readable_closed(),
            Self::Http2(_) | Self::Session => false,
        }
    }

    /// How the request came.
    pub(crate) fn is_http2(&self) -> bool {
        !matches!(self, Self::Http1(_))
    }
}

impl Http2 {
    /// A stream whose head was taken; `has_body`: more than the head comes.
    pub(crate) fn new(stream: StreamHandle, has_body: bool) -> Self {
        Self { stream, complete: !has_body, body_bytes: 0 }
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<Frame, BodyError>> {
        if self.complete {
            return Poll::Ready(Ok(Frame::End));
        }
        let frame = ready!(self.stream.poll_body(cx, trailers)).map_err(|_| BodyError::Gone)?;
        match &frame {
            Frame::Data(data) => self.body_bytes += data.len() as u64,
            Frame::End => self.complete = true,
        }
        Poll::Ready(Ok(frame))
    }
}

impl Http1 {
    pub(crate) fn new(stream: Stream, chain: Rc<ActiveChain>) -> Self {
        Self { stream, inbox: Chunk::default(), body: None, body_bytes: 0, received: 0, chain }
    }

    /// Puts bytes that were received by others behind those that are here.
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        self.received += chunk.len() as u64;
        let before = std::mem::take(&mut self.inbox);
        self.inbox = join(before, chunk);
    }

    /// The connection and what was read of it.
    pub(crate) fn into_parts(self) -> (Stream, Chunk) {
        (self.stream, self.inbox)
    }

    /// A head was parsed: its bytes are consumed, the body starts.
    pub(crate) fn begin(
        &mut self,
        head_len: usize,
        kind: BodyKind,
        decoder: impl FnOnce() -> BodyDecoder,
    ) {
        self.inbox.advance(head_len);
        self.body = (kind != BodyKind::None).then(|| Box::new(decoder()));
        self.body_bytes = 0;
        if let BodyKind::Length(n) = kind {
            let expected = usize::try_from(n).unwrap_or(usize::MAX);
            self.stream.recv_hint(expected.saturating_sub(self.inbox.len()));
        }
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<Frame, BodyError>> {
        loop {
            let Some(decoder) = &mut self.body else { return Poll::Ready(Ok(Frame::End)) };
            if !self.inbox.is_empty() {
                let step = match decoder.decode(&self.inbox) {
                    Ok(step) => step,
                    Err(error) => return Poll::Ready(Err(BodyError::Malformed(error))),
                };
                let data = self.inbox.slice(step.data);
                self.inbox.advance(step.consumed);
                if step.done {
                    if let Some(received) = decoder.take_trailers() {
                        *trailers = received;
                    }
                    self.body = None;
                    self.stream.recv_hint(0);
                }
                if !data.is_empty() {
                    self.body_bytes += data.len() as u64;
                    return Poll::Ready(Ok(Frame::Data(data)));
                }
                continue;
            }
            if self.chain.is_over() {
                return Poll::Ready(Err(BodyError::Gone));
            }
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(chunk)) => {
                    self.received += chunk.len() as u64;
                    self.inbox = chunk;
                }
                Ok(None) | Err(_) => return Poll::Ready(Err(BodyError::Gone)),
            }
        }
    }

    /// From here on all bytes are payload.
    pub(crate) fn begin_tunnel(&mut self) {
        let (limits, options) = Default::default();
        let decoder = BodyDecoder::request(BodyKind::UntilClose, &limits, &options);
        self.body = Some(Box::new(decoder));
    }

    /// Bytes of a next request do not count: they wait. Envoy too takes a FIN here as "gone".
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let gone = self.stream.write_error().is_some() || self.stream.readable_closed();
        if gone || self.chain.is_over() {
            return Poll::Ready(());
        }
        match self.stream.poll_closed_or_readable(cx) {
            Poll::Ready(()) if self.stream.readable_closed() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Receives until there are bytes to parse. `Ok(false)`: the peer closed, or it is over here.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ()>> {
        if self.chain.is_over() {
            return Poll::Ready(Ok(false));
        }
        match ready!(self.stream.poll_recv(cx)) {
            Ok(Some(chunk)) => {
                self.received += chunk.len() as u64;
                let before = std::mem::take(&mut self.inbox);
                self.inbox = join(before, chunk);
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}

/// Two pieces as one: without a copy where they are neighbours in one buffer.
pub(crate) fn join(first: Chunk, second: Chunk) -> Chunk {
    if first.is_empty() {
        return second;
    }
    first.unsplit(second).unwrap_or_else(|(first, second)| {
        let mut joined = BufMut::with_capacity(first.len() + second.len());
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&second);
        joined.freeze()
    })
}
