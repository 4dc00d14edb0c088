//! The upstream side of one attempt: a request goes out, a response comes back as events, whatever
//! protocol the connection speaks.

mod http1;
mod http2;
mod tcp;

use std::task::{Context, Poll};

use ringway_runtime::Chunk;
use ringway_wire::{HeaderMap, Method, ResponseHead};

use super::retry::Reset;
use crate::upstream::Leased;
use crate::upstream::tcp::TcpConn;

pub(super) use http1::Http1;
pub(super) use http2::Http2;
pub(super) use tcp::Tcp;

/// What a request is sent on.
pub(super) enum Acquired {
    /// What a pool has given.
    Http(Leased),
    /// A connection for the payload of a CONNECT that ends here.
    Tcp(TcpConn),
}

/// What comes back from an upstream.
pub(super) enum Event {
    /// An interim head (1xx) is in the response.
    Interim,
    /// The head is in the response; `bodiless` when no body follows.
    Head { bodiless: bool },
    /// A piece of the body, at least one byte.
    Data(Chunk),
    /// The end of the response; its trailers are in the map.
    End,
    /// There will be no (more of the) response.
    Failed(Failure),
}

/// Why a response does not come, or not to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// What happened.
    pub reset: Reset,
    /// The upstream cannot have seen the request: its connection, kept from an earlier one, was
    /// dead, or it said so itself.
    pub untouched: bool,
}

/// Where the parts of a response go.
pub(super) struct Response<'a> {
    /// The method of the request.
    pub method: Method,
    /// The request asks for another protocol.
    pub upgrade: bool,
    /// The head.
    pub head: &'a mut ResponseHead,
    /// The trailers.
    pub trailers: &'a mut HeaderMap,
}

/// One request on an upstream connection.
#[expect(clippy::large_enum_variant, reason = "most are HTTP/1, and none is moved about")]
pub(super) enum Up<'a> {
    /// On an HTTP/1 connection of its own.
    Http1(Http1<'a>),
    /// On a stream of an HTTP/2 connection.
    Http2(Http2),
    /// On a connection that carries what a CONNECT brings.
    Tcp(Tcp),
}

impl Up<'_> {
    /// Queues a piece of the request's body.
    pub(super) fn write(&mut self, chunk: Chunk) {
        match self {
            Self::Http1(up) => up.write(chunk),
            Self::Http2(up) => up.write(chunk),
            Self::Tcp(up) => up.write(chunk),
        }
    }

    /// Ends the request; its head said that a body follows.
    pub(super) fn end(&mut self, trailers: &HeaderMap) {
        match self {
            Self::Http1(up) => up.end(trailers),
            Self::Http2(up) => up.end(trailers),
            Self::Tcp(up) => up.end(),
        }
    }

    /// Request bytes queued that nobody has taken off our hands.
    pub(super) fn queued(&self) -> usize {
        match self {
            Self::Http1(up) => up.queued(),
            Self::Http2(up) => up.queued(),
            Self::Tcp(up) => up.queued(),
        }
    }

    /// Ready once no more than `below` of them are left. An error is told by [`Up::poll`], too.
    pub(super) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), ()>> {
        match self {
            Self::Http1(up) => up.poll_queued_below(cx, below),
            Self::Http2(up) => up.poll_queued_below(cx, below),
            Self::Tcp(up) => up.poll_queued_below(cx, below),
        }
    }

    /// The next thing the upstream says.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut into: Response<'_>) -> Poll<Event> {
        match self {
            Self::Http1(up) => up.poll(cx, &mut into),
            Self::Http2(up) => up.poll(cx, &mut into),
            Self::Tcp(up) => up.poll(cx, &mut into),
        }
    }

    /// What is here of the body when its head has been read: the first piece, and whether the
    /// response is here to its end. What breaks the protocol is told by [`Up::poll`] later.
    pub(super) fn first_piece(&mut self, trailers: &mut HeaderMap) -> (Option<Chunk>, bool) {
        match self {
            Self::Http1(up) => up.first_piece(trailers),
            Self::Http2(up) => up.first_piece(trailers),
            Self::Tcp(_) => (None, false),
        }
    }

    /// Bytes received since the last call.
    pub(super) fn take_received(&mut self) -> u64 {
        match self {
            Self::Http1(up) => up.take_received(),
            Self::Http2(up) => up.take_received(),
            Self::Tcp(up) => up.take_received(),
        }
    }

    /// A request that fails on it before the first answer may not have been seen: it is worth
    /// keeping for that alone.
    pub(super) fn may_be_stale(&self) -> bool {
        match self {
            Self::Http1(up) => up.reused(),
            Self::Http2(up) => up.unsent(),
            Self::Tcp(_) => false,
        }
    }

    /// The response's head was read and nobody wants the rest.
    pub(super) fn skip_body(&mut self, bodiless: bool) {
        match self {
            Self::Http1(up) => up.skip_body(bodiless),
            Self::Http2(_) => {}
            Self::Tcp(_) => {}
        }
    }

    /// The attempt is over. `complete`: the response was relayed to its end; `request_done`: so
    /// was the request.
    pub(super) fn finish(self, complete: bool, request_done: bool) {
        match self {
            Self::Http1(up) => up.finish(complete, request_done),
            Self::Http2(up) => up.finish(complete),
            Self::Tcp(up) => drop(up),
        }
    }
}
