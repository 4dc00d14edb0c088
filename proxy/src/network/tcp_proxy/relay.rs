//! Both directions of a connection, chunk by chunk without a copy, each with its watermarks.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::End;
use super::session::{BUFFER_MAX, Session};
use crate::transport::Stream;
use crate::upstream::tcp::TcpConn;

/// Chunks of one direction moved without letting others run.
const CHUNKS_MAX: usize = 16;

/// One direction.
#[derive(Default)]
struct Way {
    /// Bytes written so far.
    moved: u64,
    /// Bytes counted as sent.
    counted: u64,
    /// Bytes counted as buffered.
    buffered: usize,
    /// Nothing is read until the other side has taken more.
    paused: bool,
    /// The source has ended, and so has what was written.
    ended: bool,
}

/// Which end of a direction broke.
enum Broken {
    Source,
    Sink,
}

impl Way {
    /// Moves what is there. `flow` is told when reading pauses and when it goes on.
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&Stream, &Stream),
        limit: usize,
        mut flow: impl FnMut(bool),
    ) -> Result<(), Broken> {
        for _ in 0..CHUNKS_MAX {
            if self.ended {
                return Ok(());
            }
            if !self.paused && to.queued() > limit {
                self.paused = true;
                flow(true);
            }
            if self.paused {
                match to.poll_queued_below(cx, limit / 2) {
                    Poll::Ready(Ok(())) => self.paused = false,
                    Poll::Ready(Err(_)) => return Err(Broken::Sink),
                    Poll::Pending => return Ok(()),
                }
                flow(false);
            }
            match from.poll_recv(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.moved += chunk.len() as u64;
                    to.write(chunk);
                }
                Poll::Ready(Ok(None)) => {
                    self.ended = true;
                    to.shutdown_write();
                }
                Poll::Ready(Err(_)) => return Err(Broken::Source),
                Poll::Pending => return Ok(()),
            }
        }
        // There may be more.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Bytes to count as sent now, `before` being what had been moved when this turn began: what is
    /// written in a turn leaves at its end, so only older bytes can be stuck.
    fn newly_sent(&mut self, to: &Stream, before: u64) -> u64 {
        let fresh = (self.moved - before) as usize;
        let stuck = to.queued().saturating_sub(fresh) as u64;
        let sent = self.moved.saturating_sub(stuck).max(self.counted);
        let new = sent - self.counted;
        self.counted = sent;
        new
    }
}

/// Relays until an end, and closes the upstream as it asks for; whether the client is to see a
/// reset.
pub(super) async fn run(session: &mut Session, mut up: TcpConn) -> bool {
    let mut relay = Relay { to_up: Way::default(), to_down: Way::default(), up_last: false };
    let end = poll_fn(|cx| relay.poll(session, &mut up, cx)).await;
    relay.clear_gauges(session, &up);
    if end == End::UpstreamReset || (end == End::Done && relay.up_last) {
        up.peer_ended();
    }
    session.closed(end, true);
    match end {
        End::Done => {
            if up.stream().queued() > 0 {
                Box::pin(session.flush_up(&up)).await;
            }
        }
        End::ClientReset => up.reset(),
        End::UpstreamReset => return true,
        End::HostFailed | End::Drained => {
            drop(up);
            session.down.shutdown_write();
            Box::pin(session.flush_down()).await;
        }
        End::Idle | End::MaxDuration | End::NoUpstream(_) => {}
    }
    false
}

struct Relay {
    to_up: Way,
    to_down: Way,
    /// The upstream's end came last: it is it who closed the connection.
    up_last: bool,
}

impl Relay {
    fn poll(&mut self, session: &mut Session, up: &mut TcpConn, cx: &mut Context<'_>) -> Poll<End> {
        if up.host_failed(cx) {
            return Poll::Ready(End::HostFailed);
        }
        let before = (self.to_up.moved, self.to_down.moved, self.to_up.ended, self.to_down.ended);
        let end = self.move_bytes(session, up, cx);
        let after = (self.to_up.moved, self.to_down.moved, self.to_up.ended, self.to_down.ended);
        if before != after {
            self.count(session, up, (before.0, before.1));
            session.touch();
        }
        if let Some(end) = end {
            return Poll::Ready(end);
        }
        if before != after
            && session.proxy.plan.check_drain_close
            && session.link.shard.drains(&session.link.listener)
        {
            let names = &session.proxy.plan.stats;
            session.link.shard.stats.inc(names.downstream_cx_drain_close());
            return Poll::Ready(End::Drained);
        }
        match session.poll_timers(cx, up.stream().queued()) {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }

    fn move_bytes(&mut self, session: &Session, up: &TcpConn, cx: &mut Context<'_>) -> Option<End> {
        let (down, stats) = (&session.down, &session.link.shard.stats);
        let names = &session.proxy.plan.stats;
        let limit = (session.link.listener.plan.buffer_limit as usize).min(BUFFER_MAX);
        let up_was_open = !self.to_down.ended;
        let flow = |paused| {
            stats.inc(if paused {
                names.downstream_flow_control_paused_reading_total()
            } else {
                names.downstream_flow_control_resumed_reading_total()
            });
        };
        match self.to_up.pump(cx, (down, up.stream()), up.buffer_limit().min(BUFFER_MAX), flow) {
            Err(Broken::Source) => return Some(End::ClientReset),
            Err(Broken::Sink) => return Some(End::UpstreamReset),
            Ok(()) => {}
        }
        match self.to_down.pump(cx, (up.stream(), down), limit, |paused| up.flow(paused)) {
            Err(Broken::Source) => return Some(End::UpstreamReset),
            Err(Broken::Sink) => return Some(End::ClientReset),
            Ok(()) => {}
        }
        if up_was_open && self.to_down.ended {
            self.up_last = self.to_up.ended;
        }
        // Who has said its last is not read from any more: that it is gone shows in writing only.
        if self.to_up.ended && !self.to_down.paused {
            match down.poll_queued_below(cx, 0) {
                Poll::Ready(Ok(())) if self.to_down.ended => return Some(End::Done),
                Poll::Ready(Err(_)) => return Some(End::ClientReset),
                _ => {}
            }
        }
        if self.to_down.ended
            && !self.to_up.paused
            && let Poll::Ready(Err(_)) = up.stream().poll_queued_below(cx, 0)
        {
            return Some(End::UpstreamReset);
        }
        None
    }

    /// Counts what was moved in this turn.
    fn count(&mut self, session: &mut Session, up: &TcpConn, (to_up, to_down): (u64, u64)) {
        let received = (self.to_up.moved - to_up, self.to_down.moved - to_down);
        let record = &mut session.record;
        record.received += received.0;
        record.upstream_sent += received.0;
        record.upstream_received += received.1;
        record.sent += received.1;
        let sent_up = self.to_up.newly_sent(up.stream(), to_up);
        let sent_down = self.to_down.newly_sent(&session.down, to_down);
        let (stats, names) = (&session.link.shard.stats, &session.proxy.plan.stats);
        if received.0 > 0 {
            stats.add(names.downstream_cx_rx_bytes_total(), received.0);
        }
        if sent_down > 0 {
            stats.add(names.downstream_cx_tx_bytes_total(), sent_down);
        }
        up.count(received.1, sent_up);
        self.gauges(session, up);
    }

    /// `*_tx_bytes_buffered`: what a side that does not read has not taken.
    fn gauges(&mut self, session: &Session, up: &TcpConn) {
        let stuck = |way: &Way, to: &Stream| if way.paused { to.queued() } else { 0 };
        let (now_up, now_down) =
            (stuck(&self.to_up, up.stream()), stuck(&self.to_down, &session.down));
        if now_up != self.to_up.buffered {
            up.buffered(self.to_up.buffered, now_up);
            self.to_up.buffered = now_up;
        }
        if now_down != self.to_down.buffered {
            let stats = &session.link.shard.stats;
            let gauge = session.proxy.plan.stats.downstream_cx_tx_bytes_buffered();
            stats.gauge_add(gauge, now_down as u64);
            stats.gauge_sub(gauge, self.to_down.buffered as u64);
            self.to_down.buffered = now_down;
        }
    }

    fn clear_gauges(&mut self, session: &Session, up: &TcpConn) {
        (self.to_up.paused, self.to_down.paused) = (false, false);
        self.gauges(session, up);
    }
}
