//! One downstream HTTP/1 connection: one task, from accept to close.
//!
//! LIFECYCLE: `idle` (small: no buffer, no request state) → bytes come → `active` (with a [`Work`]
//! borrowed from the shard) → nothing more to read → `idle` again … → `closing` (flush, wait
//! for the client's FIN up to `delayed_close_timeout`) → gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::Stream;
use ringway_wire::Version;
use ringway_wire::http1::{H1Error, ParsedHead, parse_request};

use super::conn::{After, Conn, Work, deadline, earlier, recv_limit};
use super::down::{Downstream, Http1};
use super::stream;
use crate::control::message::Adopted;
use crate::transport::Stream as Transport;

/// How a wait for a request ended.
enum Heard {
    Bytes,
    Quiet,
    Closed,
    /// `max_connection_duration` is over: it closes at once.
    Over,
    /// The process ends, or is replaced, or its chain is no more.
    Drained,
    /// It goes to another process.
    Leaving,
}

/// Serves an HTTP/1 connection to its end.
pub(crate) async fn run(conn: &mut Conn) -> After {
    let after = requests(conn).await;
    if matches!(after, After::Close | After::CloseDelayed) {
        close(conn, after).await;
    }
    after
}

async fn requests(conn: &mut Conn) -> After {
    loop {
        match idle(conn).await {
            Heard::Bytes => {}
            Heard::Closed => return After::Gone,
            Heard::Quiet => {
                conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_cx_idle_timeout());
                return After::Close;
            }
            Heard::Over => return After::Close,
            Heard::Drained => {
                // The client hears of the end and answers it: no reset overtakes what it sends.
                if let Some(http1) = conn.down.http1() {
                    http1.stream.shutdown_write();
                }
                return After::CloseDelayed;
            }
            Heard::Leaving => match Box::pin(leave(conn)).await {
                Some(after) => return after,
                None => continue,
            },
        }
        let work = conn.shard.works.take();
        let shard = Rc::clone(&conn.shard);
        let requests: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(active(conn, work));
        let (after, work) = requests.await;
        shard.works.put(work);
        if let Some(after) = after {
            return after;
        }
    }
}

/// Waits for the first byte of a request, for as long as the idle timeout allows.
async fn idle(conn: &mut Conn) -> Heard {
    if has_bytes(conn) {
        return Heard::Bytes;
    }
    let since = ringway_runtime::now();
    let idle = conn.manager.plan.timeouts.idle;
    let aged_at = conn.aged_at();
    let quiet_at = deadline(since, idle);
    poll_fn(|cx| {
        let Some(http1) = conn.down.http1() else { return Poll::Ready(Heard::Closed) };
        if let Poll::Ready(got) = http1.poll_fill(cx) {
            return Poll::Ready(if got == Ok(true) { Heard::Bytes } else { Heard::Closed });
        }
        if conn.link.chain.is_last_call() {
            return Poll::Ready(Heard::Drained);
        }
        if conn.can_be_given_away() {
            return Poll::Ready(Heard::Leaving);
        }
        // Drains begin, and end, while it waits.
        let leaves_at = conn.shard.leaves_at(conn.meta.id, since);
        let Some(first) = earlier(earlier(quiet_at, aged_at), leaves_at) else {
            return Poll::Pending;
        };
        conn.timer.reset(first);
        if Pin::new(&mut conn.timer).poll(cx).is_pending() {
            return Poll::Pending;
        }
        if leaves_at == Some(first) {
            return Poll::Ready(Heard::Drained);
        }
        if aged_at == Some(first) {
            conn.aged = true;
            let stats = &conn.manager.plan.stats;
            conn.shard.stats.inc(stats.hcm.downstream_cx_max_duration_reached());
            return Poll::Ready(Heard::Over);
        }
        Poll::Ready(Heard::Quiet)
    })
    .await
}

/// Gives the connection to the process that takes over. `None`: something has come meanwhile, it
/// goes on here.
async fn leave(conn: &mut Conn) -> Option<After> {
    let received = conn.down.uncounted_rx();
    conn.shard.stats.add(conn.manager.plan.stats.hcm.downstream_cx_rx_bytes_total(), received);
    let before = std::mem::replace(&mut conn.down, Downstream::Session);
    let Downstream::Http1(http1) = before else { return Some(After::Gone) };
    let Transport::Plain(stream) = http1.into_parts().0 else { return Some(After::Gone) };
    let Ok((socket, received)) = stream.into_fd().await else { return Some(After::Gone) };
    if !received.is_empty() {
        let Ok(stream) = Stream::from_fd(socket) else { return Some(After::Gone) };
        stream.set_recv_limit(recv_limit(&conn.link.listener));
        let mut http1 = Http1::new(stream.into(), Rc::clone(&conn.link.chain));
        received.iter().for_each(|chunk| http1.give_back(chunk.clone()));
        conn.down = Downstream::Http1(http1);
        return None;
    }
    let mut passport = conn.meta.passport(&conn.link.listener.plan.name);
    passport.age = conn.opened.elapsed();
    passport.served = conn.served;
    passport.http1 = conn.codec.is_some();
    let shard = Rc::clone(&conn.shard);
    shard.give_away(Adopted { socket, passport: Box::new(passport), stays: false }).await;
    Some(After::GivenAway)
}

/// Serves requests for as long as there is something to read; `None` when there is not, else what
/// becomes of the connection.
async fn active(conn: &mut Conn, mut work: Box<Work>) -> (Option<After>, Box<Work>) {
    loop {
        conn.renew();
        let read = read_head(conn, &mut work).await;
        if let Read::Http2 = read {
            return (Some(After::Http2), work);
        }
        super::account::codec_chosen(conn, Version::Http11);
        let after = match read {
            Read::Head(parsed) => stream::serve(conn, &mut work, parsed).await,
            Read::Closed | Read::Http2 => After::Gone,
            Read::Bad(error) => stream::refuse_malformed(conn, &mut work, &error),
            Read::Late => stream::refuse_late(conn, &mut work),
        };
        work.trim();
        if after != After::KeepAlive {
            return (Some(after), work);
        }
        if !has_bytes(conn) {
            return (None, work);
        }
    }
}

enum Read {
    Head(ParsedHead),
    Closed,
    Bad(H1Error),
    Late,
    /// It is the preface of HTTP/2.
    Http2,
}

/// Reads one request head. The clock of `request_headers_timeout` starts with its first byte.
async fn read_head(conn: &mut Conn, work: &mut Work) -> Read {
    let began = ringway_runtime::now();
    let mut armed = false;
    let looks_for_http2 = conn.looks_for_http2();
    poll_fn(|cx| {
        let Some(http1) = conn.down.http1() else { return Poll::Ready(Read::Closed) };
        loop {
            let begins = looks_for_http2.then(|| preface(&http1.inbox)).flatten();
            if begins == Some(true) {
                return Poll::Ready(Read::Http2);
            }
            if !http1.inbox.is_empty() && begins.is_none() {
                let manager = &conn.manager;
                match parse_request(
                    &http1.inbox,
                    &manager.limits,
                    &manager.options,
                    &mut work.request,
                ) {
                    Ok(Some(parsed)) => return Poll::Ready(Read::Head(parsed)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Read::Bad(error)),
                }
            }
            match http1.poll_fill(cx) {
                Poll::Ready(Ok(true)) => armed = false,
                Poll::Ready(_) => return Poll::Ready(Read::Closed),
                Poll::Pending => break,
            }
        }
        let timeouts = &conn.manager.plan.timeouts;
        let limits = [timeouts.request_headers, timeouts.request, timeouts.idle];
        let until = limits.into_iter().filter_map(|limit| deadline(began, limit)).min();
        let Some(until) = until else { return Poll::Pending };
        if !armed {
            conn.timer.reset(until);
            armed = true;
        }
        if Pin::new(&mut conn.timer).poll(cx).is_ready() {
            return Poll::Ready(Read::Late);
        }
        Poll::Pending
    })
    .await
}

/// Writes what is queued, then lets the client finish talking.
async fn close(conn: &mut Conn, after: After) {
    let delay = conn.manager.plan.timeouts.delayed_close;
    // A client that reads nothing must not hold the connection for ever.
    let flush = if delay.is_zero() { Duration::from_secs(60) } else { delay };
    conn.timer.reset(ringway_runtime::now() + flush);
    let Some(http1) = conn.down.http1() else { return };
    let timer = &mut conn.timer;
    let flushed = poll_fn(|cx| {
        if let Poll::Ready(done) = http1.stream.poll_queued_below(cx, 0) {
            return Poll::Ready(done.is_ok());
        }
        Pin::new(&mut *timer).poll(cx).map(|()| false)
    })
    .await;
    if !flushed || after == After::Close || delay.is_zero() {
        return;
    }
    timer.reset(ringway_runtime::now() + delay);
    let timed_out = poll_fn(|cx| {
        while let Poll::Ready(got) = http1.stream.poll_recv(cx) {
            if !matches!(got, Ok(Some(_))) {
                return Poll::Ready(false);
            }
        }
        Pin::new(&mut *timer).poll(cx).map(|()| true)
    })
    .await;
    if timed_out {
        conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_cx_delayed_close_timeout());
    }
}

/// Whether these are the first bytes of HTTP/2; `Some(false)`: too few to tell.
fn preface(bytes: &[u8]) -> Option<bool> {
    /// Enough of the preface that no HTTP/1 request begins like it (Envoy decides by as much).
    const BEGINNING: &[u8] = b"PRI * HTTP/2";
    if bytes.starts_with(BEGINNING) {
        return Some(true);
    }
    (!bytes.is_empty() && BEGINNING.starts_with(bytes)).then_some(false)
}

/// Is something of a next request here already?
fn has_bytes(conn: &mut Conn) -> bool {
    conn.down.http1().is_some_and(|http1| !http1.inbox.is_empty())
}
