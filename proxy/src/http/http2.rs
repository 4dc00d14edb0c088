//! One downstream HTTP/2 connection: the task that drives its session, and a task for each stream.
//!
//! LIFECYCLE: preface → streams come and go, each a task of its own → GOAWAY (idle for too long,
//! too old, enough requests served, listener drains) → the last stream ends, or the drain time →
//! closed.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime::{Instant, spawn};
use ringway_wire::Version;

use super::conn::{After, Conn, deadline, earlier};
use super::down::Downstream;
use super::stream;
use crate::http2::{Ended, Env, Session, StreamHandle, Times};

/// Serves an HTTP/2 connection to its end.
pub(crate) async fn run(conn: &mut Conn) -> After {
    let Some(session) = begin(conn) else { return After::Gone };
    let mut idle_since = ringway_runtime::now();
    let ended = poll_fn(|cx| poll(conn, &session, &mut idle_since, cx)).await;
    count_bytes(conn, &session);
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    match ended {
        Ended::PeerClosed | Ended::Lost(_) => After::Gone,
        Ended::Violation { .. } | Ended::Flood(_) => {
            stats.inc(hcm.downstream_cx_protocol_error());
            After::Close
        }
        Ended::PrematureResets => {
            stats.inc(hcm.downstream_rq_too_many_premature_resets());
            After::Close
        }
        Ended::Drained | Ended::Closed | Ended::KeepaliveTimeout => After::Close,
    }
}

fn begin(conn: &mut Conn) -> Option<Rc<Session>> {
    // It was opened as what all connections are until the first bytes tell.
    let before = std::mem::replace(&mut conn.down, Downstream::Session);
    let Downstream::Http1(http1) = before else { return None };
    let (stream, read) = http1.into_parts();
    if !read.is_empty() {
        stream.unread(read);
    }
    super::account::codec_chosen(conn, Version::Http2);
    let plan = &conn.manager.plan;
    let env = Env {
        stats: Rc::clone(&conn.shard.stats),
        codec: plan.http2_stats.clone(),
        heads: Rc::clone(&conn.shard.heads),
    };
    let times = Times { flush: plan.timeouts.stream_idle, close: plan.timeouts.delayed_close };
    Some(Session::server(stream, &plan.http2, env, times))
}

fn poll(
    conn: &mut Conn,
    session: &Rc<Session>,
    idle_since: &mut Instant,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    if conn.link.chain.is_over() {
        session.abort();
    }
    let driven = session.poll_drive(cx);
    count_bytes(conn, session);
    while let Poll::Ready(Some(handle)) = session.poll_accept() {
        accept(conn, session, handle);
    }
    if let Poll::Ready(ended) = driven {
        return Poll::Ready(ended);
    }
    if !session.is_idle() {
        *idle_since = ringway_runtime::now();
    }
    poll_clock(conn, session, *idle_since, cx);
    Poll::Pending
}

/// What ends a connection by the clock: no request for too long, or too old.
fn poll_clock(conn: &mut Conn, session: &Session, idle_since: Instant, cx: &mut Context<'_>) {
    if session.is_draining() {
        return;
    }
    let drain = conn.manager.plan.timeouts.drain;
    // GOAWAY hurts nobody: a connection in use need not wait until it is idle.
    let leaves_at = conn.shard.leaves_at(conn.meta.id, conn.opened);
    let leaves_at = earlier(leaves_at, conn.link.chain.leaves_at(conn.meta.id));
    if conn.shard.exiting() || leaves_at.is_some_and(|at| ringway_runtime::now() >= at) {
        return session.drain(drain);
    }
    let idle_at = deadline(idle_since, conn.manager.plan.timeouts.idle);
    let idle_at = idle_at.filter(|_| session.is_idle());
    let aged_at = conn.aged_at();
    let Some(first) = earlier(leaves_at, earlier(idle_at, aged_at)) else { return };
    conn.timer.reset(first);
    if Pin::new(&mut conn.timer).poll(cx).is_pending() {
        return;
    }
    let hcm = &conn.manager.plan.stats.hcm;
    if leaves_at == Some(first) {
        conn.shard.stats.inc(hcm.downstream_cx_drain_close());
    } else if aged_at == Some(first) {
        conn.aged = true;
        conn.shard.stats.inc(hcm.downstream_cx_max_duration_reached());
    } else {
        conn.shard.stats.inc(hcm.downstream_cx_idle_timeout());
    }
    session.drain(drain);
}

fn accept(conn: &mut Conn, session: &Session, handle: StreamHandle) {
    conn.renew();
    conn.served = conn.served.saturating_add(1);
    let max = conn.manager.plan.max_requests_per_connection;
    if max > 0 && conn.served == max {
        conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_cx_max_requests_reached());
        session.drain(conn.manager.plan.timeouts.drain);
    }
    spawn(serve(conn.stream(Downstream::Session), handle));
}

async fn serve(mut conn: Conn, handle: StreamHandle) {
    let shard = Rc::clone(&conn.shard);
    let mut work = shard.works.take();
    stream::serve_http2(&mut conn, &mut work, handle).await;
    work.trim();
    shard.works.put(work);
}

fn count_bytes(conn: &Conn, session: &Session) {
    let (received, sent) = session.take_byte_counts();
    if received == 0 && sent == 0 {
        return;
    }
    let hcm = &conn.manager.plan.stats.hcm;
    conn.shard.stats.add(hcm.downstream_cx_rx_bytes_total(), received);
    conn.shard.stats.add(hcm.downstream_cx_tx_bytes_total(), sent);
}
