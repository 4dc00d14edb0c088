//! The control thread: publishes plans, answers signals and operators, drains and ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_runtime::memory::{self, Frugal};
use ringway_runtime::mesh::Mailbox;
use ringway_runtime::signal::{self, Signals};
use ringway_runtime::{Join, now, sleep, spawn, timeout, yield_now};

use super::bind::{Bound, Sockets};
use super::gauges::Gauges;
use super::log::{self, log};
use super::message::{
    AdminCommand, Drain, DrainKind, ListenSocket, Message, NameStat, Named, StatKind, StopListening,
};
use super::post::Post;
use super::queue::Queue;
use super::restart::run::{self as restart, HotRestart, Order, World};
use super::restart::{Begun, Inherited};
use super::retire::{self, Retiring};
use super::start::{Options, SIGNALS, Setup};
use super::state::{Server, State};
use super::xds::{News, Outlet, Stage, Start, Xds};
use crate::observe::stats::ShardStats;
use crate::plan::demand::{Demand, Supply};
use crate::plan::{Change, ClusterId};
use crate::shard::Loads;

/// How long threads may take to return once told to.
const JOIN_TIME: Duration = Duration::from_secs(3);

/// What the control thread waits for.
enum Event {
    Message(Message),
    Signal(i32),
    /// Statistics are due.
    Flush,
    /// The files of secrets may have changed.
    LookAtSecrets,
    /// Configuration has something to tell.
    News(News),
    /// The drain of this number has used up its time.
    DrainOver(u64),
    /// Handshakes with this process are at their end.
    Settled,
    /// Nothing is left in the queues of listening sockets.
    Empty,
    /// Of the process that replaces this one, or is replaced by it.
    Restart(restart::Event),
}

/// What the process is doing.
///
/// LIFECYCLE: Warming (what the configuration needs is not complete; nothing is accepted) →
/// Starting (the first listeners are on their way to the shards) → Running → Draining (SIGTERM,
/// SIGINT) → Stopping (all shards drained, time over, second signal). `/quitquitquit`, and a signal
/// before Running, lead to Stopping from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Starting,
    Running,
    /// Another process accepts on our sockets; connections go there or drain.
    Replaced,
    Draining,
    Stopping,
}

/// State of the control thread.
pub(super) struct Control {
    post: Post,
    events: Queue<Event>,
    xds: Xds,
    server: Arc<Server>,
    options: Options,
    shards: usize,
    gauges: Gauges,
    /// Says when to look at their files.
    looking: Option<Join<()>>,
    /// Until the first configuration is out: what making it takes goes back at once.
    frugal: Option<Frugal>,
    phase: Phase,
    /// Version every shard has installed, by shard.
    installed: Vec<u64>,
    /// Shards that have no connection left in this drain.
    drained: Vec<bool>,
    /// Number of drains begun, to tell an old timer from the current one.
    drains: u64,
    /// What `/drain_listeners?graceful` closes when its time is over.
    close_after_drain: Option<StopListening>,
    restart: HotRestart,
    /// The process before this one was asked to leave its sockets to this one.
    taking_over: bool,
    /// Listening sockets, from SIGTERM until they are closed.
    retiring: Option<Retiring>,
}

impl Control {
    pub(super) fn new(
        setup: Setup,
        mailbox: Mailbox<Message>,
        stats: Rc<ShardStats>,
        sockets: Sockets,
        bootstrap: Option<Box<[u8]>>,
        (inherited, loads, begun): (Inherited, Arc<Loads>, Option<Begun>),
    ) -> Self {
        let shards = setup.options.concurrency.max(1);
        let merger = setup.registry.merger();
        let inherited = Rc::new(RefCell::new(inherited));
        let mut compiler = setup.compiler;
        compiler.own(setup.registry);
        let registry = compiler.registry();
        let names = setup.names.of_configuration();
        let gauges = Gauges::new(registry, setup.names, stats.clone(), &setup.plan, shards);
        registry.publish();
        let (post, events) = (Post::new(mailbox), Queue::default());
        let told = events.clone();
        let world = World {
            post: post.clone(),
            shards,
            loads,
            merger,
            stats: stats.clone(),
            tell: Rc::new(move |event| told.push(Event::Restart(event))),
        };
        let started = setup.server.started();
        let restart = HotRestart::new(begun, Rc::clone(&inherited), started, world);
        gauges.restarted(restart.epoch(), restart.generation());
        let outlet = Rc::new(Exit { post: post.clone(), events: events.clone(), shards });
        let mut xds = Xds::new(Start {
            compiler,
            plan: setup.plan,
            dynamic: setup.dynamic,
            identity: setup.identity,
            names,
            stats,
            shards,
            sockets: sockets.by_shard,
            bound: sockets.bound,
            outlet,
            bootstrap,
            inherited,
            logs: setup.options.logs,
        });
        xds.hold_start(restart.has_parent());
        Self {
            post,
            events,
            xds,
            server: setup.server,
            options: setup.options,
            shards,
            gauges,
            looking: None,
            frugal: Some(memory::frugal()),
            phase: Phase::Warming,
            installed: vec![0; shards],
            drained: vec![false; shards],
            drains: 0,
            close_after_drain: None,
            restart,
            taking_over: false,
            retiring: None,
        }
    }

    fn to_shards(&self, mut message: impl FnMut() -> Message) {
        for shard in 0..self.shards {
            self.post.send(shard, message());
        }
    }

    /// Mesh index of the admin thread.
    fn admin(&self) -> usize {
        self.shards + 1
    }

    /// Does what comes next.
    async fn turn(&mut self) {
        if self.xds.has_work() && self.is_open() {
            // Between two slices everybody else has a turn: signals, streams, timers.
            yield_now().await;
            match self.events.try_next() {
                Some(event) => self.handle(event),
                None => self.xds.work(),
            }
        } else {
            let next = self.events.next();
            let event = match self.xds.next_deadline().filter(|_| self.is_open()) {
                Some(at) => timeout(at - now(), next).await.ok(),
                None => Some(next.await),
            };
            match event {
                Some(event) => self.handle(event),
                None => self.xds.deadlines(),
            }
        }
        self.follow();
    }

    /// Whether the configuration may still change.
    fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Draining | Phase::Stopping)
    }

    /// Goes along with the start of the configuration.
    fn follow(&mut self) {
        if self.phase != Phase::Warming {
            // Of listeners that have come since.
            self.restart.take_over();
            return;
        }
        if self.xds.waits_for_release() && !std::mem::replace(&mut self.taking_over, true) {
            // The process before this one accepts until now.
            if !self.restart.take_over() {
                self.xds.hold_start(false);
            }
        }
        if self.xds.stage() >= Stage::Listeners && self.server.state() == State::PreInitializing {
            self.server.set(State::Initializing);
            self.gauges.live(&self.server);
        }
        if self.xds.stage() == Stage::Starting {
            self.phase = Phase::Starting;
            self.watch_secrets();
            self.run_when_installed();
        }
    }

    /// Looks after the files of secrets, if there are any.
    fn watch_secrets(&mut self) {
        if self.looking.is_none() && self.xds.watches_secrets() {
            let events = self.events.clone();
            let due = move || events.push(Event::LookAtSecrets);
            self.looking = Some(spawn(super::secrets::tick(due)));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Signal(signal) => self.signal(signal),
            Event::Flush => {
                self.xds.registry().publish();
                self.gauges.update(&self.server);
                self.watch_secrets();
                self.restart.flush();
                self.gauges.parent_connections(self.restart.parent_connections());
            }
            Event::LookAtSecrets => self.xds.look_at_secrets(),
            Event::News(news) if self.is_open() => self.xds.news(news),
            Event::News(_) => {}
            Event::DrainOver(drain) if drain == self.drains => self.drain_over(),
            Event::DrainOver(_) => {}
            Event::Settled => self.settled(),
            Event::Empty => self.empty(),
            Event::Restart(event) => {
                if let Some(order) = self.restart.handle(event, self.xds.plan()) {
                    self.obey(order);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match (order, self.phase) {
            (Order::Publish, Phase::Warming) => self.xds.hold_start(false),
            (Order::Replaced, Phase::Running) => {
                self.phase = Phase::Replaced;
                self.server.set(State::Draining);
                self.gauges.live(&self.server);
                self.begin_drain(DrainKind::HandOver, false);
            }
            (Order::Resume, Phase::Replaced) => {
                self.phase = Phase::Running;
                self.server.set(State::Live);
                self.gauges.live(&self.server);
            }
            (Order::Stop, _) => self.stop(),
            // The process is on its way out, or was never in.
            (Order::Publish | Order::Replaced | Order::Resume, _) => {}
        }
    }

    fn name_stat(&mut self, asked: NameStat) {
        let NameStat { shard, name, kind } = asked;
        let named = match kind {
            StatKind::Counter => {
                let (block, slot) = self.xds.registry().counter(&name);
                Named::Counter(block, slot)
            }
            StatKind::Histogram => {
                let (block, slot) = self.xds.registry().histogram(&name);
                Named::Histogram(block, slot)
            }
        };
        self.xds.registry().publish();
        self.post.send(shard, Message::StatNamed(name, named));
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Installed { shard, version } => self.shard_installed(shard, version),
            Message::Drained { shard } => self.shard_drained(shard),
            Message::Admin(command) => self.command(command),
            Message::Eject(request) => {
                self.xds.eject(request.cluster, &request.host, request.reason);
            }
            Message::NameStat(asked) => self.name_stat(asked),
            Message::ListenerDrained { shard: _, listener } => self.xds.listener_drained(&listener),
            Message::Demand { shard, what, from } => self.xds.demand(shard, what, from.as_ref()),
            Message::HostAdded(cluster, host) => self.xds.host_added(cluster, host),
            Message::WantDump => {
                self.post.send(self.admin(), Message::Dump(Arc::new(self.xds.dump())));
            }
            Message::HealthVerdict(verdict) => {
                self.xds.health_verdict(verdict.cluster, &verdict.host, verdict.healthy);
            }
            Message::Lent { thread, sockets } if self.retiring.is_some() => {
                if let Some(retiring) = self.retiring.as_mut().filter(|_| thread < self.shards) {
                    retiring.lent(sockets, self.shards);
                }
            }
            message @ (Message::Lent { .. } | Message::Paused { .. } | Message::GiveAway(_)) => {
                self.restart.message(message);
            }
            // Everything else goes the other way.
            _ => {}
        }
    }

    fn shard_installed(&mut self, shard: usize, version: u64) {
        if let Some(installed) = self.installed.get_mut(shard) {
            *installed = version;
        }
        self.run_when_installed();
    }

    fn run_when_installed(&mut self) {
        let first = self.xds.first_version();
        if self.phase == Phase::Starting && self.installed.iter().all(|have| *have >= first) {
            self.phase = Phase::Running;
            self.xds.started();
            self.server.set(State::Live);
            self.gauges.live(&self.server);
            self.gauges.initialized(&self.server);
            self.restart.live();
            log!(Info, Config, "all {} shards accept connections", self.shards);
            self.frugal = None;
        }
    }

    fn signal(&mut self, signal: i32) {
        match (signal, self.phase) {
            (signal::SIGUSR1, _) => self.reopen_logs(),
            (signal::SIGTERM | signal::SIGINT, Phase::Draining) => {
                log!(Warning, Main, "caught {} again: not waiting any longer", name(signal));
                self.stop();
            }
            (signal::SIGTERM | signal::SIGINT, Phase::Warming) => {
                log!(Warning, Main, "caught {} before listeners were up", name(signal));
                self.stop();
            }
            (
                signal::SIGTERM | signal::SIGINT,
                Phase::Starting | Phase::Running | Phase::Replaced,
            ) => {
                log!(Warning, Main, "caught {}", name(signal));
                self.drain_and_exit();
            }
            // SIGHUP changes nothing, as in Envoy.
            _ => {}
        }
    }

    /// Listeners first, so that nothing new comes into a process without them; then connections.
    fn drain_and_exit(&mut self) {
        let before = std::mem::replace(&mut self.phase, Phase::Draining);
        self.server.set(State::Draining);
        self.gauges.live(&self.server);
        let seconds = self.options.drain_time.as_secs();
        log!(Info, Main, "draining for up to {seconds} s; a second signal ends it at once");
        if before == Phase::Replaced {
            // Another process accepts on these very sockets.
            self.close_listeners(StopListening::All);
            return self.begin_drain(DrainKind::Exit, false);
        }
        // The clock of an earlier drain counts no more.
        self.drains += 1;
        self.retiring = Some(Retiring::default());
        self.to_shards(|| Message::Lend);
        self.later(retire::SETTLE, Event::Settled);
    }

    fn settled(&mut self) {
        if let Some(retiring) = &self.retiring {
            retiring.refuse();
        }
        self.close_listeners(StopListening::All);
        self.later(retire::EMPTY, Event::Empty);
    }

    fn empty(&mut self) {
        if let Some(retiring) = self.retiring.take() {
            retiring.leave();
        }
        self.begin_drain(DrainKind::Exit, false);
    }

    fn later(&self, time: Duration, event: Event) {
        let events = self.events.clone();
        drop(spawn(async move {
            sleep(time).await;
            events.push(event);
        }));
    }

    fn begin_drain(&mut self, kind: DrainKind, inbound_only: bool) {
        self.drains += 1;
        self.drained.fill(false);
        let drain = Drain {
            kind,
            strategy: self.options.drain_strategy,
            time: self.options.drain_time,
            inbound_only,
        };
        self.to_shards(|| Message::Drain(drain));
        self.later(drain.time, Event::DrainOver(self.drains));
    }

    fn shard_drained(&mut self, shard: usize) {
        if let Some(drained) = self.drained.get_mut(shard) {
            *drained = true;
        }
        let ends = self.phase == Phase::Draining && self.retiring.is_none();
        if ends && self.drained.iter().all(|drained| *drained) {
            log!(Info, Main, "all connections are gone");
            self.stop();
        }
    }

    fn drain_over(&mut self) {
        if self.phase == Phase::Draining {
            log!(Info, Main, "the drain time is over");
            self.stop();
        } else if let Some(which) = self.close_after_drain.take() {
            self.close_listeners(which);
        }
    }

    fn stop(&mut self) {
        self.restart.leave();
        log!(Info, Main, "shutting down server instance");
        self.phase = Phase::Stopping;
    }

    fn command(&mut self, command: AdminCommand) {
        match command {
            AdminCommand::Quit => self.stop(),
            AdminCommand::HealthCheckFailed(failed) => {
                self.server.set_health_check_failed(failed);
                self.gauges.live(&self.server);
                self.to_shards(|| Message::HealthCheckFailed(failed));
            }
            AdminCommand::ReopenLogs => self.reopen_logs(),
            AdminCommand::Runtime { layer, values } => self.xds.override_runtime(&layer, &values),
            AdminCommand::DrainListeners { graceful, skip_exit, inbound_only } => {
                self.drain_listeners(graceful, skip_exit, inbound_only);
            }
        }
    }

    /// As Envoy: without `graceful` listeners close at once; with it connections drain first; with
    /// `skip_exit` listeners stay.
    fn drain_listeners(&mut self, graceful: bool, skip_exit: bool, inbound_only: bool) {
        if matches!(self.phase, Phase::Replaced | Phase::Draining | Phase::Stopping) {
            return;
        }
        let which = if inbound_only { StopListening::Inbound } else { StopListening::All };
        if graceful || skip_exit {
            self.close_after_drain = (!skip_exit).then_some(which);
            self.begin_drain(DrainKind::Listeners, inbound_only);
        } else {
            self.close_listeners(which);
        }
    }

    fn close_listeners(&mut self, which: StopListening) {
        self.to_shards(|| Message::StopListening(which));
        self.gauges.listeners_stopped(self.xds.plan(), which);
    }

    fn reopen_logs(&self) {
        log::reopen();
        self.xds.reopen_logs();
        self.to_shards(|| Message::ReopenLogs);
        self.post.send(self.admin(), Message::ReopenLogs);
    }
}

fn name(signal: i32) -> &'static str {
    if signal == signal::SIGINT { "SIGINT" } else { "SIGTERM" }
}

/// Where configuration goes.
struct Exit {
    post: Post,
    events: Queue<Event>,
    shards: usize,
}

impl Exit {
    fn to_all(&self, mut message: impl FnMut() -> Message) {
        for other in (0..self.shards).chain([self.shards + 1]) {
            self.post.send(other, message());
        }
    }
}

impl Outlet for Exit {
    fn change(&self, change: Arc<Change>) {
        self.to_all(|| Message::Install(change.clone()));
    }

    fn sockets(&self, shard: usize, sockets: Vec<ListenSocket>) {
        self.post.send(shard, Message::Sockets(sockets));
    }

    fn bound(&self, bound: Vec<Bound>) {
        self.post.send(self.shards + 1, Message::Bound(bound.into()));
    }

    fn health_changed(&self, cluster: ClusterId) {
        for shard in 0..self.shards {
            self.post.send(shard, Message::HealthChanged(cluster));
        }
    }

    fn supplied(&self, shard: usize, what: Demand, supply: Supply) {
        self.post.send(shard, Message::Supplied(what, supply));
    }

    fn news(&self, news: News) {
        self.events.push(Event::News(news));
    }
}

/// Runs until the process is to end; then ends the other threads.
pub(super) async fn main(mut control: Control, threads: Vec<JoinHandle<()>>) {
    watch(&control);
    control.xds.begin();
    control.follow();
    while control.phase != Phase::Stopping {
        control.turn().await;
    }
    control.to_shards(|| Message::Shutdown);
    control.post.send(control.admin(), Message::Shutdown);
    log!(Info, Main, "main dispatch loop exited");
    join(threads).await;
    log!(Info, Main, "exiting");
}

/// Starts the tasks that feed the event queue.
fn watch(control: &Control) {
    let (post, events) = (control.post.clone(), control.events.clone());
    drop(spawn(async move {
        loop {
            events.push(Event::Message(post.recv().await));
        }
    }));
    let events = control.events.clone();
    drop(spawn(async move {
        if let Err(error) = watch_signals(&events).await {
            log!(Error, Main, "signals are not seen any more: {error}");
        }
    }));
    let (events, interval) = (control.events.clone(), control.options.stats_flush_interval);
    drop(spawn(async move {
        loop {
            events.push(Event::Flush);
            sleep(interval).await;
        }
    }));
}

async fn watch_signals(events: &Queue<Event>) -> std::io::Result<()> {
    let signals = Signals::new(&SIGNALS)?;
    loop {
        events.push(Event::Signal(signals.next().await?));
    }
}

/// Waits for the threads to return. One that hangs does not keep the process: the kernel closes
/// what it holds.
async fn join(threads: Vec<JoinHandle<()>>) {
    const STEP: Duration = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    while waited < JOIN_TIME && threads.iter().any(|thread| !thread.is_finished()) {
        sleep(STEP).await;
        waited += STEP;
    }
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        // A thread that panicked has said so and ended the process.
        let _panicked = thread.join();
    }
}
