//! What a session knows, and how its streams begin and end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use ringway_runtime::{Chunk, Instant};
use ringway_wire::http1::UnderscoreAction;
use ringway_wire::http2::{
    Decoder, Encoder, ErrorCode, HEADER_TABLE_SIZE, INITIAL_WINDOW, Limits, Role, Settings, frame,
};

use super::backlog::Backlog;
use super::closed::{How, Recent};
use super::flow::{RecvWindow, SendWindow};
use super::guard::Guard;
use super::output::Out;
use super::stream::{Key, Streams};
use super::timers::Timers;
use super::{Ended, Env, StreamEnd, Times};
use crate::plan::http::Underscores;
use crate::plan::http2::Http2Options;

/// What stays the same for the life of a session.
pub(super) struct Setup {
    pub(super) role: Role,
    pub(super) options: Arc<Http2Options>,
    pub(super) env: Env,
    pub(super) times: Times,
}

/// Why a session must end now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fail {
    pub(super) code: ErrorCode,
    pub(super) reason: &'static str,
    pub(super) ended: Ended,
}

impl Fail {
    pub(super) const fn violation(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason, ended: Ended::Violation { code, reason } }
    }

    pub(super) const fn flood(details: &'static str) -> Self {
        Self { code: ErrorCode::ENHANCE_YOUR_CALM, reason: details, ended: Ended::Flood(details) }
    }
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Frames come and go.
    Open,
    /// The last frames go; nothing that comes counts any more.
    Closing {
        ended: Ended,
        /// It takes no longer than this.
        until: Instant,
        /// The peer's FIN is waited for.
        linger: bool,
        /// Ours is queued.
        shut: bool,
    },
    /// Over.
    Done(Ended),
}

/// Time the last frames have where nobody waits for the peer to close.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// Everything that changes.
pub(super) struct State {
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// The beginning of a frame that has not come whole.
    pub(super) inbox: Chunk,
    pub(super) out: Out,
    pub(super) backlog: Backlog,
    /// Bytes the transport may be given before DATA has to wait, as of the last flush.
    pub(super) room: usize,
    pub(super) streams: Streams,
    /// Streams nobody has accepted yet.
    pub(super) accept: VecDeque<Key>,
    /// Streams with something to send and a window for it, by place and number.
    pub(super) ready: VecDeque<(Key, u32)>,
    pub(super) recent: Recent,
    pub(super) guard: Guard,
    /// The peer's settings; `peer_known`: it has sent some.
    pub(super) peer: Settings,
    pub(super) peer_known: bool,
    /// The peer has acknowledged our settings.
    pub(super) acknowledged: bool,
    /// The window a new stream has in the peer's eyes.
    pub(super) stream_window: u32,
    pub(super) recv: RecvWindow,
    pub(super) send: SendWindow,
    /// The highest stream the peer has opened.
    pub(super) last_peer: u32,
    /// Client: the next stream's number.
    pub(super) next_id: u32,
    /// Streams that are open, and those a client is about to open.
    pub(super) active: u32,
    pub(super) driver: Option<Waker>,
    /// The driver was woken and has not run since.
    pub(super) woken: bool,
    pub(super) phase: Phase,
    /// No new streams: GOAWAY was sent or received, or the numbers have run out.
    pub(super) draining: bool,
    /// The peer has sent GOAWAY.
    pub(super) peer_leaves: bool,
    /// What the last GOAWAY sent has named: streams above are not answered.
    pub(super) last_allowed: u32,
    /// Found out while a stream was used: the driver ends the session.
    pub(super) failure: Option<Fail>,
    pub(super) timers: Timers,
    /// Bytes received and sent, until somebody counts them.
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    /// Frames on their way out, as the gauges have been told.
    pub(super) shown: (u32, u32),
}

impl State {
    pub(super) fn new(setup: &Setup, now: Instant) -> Self {
        let options = &setup.options;
        let limits = Limits {
            header_list_bytes_max: options.max_headers_bytes as usize,
            headers_count_max: options.max_headers_count as usize,
            underscores: match options.underscores {
                Underscores::Allow => UnderscoreAction::Allow,
                Underscores::RejectRequest => UnderscoreAction::RejectRequest,
                Underscores::DropHeader => UnderscoreAction::DropHeader,
            },
            extended_connect: options.allow_connect,
            ..Limits::default()
        };
        let mut encoder = Encoder::new();
        encoder.set_huffman(options.huffman);
        if options.hpack_table_size < HEADER_TABLE_SIZE {
            encoder.set_peer_table_size(options.hpack_table_size, options.hpack_table_size);
        }
        let mut state = Self {
            decoder: Decoder::new(setup.role, limits),
            encoder,
            inbox: Chunk::new(),
            out: Out::default(),
            backlog: Backlog::default(),
            room: super::send::HIGH,
            streams: Streams::default(),
            accept: VecDeque::new(),
            ready: VecDeque::new(),
            recent: Recent::default(),
            guard: Guard::new(options, now),
            peer: Settings::default(),
            peer_known: false,
            acknowledged: false,
            stream_window: INITIAL_WINDOW,
            recv: RecvWindow::new(INITIAL_WINDOW),
            send: SendWindow::new(INITIAL_WINDOW),
            last_peer: 0,
            next_id: 1,
            active: 0,
            driver: None,
            woken: false,
            phase: Phase::Open,
            draining: false,
            peer_leaves: false,
            last_allowed: u32::MAX,
            failure: None,
            timers: Timers::new(options, now),
            rx_bytes: 0,
            tx_bytes: 0,
            shown: (0, 0),
        };
        state.greet(setup);
        state
    }

    /// Has the driver run once more, this turn.
    pub(super) fn wake_driver(&mut self) {
        if !self.woken {
            self.woken = true;
            if let Some(driver) = &self.driver {
                driver.wake_by_ref();
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// A stream counts as open from now on.
    pub(super) fn stream_opened(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.open = true;
        stream.send = SendWindow::new(self.peer.initial_window_size);
        stream.recv = RecvWindow::new(self.stream_window);
        self.guard.stream_opened();
        setup.env.stats.gauge_add(setup.env.codec.streams_active(), 1);
    }

    /// A stream is closed for both sides; what has come of it can still be read.
    pub(super) fn stream_closed(&mut self, setup: &Setup, key: Key, how: How, early: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !std::mem::replace(&mut stream.open, false) {
            return;
        }
        let (id, held) = (stream.id, stream.held);
        let age = ringway_runtime::now().since(stream.began);
        self.drop_outbox(setup, key);
        self.streams.forget(id);
        self.recent.push(id, how);
        self.active -= 1;
        setup.env.stats.gauge_sub(setup.env.codec.streams_active(), 1);
        if !self.guard.stream_ended(&setup.options, early, age) {
            self.failure.get_or_insert(Fail {
                code: ErrorCode::ENHANCE_YOUR_CALM,
                reason: "too many streams were reset before they were answered",
                ended: Ended::PrematureResets,
            });
        }
        if !held {
            self.free(setup, key);
        }
        // It may wait for this to be idle, to have a free slot, or to close.
        self.wake_driver();
    }

    /// Gives a slot back, and what lay unread in it to the connection's window.
    pub(super) fn free(&mut self, setup: &Setup, key: Key) {
        self.drop_inbox(key);
        self.drop_outbox(setup, key);
        self.streams.free(key, &setup.env.heads);
    }

    /// Drops what nobody will read.
    pub(super) fn drop_inbox(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let unread = stream.inbox.len();
        stream.inbox.clear();
        self.give_connection(unread as u32);
    }

    /// Drops what nobody will get.
    fn drop_outbox(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let unsent = stream.outbox.len() as u64;
        stream.outbox.clear();
        stream.end_queued = false;
        if let Some(map) = stream.trailers_queued.take() {
            setup.env.heads.put_trailers(map);
        }
        if unsent > 0 {
            setup.env.stats.gauge_sub(setup.env.codec.pending_send_bytes(), unsent);
        }
    }

    /// Resets a stream and tells its task why.
    pub(super) fn reset(&mut self, setup: &Setup, key: Key, code: ErrorCode, end: StreamEnd) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.open {
            return;
        }
        let id = stream.id;
        // What the peer did wrong counts as if it had reset the stream.
        let early = !stream.head_sent && end != StreamEnd::Here;
        stream.end.get_or_insert(end);
        stream.wake();
        self.write_reset(setup, id, code, end != StreamEnd::Here);
        self.stream_closed(setup, key, How::ResetHere, early);
    }

    /// RST_STREAM; `provoked`: as an answer to something the peer did. What we reset for reasons of
    /// our own is no sign of a flood.
    pub(super) fn write_reset(&mut self, setup: &Setup, id: u32, code: ErrorCode, provoked: bool) {
        setup.env.stats.inc(setup.env.codec.tx_reset());
        if provoked {
            self.out.count_control();
        } else {
            self.out.count_frame();
        }
        frame::rst_stream(id, code, &mut self.out);
        self.wake_driver();
    }

    /// Ends the session with a GOAWAY that says why.
    pub(super) fn fail(&mut self, setup: &Setup, fail: Fail) {
        if !self.is_open() {
            return;
        }
        if setup.role == Role::Server && !self.peer_known {
            // It never began to speak HTTP/2, so no frame would mean anything to it (Envoy, too,
            // closes without a word).
            return self.finish(setup, fail.ended);
        }
        self.write_goaway(setup, self.last_peer, fail.code, fail.reason);
        self.begin_close(setup, fail.ended);
    }

    /// GOAWAY.
    pub(super) fn write_goaway(
        &mut self,
        setup: &Setup,
        last: u32,
        code: ErrorCode,
        reason: &'static str,
    ) {
        setup.env.stats.inc(setup.env.codec.goaway_sent());
        self.draining = true;
        self.last_allowed = self.last_allowed.min(last);
        self.out.count_frame();
        frame::goaway(last, code, reason.as_bytes(), &mut self.out);
        self.wake_driver();
    }

    /// Nothing new from now on: what is queued goes out, and the connection is closed.
    pub(super) fn begin_close(&mut self, setup: &Setup, ended: Ended) {
        if !self.is_open() {
            return;
        }
        self.lose_streams(setup);
        let linger = !setup.times.close.is_zero();
        let limit = if linger { setup.times.close } else { FLUSH_MAX };
        let until = ringway_runtime::now() + limit;
        self.phase = Phase::Closing { ended, until, linger, shut: false };
        self.wake_driver();
    }

    /// The connection is gone.
    pub(super) fn finish(&mut self, setup: &Setup, ended: Ended) {
        if matches!(self.phase, Phase::Done(_)) {
            return;
        }
        self.lose_streams(setup);
        let (frames, control) = std::mem::take(&mut self.shown);
        setup.env.show_frames((frames, control), (0, 0));
        self.backlog.settle(0);
        self.out = Out::default();
        self.inbox = Chunk::new();
        self.phase = Phase::Done(ended);
    }

    fn lose_streams(&mut self, setup: &Setup) {
        self.draining = true;
        self.ready.clear();
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if !stream.open && (!stream.held || stream.id != 0) {
                continue;
            }
            // A message that is here whole can still be read.
            stream.end.get_or_insert(StreamEnd::ConnectionLost);
            stream.wake();
            if stream.open {
                self.lose(setup, key);
            }
        }
    }

    fn lose(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.open = false;
        let (id, held) = (stream.id, stream.held);
        self.streams.forget(id);
        self.active -= 1;
        setup.env.stats.gauge_sub(setup.env.codec.streams_active(), 1);
        self.drop_outbox(setup, key);
        if !held {
            self.free(setup, key);
        }
    }
}

impl Env {
    /// Moves the gauges of frames on their way out from one count to another.
    pub(super) fn show_frames(&self, before: (u32, u32), after: (u32, u32)) {
        let move_by = |gauge, before: u32, after: u32| match after.checked_sub(before) {
            Some(0) => {}
            Some(more) => self.stats.gauge_add(gauge, u64::from(more)),
            None => self.stats.gauge_sub(gauge, u64::from(before - after)),
        };
        move_by(self.codec.outbound_frames_active(), before.0, after.0);
        move_by(self.codec.outbound_control_frames_active(), before.1, after.1);
    }
}
