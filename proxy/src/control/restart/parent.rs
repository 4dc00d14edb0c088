//! This process as the parent: what it does for a child.
//!
//! LIFECYCLE of a child here: connected → Hello (threads lend their sockets, Welcome) → TakeAdmin →
//! Claim, TakeOver (shards pause) → Live (connections are given away) → Terminate. It may be gone
//! after every step; then everything is taken back.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use ringway_runtime::{PacketSocket, SockAddr, sleep, spawn};

use super::link::Link;
use super::note::{NOTE_MAX, Note, Report, VERSION};
use super::run::{Event, Order, World};
use crate::control::log::log;
use crate::control::message::{Adopted, Message, Passport};
use crate::observe::stats::ScopeValues;

/// How long nobody may accept: a child that hangs between TakeOver and Live is not waited for.
const TAKE_OVER_TIME: Duration = Duration::from_secs(5);

/// Addresses a child may claim.
const CLAIMS_MAX: usize = 1 << 16;

/// The process that takes the place of this one.
pub(super) struct Child {
    number: u64,
    link: Link,
    pid: i32,
    /// Threads that have not lent their sockets yet, by mesh index; `None` before Hello.
    lending: Option<Vec<bool>>,
    lent: Vec<OwnedFd>,
    claimed: Vec<SockAddr>,
    /// Shards that have not paused yet.
    pausing: Vec<bool>,
    admin_paused: bool,
    paused: bool,
    live: bool,
    /// Connections it has not answered for, in order.
    given: VecDeque<Given>,
    next: u64,
}

struct Given {
    number: u64,
    socket: Rc<OwnedFd>,
    passport: Box<Passport>,
}

/// What a child is told about this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) epoch: u32,
    pub(super) generation: u64,
    pub(super) started: Duration,
}

impl Child {
    /// Listens to a process of the same user.
    pub(super) fn new(number: u64, pid: i32, socket: PacketSocket, world: &World) -> Self {
        let tell = Rc::clone(&world.tell);
        let link = Link::start(socket, move |incoming| tell(Event::Child(number, incoming)));
        Self {
            number,
            link,
            pid,
            lending: None,
            lent: Vec::new(),
            claimed: Vec::new(),
            pausing: Vec::new(),
            admin_paused: false,
            paused: false,
            live: false,
            given: VecDeque::new(),
            next: 1,
        }
    }

    /// Its number among the children of this process.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// It is known to be a child, not just somebody who connects.
    pub(super) fn has_said_hello(&self) -> bool {
        self.lending.is_some()
    }

    /// Does what it asks for.
    ///
    /// # Errors
    /// It does not follow the protocol: it is to be taken as gone.
    pub(super) fn heard(
        &mut self,
        note: Note,
        own: &Own,
        world: &World,
    ) -> Result<Option<Order>, String> {
        match note {
            Note::Hello { version, epoch } => self.hello(version, epoch, own, world)?,
            _ if self.lending.is_none() => return Err("it does not say who it is".to_owned()),
            Note::TakeAdmin => world.post.send(world.admin(), Message::Pause(Arc::new([]))),
            Note::Claim(addresses) => {
                if self.claimed.len() + addresses.len() > CLAIMS_MAX {
                    return Err(format!("it claims more than {CLAIMS_MAX} addresses"));
                }
                self.claimed.extend(addresses);
            }
            Note::TakeOver => self.take_over(world),
            Note::Live => {
                log!(Info, Main, "hot restart: process {} accepts, this one drains", self.pid);
                self.live = true;
                return Ok(Some(Order::Replaced));
            }
            Note::Taken(upto) => self.taken(upto),
            Note::Refused(number) => self.refused(number, world),
            Note::TellStats => self.tell_stats(world),
            Note::Terminate => {
                log!(Info, Main, "hot restart: process {} says that it is time", self.pid);
                return Ok(Some(Order::Stop));
            }
            _ => return Err("it says what a parent says".to_owned()),
        }
        Ok(None)
    }

    fn hello(&mut self, version: u32, epoch: u32, own: &Own, world: &World) -> Result<(), String> {
        let why = if version != VERSION {
            format!("it speaks version {VERSION}, the child version {version}")
        } else if epoch <= own.epoch {
            format!("its epoch is {}, the child's {epoch}", own.epoch)
        } else if self.lending.is_some() {
            "it has been asked already".to_owned()
        } else {
            log!(Info, Main, "hot restart: process {} of epoch {epoch} starts", self.pid);
            self.lending = Some(vec![true; world.shards + 2]);
            // The control thread has no sockets.
            self.lent(world.shards, Vec::new(), own);
            for thread in (0..world.shards).chain([world.admin()]) {
                world.post.send(thread, Message::Lend);
            }
            return Ok(());
        };
        self.link.send(&Note::Sorry(why.clone()), None);
        Err(why)
    }

    /// A thread has lent its sockets.
    pub(super) fn lent(&mut self, thread: usize, sockets: Vec<OwnedFd>, own: &Own) {
        let Some(lending) = &mut self.lending else { return };
        let Some(waits) = lending.get_mut(thread) else { return };
        if !std::mem::take(waits) {
            return;
        }
        self.lent.extend(sockets);
        if lending.iter().any(|waits| *waits) {
            return;
        }
        let Own { epoch, generation, started } = *own;
        self.link.send(&Note::Welcome { version: VERSION, epoch, generation, started }, None);
        let mut seen = HashSet::with_hasher(RandomState::default());
        for socket in std::mem::take(&mut self.lent) {
            // Shards without reuse_port share one.
            let Ok(identity) = rustix::fs::fstat(&socket).map(|stat| stat.st_ino) else { continue };
            if seen.insert(identity) {
                self.link.send(&Note::Socket, Some(Rc::new(socket)));
            }
        }
        self.link.send(&Note::AllSockets, None);
    }

    fn take_over(&mut self, world: &World) {
        self.paused = true;
        self.pausing = vec![true; world.shards];
        let addresses: Arc<[SockAddr]> = self.claimed.as_slice().into();
        for shard in 0..world.shards {
            world.post.send(shard, Message::Pause(Arc::clone(&addresses)));
        }
        let (tell, number) = (Rc::clone(&world.tell), self.number);
        if !self.live {
            drop(spawn(async move {
                sleep(TAKE_OVER_TIME).await;
                tell(Event::LiveIsLate(number));
            }));
        }
    }

    /// A thread accepts no more.
    pub(super) fn thread_paused(&mut self, thread: usize, world: &World) {
        if thread == world.admin() {
            self.admin_paused = true;
            self.link.send(&Note::AdminStopped, None);
        } else if let Some(waits) = self.pausing.get_mut(thread)
            && std::mem::take(waits)
            && self.pausing.iter().all(|waits| !waits)
        {
            self.link.send(&Note::Stopped, None);
        }
    }

    /// It said that it takes over and has not done so: this process accepts again, besides it.
    pub(super) fn is_late(&mut self, world: &World) {
        if self.paused && !self.live {
            log!(Warning, Main, "hot restart: process {} is late, accepting goes on", self.pid);
            world.resume_shards();
        }
    }

    /// Gives it a connection.
    pub(super) fn give(&mut self, given: Adopted, world: &World) {
        let Adopted { socket, passport, stays: _ } = given;
        let number = self.next;
        let socket = Rc::new(socket);
        let note = Note::Connection { number, passport };
        let fits = self.link.send(&note, Some(Rc::clone(&socket)));
        let Note::Connection { passport, .. } = note else { return };
        let given = Given { number, socket, passport };
        if fits {
            self.next += 1;
            self.given.push_back(given);
        } else {
            given.back(world, true);
        }
    }

    fn taken(&mut self, upto: u64) {
        while self.given.front().is_some_and(|given| given.number <= upto) {
            self.given.pop_front();
        }
    }

    fn refused(&mut self, number: u64, world: &World) {
        let place = self.given.iter().position(|given| given.number == number);
        if let Some(given) = place.and_then(|place| self.given.remove(place)) {
            given.back(world, true);
        }
    }

    fn tell_stats(&self, world: &World) {
        /// Room for the rest of a note.
        const FULL: usize = NOTE_MAX / 2;
        let view = world.merger.view();
        let mut report = Report { connections: view.connections(), ..Report::default() };
        let mut size = 0;
        view.export(|values| {
            let bytes = size_of_values(&values);
            if size + bytes > FULL && !report.scopes.is_empty() {
                let connections = report.connections;
                let full =
                    std::mem::replace(&mut report, Report { connections, ..Report::default() });
                self.link.send(&Note::Stats(full), None);
                size = 0;
            }
            size += bytes;
            report.scopes.push(values);
        });
        report.last = true;
        self.link.send(&Note::Stats(report), None);
    }

    /// It is gone before its time: takes everything back.
    pub(super) fn gone(self, why: &str, world: &World) -> Option<Order> {
        let Self { pid, given, live, paused, admin_paused, lending, .. } = self;
        if lending.is_some() {
            log!(Warning, Main, "hot restart: process {pid} is gone: {why}; this one goes on");
        } else {
            log!(Debug, Main, "hot restart: process {pid} is not listened to: {why}");
        }
        if live || paused {
            world.resume_shards();
        }
        if admin_paused {
            world.post.send(world.admin(), Message::Resume);
        }
        // What it has not answered for it has not touched.
        given.into_iter().for_each(|given| given.back(world, false));
        live.then_some(Order::Resume)
    }
}

impl Given {
    /// Serves it here again.
    fn back(self, world: &World, stays: bool) {
        let Self { number: _, socket, passport } = self;
        // The link may hold it still, if it was waiting for room.
        let socket = Rc::try_unwrap(socket).or_else(|shared| shared.try_clone());
        if let Ok(socket) = socket {
            world.adopt(Adopted { socket, passport, stays });
        }
    }
}

/// About how many bytes these take in a note.
fn size_of_values(values: &ScopeValues) -> usize {
    let ScopeValues { prefix, counters, gauges, codes } = values;
    let named = counters.iter().chain(gauges).map(|(name, _)| name.len() + 10);
    prefix.len() + 8 + named.sum::<usize>() + codes.len() * 10
}

/// Whether a process may connect: one of the same user.
///
/// # Errors
/// Why not.
pub(super) fn admit(socket: &PacketSocket) -> Result<i32, String> {
    let peer = socket.peer().map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid().as_raw();
    if peer.uid == own {
        Ok(peer.pid)
    } else {
        Err(format!("process {} belongs to user {}, this one to user {own}", peer.pid, peer.uid))
    }
}

/// Tells a process that there is another child at the moment.
pub(super) fn turn_away(socket: PacketSocket) {
    drop(spawn(async move {
        let why = Note::Sorry("another process takes over from it at the moment".to_owned());
        if let Some(bytes) = why.encode() {
            // It will see the closed connection, too.
            let _ = socket.send(&bytes, None).await;
        }
    }));
}
