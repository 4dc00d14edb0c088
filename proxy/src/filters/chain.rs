//! The filters of one stream, and how a request and its response pass through them.
//!
//! LIFECYCLE: [`begin`] once the route is known (no filters: nothing below is ever called) →
//! [`request_headers`], which takes in as much of the body as filters stop the headers for → the
//! router, which asks [`poll_body`] for the request's body and hands the response to
//! [`Active::response_head`] and so on; a local reply comes the same way → [`poll_response`] writes
//! what has passed → [`ended`].
//!
//! A request passes the filters in their order, a response in the reverse, as in Envoy. A response
//! passes all of them, whoever made it, and whether or not they have seen the request.

mod stage;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ringway_runtime::{Chain, Chunk, Instant};

use super::{Found, Phases, State, StreamCx, cx};
use crate::filters::router::attempt::count_expired;
use crate::filters::router::fail;
use crate::filters::router::timeouts::{Expired, poll_limits};
use crate::http::account;
use crate::http::conn::{Conn, Work, deadline};
use crate::http::down::{BodyError, Frame};
use crate::http::reply::LocalReply;
use crate::http::respond;
use crate::http::stream::{self, Stop};
use crate::observe::format::ResponseFlag;
use stage::{Stage, Way};

/// The filters of a stream. Reused from stream to stream; empty where there are none.
#[derive(Default)]
pub(crate) struct Active {
    slots: Vec<Slot>,
    request: Flow,
    response: Flow,
    /// A filter replied to a response: what is written now passes no filter.
    bypass: bool,
}

/// A filter at work.
struct Slot {
    /// Its place in the manager's list.
    at: usize,
    /// What it still has to be called for.
    wants: Phases,
    /// Its options, if they came by ECDS.
    found: Option<Found>,
    state: State,
    request: Stage,
    response: Stage,
}

/// One direction: what comes in at the first filter and goes out at the last.
#[derive(Default)]
struct Flow {
    /// A head came in and was not taken up yet.
    head: bool,
    /// The message is its head alone.
    bodiless: bool,
    /// Body that came in.
    data: Chain,
    /// The end came in.
    ended: bool,
    /// The head has passed.
    head_out: bool,
    /// The body that has passed.
    out: Chain,
    /// The end has passed.
    end_out: bool,
    /// The head was written.
    written: bool,
    /// The end was written.
    complete: bool,
    /// Bytes that filters may stop, together.
    limit: usize,
}

impl Active {
    /// No filter has a say in this stream, or none any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() || self.bypass
    }

    /// Forgets the last stream.
    pub(crate) fn clear(&mut self) {
        if !self.slots.is_empty() {
            *self = Self { slots: std::mem::take(&mut self.slots), ..Self::default() };
            self.slots.clear();
        }
    }

    /// Bytes of the request that filters may hold back, together.
    pub(crate) fn limit_request(&mut self, bytes: usize) {
        self.request.limit = bytes;
    }

    /// The response's head is complete in `work.response`; `bodiless`: there is nothing else.
    pub(crate) fn response_head(&mut self, bodiless: bool) {
        self.response.head = true;
        self.response.bodiless = bodiless;
        self.response.ended = bodiless;
    }

    /// A piece of its body.
    pub(crate) fn response_data(&mut self, data: Chunk) {
        self.response.data.push(data);
    }

    /// Its end; trailers, if any, are in `work.response_trailers`.
    pub(crate) fn response_end(&mut self) {
        self.response.ended = true;
    }

    /// Whether a response has come in that has not left as a whole.
    pub(crate) fn response_under_way(&self) -> bool {
        !self.is_empty() && (self.response.head || self.response.ended) && !self.response.complete
    }

    fn holds_request(&self) -> bool {
        self.slots.iter().any(|slot| slot.request.holds())
    }

    fn request_is_full(&self) -> bool {
        let held: usize = self.slots.iter().map(|slot| slot.request.len()).sum();
        held + self.request.data.len() + self.request.out.len() >= self.request.limit
    }

    fn wants(&self, phases: Phases) -> bool {
        self.slots.iter().any(|slot| slot.wants.has(phases))
    }
}

/// Sets up the filters that run for the stream, whose route (or the lack of one) is known.
///
/// # Errors
/// The options of one have not come yet: as Envoy answers.
pub(crate) fn begin(conn: &Conn, work: &mut Work) -> Result<(), LocalReply> {
    let entries = &conn.manager.plan.filters;
    if entries.is_empty() || !work.filters.slots.is_empty() {
        return Ok(());
    }
    let found = find(conn, work, 0);
    let active = &mut work.filters;
    active.request.limit = conn.link.listener.plan.buffer_limit as usize;
    active.response.limit = active.request.limit;
    found
}

/// Adds the filters from a place of the manager's list on that run for the stream.
fn find(conn: &Conn, work: &mut Work, from: usize) -> Result<(), LocalReply> {
    let mut missing = false;
    let mut slots = std::mem::take(&mut work.filters.slots);
    let held = work.routes.clone();
    let table = held.as_deref().map(|table| &**table);
    for (at, entry) in conn.manager.plan.filters.iter().enumerate().skip(from) {
        if cx::runs(table, work, entry) {
            let found = conn.manager.extensions.found(at, &entry.options);
            let Some(config) = entry.options.config(found.as_ref()) else {
                missing = true;
                continue;
            };
            slots.push(Slot {
                at,
                wants: config.phases(),
                state: State::begin(config),
                found,
                request: Stage::default(),
                response: Stage::default(),
            });
        }
    }
    work.filters.slots = slots;
    match missing {
        true => Err(LocalReply::new(500, "", "").flag(ResponseFlag::NoFilterConfigFound)),
        false => Ok(()),
    }
}

/// Has the request routed anew, by what configuration there is now. Filters behind the one at
/// `index` have seen nothing of it yet: they are the ones that run on the new route.
fn reroute(conn: &Conn, work: &mut Work, index: usize) -> Result<(), Box<LocalReply>> {
    let manager = Rc::clone(&conn.manager);
    stream::take_routes(conn, work, &manager);
    work.forget_route();
    stream::find_route(conn, work, &manager);
    let slots = &mut work.filters.slots;
    slots.truncate(index + 1);
    let behind = slots.last().map_or(0, |slot| slot.at + 1);
    find(conn, work, behind).map_err(Box::new)
}

/// Shows the request to the filters until its head has passed all of them. `undecided`: it may yet
/// become a tunnel, and so is not at its end.
pub(crate) async fn request_headers(
    conn: &mut Conn,
    work: &mut Work,
    undecided: bool,
) -> Result<(), Stop> {
    let bodiless = !work.has_body && !undecided;
    let flow = &mut work.filters.request;
    flow.head = true;
    flow.bodiless = bodiless;
    flow.ended = bodiless;
    let mut active = ringway_runtime::now();
    let mut armed = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = poll_request_headers(conn, work, cx, &mut active) {
            return Poll::Ready(done);
        }
        let next = |conn: &Conn, work: &Work| next_limit(conn, work, active);
        poll_limits(conn, work, &mut armed, cx, next).map(|limit| {
            count_expired(conn, limit);
            Err(fail::expired(limit, work.filters.request.ended).into())
        })
    })
    .await
}

fn poll_request_headers(
    conn: &mut Conn,
    work: &mut Work,
    cx: &mut Context<'_>,
    active: &mut Instant,
) -> Poll<Result<(), Stop>> {
    loop {
        let moved = stage::walk(conn, work, cx, Way::Request);
        if let Poll::Ready(Err(reply)) = moved {
            return Poll::Ready(Err(Stop::Reply(reply)));
        }
        let flow = &mut work.filters.request;
        if flow.head_out {
            return Poll::Ready(Ok(()));
        }
        if flow.ended {
            return if conn.down.poll_gone(cx).is_ready() && conn.down.is_complete() {
                Poll::Ready(Err(Stop::Gone))
            } else {
                Poll::Pending
            };
        }
        // What comes while a filter waits is kept, so that the client is seen to go behind it.
        if moved.is_pending() && work.filters.request_is_full() {
            return Poll::Pending;
        }
        let body = ready!(conn.down.poll_body(cx, &mut work.request_trailers));
        let flow = &mut work.filters.request;
        match body {
            Ok(Frame::Data(chunk)) => flow.data.push(chunk),
            Ok(Frame::End) => flow.ended = true,
            Err(BodyError::Malformed(error)) => {
                account::body_refused(conn);
                return Poll::Ready(Err(fail::malformed(&error).into()));
            }
            Err(BodyError::Reply(reply)) => return Poll::Ready(Err(Stop::Reply(reply))),
            Err(BodyError::Gone) => return Poll::Ready(Err(Stop::Gone)),
        }
        *active = ringway_runtime::now();
    }
}

/// The manager's limits: the route's are the router's business.
fn next_limit(conn: &Conn, work: &Work, active: Instant) -> Option<(Instant, Expired)> {
    let plan = &conn.manager.plan.timeouts;
    let start = work.info.start;
    let request = deadline(start, plan.request).filter(|_| !work.filters.request.ended);
    let limits = [
        request.map(|at| (at, Expired::Request)),
        deadline(active, plan.stream_idle).map(|at| (at, Expired::Idle)),
        deadline(start, plan.max_stream).map(|at| (at, Expired::Stream)),
        work.info.next_log.map(|at| (at, Expired::Log)),
    ];
    limits.into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// The next piece of the request's body that has passed the filters. Where none of them looks at
/// it, it comes as it was received.
pub(crate) fn poll_body(
    conn: &mut Conn,
    work: &mut Work,
    cx: &mut Context<'_>,
) -> Poll<Result<Frame, BodyError>> {
    if work.filters.slots.is_empty() {
        return conn.down.poll_body(cx, &mut work.request_trailers);
    }
    loop {
        let flow = &mut work.filters.request;
        if let Some(chunk) = flow.out.pop_front() {
            return Poll::Ready(Ok(Frame::Data(chunk)));
        }
        if flow.end_out {
            return Poll::Ready(Ok(Frame::End));
        }
        let of_body = Phases::REQUEST_DATA | Phases::REQUEST_TRAILERS;
        if !flow.ended
            && flow.data.is_empty()
            && !work.filters.wants(of_body)
            && !work.filters.holds_request()
        {
            return conn.down.poll_body(cx, &mut work.request_trailers);
        }
        let moved = stage::walk(conn, work, cx, Way::Request);
        if let Poll::Ready(Err(reply)) = moved {
            return Poll::Ready(Err(BodyError::Reply(reply)));
        }
        let flow = &mut work.filters.request;
        if !flow.out.is_empty() || flow.end_out {
            continue;
        }
        if moved.is_pending() || flow.ended {
            return Poll::Pending;
        }
        match ready!(conn.down.poll_body(cx, &mut work.request_trailers))? {
            Frame::Data(chunk) => flow.data.push(chunk),
            Frame::End => flow.ended = true,
        }
    }
}

/// Moves the response through the filters and writes what has passed: whether all of it has.
///
/// # Errors
/// What a filter says instead. Only where nothing was written yet can the client be told.
pub(crate) fn poll_response(
    conn: &mut Conn,
    work: &mut Work,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, Box<LocalReply>>> {
    let moved = stage::walk(conn, work, cx, Way::Response);
    if let Poll::Ready(Err(reply)) = moved {
        return Poll::Ready(Err(reply));
    }
    write(conn, work);
    if work.filters.response.complete {
        return Poll::Ready(Ok(true));
    }
    moved.map_ok(|()| false)
}

fn write(conn: &mut Conn, work: &mut Work) {
    let flow = &mut work.filters.response;
    if flow.head_out && !flow.written {
        flow.written = true;
        let first = flow.out.pop_front();
        let ends = flow.end_out && flow.out.is_empty();
        let bodiless = flow.bodiless;
        respond::send_head_and_data(conn, work, first, ends, bodiless);
    }
    while work.filters.response.written
        && let Some(chunk) = work.filters.response.out.pop_front()
    {
        respond::send_data(conn, work, chunk);
    }
    let flow = &mut work.filters.response;
    if flow.written && flow.end_out && !flow.complete {
        flow.complete = true;
        respond::send_end(conn, work);
    }
}

/// Writes what is left of a response that came in whole, waiting for filters that wait.
pub(crate) async fn finish_response(conn: &mut Conn, work: &mut Work) -> Result<(), Stop> {
    while work.filters.response_under_way() {
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = poll_response(conn, work, cx) {
                return Poll::Ready(Some(done));
            }
            conn.down.poll_gone(cx).map(|()| None)
        });
        match done.await {
            None => return Err(Stop::Gone),
            Some(Ok(true)) => {}
            // Nothing more comes in, and nobody waits: a filter has swallowed the rest.
            Some(Ok(false)) => return Err(Stop::Broken),
            Some(Err(_)) if work.filters.response.written => return Err(Stop::Broken),
            Some(Err(reply)) => {
                replace_response(work);
                return Err(Stop::Reply(reply));
            }
        }
    }
    Ok(())
}

/// As [`finish_response`] where nobody can wait: a filter that would is passed by.
pub(crate) fn flush_response(conn: &mut Conn, work: &mut Work) {
    if !work.filters.response_under_way() {
        return;
    }
    let mut cx = Context::from_waker(Waker::noop());
    let _ = poll_response(conn, work, &mut cx);
}

/// What is written from now on passes no filter, the response under way is forgotten.
pub(crate) fn replace_response(work: &mut Work) {
    let active = &mut work.filters;
    active.bypass = true;
    active.response = Flow::default();
    work.head_sent = false;
}

/// Whether the response's head was written, not only taken up.
pub(crate) fn head_written(work: &Work) -> bool {
    if work.filters.is_empty() { work.head_sent } else { work.filters.response.written }
}

/// The stream is over.
pub(crate) fn ended(conn: &mut Conn, work: &mut Work) {
    if work.filters.slots.is_empty() {
        return;
    }
    let manager = Rc::clone(&conn.manager);
    let held = work.routes.clone();
    let table = held.as_deref().map(|table| &**table);
    let mut slots = std::mem::take(&mut work.filters.slots);
    for slot in &mut slots {
        let Some(entry) = manager.plan.filters.get(slot.at) else { continue };
        if slot.wants.has(Phases::END) {
            let wants = &mut slot.wants;
            let mut s = StreamCx { conn, work, manager: &manager, table, entry, wants };
            if let Some(config) = entry.options.config(slot.found.as_ref()) {
                slot.state.end(config, &mut s);
            }
        }
    }
    work.filters.slots = slots;
}
