//! What a session does by the clock: pings, drains, streams whose last bytes nobody takes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Instant, Sleep, rand_f64, sleep_until};
use ringway_wire::http2::{ErrorCode, frame};

use super::StreamEnd;
use super::state::{Fail, Phase, Setup, State};
use super::stream::Key;
use super::{Ended, Times};
use crate::http::conn::{deadline, earlier};
use crate::plan::http2::Http2Options;

/// Payload of the pings of `connection_keepalive`.
const KEEPALIVE: [u8; 8] = *b"ringping";
/// Payload of the ping behind the first GOAWAY of a drain.
const DRAIN: [u8; 8] = *b"ringdrai";

/// Deadlines of a session.
pub(super) struct Timers {
    sleep: Option<Sleep>,
    armed: Option<Instant>,
    /// The next ping by the clock.
    ping_at: Option<Instant>,
    /// A ping is under way; its answer is due then.
    pong_until: Option<Instant>,
    /// When the second GOAWAY of a drain goes out, if the ping's answer has not come before.
    drain_at: Option<Instant>,
    /// Streams without a handle that still have bytes to send.
    flushing: VecDeque<(Instant, Key, u32)>,
    /// When something last came.
    heard: Instant,
}

impl Timers {
    pub(super) fn new(options: &Http2Options, now: Instant) -> Self {
        Self {
            sleep: None,
            armed: None,
            ping_at: next_ping(options, now),
            pong_until: None,
            drain_at: None,
            flushing: VecDeque::new(),
            heard: now,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The last bytes of this stream may take until the limit.
    pub(super) fn flush_later(&mut self, times: &Times, now: Instant, key: Key, id: u32) {
        if let Some(until) = deadline(now, times.flush) {
            self.flushing.push_back((until, key, id));
        }
    }

    fn next(&self, phase: Phase) -> Option<Instant> {
        match phase {
            Phase::Open => {}
            Phase::Closing { until, .. } => return Some(until),
            Phase::Done(_) => return None,
        }
        let flush = self.flushing.front().map(|(until, ..)| *until);
        let ping = self.pong_until.or(self.ping_at);
        earlier(earlier(flush, self.drain_at), ping)
    }
}

fn next_ping(options: &Http2Options, now: Instant) -> Option<Instant> {
    let keepalive = options.keepalive.filter(|keepalive| !keepalive.interval.is_zero())?;
    let jitter = keepalive.interval.mul_f64(rand_f64() * keepalive.jitter_percent / 100.0);
    Some(now + keepalive.interval + jitter)
}

impl State {
    /// Does what is due; false while nothing is.
    pub(super) fn poll_timers(&mut self, setup: &Setup, cx: &mut Context<'_>) -> bool {
        let Some(next) = self.timers.next(self.phase) else {
            self.timers.sleep = None;
            self.timers.armed = None;
            return false;
        };
        let sleep = self.timers.sleep.get_or_insert_with(|| sleep_until(next));
        if self.timers.armed != Some(next) {
            sleep.reset(next);
            self.timers.armed = Some(next);
        }
        if Pin::new(sleep).poll(cx).is_pending() {
            return false;
        }
        self.timers.armed = None;
        self.on_time(setup, ringway_runtime::now());
        true
    }

    fn on_time(&mut self, setup: &Setup, now: Instant) {
        if !self.is_open() {
            if let Phase::Closing { ended, .. } = self.phase {
                self.finish(setup, ended);
            }
            return;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.timers.pong_until) {
            setup.env.stats.inc(setup.env.codec.keepalive_timeout());
            let reason = "a keepalive ping was not answered in time";
            let ended = Ended::KeepaliveTimeout;
            return self.fail(setup, Fail { code: ErrorCode::NO_ERROR, reason, ended });
        }
        if self.timers.pong_until.is_none() && due(self.timers.ping_at) {
            self.ping(setup, now);
        }
        if due(self.timers.drain_at) {
            self.drained(setup);
        }
        while let Some((until, key, id)) = self.timers.flushing.front().copied()
            && until <= now
        {
            self.timers.flushing.pop_front();
            let unsent = |stream: &&super::stream::StreamState| stream.id == id && stream.open;
            if self.streams.get(key).filter(unsent).is_some() {
                setup.env.stats.inc(setup.env.codec.tx_flush_timeout());
                self.reset(setup, key, ErrorCode::CANCEL, StreamEnd::Here);
            }
        }
    }

    /// Sends a ping and expects its answer, unless one is under way.
    fn ping(&mut self, setup: &Setup, now: Instant) {
        let Some(keepalive) = setup.options.keepalive else { return };
        self.out.count_control();
        frame::ping(KEEPALIVE, false, &mut self.out);
        self.timers.pong_until = Some(now + keepalive.timeout);
        self.wake_driver();
    }

    /// A stream is opened: a connection that was quiet for long is probed at the same time.
    pub(super) fn ping_if_quiet(&mut self, setup: &Setup, now: Instant) {
        let Some(keepalive) = setup.options.keepalive else { return };
        let quiet = now.since(self.timers.heard);
        let idle = keepalive.idle_interval;
        if idle > Duration::ZERO && quiet >= idle && self.timers.pong_until.is_none() {
            self.ping(setup, now);
        }
    }

    /// The peer echoed a ping.
    pub(super) fn pong(&mut self, setup: &Setup, payload: [u8; 8], now: Instant) {
        match payload {
            KEEPALIVE => {
                self.timers.pong_until = None;
                self.timers.ping_at = next_ping(&setup.options, now);
            }
            DRAIN if self.timers.drain_at.is_some() => self.drained(setup),
            _ => {}
        }
    }

    /// Server: asks the client to open no more streams, refusing none yet.
    pub(super) fn begin_drain(&mut self, setup: &Setup, grace: Duration) {
        self.write_goaway(setup, (1 << 31) - 1, ErrorCode::NO_ERROR, "");
        self.out.count_control();
        frame::ping(DRAIN, false, &mut self.out);
        self.timers.drain_at = Some(ringway_runtime::now() + grace);
    }

    /// The client knows: whatever it opens from now on is not answered.
    fn drained(&mut self, setup: &Setup) {
        self.timers.drain_at = None;
        self.write_goaway(setup, self.last_peer, ErrorCode::NO_ERROR, "");
    }

    /// Whether a drain waits for its second GOAWAY.
    pub(super) fn drain_waits(&self) -> bool {
        self.timers.drain_at.is_some()
    }

    /// Ready once the transport took everything; [`Phase::Closing`] goes on from there.
    pub(super) fn poll_closed(
        &mut self,
        transport: &crate::transport::Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Ended> {
        let Phase::Closing { ended, until, linger, shut } = self.phase else {
            return Poll::Pending;
        };
        if !shut {
            match transport.poll_queued_below(cx, 0) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(ended),
                Poll::Ready(Ok(())) => {}
            }
            if !linger {
                return Poll::Ready(ended);
            }
            transport.shutdown_write();
            self.phase = Phase::Closing { ended, until, linger, shut: true };
        }
        // What still comes is dropped: closed with it unread, the connection would be reset, and
        // our last words with it.
        loop {
            match transport.poll_recv(cx) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(ended),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
