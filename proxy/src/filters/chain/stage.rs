//! One direction of a stream through its filters, stage by stage.
//!
//! LIFECYCLE of a stage: head `Away` → `Here` → (`Stopped` →) `Passed`. Body is kept in the stage
//! until the filter lets it go on; what it was shown and stopped is not shown again before more
//! comes.

use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime::Chain;

use super::{Flow, Slot};
use crate::filters::{Call, Entry, Phases, Step, StreamCx};
use crate::http::conn::{Conn, Work};
use crate::http::manager::Manager;
use crate::http::reply::LocalReply;
use crate::plan::route::RouteTable;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Request,
    Response,
}

/// What waits before one filter.
#[derive(Default)]
pub(super) struct Stage {
    head: Head,
    data: Chain,
    /// There is something the filter has not been shown.
    fresh: bool,
    ended: bool,
    end_passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Head {
    #[default]
    Away,
    Here,
    Stopped,
    Passed,
}

/// What goes from one stage to the next.
#[derive(Default)]
struct Baton {
    head: bool,
    data: Chain,
    end: bool,
}

impl Stage {
    /// Part of the message is here and has not passed.
    pub(super) fn holds(&self) -> bool {
        !self.data.is_empty() || matches!(self.head, Head::Here | Head::Stopped)
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    fn take(&mut self, baton: Baton) {
        let Baton { head, mut data, end } = baton;
        if head {
            self.head = Head::Here;
        }
        self.fresh |= !data.is_empty() || end;
        self.data.append(&mut data);
        self.ended |= end;
    }

    fn hand_on(&mut self, baton: &mut Baton, end: bool) {
        if self.head == Head::Stopped {
            self.head = Head::Passed;
            baton.head = true;
        }
        baton.data.append(&mut self.data);
        baton.end |= end;
        self.end_passed |= end;
    }
}

/// Moves what came in as far as it goes. Pending where a filter waits for something.
pub(super) fn walk(
    conn: &mut Conn,
    work: &mut Work,
    cx: &mut Context<'_>,
    way: Way,
) -> Poll<Result<(), Box<LocalReply>>> {
    loop {
        match walk_once(conn, work, cx, way) {
            Poll::Ready(Ok(Some(again))) => super::reroute(conn, work, again)?,
            other => return other.map_ok(|_| ()),
        }
    }
}

/// The same, up to a filter that has the request routed anew: its position.
fn walk_once(
    conn: &mut Conn,
    work: &mut Work,
    cx: &mut Context<'_>,
    way: Way,
) -> Poll<Result<Option<usize>, Box<LocalReply>>> {
    let manager = Rc::clone(&conn.manager);
    let mut slots = std::mem::take(&mut work.filters.slots);
    let flow = flow(work, way);
    let mut baton = Baton {
        head: std::mem::take(&mut flow.head),
        data: std::mem::take(&mut flow.data),
        end: flow.ended,
    };
    let held = work.routes.clone();
    let table = held.as_deref().map(|table| &**table);
    let (waits, again) = (false, false);
    let mut step = Walk { conn, work, manager: &manager, table, way, waits, again };
    let count = slots.len();
    let mut outcome = Ok(None);
    for index in 0..count {
        let index = if way == Way::Request { index } else { count - 1 - index };
        let Some(slot) = slots.get_mut(index) else { continue };
        match step.stage(slot, cx, baton) {
            Ok(next) => baton = next,
            Err(reply) => {
                outcome = Err(reply);
                baton = Baton::default();
                break;
            }
        }
        if step.again {
            outcome = Ok(Some(index));
            break;
        }
    }
    let waits = step.waits;
    work.filters.slots = slots;
    let flow = self::flow(work, way);
    flow.head_out |= baton.head;
    flow.out.append(&mut baton.data);
    flow.end_out |= baton.end;
    match outcome {
        Ok(None) if waits => Poll::Pending,
        outcome => Poll::Ready(outcome),
    }
}

fn flow(work: &mut Work, way: Way) -> &mut Flow {
    match way {
        Way::Request => &mut work.filters.request,
        Way::Response => &mut work.filters.response,
    }
}

/// What all stages of one walk share.
struct Walk<'a> {
    conn: &'a mut Conn,
    work: &'a mut Work,
    manager: &'a Manager,
    table: Option<&'a RouteTable>,
    way: Way,
    /// A filter waits.
    waits: bool,
    /// A filter has the request routed anew.
    again: bool,
}

impl Walk<'_> {
    /// Shows one filter what is new; answers what goes on behind it.
    fn stage(
        &mut self,
        slot: &mut Slot,
        cx: &mut Context<'_>,
        baton: Baton,
    ) -> Result<Baton, Box<LocalReply>> {
        let mut next = Baton::default();
        let Some(entry) = self.manager.plan.filters.get(slot.at) else { return Ok(baton) };
        self.stage_of(slot).take(baton);
        if self.stage_of(slot).head == Head::Here {
            let end = self.stage_of(slot).ended && flow(self.work, self.way).bodiless;
            match self.call(slot, entry, cx, self.headers(), end) {
                Poll::Pending => return Ok(next),
                Poll::Ready(Step::Reply(reply)) => return Err(reply),
                Poll::Ready(Step::Again) if self.way == Way::Request => {
                    self.again = true;
                    return Ok(next);
                }
                Poll::Ready(Step::Stop) if !end => self.stage_of(slot).head = Head::Stopped,
                Poll::Ready(Step::Stop | Step::Continue | Step::Again) => {
                    self.stage_of(slot).head = Head::Passed;
                    next.head = true;
                    if end {
                        self.stage_of(slot).hand_on(&mut next, true);
                    }
                }
            }
        }
        if !matches!(self.stage_of(slot).head, Head::Stopped | Head::Passed) {
            return Ok(next);
        }
        self.body(slot, entry, cx, &mut next)?;
        Ok(next)
    }

    fn body(
        &mut self,
        slot: &mut Slot,
        entry: &Entry,
        cx: &mut Context<'_>,
        next: &mut Baton,
    ) -> Result<(), Box<LocalReply>> {
        let trailers = self.has_trailers();
        let stage = self.stage_of(slot);
        let end = stage.ended && !stage.end_passed;
        let last = end && !trailers;
        let show = stage.fresh && (!stage.data.is_empty() || last);
        if !slot.wants.has(self.data()) && self.stage_of(slot).head == Head::Passed {
            self.stage_of(slot).fresh = false;
            self.stage_of(slot).hand_on(next, last);
        } else if show {
            match self.call(slot, entry, cx, self.data(), last) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Step::Reply(reply)) => return Err(reply),
                Poll::Ready(Step::Stop) if !last => self.stop(slot)?,
                Poll::Ready(Step::Stop | Step::Continue | Step::Again) => {
                    self.stage_of(slot).fresh = false;
                    self.stage_of(slot).hand_on(next, last);
                }
            }
        }
        if end && trailers {
            match self.call(slot, entry, cx, self.trailers(), true) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Step::Reply(reply)) => return Err(reply),
                Poll::Ready(Step::Stop | Step::Continue | Step::Again) => {
                    self.stage_of(slot).hand_on(next, true);
                }
            }
        }
        Ok(())
    }

    /// The filter keeps what it was shown, up to the limit.
    fn stop(&mut self, slot: &mut Slot) -> Result<(), Box<LocalReply>> {
        let stage = self.stage_of(slot);
        stage.fresh = false;
        let held = stage.data.len();
        if held <= flow(self.work, self.way).limit {
            return Ok(());
        }
        let stats = &self.manager.plan.stats.hcm;
        let reply = match self.way {
            Way::Request => {
                // Its end was not seen.
                self.work.close = true;
                self.conn.shard.stats.inc(stats.downstream_rq_too_large());
                LocalReply::new(413, "Payload Too Large", "request_payload_too_large")
            }
            Way::Response => {
                self.conn.shard.stats.inc(stats.rs_too_large());
                LocalReply::new(500, "Internal Server Error", "response_payload_too_large")
            }
        };
        Err(Box::new(reply))
    }

    fn call(
        &mut self,
        slot: &mut Slot,
        entry: &Entry,
        cx: &mut Context<'_>,
        what: Phases,
        end: bool,
    ) -> Poll<Step> {
        if !slot.wants.has(what) {
            return Poll::Ready(Step::Continue);
        }
        let mut data = std::mem::take(&mut self.stage_of(slot).data);
        let mut s = StreamCx {
            conn: &mut *self.conn,
            work: &mut *self.work,
            manager: self.manager,
            table: self.table,
            entry,
            wants: &mut slot.wants,
        };
        let call = Call { what, cx, s: &mut s, data: &mut data, end };
        let step = match entry.options.config(slot.found.as_ref()) {
            Some(config) => slot.state.poll(config, call),
            None => Poll::Ready(Step::Continue),
        };
        self.stage_of(slot).data = data;
        self.waits |= step.is_pending();
        step
    }

    fn stage_of<'s>(&self, slot: &'s mut Slot) -> &'s mut Stage {
        match self.way {
            Way::Request => &mut slot.request,
            Way::Response => &mut slot.response,
        }
    }

    fn has_trailers(&self) -> bool {
        match self.way {
            Way::Request => !self.work.request_trailers.is_empty(),
            Way::Response => !self.work.response_trailers.is_empty(),
        }
    }

    fn headers(&self) -> Phases {
        match self.way {
            Way::Request => Phases::REQUEST_HEADERS,
            Way::Response => Phases::RESPONSE_HEADERS,
        }
    }

    fn data(&self) -> Phases {
        match self.way {
            Way::Request => Phases::REQUEST_DATA,
            Way::Response => Phases::RESPONSE_DATA,
        }
    }

    fn trailers(&self) -> Phases {
        match self.way {
            Way::Request => Phases::REQUEST_TRAILERS,
            Way::Response => Phases::RESPONSE_TRAILERS,
        }
    }
}
