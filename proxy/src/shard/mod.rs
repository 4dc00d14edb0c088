//! One shard: a thread with its own listeners, connections, pools, timers and counters.
//!
//! All its mutable state hangs off one [`Shard`]; a test can host many of them in one thread.

pub(crate) mod balance;
mod connections;
mod date;
pub(crate) mod demands;
pub(crate) mod drain;
mod grpc_logs;
mod install;
pub(crate) mod late;
pub(crate) mod logs;
mod outbox;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::Instant;
use ringway_runtime::mesh::{Full, MeshEnd};

use crate::control::message::{Adopted, Drain, DrainKind, HandOver, ListenSocket, Message};
use crate::filters::grpc_calls::Calls;
use crate::filters::health_check::Answers;
use crate::http::conn::Works;
use crate::http::vet::LocalInfo;
use crate::http2::Heads;
use crate::istio::Istio;
use crate::listener::{ActiveListener, Admitted};
use crate::observe::stats::ShardStats;
use crate::plan::listener::Direction;
use crate::upstream::Upstreams;

use balance::Balance;
pub use balance::Loads;
use connections::Connections;
use date::DateCache;
use demands::Demands;
pub use drain::DrainOptions;
use drain::Ramp;
use late::LateStats;
use logs::ShardLogs;
use outbox::MeshOutbox;
use tables::Tables;

/// What a shard is started with.
#[derive(Debug)]
pub struct Setup {
    /// Position among the shards, and mesh index.
    pub index: usize,
    /// Number of shards; also the mesh index of the control thread.
    pub shards: usize,
    /// Its end of the mesh.
    pub mesh: MeshEnd<Message>,
    /// Its statistics pages.
    pub stats: ShardStats,
    /// The loads of all shards.
    pub loads: Arc<Loads>,
    /// Own address written to `x-forwarded-for` for clients on loopback.
    pub address: std::net::IpAddr,
    /// `node.cluster` or `--service-cluster`.
    pub cluster: String,
    /// `node.id` or `--service-node`.
    pub node: String,
    /// The whole `node`, encoded, as services are told it.
    pub node_message: Arc<[u8]>,
    /// `node.locality.zone`
    pub zone: String,
    /// How connections of listeners that are replaced or removed leave.
    pub drain: DrainOptions,
    /// `--file-flush-interval-msec`, `--file-flush-min-size-kb`.
    pub logs: ringway_runtime::file::AppendOptions,
}

/// The state of one shard.
pub(crate) struct Shard {
    pub index: usize,
    pub stats: Rc<ShardStats>,
    pub upstreams: Upstreams,
    pub local: LocalInfo,
    pub connections: Connections,
    pub works: Works,
    /// Spare heads of HTTP/2 sessions.
    pub heads: Rc<Heads>,
    pub logs: ShardLogs,
    /// Statistics named at run time.
    pub late: LateStats,
    /// Requests that wait for configuration.
    pub demands: Rc<Demands>,
    /// What is counted of gRPC calls.
    pub grpc_calls: Calls,
    /// What Istio's filters remember.
    pub istio: Istio,
    /// Answers to health checks that pass through.
    pub answers: Answers,
    pub balance: Rc<Balance>,
    shards: usize,
    outbox: Rc<MeshOutbox>,
    /// Puts a message into another shard's ring.
    peers: Box<PostTo>,
    /// Route tables that are not part of a listener.
    pub tables: Tables,
    listeners: RefCell<Vec<Rc<ActiveListener>>>,
    /// Which listener serves connections that were on their way to an address.
    by_address: RefCell<HashMap<SocketAddr, Rc<ActiveListener>, RandomState>>,
    /// Connections of listeners this shard has not heard of yet.
    early: RefCell<Vec<HandOver>>,
    sockets: RefCell<Vec<ListenSocket>>,
    draining: Cell<Option<(Drain, Ramp)>>,
    drain_options: DrainOptions,
    /// The last change that was taken.
    version: Cell<u64>,
    /// Idle connections go to another process.
    giving: Cell<bool>,
    health_check_failed: Cell<bool>,
    ids: Cell<u64>,
    date: DateCache,
}

/// Puts a message into the ring of the thread of this mesh index.
type PostTo = dyn Fn(usize, Message) -> Result<(), Full<Message>>;

/// How a shard reaches the other threads.
struct Links {
    outbox: MeshOutbox,
    peers: Box<PostTo>,
    loads: Arc<Loads>,
}

/// Runs a shard until it is told to shut down. To be run on the shard's own runtime.
///
/// # Errors
/// When the doorbell of the mesh cannot be registered.
pub async fn run(setup: Setup) -> std::io::Result<()> {
    #[rustfmt::skip]
    let Setup {
        index, shards, mesh, stats, loads, address, cluster, node, node_message, zone, drain, logs,
    } = setup;
    let mailbox = Rc::new(mesh.attach()?);
    let (sender, peers) = (Rc::clone(&mailbox), Rc::clone(&mailbox));
    let links = Links {
        outbox: MeshOutbox::new(Box::new(move |message| sender.send(shards, message))),
        peers: Box::new(move |to, message| peers.send(to, message)),
        loads,
    };
    let local = LocalInfo { address, cluster, node, node_message, zone };
    let shard = Shard::new(index, shards, stats, links, local, drain, ShardLogs::new(logs));
    loop {
        let message = mailbox.recv().await;
        if let Message::Shutdown = message {
            return Ok(());
        }
        shard.handle(message);
    }
}

impl Shard {
    /// A shard without a plan.
    fn new(
        index: usize,
        shards: usize,
        stats: ShardStats,
        links: Links,
        local: LocalInfo,
        drain_options: DrainOptions,
        logs: ShardLogs,
    ) -> Rc<Self> {
        let stats = Rc::new(stats);
        let Links { outbox, peers, loads } = links;
        let outbox = Rc::new(outbox);
        let upstreams = Upstreams::new(
            index as u32,
            shards as u32,
            Rc::clone(&stats),
            Rc::new(outbox::SharedOutbox(Rc::clone(&outbox))),
        );
        let late = LateStats::new(index, Rc::clone(&stats), Rc::clone(&outbox));
        let demands = Demands::new(index, Rc::clone(&outbox));
        let shard = Rc::new(Self {
            index,
            shards,
            stats,
            upstreams,
            local,
            logs,
            balance: Balance::new(loads, index),
            outbox,
            peers,
            late,
            demands,
            grpc_calls: Calls::default(),
            answers: Answers::default(),
            istio: Istio::default(),
            connections: Connections::default(),
            works: Works::default(),
            heads: Rc::default(),
            tables: Tables::default(),
            listeners: RefCell::default(),
            by_address: RefCell::default(),
            early: RefCell::default(),
            sockets: RefCell::default(),
            draining: Cell::new(None),
            drain_options,
            version: Cell::new(0),
            giving: Cell::new(false),
            health_check_failed: Cell::new(false),
            ids: Cell::new(0),
            date: DateCache::default(),
        });
        shard.logs.grpc.attach(Rc::downgrade(&shard));
        let weak = Rc::downgrade(&shard);
        shard.upstreams.set_internal(Rc::new(move |name, stream, passed| {
            weak.upgrade().is_some_and(|shard| shard.take_in_internal(name, stream, passed))
        }));
        shard
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Sockets(sockets) => self.sockets.borrow_mut().extend(sockets),
            Message::Install(change) => {
                let version = change.version;
                self.install(&change);
                if !change.unanswered {
                    self.outbox.send(Message::Installed { shard: self.index, version });
                }
            }
            Message::Hosts(cluster, hosts) => self.upstreams.set_hosts(cluster, hosts),
            Message::HealthChanged(cluster) => self.upstreams.health_changed(cluster),
            Message::Drain(drain) => self.begin_drain(drain),
            Message::StopListening(which) => self.stop_listening(which),
            Message::HealthCheckFailed(failed) => self.health_check_failed.set(failed),
            Message::ReopenLogs => self.logs.reopen(),
            Message::Connection(given) => {
                self.balance.arrived();
                self.take(given);
            }
            Message::StatNamed(name, named) => self.late.named(&name, named),
            Message::Supplied(what, supply) => self.demands.supplied(&what, supply),
            Message::Lend => {
                let (thread, sockets) = (self.index, self.lend());
                self.outbox.send(Message::Lent { thread, sockets });
            }
            Message::Pause(addresses) => {
                self.pause(&addresses);
                self.outbox.send(Message::Paused { thread: self.index });
            }
            Message::Resume => self.resume(),
            Message::LookAgain => self.look_again(),
            Message::Adopt(given) => {
                self.balance.arrived();
                self.adopt(*given);
            }
            // Of the run loop, or never sent to a shard.
            Message::Shutdown
            | Message::Installed { .. }
            | Message::Eject(_)
            | Message::HealthVerdict(_)
            | Message::HostAdded(..)
            | Message::NameStat(_)
            | Message::Demand { .. }
            | Message::Drained { .. }
            | Message::WantDump
            | Message::Dump(_)
            | Message::Bound(_)
            | Message::ListenerDrained { .. }
            | Message::Lent { .. }
            | Message::Paused { .. }
            | Message::GiveAway(_)
            | Message::Admin(_) => {}
        }
    }

    /// `/healthcheck/fail` is in force.
    pub(crate) fn health_check_failed(&self) -> bool {
        self.health_check_failed.get()
    }

    fn begin_drain(self: &Rc<Self>, drain: Drain) {
        let options = DrainOptions { strategy: drain.strategy, time: drain.time };
        self.draining.set(Some((drain, Ramp::new(options))));
        if drain.kind == DrainKind::HandOver {
            self.giving.set(true);
        }
        if drain.kind != DrainKind::Listeners {
            self.connections.wake_all();
        }
        if self.connections.count() == 0 {
            self.outbox.send(Message::Drained { shard: self.index });
        } else {
            let outbox = Rc::clone(&self.outbox);
            let index = self.index;
            self.connections.when_empty(move || outbox.send(Message::Drained { shard: index }));
        }
    }

    /// A number for `%CONNECTION_ID%`: unique in the process, the shard in its remainder.
    pub(crate) fn next_connection_id(&self) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + 1);
        id * self.shards as u64 + self.index as u64
    }

    /// Is the process on its way out? Idle connections close then.
    pub(crate) fn exiting(&self) -> bool {
        self.draining.get().is_some_and(|(drain, _)| drain.kind == DrainKind::Exit)
    }

    /// Do idle connections go to another process?
    pub(crate) fn gives_away(&self) -> bool {
        self.giving.get()
    }

    /// Gives an idle connection to the process that takes over, as soon as there is room for it
    /// on the way.
    pub(crate) async fn give_away(&self, given: Adopted) {
        self.outbox.room().await;
        self.outbox.send(Message::GiveAway(Box::new(given)));
    }

    /// When a connection that cannot go to another process is to end, if it is idle since
    /// `since`: soon where the process ends, spread over the drain time where it is replaced.
    /// `number`, [`Meta::id`](crate::listener::Meta), decides its place.
    pub(crate) fn leaves_at(&self, number: u64, since: Instant) -> Option<Instant> {
        /// Time for a request that is under way already.
        const GRACE: Duration = Duration::from_secs(1);
        let (drain, ramp) = self.draining.get()?;
        let since = since.max(ramp.since()) + GRACE.min(drain.time / 2);
        match drain.kind {
            DrainKind::Listeners => None,
            DrainKind::Exit => Some(since),
            DrainKind::HandOver => Some(since.max(ramp.leaves_at(number))),
        }
    }

    /// Should the response under way be the last of this connection?
    pub(crate) fn drains(&self, link: &Admitted) -> bool {
        let listener = &link.listener.plan;
        if link.chain.asks_to_leave()
            || (self.health_check_failed.get() && !listener.drain_modify_only)
        {
            return true;
        }
        let Some((drain, ramp)) = self.draining.get() else { return false };
        (!drain.inbound_only || listener.direction == Direction::Inbound) && ramp.asks()
    }

    /// The `date` header of this second.
    pub(crate) fn with_date<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        self.date.with(f)
    }

    /// Whether everything is as it must be at rest.
    ///
    /// # Errors
    /// What is not, for a person.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        if self.connections.count() > 0 {
            return Err(format!("{} connections left", self.connections.count()));
        }
        self.upstreams.check_invariants(true)
    }
}
