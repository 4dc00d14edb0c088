//! This process as the child: how it follows its parent.
//!
//! LIFECYCLE: warming → taking over (the parent stops to accept) → accepting → live (connections
//! and statistics come) → the parent's time is over, or it is gone.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{SockAddr, sleep, spawn};

use super::begin::Parent;
use super::link::Link;
use super::note::{Note, Report};
use super::run::{Event, Order, World};
use crate::control::log::log;
use crate::control::message::{Adopted, Passport};
use crate::observe::stats::Importer;
use crate::plan::Plan;

/// How long the parent may take to stop accepting; then both accept.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Addresses in one note.
const CLAIM_MAX: usize = 256;

/// The process whose place this one takes.
pub(super) struct Following {
    link: Link,
    epoch: u32,
    /// Publishing waits for the parent to stop.
    waits: bool,
    merges_stats: bool,
    importer: Importer,
    /// An answer to TellStats is to come.
    asked: bool,
    connections: u64,
}

impl Following {
    pub(super) fn new(parent: Parent, merges_stats: bool, world: &World) -> Self {
        let tell = Rc::clone(&world.tell);
        let link = Link::start(parent.socket, move |incoming| tell(Event::Parent(incoming)));
        Self {
            link,
            epoch: parent.epoch,
            waits: false,
            merges_stats,
            importer: Importer::default(),
            asked: false,
            connections: 0,
        }
    }

    /// Asks the parent to leave these addresses to this process. The answer, or the lack of it,
    /// becomes [`Order::Publish`].
    pub(super) fn take_over(&mut self, claimed: &[SockAddr], world: &World) {
        for addresses in claimed.chunks(CLAIM_MAX) {
            self.link.send(&Note::Claim(addresses.to_vec()), None);
        }
        self.link.send(&Note::TakeOver, None);
        self.waits = true;
        let tell = Rc::clone(&world.tell);
        drop(spawn(async move {
            sleep(STOP_TIME).await;
            tell(Event::StopIsLate);
        }));
    }

    /// This process accepts; the parent has so much time.
    pub(super) fn live(&self, time: Duration, world: &World) {
        self.link.send(&Note::Live, None);
        let tell = Rc::clone(&world.tell);
        drop(spawn(async move {
            sleep(time).await;
            tell(Event::ParentTimeOver);
        }));
    }

    /// The parent is to end.
    pub(super) fn terminate(&self) {
        self.link.send(&Note::Terminate, None);
    }

    /// Asks for the statistics.
    pub(super) fn ask_stats(&mut self) {
        if self.merges_stats && !std::mem::replace(&mut self.asked, true) {
            self.link.send(&Note::TellStats, None);
        }
    }

    /// Connections the parent has open, as far as it has told.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Does what the parent asks for.
    ///
    /// # Errors
    /// It does not follow the protocol: it is to be taken as gone.
    pub(super) fn heard(
        &mut self,
        note: Note,
        fd: Option<OwnedFd>,
        plan: &Plan,
        world: &World,
    ) -> Result<Option<Order>, String> {
        match (note, fd) {
            (Note::Stopped, _) => return Ok(self.stop_waiting()),
            (Note::Connection { number, passport }, Some(socket)) => {
                self.connection(number, passport, socket, plan, world);
            }
            (Note::Stats(report), _) => self.stats(report, world),
            // It comes late when nobody has waited for it.
            (Note::AdminStopped, _) => {}
            _ => return Err("it says something else than a parent says".to_owned()),
        }
        Ok(None)
    }

    /// Publishing waits no more for the parent, if it did.
    pub(super) fn stop_waiting(&mut self) -> Option<Order> {
        std::mem::take(&mut self.waits).then_some(Order::Publish)
    }

    fn connection(
        &self,
        number: u64,
        passport: Box<Passport>,
        socket: OwnedFd,
        plan: &Plan,
        world: &World,
    ) {
        let known = plan.listeners.iter().any(|listener| listener.name == passport.listener);
        if !known {
            self.link.send(&Note::Refused(number), None);
            return;
        }
        // Before anything is done with it: what was not answered for, the parent takes back.
        self.link.send(&Note::Taken(number), None);
        world.adopt(Adopted { socket, passport, stays: false });
    }

    fn stats(&mut self, report: Report, world: &World) {
        let Report { connections, last, scopes } = report;
        self.connections = connections;
        self.asked &= !last;
        for values in scopes {
            self.importer.import(&world.merger, &world.stats, values);
        }
    }

    /// It is gone, in time or not.
    pub(super) fn gone(mut self, why: &str, world: &World) -> Option<Order> {
        log!(Info, Main, "hot restart: the process of epoch {} is gone: {why}", self.epoch);
        self.importer.end(&world.stats);
        self.stop_waiting()
    }
}
