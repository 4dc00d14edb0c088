//! Hot restart as the control thread sees it: events come in, orders come out.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Join, PacketListener, PacketSocket, sleep, spawn};

use super::child::Following;
use super::link::Incoming;
use super::parent::{self, Child, Own};
use super::{Begun, Inherited};
use crate::control::log::log;
use crate::control::message::{Adopted, Message};
use crate::control::post::Post;
use crate::observe::stats::{Merger, ShardStats};
use crate::plan::Plan;
use crate::shard::Loads;

/// Pause after a failed accept: for want of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Something happened to one of the two other processes.
pub(in crate::control) enum Event {
    /// Somebody connects who may be a child.
    Connected(PacketSocket),
    /// From the child of this number.
    Child(u64, Incoming),
    /// From the parent.
    Parent(Incoming),
    /// The child of this number accepts not yet, and nobody else does.
    LiveIsLate(u64),
    /// The parent accepts still, perhaps.
    StopIsLate,
    /// `--parent-shutdown-time-s` is over.
    ParentTimeOver,
}

/// What the control thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Order {
    /// As the child: the parent has stopped; accept.
    Publish,
    /// As the parent: the child accepts; drain.
    Replaced,
    /// As the parent: the child is gone; go on as before.
    Resume,
    /// As the parent: end.
    Stop,
}

/// What both roles work with.
pub(in crate::control) struct World {
    /// The way to the other threads.
    pub post: Post,
    /// Number of shards.
    pub shards: usize,
    /// How much they have to do.
    pub loads: Arc<Loads>,
    /// Reader of the statistics.
    pub merger: Merger,
    /// The control thread's page of them.
    pub stats: Rc<ShardStats>,
    /// Queues an event.
    pub tell: Rc<dyn Fn(Event)>,
}

/// Both roles of this process.
pub(in crate::control) struct HotRestart {
    world: World,
    own: Own,
    /// `--parent-shutdown-time-s`
    parent_time: Duration,
    /// Listens for children; `None` with `--disable-hot-restart`.
    _accepting: Option<Join<()>>,
    child: Option<Child>,
    children: u64,
    parent: Option<Following>,
    inherited: Rc<RefCell<Inherited>>,
}

impl World {
    /// Mesh index of the admin thread.
    pub(super) fn admin(&self) -> usize {
        self.shards + 1
    }

    /// Gives a connection to the shard with the least to do.
    pub(super) fn adopt(&self, given: Adopted) {
        self.post.send(self.loads.take_least(), Message::Adopt(Box::new(given)));
    }

    pub(super) fn resume_shards(&self) {
        for shard in 0..self.shards {
            self.post.send(shard, Message::Resume);
            self.post.send(shard, Message::LookAgain);
        }
    }
}

impl HotRestart {
    /// `started`: when this process began.
    pub(in crate::control) fn new(
        begun: Option<Begun>,
        inherited: Rc<RefCell<Inherited>>,
        started: Duration,
        world: World,
    ) -> Self {
        let mut restart = Self {
            own: Own { epoch: 0, generation: 1, started },
            parent_time: Duration::ZERO,
            _accepting: None,
            child: None,
            children: 0,
            parent: None,
            inherited,
            world,
        };
        let Some(begun) = begun else { return restart };
        restart.own = Own {
            epoch: begun.settings.epoch,
            generation: begun.generation(),
            started: begun.started().unwrap_or(started),
        };
        restart.parent_time = begun.settings.parent_shutdown_time;
        let Begun { settings, own, parent } = begun;
        restart._accepting = Some(spawn(accept(own, Rc::clone(&restart.world.tell))));
        restart.parent =
            parent.map(|parent| Following::new(parent, settings.merges_stats, &restart.world));
        restart
    }

    /// `--restart-epoch`
    pub(in crate::control) fn epoch(&self) -> u32 {
        self.own.epoch
    }

    /// How many processes there were in this chain, this one included.
    pub(in crate::control) fn generation(&self) -> u64 {
        self.own.generation
    }

    /// Is there a process that this one replaces?
    pub(in crate::control) fn has_parent(&self) -> bool {
        self.parent.is_some()
    }

    /// Connections the parent has open.
    pub(in crate::control) fn parent_connections(&self) -> u64 {
        self.parent.as_ref().map_or(0, Following::connections)
    }

    /// Asks the parent to leave those of its sockets to this process that listeners have found
    /// their addresses among since the last call. `true`: wait for [`Order::Publish`] before
    /// anybody accepts on them.
    pub(in crate::control) fn take_over(&mut self) -> bool {
        let claimed = self.inherited.borrow_mut().claimed();
        match &mut self.parent {
            Some(parent) if !claimed.is_empty() => {
                parent.take_over(&claimed, &self.world);
                true
            }
            _ => false,
        }
    }

    /// All shards accept.
    pub(in crate::control) fn live(&mut self) {
        if let Some(parent) = &self.parent {
            parent.live(self.parent_time, &self.world);
        }
    }

    /// A flush interval has passed.
    pub(in crate::control) fn flush(&mut self) {
        if let Some(parent) = &mut self.parent {
            parent.ask_stats();
        }
    }

    /// This process ends in good order: so does the one before it.
    pub(in crate::control) fn leave(&mut self) {
        if let Some(parent) = self.parent.take() {
            parent.terminate();
        }
    }

    /// A message of another thread that concerns a restart.
    pub(in crate::control) fn message(&mut self, message: Message) {
        match (message, &mut self.child) {
            (Message::Lent { thread, sockets }, Some(child)) => {
                child.lent(thread, sockets, &self.own);
            }
            (Message::Paused { thread }, Some(child)) => child.thread_paused(thread, &self.world),
            (Message::GiveAway(given), Some(child)) => child.give(*given, &self.world),
            // The child is gone since it was asked for.
            (Message::GiveAway(given), None) => self.world.adopt(*given),
            (Message::Paused { thread }, None) => self.world.post.send(thread, Message::Resume),
            _ => {}
        }
    }

    /// Does what is to be done about an event. `plan`: what this process serves.
    pub(in crate::control) fn handle(&mut self, event: Event, plan: &Plan) -> Option<Order> {
        match event {
            Event::Connected(socket) => {
                self.connected(socket);
                None
            }
            Event::Child(number, incoming) => {
                let child = self.child.as_mut().filter(|child| child.number() == number)?;
                let heard = match incoming {
                    Incoming::Note(note, _) => child.heard(note, &self.own, &self.world),
                    Incoming::Gone(why) => Err(why),
                };
                heard.unwrap_or_else(|why| self.child.take()?.gone(&why, &self.world))
            }
            Event::Parent(incoming) => {
                let parent = self.parent.as_mut()?;
                let heard = match incoming {
                    Incoming::Note(note, fd) => parent.heard(note, fd, plan, &self.world),
                    Incoming::Gone(why) => Err(why),
                };
                heard.unwrap_or_else(|why| self.parent_gone(&why))
            }
            Event::LiveIsLate(number) => {
                if let Some(child) = &mut self.child
                    && child.number() == number
                {
                    child.is_late(&self.world);
                }
                None
            }
            Event::StopIsLate => self.parent.as_mut()?.stop_waiting(),
            Event::ParentTimeOver => {
                let parent = self.parent.as_mut()?;
                // What it has counted since the last time would be lost.
                parent.ask_stats();
                parent.terminate();
                None
            }
        }
    }

    fn parent_gone(&mut self, why: &str) -> Option<Order> {
        // Nobody accepts on what was not claimed: its address is free from now on.
        self.inherited.borrow_mut().clear();
        for shard in 0..self.world.shards {
            self.world.post.send(shard, Message::LookAgain);
        }
        self.parent.take()?.gone(why, &self.world)
    }

    fn connected(&mut self, socket: PacketSocket) {
        match parent::admit(&socket) {
            Err(why) => log!(Warning, Main, "hot restart: not listened to: {why}"),
            Ok(_) if self.child.as_ref().is_some_and(Child::has_said_hello) => {
                parent::turn_away(socket);
            }
            Ok(pid) => {
                self.children += 1;
                self.child = Some(Child::new(self.children, pid, socket, &self.world));
            }
        }
    }
}

async fn accept(own: PacketListener, tell: Rc<dyn Fn(Event)>) {
    loop {
        match own.accept().await {
            Ok(socket) => tell(Event::Connected(socket)),
            Err(error) => {
                log!(Warning, Main, "hot restart: nobody can connect: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
