//! [`Session`]: the driver's side.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_wire::http2::{ErrorCode, Role};

use super::handle::StreamHandle;
use super::send::LOW;
use super::state::{Phase, Setup, State};
use super::{Ended, Env, Times};
use crate::plan::http2::Http2Options;
use crate::transport::Stream;

/// One HTTP/2 connection. See the [module](super) for who polls what.
pub(crate) struct Session {
    pub(super) setup: Setup,
    pub(super) state: RefCell<State>,
    /// `None` once the session has ended.
    transport: RefCell<Option<Stream>>,
}

/// Pieces received in one go, before streams get their turn.
const CHUNKS_MAX: usize = 32;
/// Streams a client opens before it knows how many it may (nghttp2's choice, hence Envoy's).
const STREAMS_UNKNOWN: u32 = 100;

impl Session {
    /// The server's side of a connection whose preface has not been read.
    pub(crate) fn server(
        transport: Stream,
        options: &Arc<Http2Options>,
        env: Env,
        times: Times,
    ) -> Rc<Self> {
        env.stats.inc(env.codec.nghttp2_downstream_connections());
        Self::new(transport, Role::Server, options, env, times)
    }

    /// The client's side of a connection that is up. It speaks first, with its first drive.
    pub(crate) fn client(
        transport: Stream,
        options: &Arc<Http2Options>,
        env: Env,
        times: Times,
    ) -> Rc<Self> {
        env.stats.inc(env.codec.nghttp2_upstream_connections());
        Self::new(transport, Role::Client, options, env, times)
    }

    fn new(
        transport: Stream,
        role: Role,
        options: &Arc<Http2Options>,
        env: Env,
        times: Times,
    ) -> Rc<Self> {
        env.codec.open(&env.stats);
        let setup = Setup { role, options: Arc::clone(options), env, times };
        let state = RefCell::new(State::new(&setup, ringway_runtime::now()));
        Rc::new(Self { setup, state, transport: RefCell::new(Some(transport)) })
    }

    /// Runs the session: reads and hands on what came, keeps its timers, and sends what streams
    /// have queued. Pending for as long as the connection lives; it is closed when this is ready.
    ///
    /// The same task polls [`Session::poll_accept`] whenever this was pending.
    pub(crate) fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        let transport = self.transport.borrow();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let (Some(transport), Phase::Open | Phase::Closing { .. }) = (&*transport, state.phase) {
            self.drive(transport, state, cx);
        }
        let Phase::Done(ended) = state.phase else { return Poll::Pending };
        drop(transport);
        self.transport.take();
        Poll::Ready(ended)
    }

    fn drive(&self, transport: &Stream, state: &mut State, cx: &mut Context<'_>) {
        let setup = &self.setup;
        match &mut state.driver {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        // What is queued from here on is part of this run.
        state.woken = true;
        if state.is_open() {
            self.receive(transport, state, cx);
        }
        while state.poll_timers(setup, cx) {}
        if let Some(fail) = state.failure.take() {
            state.fail(setup, fail);
        }
        if state.is_open() && state.draining && state.active == 0 && !state.drain_waits() {
            if setup.role == Role::Client {
                state.write_goaway(setup, 0, ErrorCode::NO_ERROR, "");
            }
            state.begin_close(setup, Ended::Drained);
        }
        self.flush(transport, state, cx);
        if let Poll::Ready(ended) = state.poll_closed(transport, cx) {
            state.finish(setup, ended);
        }
        state.woken = false;
    }

    fn receive(&self, transport: &Stream, state: &mut State, cx: &mut Context<'_>) {
        let now = ringway_runtime::now();
        for _ in 0..CHUNKS_MAX {
            match transport.poll_recv(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(Some(chunk))) => {
                    if let Err(fail) = state.received(&self.setup, chunk, now) {
                        state.fail(&self.setup, fail);
                        return;
                    }
                }
                Poll::Ready(Ok(None)) => return state.finish(&self.setup, Ended::PeerClosed),
                Poll::Ready(Err(error)) => {
                    return state.finish(&self.setup, Ended::Lost(error.kind()));
                }
            }
        }
        // There may be more; the streams' turn comes first.
        cx.waker().wake_by_ref();
    }

    /// Hands everything to the transport in one go.
    fn flush(&self, transport: &Stream, state: &mut State, cx: &mut Context<'_>) {
        let setup = &self.setup;
        if matches!(state.phase, Phase::Done(_)) {
            return;
        }
        if let Some(error) = transport.write_error() {
            return state.finish(setup, Ended::Lost(error));
        }
        let before = transport.queued();
        state.backlog.settle(before);
        let counts = state.backlog.counts();
        setup.env.show_frames(std::mem::replace(&mut state.shown, counts), counts);
        state.room = super::send::HIGH.saturating_sub(before);
        state.send_waiting(setup);
        if !state.out.is_empty() {
            let (bytes, frames, control) = state.out.hand_over(transport);
            state.tx_bytes += bytes as u64;
            let after = transport.queued();
            state.backlog.add(after.saturating_sub(before), frames, control);
        }
        let queued = transport.queued();
        state.room = super::send::HIGH.saturating_sub(queued);
        if !state.ready.is_empty()
            && state.send.room() > 0
            && let below = if queued > LOW { LOW } else { 0 }
            && let Poll::Ready(flushed) = transport.poll_queued_below(cx, below)
        {
            match flushed {
                Ok(()) => cx.waker().wake_by_ref(),
                Err(error) => state.finish(setup, Ended::Lost(error.kind())),
            }
        }
    }

    /// Server: the next stream a client has opened; `None` once there will be no more. Only the
    /// driver's task polls this.
    pub(crate) fn poll_accept(self: &Rc<Self>) -> Poll<Option<StreamHandle>> {
        let mut state = self.state.borrow_mut();
        if let Some(key) = state.accept.pop_front() {
            return Poll::Ready(Some(StreamHandle::new(Rc::clone(self), key)));
        }
        if state.is_open() { Poll::Pending } else { Poll::Ready(None) }
    }

    /// Client: a stream for one request; `None` if the connection takes no more for now.
    pub(crate) fn open(self: &Rc<Self>) -> Option<StreamHandle> {
        if self.free_slots() == 0 {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let key = state.streams.insert(0, &self.setup.env.heads);
        state.active += 1;
        let stream = state.streams.get_mut(key)?;
        stream.held = true;
        stream.began = ringway_runtime::now();
        Some(StreamHandle::new(Rc::clone(self), key))
    }

    /// Client: requests that can be begun now.
    pub(crate) fn free_slots(&self) -> u32 {
        let state = self.state.borrow();
        if state.draining || !state.is_open() {
            return 0;
        }
        let peer = if state.peer_known {
            state.peer.max_concurrent_streams.unwrap_or(u32::MAX)
        } else {
            STREAMS_UNKNOWN
        };
        self.setup.options.max_concurrent_streams.min(peer).saturating_sub(state.active)
    }

    /// Whether no new streams are to be expected, or opened: GOAWAY was sent or received, or the
    /// session ends.
    pub(crate) fn is_draining(&self) -> bool {
        let state = self.state.borrow();
        state.draining || !state.is_open()
    }

    /// Client: the peer has sent GOAWAY.
    pub(crate) fn peer_leaves(&self) -> bool {
        self.state.borrow().peer_leaves
    }

    /// Client: how many streams the peer takes, once it has said so.
    pub(crate) fn peer_limit(&self) -> Option<u32> {
        let state = self.state.borrow();
        state.peer_known.then(|| state.peer.max_concurrent_streams.unwrap_or(u32::MAX))
    }

    /// Streams that are open.
    pub(crate) fn active_streams(&self) -> u32 {
        self.state.borrow().active
    }

    /// Whether no stream is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.active_streams() == 0
    }

    /// Ends the session gracefully: streams that are open go on, then the connection closes.
    /// `grace` is the time a client has to learn of it (`drain_timeout`).
    pub(crate) fn drain(&self, grace: Duration) {
        let mut state = self.state.borrow_mut();
        if !state.is_open() || state.draining {
            return;
        }
        state.draining = true;
        if self.setup.role == Role::Server {
            state.begin_drain(&self.setup, grace);
        }
        state.wake_driver();
    }

    /// Drops the connection without a word, as when its driver's task is stopped.
    pub(crate) fn abort(&self) {
        let mut state = self.state.borrow_mut();
        if !matches!(state.phase, Phase::Done(_)) {
            state.finish(&self.setup, Ended::Closed);
            state.wake_driver();
        }
        drop(state);
        self.transport.take();
    }

    /// Bytes received and sent since the last call.
    pub(crate) fn take_byte_counts(&self) -> (u64, u64) {
        let mut state = self.state.borrow_mut();
        (std::mem::take(&mut state.rx_bytes), std::mem::take(&mut state.tx_bytes))
    }

    /// Whether nothing is left of any stream: for tests and simulations.
    ///
    /// # Errors
    /// What is left.
    #[cfg(test)]
    pub(crate) fn check_rest(&self) -> Result<(), String> {
        let state = self.state.borrow();
        let (used, active) = (state.streams.used(), state.active);
        if (used, active) != (0, 0) {
            return Err(format!("{used} stream slots in use, {active} streams active"));
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if !matches!(state.phase, Phase::Done(_)) {
            state.finish(&self.setup, Ended::Closed);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Session")
            .field("role", &self.setup.role)
            .field("phase", &state.phase)
            .field("active", &state.active)
            .finish_non_exhaustive()
    }
}
