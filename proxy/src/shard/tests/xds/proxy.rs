//! A whole proxy on simulated runtimes: the control thread's configuration, and shards. What they
//! tell one another arrives late, in order, and at times there is no room for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use ringway_runtime::mesh::Full;
use ringway_runtime::sim::Network;
use ringway_runtime::{Join, Runtime, now, sleep, spawn, timeout, yield_now};
use ringway_xds::Format;
use ringway_xds::client::Protocol;

use super::DRAIN;
use super::state::State;
use crate::config::load_text;
use crate::control::bind::Bound;
use crate::control::message::{DrainStrategy, ListenSocket, Message};
use crate::control::queue::Queue;
use crate::control::xds::bench::{NODE, bootstrap};
use crate::control::xds::{Identity, News, Outlet, Stage, Start, StatNames, Xds};
use crate::observe::stats::{ClusterManagerStats, ListenerManagerStats, Registry, RuntimeStats};
use crate::plan::demand::{Demand, Supply};
use crate::plan::listener::Terminal;
use crate::plan::{Address, Change, ClusterId, HostSet, Plan};
use crate::shard::outbox::MeshOutbox;
use crate::shard::tests::client::Rng;
use crate::shard::tests::{runtime, world};
use crate::shard::{DrainOptions, Links, Loads, Shard};

pub(super) const SHARDS: usize = 2;

/// What the control thread hears.
enum Event {
    News(News),
    Message(Message),
}

/// What the control thread has sent.
pub(super) struct Out {
    events: Queue<Event>,
    inboxes: Vec<Queue<Message>>,
    pub(super) plan: RefCell<Plan>,
    hosts: RefCell<HashMap<ClusterId, Arc<HostSet>>>,
}

impl Outlet for Out {
    fn change(&self, change: Arc<Change>) {
        self.plan.borrow_mut().apply(&change);
        let mut hosts = self.hosts.borrow_mut();
        for cluster in change.set_clusters() {
            hosts.insert(cluster.id, cluster.hosts.clone());
        }
        hosts.extend(change.hosts.iter().cloned());
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Install(change.clone())));
    }

    fn sockets(&self, shard: usize, sockets: Vec<ListenSocket>) {
        self.inboxes[shard].push(Message::Sockets(sockets));
    }

    fn bound(&self, _: Vec<Bound>) {}

    fn health_changed(&self, cluster: ClusterId) {
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::HealthChanged(cluster)));
    }

    fn supplied(&self, shard: usize, what: Demand, supply: Supply) {
        self.inboxes[shard].push(Message::Supplied(what, supply));
    }

    fn news(&self, news: News) {
        self.events.push(Event::News(news));
    }
}

impl Out {
    /// Whether a shard has what was sent.
    fn check(&self, shard: &Shard) {
        let (plan, index) = (self.plan.borrow(), shard.index);
        for cluster in plan.clusters.iter().flatten() {
            let have = shard.upstreams.get(cluster.id).expect("the cluster");
            assert!(Arc::ptr_eq(have.plan(), cluster), "shard {index}: {}", cluster.name);
            let hosts = self.hosts.borrow()[&cluster.id].clone();
            assert_eq!(ports(&have.host_set()), ports(&hosts), "shard {index}");
        }
        for (slot, table) in plan.routes.iter().enumerate() {
            let have = shard.tables.at(slot as u32);
            let same = match (&have, table) {
                (Some(have), Some(table)) => Arc::ptr_eq(have, table),
                (have, table) => have.is_none() && table.is_none(),
            };
            assert!(same, "shard {index}: another table in slot {slot}");
        }
        let listeners = shard.listeners.borrow();
        assert_eq!(listeners.len(), plan.listeners.len(), "shard {index}");
        for listener in &plan.listeners {
            let it = listeners.iter().find(|it| Arc::ptr_eq(&it.plan, listener));
            let it = it.unwrap_or_else(|| panic!("shard {index}: another {}", listener.name));
            let accepts = listener.addresses.iter().all(|address| it.accepts_on(address));
            assert!(accepts && it.is_open(), "shard {index}: {} is deaf", listener.name);
        }
    }
}

/// The proxy.
pub(super) struct Proxy {
    /// Where the control thread runs, then the shards.
    pub(super) runtimes: Vec<Runtime>,
    pub(super) shards: Vec<Rc<Shard>>,
    pub(super) xds: Rc<RefCell<Xds>>,
    pub(super) out: Rc<Out>,
    /// Where it runs, and a task.
    tasks: Vec<(usize, Join<()>)>,
}

impl Proxy {
    /// Follows a management server on this port.
    pub(super) fn new(net: &Network, port: u16, protocol: Protocol, seed: u64) -> Self {
        let mut runtimes: Vec<Runtime> = (0..=SHARDS).map(|_| runtime(net)).collect();
        // What comes from another thread is in order, and in none with what comes from a third.
        let inboxes: Vec<Queue<Message>> = (0..SHARDS).map(|_| Queue::default()).collect();
        let doors: Vec<Queue<Message>> = (0..SHARDS).map(|_| Queue::default()).collect();
        let events = Queue::default();
        let out = Rc::new(Out {
            events: events.clone(),
            inboxes: inboxes.clone(),
            plan: RefCell::default(),
            hosts: RefCell::default(),
        });
        let mut registry = Registry::new(SHARDS + 1);
        let (loads, rng) = (Loads::new(SHARDS), Rc::new(RefCell::new(Rng(seed))));
        let mut shards = Vec::new();
        for index in 0..SHARDS {
            let stats = registry.writer(index).expect("a page");
            let (tell, peers, rng) = (events.clone(), doors.clone(), Rc::clone(&rng));
            let dice = Rc::clone(&rng);
            let links = Links {
                outbox: MeshOutbox::new(Box::new(move |message| {
                    if dice.borrow_mut().next().is_multiple_of(8) {
                        return Err(Full(message));
                    }
                    tell.push(Event::Message(message));
                    Ok(())
                })),
                peers: Box::new(move |to, message| {
                    if rng.borrow_mut().next().is_multiple_of(8) {
                        return Err(Full(message));
                    }
                    peers[to].push(message);
                    Ok(())
                }),
                loads: Arc::clone(&loads),
            };
            let drain = DrainOptions { strategy: DrainStrategy::Gradual, time: DRAIN };
            let runtime = &mut runtimes[index + 1];
            shards.push(runtime.enter(|| world::shard((index, SHARDS), stats, links, drain)));
        }
        let xds = runtimes[0].enter(|| xds(registry, &out, port, protocol));
        let xds = Rc::new(RefCell::new(xds));
        let mut tasks = vec![(0, runtimes[0].enter(|| spawn(control(Rc::clone(&xds), events))))];
        for (inbox, index) in inboxes.into_iter().zip(0..).chain(doors.into_iter().zip(0..)) {
            let (shard, rng): (&Rc<Shard>, _) = (&shards[index], Rc::clone(&rng));
            let run = run(Rc::clone(shard), inbox, rng);
            tasks.push((index + 1, runtimes[index + 1].enter(|| spawn(run))));
        }
        Self { runtimes, shards, xds, out, tasks }
    }

    /// Whether all that is to follow from `state` has come to every shard.
    ///
    /// # Errors
    /// What has not.
    pub(super) fn follows(&self, state: &State) -> Result<(), String> {
        let plan = self.out.plan.borrow();
        if let Some(shard) = self.shards.iter().find(|shard| shard.version.get() != plan.version) {
            return Err(format!("shard {} is behind", shard.index));
        }
        if self.xds.borrow().stage() != Stage::Live {
            return Err("it is not live".to_owned());
        }
        follows(&plan, state, &|id| self.out.hosts.borrow().get(&id).cloned())
    }

    /// Whether that is what shards have, each by itself.
    pub(super) fn check_shards(&mut self) {
        let Self { runtimes, shards, out, .. } = self;
        for (shard, runtime) in shards.iter().zip(runtimes.iter_mut().skip(1)) {
            runtime.enter(|| out.check(shard));
        }
    }

    /// Ends the threads, with what they hold.
    pub(super) fn end(self) -> Vec<Runtime> {
        let Self { mut runtimes, shards, xds, out, tasks } = self;
        for (index, task) in tasks {
            runtimes[index].enter(|| task.abort());
        }
        for (shard, runtime) in shards.into_iter().zip(runtimes.iter_mut().skip(1)) {
            runtime.enter(|| {
                shard.upstreams.drain();
                drop(shard);
            });
        }
        let xds = Rc::into_inner(xds).expect("its task has ended").into_inner();
        runtimes[0].enter(|| xds.end());
        drop(out);
        runtimes
    }
}

fn xds(mut registry: Registry, out: &Rc<Out>, port: u16, protocol: Protocol) -> Xds {
    let names = StatNames {
        clusters: ClusterManagerStats::new(&mut registry),
        listeners: ListenerManagerStats::new(&mut registry),
        runtime: RuntimeStats::new(&mut registry),
    };
    let text = bootstrap(port, protocol);
    let loaded = load_text(&text, "sim.yaml", Format::Yaml, SHARDS, &mut registry);
    let loaded = loaded.unwrap_or_else(|found| panic!("{found}"));
    let stats = Rc::new(registry.writer(SHARDS).expect("a page"));
    let mut compiler = loaded.compiler;
    compiler.own(registry);
    let node = ringway_xds::api::envoy::config::core::v3::Node {
        id: NODE.to_owned(),
        ..Default::default()
    };
    let mut xds = Xds::new(Start {
        compiler,
        plan: loaded.plan,
        dynamic: loaded.dynamic,
        identity: Identity {
            node: prost::Message::encode_to_vec(&node).into(),
            context_params: Vec::new(),
        },
        names,
        stats,
        shards: SHARDS,
        sockets: (0..SHARDS).map(|_| Vec::new()).collect(),
        bound: Vec::new(),
        outlet: out.clone(),
        bootstrap: None,
        inherited: Rc::default(),
        logs: Default::default(),
    });
    xds.begin();
    xds
}

/// The control thread, as far as configuration goes.
async fn control(xds: Rc<RefCell<Xds>>, events: Queue<Event>) {
    let installed = Cell::new([0; SHARDS]);
    let handle = |event| match event {
        Event::News(news) => xds.borrow_mut().news(news),
        Event::Message(Message::Installed { shard, version }) => {
            let mut all = installed.get();
            all[shard] = version;
            installed.set(all);
        }
        Event::Message(Message::ListenerDrained { listener, .. }) => {
            xds.borrow_mut().listener_drained(&listener);
        }
        Event::Message(other) => panic!("nobody sends this here: {other:?}"),
    };
    loop {
        let (busy, deadline) = {
            let xds = xds.borrow();
            (xds.has_work(), xds.next_deadline())
        };
        if busy {
            yield_now().await;
            match events.try_next() {
                Some(event) => handle(event),
                None => xds.borrow_mut().work(),
            }
        } else {
            let event = match deadline {
                Some(at) => timeout(at - now(), events.next()).await.ok(),
                None => Some(events.next().await),
            };
            match event {
                Some(event) => handle(event),
                None => xds.borrow_mut().deadlines(),
            }
        }
        let mut xds = xds.borrow_mut();
        let first = xds.first_version();
        if xds.stage() == Stage::Starting && installed.get().iter().all(|have| *have >= first) {
            xds.started();
        }
    }
}

/// A shard's thread.
async fn run(shard: Rc<Shard>, inbox: Queue<Message>, rng: Rc<RefCell<Rng>>) {
    loop {
        let message = inbox.next().await;
        let late = rng.borrow_mut().next() % 24;
        if late < 8 {
            sleep(Duration::from_micros(late * late * 100)).await;
        }
        shard.handle(message);
    }
}

fn ports(hosts: &HostSet) -> Vec<u16> {
    let port = |address: &Address| match address {
        Address::Ip(ip) => ip.port(),
        _ => 0,
    };
    let mut ports: Vec<u16> = hosts.hosts.iter().map(|host| port(&host.address)).collect();
    ports.sort_unstable();
    ports
}

fn follows(
    plan: &Plan,
    state: &State,
    hosts: &dyn Fn(ClusterId) -> Option<Arc<HostSet>>,
) -> Result<(), String> {
    let clusters: Vec<_> = plan.clusters.iter().flatten().collect();
    // The management server's own is there, too.
    if clusters.len() != state.clusters.len() + 1 {
        return Err(format!("{} clusters", clusters.len()));
    }
    for (name, wanted) in &state.clusters {
        let cluster = clusters.iter().find(|cluster| &*cluster.name == *name);
        let cluster = cluster.ok_or_else(|| format!("no {name}"))?;
        if cluster.buffer_limit != super::state::LIMIT + wanted.label {
            return Err(format!("{name} is another version"));
        }
        let have = hosts(cluster.id).map(|hosts| ports(&hosts)).unwrap_or_default();
        let want = state.hosts(name).into_iter().flat_map(|hosts| hosts.keys().copied());
        if !want.eq(have.iter().copied()) {
            return Err(format!("{name} has {have:?}"));
        }
    }
    if plan.listeners.len() != state.listeners.len() {
        return Err(format!("{} listeners", plan.listeners.len()));
    }
    for (name, wanted) in &state.listeners {
        let listener = plan.listeners.iter().find(|listener| &*listener.name == *name);
        let listener = listener.ok_or_else(|| format!("no {name}"))?;
        let managers = listener.chains.iter().filter_map(|chain| match &chain.terminal {
            Terminal::Http(manager, _) => Some(manager),
            _ => None,
        });
        let mut have: Vec<_> = managers.map(|manager| manager.server_name.to_string()).collect();
        let mut want: Vec<_> = wanted.chains.keys().map(|it| wanted.server(name, it)).collect();
        have.sort();
        want.sort();
        if have != want {
            return Err(format!("{name} is another version: {have:?}"));
        }
    }
    for (name, wanted) in &state.tables {
        let chains = state.listeners.values().flat_map(|listener| listener.chains.values());
        let is_used = chains.map(|chain| chain.table).any(|table| table == *name);
        let mut tables = plan.routes.iter().flatten();
        let Some(table) = tables.find(|table| &*table.name == *name) else {
            if is_used {
                return Err(format!("no {name}"));
            }
            continue;
        };
        let have = table.hosts().iter().map(|host| host.name.to_string());
        let want = wanted.to.keys().map(|host| wanted.host_name(host));
        if !have.eq(want) {
            return Err(format!("{name} is another version"));
        }
    }
    Ok(())
}
