//! The control thread: publishes plans, answers signals and operators, drains and ends.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_runtime::mesh::Mailbox;
use ringway_runtime::signal::{self, Signals};
use ringway_runtime::{Join, sleep, spawn};

use super::gauges::Gauges;
use super::log::{self, log};
use super::message::{
    AdminCommand, Drain, DrainKind, ListenSocket, Message, NameStat, Named, StatKind, StopListening,
};
use super::post::Post;
use super::queue::Queue;
use super::start::{Options, SIGNALS, Setup};
use super::state::{Server, State};
use crate::config::compile::Compiler;
use crate::observe::stats::ShardStats;
use crate::plan::cluster::Discovery;
use crate::plan::{Change, Cluster, ClusterId, HostSet, Plan};
use crate::upstream::control::{ClusterControl, ClusterEvents};
use crate::upstream::dns::Resolver;

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
    /// A cluster has all it needs to be used.
    ClusterReady,
    /// The drain of this number has used up its time.
    DrainOver(u64),
}

/// What the process is doing.
///
/// LIFECYCLE: Warming (clusters wait for DNS and first health checks; nothing is accepted) →
/// Starting (the plan is on its way to the shards) → Running → Draining (SIGTERM, SIGINT) →
/// Stopping (all shards drained, time over, second signal). `/quitquitquit`, and a signal before
/// Running, lead to Stopping from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Starting,
    Running,
    Draining,
    Stopping,
}

/// State of the control thread.
pub(super) struct Control {
    post: Post,
    events: Queue<Event>,
    plan: Plan,
    clusters: ClusterControl,
    /// Listening sockets, until the shards get them.
    sockets: Vec<Vec<ListenSocket>>,
    server: Arc<Server>,
    options: Options,
    shards: usize,
    compiler: Compiler,
    gauges: Gauges,
    stats: Rc<ShardStats>,
    /// Says when to look at their files.
    looking: Option<Join<()>>,
    phase: Phase,
    /// Version every shard has installed, by shard.
    installed: Vec<u64>,
    /// Shards that have no connection left in this drain.
    drained: Vec<bool>,
    /// Number of drains begun, to tell an old timer from the current one.
    drains: u64,
    /// What `/drain_listeners?graceful` closes when its time is over.
    close_after_drain: Option<StopListening>,
}

impl Control {
    pub(super) fn new(
        setup: Setup,
        mailbox: Mailbox<Message>,
        stats: Rc<ShardStats>,
        sockets: Vec<Vec<ListenSocket>>,
    ) -> Self {
        let shards = setup.options.concurrency.max(1);
        let mut registry = setup.registry;
        let gauges = Gauges::new(&mut registry, setup.names, stats.clone(), &setup.plan, shards);
        registry.publish();
        let mut compiler = setup.compiler;
        compiler.own(registry);
        let (post, events) = (Post::new(mailbox), Queue::default());
        let news = Rc::new(News { post: post.clone(), events: events.clone(), shards });
        Self {
            post,
            events,
            plan: setup.plan,
            clusters: ClusterControl::new(stats.clone(), news, Resolver::default()),
            sockets,
            server: setup.server,
            options: setup.options,
            shards,
            compiler,
            gauges,
            stats,
            looking: None,
            phase: Phase::Warming,
            installed: vec![0; shards],
            drained: vec![false; shards],
            drains: 0,
            close_after_drain: None,
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

    /// Gives the shards everything but listeners where clusters have to wait for DNS or for their
    /// first health checks, which shards make.
    fn warm(&mut self) {
        let waits = |cluster: &Arc<Cluster>| {
            !matches!(cluster.discovery, Discovery::Static) || !cluster.health_checks.is_empty()
        };
        if self.plan.clusters.iter().flatten().any(waits) {
            let all = Change::all(&self.plan);
            let change = Arc::new(Change { version: 0, listeners: Vec::new(), ..all });
            self.to_shards(|| Message::Install(change.clone()));
        }
        self.clusters.install(&Change::all(&self.plan));
        self.start_when_warm();
    }

    fn start_when_warm(&mut self) {
        if self.phase == Phase::Warming && self.clusters.all_initialized() {
            log!(Info, Upstream, "cm init: all clusters initialized");
            log!(Info, Config, "all dependencies initialized. starting workers");
            self.phase = Phase::Starting;
            self.server.set(State::Initializing);
            self.publish();
        }
    }

    /// Sends the sockets and the plan to everybody.
    fn publish(&mut self) {
        for (shard, sockets) in std::mem::take(&mut self.sockets).into_iter().enumerate() {
            self.post.send(shard, Message::Sockets(sockets));
        }
        self.compiler.secrets().write_gauges(&self.stats);
        if self.looking.is_none() && self.compiler.secrets().watches_files() {
            let events = self.events.clone();
            let due = move || events.push(Event::LookAtSecrets);
            self.looking = Some(spawn(super::secrets::tick(due)));
        }
        let change = Arc::new(Change::all(&self.plan));
        self.to_shards(|| Message::Install(change.clone()));
        self.post.send(self.admin(), Message::Install(change));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Signal(signal) => self.signal(signal),
            Event::Flush => {
                self.compiler.registry().publish();
                self.gauges.update(&self.server);
            }
            Event::LookAtSecrets => {
                super::secrets::look(&mut self.compiler, &self.stats);
            }
            Event::ClusterReady => self.start_when_warm(),
            Event::DrainOver(drain) if drain == self.drains => self.drain_over(),
            Event::DrainOver(_) => {}
        }
    }

    fn name_stat(&mut self, asked: NameStat) {
        let NameStat { shard, name, kind } = asked;
        let named = match kind {
            StatKind::Counter => {
                let (block, slot) = self.compiler.registry().counter(&name);
                Named::Counter(block, slot)
            }
            StatKind::Histogram => {
                let (block, slot) = self.compiler.registry().histogram(&name);
                Named::Histogram(block, slot)
            }
        };
        self.compiler.registry().publish();
        self.post.send(shard, Message::StatNamed(name, named));
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Installed { shard, version } => self.shard_installed(shard, version),
            Message::Drained { shard } => self.shard_drained(shard),
            Message::Admin(command) => self.command(command),
            Message::Eject(request) => {
                self.clusters.eject(request.cluster, &request.host, request.reason);
            }
            Message::NameStat(asked) => self.name_stat(asked),
            Message::HostAdded(cluster, host) => self.clusters.host_added(cluster, host),
            Message::HealthVerdict(verdict) => {
                self.clusters.health_verdict(verdict.cluster, &verdict.host, verdict.healthy);
            }
            // Everything else goes the other way.
            _ => {}
        }
    }

    fn shard_installed(&mut self, shard: usize, version: u64) {
        if let Some(installed) = self.installed.get_mut(shard) {
            *installed = version;
        }
        if self.phase == Phase::Starting
            && self.installed.iter().all(|version| *version >= self.plan.version)
        {
            self.phase = Phase::Running;
            self.server.set(State::Live);
            self.gauges.live(&self.server);
            self.gauges.initialized(&self.server);
            log!(Info, Config, "all {} shards accept connections", self.shards);
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
            (signal::SIGTERM | signal::SIGINT, Phase::Starting | Phase::Running) => {
                log!(Warning, Main, "caught {}", name(signal));
                self.drain_and_exit();
            }
            // SIGHUP changes nothing, as in Envoy.
            _ => {}
        }
    }

    fn drain_and_exit(&mut self) {
        self.phase = Phase::Draining;
        self.server.set(State::Draining);
        self.gauges.live(&self.server);
        let seconds = self.options.drain_time.as_secs();
        log!(Info, Main, "draining for up to {seconds} s; a second signal ends it at once");
        self.begin_drain(DrainKind::Exit, false);
        self.to_shards(|| Message::StopListening(StopListening::All));
        self.gauges.listeners_stopped(&self.plan, StopListening::All);
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
        let (events, number) = (self.events.clone(), self.drains);
        drop(spawn(async move {
            sleep(drain.time).await;
            events.push(Event::DrainOver(number));
        }));
    }

    fn shard_drained(&mut self, shard: usize) {
        if let Some(drained) = self.drained.get_mut(shard) {
            *drained = true;
        }
        if self.phase == Phase::Draining && self.drained.iter().all(|drained| *drained) {
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
            AdminCommand::DrainListeners { graceful, skip_exit, inbound_only } => {
                self.drain_listeners(graceful, skip_exit, inbound_only);
            }
        }
    }

    /// As Envoy: without `graceful` listeners close at once; with it connections drain first; with
    /// `skip_exit` listeners stay.
    fn drain_listeners(&mut self, graceful: bool, skip_exit: bool, inbound_only: bool) {
        if matches!(self.phase, Phase::Draining | Phase::Stopping) {
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
        self.gauges.listeners_stopped(&self.plan, which);
    }

    fn reopen_logs(&self) {
        log::reopen();
        self.to_shards(|| Message::ReopenLogs);
        self.post.send(self.admin(), Message::ReopenLogs);
    }
}

fn name(signal: i32) -> &'static str {
    if signal == signal::SIGINT { "SIGINT" } else { "SIGTERM" }
}

/// News of clusters, passed on to everybody.
struct News {
    post: Post,
    events: Queue<Event>,
    shards: usize,
}

impl ClusterEvents for News {
    fn hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>) {
        for shard in 0..self.shards {
            self.post.send(shard, Message::Hosts(cluster, hosts.clone()));
        }
        self.post.send(self.shards + 1, Message::Hosts(cluster, hosts));
    }

    fn health_changed(&self, cluster: ClusterId) {
        for shard in 0..self.shards {
            self.post.send(shard, Message::HealthChanged(cluster));
        }
    }

    fn initialized(&self, _: ClusterId) {
        self.events.push(Event::ClusterReady);
    }
}

/// Runs until the process is to end; then ends the other threads.
pub(super) async fn main(mut control: Control, threads: Vec<JoinHandle<()>>) {
    watch(&control);
    control.warm();
    while control.phase != Phase::Stopping {
        let event = control.events.next().await;
        control.handle(event);
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
