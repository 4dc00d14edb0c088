//! One call.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use prost::Message;
use ringway_runtime::{BufMut, Chunk};
use ringway_wire::grpc::{Deframer, PREFIX_LEN, Piece, Prefix, Status, decode_message, is_grpc};
use ringway_wire::{HeaderMap, KnownName as K, ResponseHead};

use super::{Failure, internal};
use crate::http::down::Frame;
use crate::http2::{ErrorCode, StreamEnd};
use crate::observe::stats::Variant;
use crate::upstream::cluster::ShardCluster;
use crate::upstream::outlier::Outcome;
use crate::upstream::pool::PooledStream;

/// A call under way: messages go out and come in, each side at its own pace.
pub(crate) struct Call {
    cluster: Rc<ShardCluster>,
    stream: PooledStream,
    deframer: Deframer,
    /// What came and was not looked at.
    inbox: Chunk,
    /// The message that came in part.
    message: Vec<u8>,
    message_bytes_max: usize,
    /// The response's head, once it is here.
    head: ResponseHead,
    answered: bool,
    trailers: HeaderMap,
    /// How it ended.
    ended: Option<Result<(), Failure>>,
}

impl Call {
    pub(super) fn new(
        cluster: Rc<ShardCluster>,
        stream: PooledStream,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            cluster,
            stream,
            deframer: Deframer::new(),
            inbox: Chunk::new(),
            message: Vec::new(),
            message_bytes_max,
            head: ResponseHead::default(),
            answered: false,
            trailers: HeaderMap::new(),
            ended: None,
        }
    }

    /// Queues a message. [`Call::queued`] is for back-pressure.
    pub(crate) fn send(&self, message: &impl Message) {
        let len = message.encoded_len();
        // Longer ones cannot be expressed, and are beyond what any peer takes.
        let Ok(told) = u32::try_from(len) else { return };
        let mut out = BufMut::with_capacity(PREFIX_LEN + len);
        out.extend_from_slice(&Prefix { flags: 0, len: told }.bytes());
        let encoded = message.encode(&mut out.spare());
        debug_assert!(encoded.is_ok(), "a message that is longer than it said");
        out.advance(len);
        self.stream.stream().send_data(out.freeze(), false);
    }

    /// Queues a message that is encoded already.
    pub(crate) fn send_encoded(&self, message: &[u8]) {
        self.send_owned(message.to_vec());
    }

    /// As [`Call::send_encoded`], without a copy.
    pub(crate) fn send_owned(&self, message: Vec<u8>) {
        let Ok(len) = u32::try_from(message.len()) else { return };
        let prefix = Chunk::copy_from(&Prefix { flags: 0, len }.bytes());
        self.stream.stream().send_data(prefix, false);
        if len > 0 {
            self.stream.stream().send_data(Chunk::from(message), false);
        }
    }

    /// Says that no further message will be sent.
    pub(crate) fn finish(&self) {
        self.stream.stream().send_data(Chunk::new(), true);
    }

    /// Bytes of messages that wait for the peer or the connection.
    pub(crate) fn queued(&self) -> usize {
        self.stream.stream().queued()
    }

    /// Ready once no more than `below` bytes wait, or the call has ended.
    pub(crate) fn poll_queued_below(&self, cx: &mut Context<'_>, below: usize) -> Poll<()> {
        self.stream.stream().poll_queued_below(cx, below).map(drop)
    }

    /// The peer's headers, once they are here.
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.answered.then_some(&self.head.headers)
    }

    /// The next message; `None` at the end of a call that succeeded.
    ///
    /// # Errors
    /// How the call failed; every later call returns it too.
    pub(crate) async fn recv<M: Message + Default>(&mut self) -> Result<Option<M>, Failure> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Call::recv`] for hand-written futures.
    pub(crate) fn poll_recv<M: Message + Default>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<M>, Failure>> {
        self.poll_recv_with(cx, |bytes| {
            M::decode(bytes).map_err(|error| format!("a message that cannot be read: {error}"))
        })
    }

    /// As [`Call::poll_recv`], with what makes a message of its bytes, or says why it cannot.
    pub(crate) fn poll_recv_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut decode: impl FnMut(&[u8]) -> Result<T, String>,
    ) -> Poll<Result<Option<T>, Failure>> {
        loop {
            if let Some(ended) = &self.ended {
                return Poll::Ready(ended.clone().map(|()| None));
            }
            match ready!(self.poll_step(cx)) {
                Ok(None) => {}
                Ok(Some(complete)) => {
                    let decoded = match complete {
                        Complete::Here(chunk) => decode(&chunk),
                        Complete::Collected => decode(&self.message),
                    };
                    self.let_go_of_a_large_one();
                    match decoded {
                        Ok(message) => return Poll::Ready(Ok(Some(message))),
                        Err(text) => self.fail(Failure::new(Status::INTERNAL, text)),
                    }
                }
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// A message of megabytes may be followed by none of its kind for days.
    fn let_go_of_a_large_one(&mut self) {
        const KEPT: usize = 64 << 10;
        if self.message.capacity() > KEPT {
            self.message = Vec::new();
        }
    }

    /// Goes one step on; a message if one is complete.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Complete>, Failure>> {
        if !self.inbox.is_empty() {
            return Poll::Ready(self.take_in());
        }
        let stream = self.stream.stream();
        if !self.answered {
            let head = ready!(stream.poll_response(cx, &mut self.head));
            if let Err(end) = head {
                return Poll::Ready(Err(self.lost(end)));
            }
            if self.head.is_interim() {
                return Poll::Ready(Ok(None));
            }
            self.answered = true;
            return Poll::Ready(self.judge_head().map(|()| None));
        }
        match ready!(stream.poll_body(cx, &mut self.trailers)) {
            Ok(Frame::Data(chunk)) => {
                self.inbox = chunk;
                Poll::Ready(Ok(None))
            }
            Ok(Frame::End) => Poll::Ready(self.conclude().map(|()| None)),
            Err(end) => Poll::Ready(Err(self.lost(end))),
        }
    }

    /// Looks at what came of messages.
    fn take_in(&mut self) -> Result<Option<Complete>, Failure> {
        let (consumed, piece) = self.deframer.next(&self.inbox);
        let here = self.inbox.split_to(consumed);
        match piece {
            None => Ok(None),
            Some(Piece::Start(prefix)) => {
                if prefix.flags != 0 {
                    let text = "a compressed message, though no compression was offered";
                    return Err(internal(text));
                }
                if prefix.len as usize > self.message_bytes_max {
                    let text = format!(
                        "a message of {} bytes: at most {} are taken",
                        prefix.len, self.message_bytes_max
                    );
                    return Err(Failure::new(Status::RESOURCE_EXHAUSTED, text));
                }
                self.message.clear();
                Ok((prefix.len == 0).then_some(Complete::Collected))
            }
            Some(Piece::Data { range, end }) => {
                if end && self.message.is_empty() {
                    return Ok(Some(Complete::Here(here.slice(range))));
                }
                self.message.extend_from_slice(here.get(range).unwrap_or_default());
                Ok(end.then_some(Complete::Collected))
            }
        }
    }

    fn judge_head(&self) -> Result<(), Failure> {
        let headers = &self.head.headers;
        let status = self.head.status;
        self.charge(status);
        // An answer that is trailers alone ends with them.
        let grpc = headers.get(K::ContentType).is_some_and(is_grpc);
        if headers.contains(K::GrpcStatus) || (status == 200 && grpc) {
            return Ok(());
        }
        let text = match status {
            200 => "an answer that is not gRPC".to_owned(),
            other => format!("HTTP status {other}"),
        };
        Err(Failure::new(Status::of_http(status), text))
    }

    /// The peer has said its last.
    fn conclude(&mut self) -> Result<(), Failure> {
        if self.deframer.is_inside() {
            return Err(internal("the last message is cut short"));
        }
        let last = if self.trailers.is_empty() { &self.head.headers } else { &self.trailers };
        let Some(status) = last.get(K::GrpcStatus).and_then(Status::parse) else {
            return Err(Failure::new(Status::UNKNOWN, "the call ended without a status"));
        };
        let host = self.stream.host();
        self.cluster.report(host, Outcome::Status(status.to_http()));
        if status == Status::OK {
            self.ended = Some(Ok(()));
            return Ok(());
        }
        let mut text = Vec::new();
        decode_message(last.get(K::GrpcMessage).unwrap_or_default(), &mut text);
        Err(Failure::new(status, String::from_utf8_lossy(&text)))
    }

    /// The stream ended before the call did: what that stands for (PROTOCOL-HTTP2.md, "Errors").
    fn lost(&self, end: StreamEnd) -> Failure {
        self.cluster.report(self.stream.host(), Outcome::Failure);
        if !self.answered {
            self.charge(503);
        }
        let (status, text) = match end {
            StreamEnd::Refused | StreamEnd::Reset(ErrorCode::REFUSED_STREAM) => {
                (Status::UNAVAILABLE, "the stream was refused")
            }
            StreamEnd::ConnectionLost => (Status::UNAVAILABLE, "the connection was lost"),
            StreamEnd::Reset(ErrorCode::CANCEL) => (Status::CANCELLED, "the peer cancelled it"),
            StreamEnd::Reset(ErrorCode::ENHANCE_YOUR_CALM) => {
                (Status::RESOURCE_EXHAUSTED, "the peer asks for calm")
            }
            StreamEnd::Reset(ErrorCode::INADEQUATE_SECURITY) => {
                (Status::PERMISSION_DENIED, "the transport is not secure enough")
            }
            StreamEnd::Reset(code) => {
                return Failure::new(Status::INTERNAL, format!("the stream was reset: {code}"));
            }
            StreamEnd::Violation(_) => (Status::INTERNAL, "the peer broke the protocol"),
            StreamEnd::Here => (Status::CANCELLED, "it was cancelled here"),
        };
        Failure::new(status, text)
    }

    fn charge(&self, status: u16) {
        self.cluster.charge(Some(self.stream.host()), status, Variant::Internal);
    }

    fn fail(&mut self, failure: Failure) {
        self.inbox = Chunk::new();
        self.ended = Some(Err(failure));
        self.stream.stream().reset(ErrorCode::CANCEL);
    }
}

/// Where a complete message is.
enum Complete {
    /// In one piece.
    Here(Chunk),
    /// In [`Call::message`].
    Collected,
}
