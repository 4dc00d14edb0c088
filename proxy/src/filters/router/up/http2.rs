//! A request on a stream of an HTTP/2 connection to the upstream.

use std::task::{Context, Poll, Waker};

use ringway_runtime::Chunk;
use ringway_wire::{HeaderMap, KnownName as K, Method, RequestHead};

use super::{Event, Failure, Response};
use crate::filters::router::retry::Reset;
use crate::http::down::Frame;
use crate::http2::{ErrorCode, StreamEnd};
use crate::upstream::PooledStream;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    /// The end has come with the head.
    Ended,
}

/// The state of one exchange.
pub(in crate::filters::router) struct Http2 {
    stream: PooledStream,
    phase: Phase,
    /// The protocol an upgrade of HTTP/1.1 asks for.
    protocol: Option<Box<[u8]>>,
    /// Bytes [`Http2::take_received`] has told of.
    told: u64,
}

impl Http2 {
    /// Sends the request head; `end`: no body follows. Also answers how many bytes it took.
    ///
    /// A request that asks for another protocol is an extended CONNECT here (RFC 8441), and its
    /// 200 the 101 that the client waits for.
    pub(in crate::filters::router) fn start(
        stream: PooledStream,
        head: &mut RequestHead,
        upgrade: bool,
        end: bool,
    ) -> (Self, u64) {
        let protocol = if upgrade && head.method != Method::Connect {
            head.headers.get(K::Upgrade).map(Box::<[u8]>::from)
        } else {
            None
        };
        let method = head.method;
        if protocol.is_some() {
            head.method = Method::Connect;
        }
        stream.stream().send_request(head, protocol.as_deref(), end);
        head.method = method;
        let bytes = stream.stream().wire_bytes().0;
        (Self { stream, phase: Phase::Head, protocol, told: 0 }, bytes)
    }

    pub(super) fn write(&mut self, chunk: Chunk) {
        self.stream.stream().send_data(chunk, false);
    }

    pub(super) fn end(&mut self, trailers: &HeaderMap) {
        if trailers.is_empty() {
            self.stream.stream().send_data(Chunk::new(), true);
        } else {
            self.stream.stream().send_trailers(trailers);
        }
    }

    /// Its connection was going away and took nothing: only then is it sent again unasked.
    pub(super) fn unsent(&self) -> bool {
        self.stream.stream().id() == 0
    }

    pub(super) fn queued(&self) -> usize {
        self.stream.stream().queued()
    }

    pub(super) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), ()>> {
        self.stream.stream().poll_queued_below(cx, below).map_err(|_| ())
    }

    pub(super) fn take_received(&mut self) -> u64 {
        let received = self.stream.stream().wire_bytes().1;
        received - std::mem::replace(&mut self.told, received)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Response<'_>) -> Poll<Event> {
        let stream = self.stream.stream();
        match self.phase {
            Phase::Head => stream.poll_response(cx, into.head).map(|head| match head {
                Ok(_) if into.head.is_interim() => Event::Interim,
                Ok(bodiless) => {
                    self.phase = Phase::Body;
                    if let Some(protocol) = &self.protocol
                        && into.head.status == 200
                    {
                        into.head.status = 101;
                        into.head.headers.set(K::Upgrade, protocol);
                        into.head.headers.set(K::Connection, b"upgrade");
                    }
                    Event::Head { bodiless }
                }
                Err(end) => self.failed(end),
            }),
            Phase::Body => stream.poll_body(cx, into.trailers).map(|frame| match frame {
                Ok(Frame::Data(chunk)) => Event::Data(chunk),
                Ok(Frame::End) => Event::End,
                Err(end) => self.failed(end),
            }),
            Phase::Ended => Poll::Ready(Event::End),
        }
    }

    /// What has come with the head leaves with it; an end is told again by [`Http2::poll`].
    pub(super) fn first_piece(&mut self, trailers: &mut HeaderMap) -> (Option<Chunk>, bool) {
        let mut cx = Context::from_waker(Waker::noop());
        let stream = self.stream.stream();
        let first = match stream.poll_body(&mut cx, trailers) {
            Poll::Ready(Ok(Frame::Data(chunk))) => Some(chunk),
            Poll::Ready(Ok(Frame::End)) => {
                self.phase = Phase::Ended;
                return (None, true);
            }
            Poll::Ready(Err(_)) | Poll::Pending => return (None, false),
        };
        let ends = stream.is_complete()
            && matches!(stream.poll_body(&mut cx, trailers), Poll::Ready(Ok(Frame::End)));
        if ends {
            self.phase = Phase::Ended;
        }
        (first, ends)
    }

    fn failed(&self, end: StreamEnd) -> Event {
        let reset = match end {
            StreamEnd::Reset(_) => Reset::Remote,
            StreamEnd::Refused => Reset::Refused,
            // A message that was begun and cannot be finished breaks the protocol, in the terms of
            // HTTP/1; here its connection was lost.
            StreamEnd::ConnectionLost => Reset::Termination,
            StreamEnd::Violation(_) => Reset::Protocol,
            StreamEnd::Here => Reset::Local,
        };
        // GOAWAY says what was not processed before anything was sent.
        let untouched = end == StreamEnd::Refused && self.unsent();
        Event::Failed(Failure { reset, untouched })
    }

    /// Lets go of the stream, which is reset unless both sides have ended.
    pub(super) fn finish(self, complete: bool) {
        if !complete {
            self.stream.stream().reset(ErrorCode::INTERNAL_ERROR);
        }
    }
}
