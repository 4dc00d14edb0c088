//! [`StreamHandle`]: a stream's side.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_runtime::Chunk;
use ringway_wire::http2::{ErrorCode, Role, StreamError};
use ringway_wire::{HeaderMap, Method, RequestHead, ResponseHead};

use super::StreamEnd;
use super::session::Session;
use super::state::{Phase, Setup, State};
use super::stream::{Key, StreamState};
use crate::http::down::Frame;

/// One stream. One task reads it and one, perhaps the same, writes it; each is woken for what it
/// polled for last. Dropped before both sides
/// have ended, it resets the stream, unless all that is left is to send what was queued.
pub(crate) struct StreamHandle {
    session: Rc<Session>,
    key: Key,
}

impl StreamHandle {
    pub(super) fn new(session: Rc<Session>, key: Key) -> Self {
        Self { session, key }
    }

    /// The session it belongs to.
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// Its number; 0 until a client's request was sent.
    pub(crate) fn id(&self) -> u32 {
        self.with(|_, _, stream| stream.id).unwrap_or(0)
    }

    // --- receiving ---

    /// Server: takes the request, once; whether a body (or its end) is to come. A head that broke a
    /// rule is empty, unless it is to be answered.
    ///
    /// # Errors
    /// The head broke a rule. Where [`StreamError::status`] names an answer it is still to be
    /// given; else the stream has been reset.
    pub(crate) fn take_request(&self, head: &mut RequestHead) -> Result<bool, StreamError> {
        let taken = self.with(|setup, _, stream| {
            if let Some(mut request) = stream.request.take() {
                std::mem::swap(head, &mut *request);
                setup.env.heads.put_request(request);
            }
            stream.refusal.map_or(Ok(stream.has_body), Err)
        });
        taken.unwrap_or(Ok(false))
    }

    /// Server: `:protocol` of an extended CONNECT, once.
    pub(crate) fn take_protocol(&self) -> Option<Box<[u8]>> {
        self.with(|_, _, stream| stream.protocol.take()).flatten()
    }

    /// Client: the next head: interim ones first, then the response; whether that is all of it.
    ///
    /// # Errors
    /// The stream ended before.
    pub(crate) fn poll_response(
        &self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<bool, StreamEnd>> {
        self.poll(cx, |setup, _, stream| {
            let Some(mut response) = stream.responses.pop_front() else {
                return stream.end.map(Err);
            };
            std::mem::swap(head, &mut *response);
            setup.env.heads.put_response(response);
            let nothing_behind = stream.inbox.is_empty() && stream.trailers.is_none();
            let whole = stream.responses.is_empty() && stream.remote_ended && nothing_behind;
            Some(Ok(whole))
        })
    }

    /// The next piece of the body, or its end; trailers are put into `trailers` with the end. What
    /// is taken makes room for more in the windows.
    ///
    /// # Errors
    /// The stream ended before its body did.
    pub(crate) fn poll_body(
        &self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<Frame, StreamEnd>> {
        let mut taken = 0;
        let polled = self.poll(cx, |setup, _, stream| {
            // What had come before the stream broke is still part of the message.
            if let Some(chunk) = stream.inbox.pop_front() {
                taken = chunk.len() as u32;
                return Some(Ok(Frame::Data(chunk)));
            }
            if let Some(end) = stream.end.filter(|_| !stream.remote_ended) {
                return Some(Err(end));
            }
            if !stream.remote_ended {
                return None;
            }
            if let Some(mut received) = stream.trailers.take() {
                std::mem::swap(trailers, &mut received);
                setup.env.heads.put_trailers(received);
            }
            Some(Ok(Frame::End))
        });
        if taken > 0 {
            let mut state = self.session.state.borrow_mut();
            state.give_connection(taken);
            state.give_stream(self.key, taken);
        }
        polled
    }

    /// Body bytes received and not taken yet.
    pub(crate) fn unread(&self) -> usize {
        self.with(|_, _, stream| stream.inbox.len()).unwrap_or(0)
    }

    /// Whether the peer has ended its side and all of that was taken.
    pub(crate) fn is_complete(&self) -> bool {
        self.with(|_, _, stream| stream.remote_ended && stream.inbox.is_empty()).unwrap_or(true)
    }

    /// Ready when the stream was reset, or its connection is gone.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        self.poll(cx, |_, _, stream| stream.end)
    }

    /// Whether one of the sides has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.with(|_, _, stream| stream.open).unwrap_or(false)
    }

    /// Why the stream ended, if it did not end as it should.
    pub(crate) fn end(&self) -> Option<StreamEnd> {
        self.with(|_, _, stream| stream.end).flatten()
    }

    // --- sending ---

    /// Client: sends the request's head; `protocol` makes it an extended CONNECT, `end` says that
    /// no body follows. Once.
    pub(crate) fn send_request(&self, head: &RequestHead, protocol: Option<&[u8]>, end: bool) {
        let (setup, mut state) = (&self.session.setup, self.session.state.borrow_mut());
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(self.key) else { return };
        if stream.id != 0 || stream.open {
            return;
        }
        // What was opened before a drain of ours is still sent.
        let open = state.phase == Phase::Open;
        if state.peer_leaves || !open || state.next_id >= 1 << 31 {
            state.draining = true;
            stream.end.get_or_insert(StreamEnd::Refused);
            return;
        }
        let id = state.next_id;
        state.next_id += 2;
        stream.bodiless = head.method == Method::Head;
        stream.head_sent = true;
        state.streams.name(self.key, id);
        state.stream_opened(setup, self.key);
        state.ping_if_quiet(setup, ringway_runtime::now());
        let before = state.out.len();
        state.out.count_frame();
        let max = state.peer.max_frame_size;
        state.encoder.request_head(id, head, protocol, end, max, &mut state.out);
        self.head_written(state, setup, before, end);
    }

    /// Server: sends a response's head, an interim one too; `end`: no body follows.
    pub(crate) fn send_response(&self, head: &ResponseHead, end: bool) {
        let (setup, mut state) = (&self.session.setup, self.session.state.borrow_mut());
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(self.key) else { return };
        if !stream.open || stream.said_all() || stream.head_sent {
            return;
        }
        stream.head_sent = !head.is_interim();
        let id = stream.id;
        let before = state.out.len();
        state.out.count_frame();
        let max = state.peer.max_frame_size;
        state.encoder.response_head(id, head, end, max, &mut state.out);
        self.head_written(state, setup, before, end);
    }

    fn head_written(&self, state: &mut State, setup: &Setup, before: usize, end: bool) {
        let written = state.out.len() - before;
        if let Some(stream) = state.streams.get_mut(self.key) {
            stream.wire_sent += written as u64;
        }
        state.wake_driver();
        if end {
            state.ended_here(setup, self.key);
        }
    }

    /// Queues body bytes; `end`: they are the last. An empty chunk with `end` only ends the body.
    /// Nothing happens after an end or a reset.
    pub(crate) fn send_data(&self, chunk: Chunk, end: bool) {
        self.session.state.borrow_mut().queue_data(&self.session.setup, self.key, chunk, end);
    }

    /// Queues trailers, which end the body.
    pub(crate) fn send_trailers(&self, trailers: &HeaderMap) {
        self.session.state.borrow_mut().queue_trailers(&self.session.setup, self.key, trailers);
    }

    /// Resets the stream.
    pub(crate) fn reset(&self, code: ErrorCode) {
        let mut state = self.session.state.borrow_mut();
        state.reset(&self.session.setup, self.key, code, StreamEnd::Here);
    }

    /// Body bytes that wait for a window, or for the transport.
    pub(crate) fn queued(&self) -> usize {
        self.with(|_, _, stream| stream.outbox.len()).unwrap_or(0)
    }

    /// Ready once no more than `below` bytes wait.
    ///
    /// # Errors
    /// The stream ended.
    pub(crate) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), StreamEnd>> {
        let mut state = self.session.state.borrow_mut();
        let Some(stream) = state.streams.get_mut(self.key) else {
            return Poll::Ready(Err(StreamEnd::ConnectionLost));
        };
        if let Some(end) = stream.end {
            return Poll::Ready(Err(end));
        }
        if stream.outbox.len() <= below {
            return Poll::Ready(Ok(()));
        }
        stream.below = below;
        keep_waker(&mut stream.writer, cx);
        Poll::Pending
    }

    /// Bytes of its frames so far: sent, received. Frame headers count.
    pub(crate) fn wire_bytes(&self) -> (u64, u64) {
        self.with(|_, _, stream| (stream.wire_sent, stream.wire_received)).unwrap_or_default()
    }

    fn with<T>(&self, look: impl FnOnce(&Setup, Role, &mut StreamState) -> T) -> Option<T> {
        let mut state = self.session.state.borrow_mut();
        let setup = &self.session.setup;
        state.streams.get_mut(self.key).map(|stream| look(setup, setup.role, stream))
    }

    /// Polls for something to come.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        look: impl FnOnce(&Setup, Role, &mut StreamState) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.session.state.borrow_mut();
        let setup = &self.session.setup;
        let Some(stream) = state.streams.get_mut(self.key) else { return Poll::Pending };
        if let Some(value) = look(setup, setup.role, stream) {
            return Poll::Ready(value);
        }
        keep_waker(&mut stream.reader, cx);
        Poll::Pending
    }
}

fn keep_waker(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut state = self.session.state.borrow_mut();
        state.let_go(&self.session.setup, self.key);
    }
}

impl State {
    /// Nobody uses the stream any more.
    fn let_go(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.held = false;
        (stream.reader, stream.writer) = (None, None);
        let (id, open) = (stream.id, stream.open);
        let (local_ended, end_queued) = (stream.local_ended, stream.end_queued);
        if !open {
            if id == 0 {
                self.active -= 1;
                self.wake_driver();
            }
            return self.free(setup, key);
        }
        self.drop_inbox(key);
        let code = match setup.role {
            // Complete, but for what the client still says.
            Role::Server if local_ended => ErrorCode::NO_ERROR,
            Role::Server if end_queued => {
                let now = ringway_runtime::now();
                return self.timers.flush_later(&setup.times, now, key, id);
            }
            // Envoy's word for all that a proxy gives up.
            Role::Client | Role::Server => ErrorCode::INTERNAL_ERROR,
        };
        self.reset(setup, key, code, StreamEnd::Here);
    }
}

impl fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHandle").field("key", &self.key).finish_non_exhaustive()
    }
}
