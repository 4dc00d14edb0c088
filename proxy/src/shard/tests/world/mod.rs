//! A control plane, a shard, upstreams and clients on one simulated network: what tests of updates
//! under traffic are made of.
//!
//! A test makes a [`World`], gives it servers ([`World::serve`]), a first configuration and later
//! ones ([`World::step`]: resources as YAML), and traffic ([`traffic`]). [`Log::set`] says which
//! server may answer what from now on; whoever is answered by another, or not at all, is named by
//! [`Log::check`]. [`World::finish`] looks for what is left.

pub(in crate::shard) mod server;
pub(in crate::shard) mod traffic;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prost::Name;
use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{Join, ListenOptions, Listener as Socket, Runtime, sleep, spawn};
use ringway_xds::api::envoy::config::cluster::v3::Cluster as ClusterApi;
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::api::envoy::config::listener::v3::Listener as ListenerApi;
use ringway_xds::api::envoy::config::route::v3::RouteConfiguration;
use ringway_xds::{Document, Format};

use super::{LIMIT, address, runtime};
use crate::config::compile::Compiler;
use crate::control::message::{DrainStrategy, Message};
use crate::observe::stats::{Registry, ShardStats};
use crate::plan::source::{ConfigSource, Origin};
use crate::plan::{Change, ClusterId, ListenerChange, Plan};
use crate::shard::logs::ShardLogs;
use crate::shard::outbox::MeshOutbox;
use crate::shard::{DrainOptions, Links, Loads, LocalInfo, Shard};

pub(in crate::shard) use traffic::Log;

/// Everything there is.
pub(in crate::shard) struct World {
    pub(in crate::shard) net: Network,
    /// Where the shard runs.
    pub(in crate::shard) proxy: Runtime,
    /// Where servers and clients run.
    pub(in crate::shard) far: Runtime,
    pub(in crate::shard) shard: Rc<Shard>,
    /// The state that the control thread would keep.
    pub(in crate::shard) plan: Plan,
    /// What the shard has told.
    pub(in crate::shard) told: Rc<RefCell<Vec<Message>>>,
    /// What clients have seen.
    pub(in crate::shard) log: Rc<Log>,
    compiler: Compiler,
    servers: Vec<Join<()>>,
}

/// A first configuration of nothing.
const NOTHING: &str = "static_resources: {}";

/// The drain time of a [`World`].
pub(in crate::shard) const DRAIN: Duration = Duration::from_secs(10);

impl World {
    /// With a shard that has no configuration, on a network that follows `seed`.
    pub(in crate::shard) fn new(seed: u64, faults: Faults, strategy: DrainStrategy) -> Self {
        let net = Network::new(seed, faults);
        let (mut proxy, far) = (runtime(&net), runtime(&net));
        let mut registry = Registry::new(1);
        let loaded = crate::config::load_text(NOTHING, "sim.yaml", Format::Yaml, 1, &mut registry);
        let loaded = loaded.unwrap_or_else(|wrong| panic!("nothing is wrong: {wrong}"));
        let mut compiler = loaded.compiler;
        registry.publish();
        let stats = registry.writer(0).expect("a page for the only shard");
        compiler.own(registry);
        let told = Rc::new(RefCell::new(Vec::new()));
        let hears = Rc::clone(&told);
        let hear = move |message| {
            hears.borrow_mut().push(message);
            Ok(())
        };
        let links = Links {
            outbox: MeshOutbox::new(Box::new(hear)),
            peers: Box::new(|_, _| Ok(())),
            loads: Loads::new(1),
        };
        let drain = DrainOptions { strategy, time: DRAIN };
        let shard = proxy.enter(|| shard((0, 1), stats, links, drain));
        let servers = Vec::new();
        let log = Rc::default();
        Self { net, proxy, far, shard, plan: loaded.plan, told, log, compiler, servers }
    }

    /// Starts a server; it answers with its port, over HTTP/2 if `http2`.
    pub(in crate::shard) fn serve(&mut self, port: u16, http2: bool) {
        let (log, at) = (Rc::clone(&self.log), address(port));
        let serving = self.far.enter(|| match http2 {
            true => spawn(server::http2(log, at, port)),
            false => spawn(server::http1(log, at, port)),
        });
        self.servers.push(serving);
    }

    /// Starts a server of TCP: each connection is greeted with its port and gets back what it
    /// sends.
    pub(in crate::shard) fn serve_tcp(&mut self, port: u16) {
        let serving = self.far.enter(|| spawn(server::tcp(address(port), port)));
        self.servers.push(serving);
    }

    /// Begins a change of the configuration.
    pub(in crate::shard) fn step(&mut self) -> Step<'_> {
        let version = self.plan.version + 1;
        Step { world: self, change: Change { version, ..Change::default() } }
    }

    /// Lets time pass.
    pub(in crate::shard) fn run_for(&mut self, time: Duration) {
        // The network goes from event to event: one has to be there at the end.
        let over = self.far.enter(|| spawn(sleep(time)));
        self.run_until("time passes", || over.is_finished());
    }

    /// Lets time pass until something is so.
    pub(in crate::shard) fn run_until(&mut self, what: &str, done: impl FnMut() -> bool) {
        let in_time = self.net.run_until(&mut [&mut self.proxy, &mut self.far], LIMIT, done);
        assert!(in_time, "waited in vain: {what}");
    }

    /// Runs something where clients run.
    pub(in crate::shard) fn client<T: 'static>(
        &mut self,
        client: impl Future<Output = T> + 'static,
    ) -> Join<T> {
        self.far.enter(|| spawn(client))
    }

    /// The names of listeners whose drain is over, in order.
    pub(in crate::shard) fn drained(&self) -> Vec<Arc<str>> {
        let told = self.told.borrow();
        let names = told.iter().filter_map(|message| match message {
            Message::ListenerDrained { listener, .. } => Some(Arc::clone(&listener.name)),
            _ => None,
        });
        names.collect()
    }

    /// Stops the traffic, lets connections end, and looks for what is left of anything.
    pub(in crate::shard) fn finish(mut self) {
        self.log.stop();
        let log = Rc::clone(&self.log);
        self.run_until("clients end", || log.clients() == 0);
        self.log.check();
        let shard = Rc::clone(&self.shard);
        self.run_until("the shard is at rest", || shard.check_invariants().is_ok());
        self.check_gauges();
        let Self { net, mut proxy, mut far, shard: own, servers, .. } = self;
        drop(shard);
        for listener in &*own.listeners.borrow() {
            listener.stop();
        }
        servers.iter().for_each(|server| server.abort());
        proxy.enter(|| {
            own.upstreams.drain();
            drop(own);
        });
        net.run_until(&mut [&mut proxy, &mut far], LIMIT, || false);
        if let Err(left) = net.check_invariants() {
            panic!("left behind: {left}");
        }
    }

    fn check_gauges(&self) {
        let stats = &self.shard.stats;
        for listener in &self.plan.listeners {
            let names = &listener.stats;
            for gauge in [names.downstream_cx_active(), names.downstream_pre_cx_active()] {
                assert_eq!(stats.gauge_value(gauge), 0, "{}", listener.name);
            }
        }
        for cluster in self.plan.clusters.iter().flatten() {
            let names = &cluster.stats;
            for gauge in [
                names.upstream_rq_active(),
                names.upstream_rq_pending_active(),
                names.circuit_breakers_default_rq_open(),
            ] {
                assert_eq!(stats.gauge_value(gauge), 0, "{}", cluster.name);
            }
        }
    }
}

/// A shard without a configuration: which, and of how many.
pub(in crate::shard) fn shard(
    (index, shards): (usize, usize),
    stats: ShardStats,
    links: Links,
    drain: DrainOptions,
) -> Rc<Shard> {
    let local = LocalInfo {
        address: "10.0.0.1".parse().expect("an address"),
        cluster: String::new(),
        node: String::new(),
        node_message: Arc::default(),
        zone: String::new(),
    };
    Shard::new(index, shards, stats, links, local, drain, ShardLogs::new(Default::default()))
}

/// A change that is being put together. Every resource comes as YAML.
pub(in crate::shard) struct Step<'w> {
    world: &'w mut World,
    change: Change,
}

/// Where all of it comes from.
fn ads() -> ConfigSource {
    ConfigSource { origin: Origin::Ads, initial_fetch_timeout: Duration::from_secs(15) }
}

fn parse<M: prost::Message + Name + Default>(yaml: &str) -> M {
    let document = Document::parse(yaml, "resource", Format::Yaml);
    let encoded = document.and_then(|document| document.encode(&M::full_name()));
    let (bytes, ..) = encoded.unwrap_or_else(|wrong| panic!("{yaml}\n{wrong:?}"));
    M::decode(bytes.as_slice()).expect("just encoded")
}

impl Step<'_> {
    fn id(&self, cluster: &str) -> ClusterId {
        let new = self.change.set_clusters().find(|new| *new.name == *cluster);
        let known = || self.world.plan.cluster_ids.get(cluster).copied();
        new.map(|new| new.id).or_else(known).unwrap_or_else(|| panic!("no cluster {cluster}"))
    }

    /// A cluster that is new or other than before. Of EDS, it keeps the hosts of its predecessor.
    pub(in crate::shard) fn cluster(mut self, yaml: &str) -> Self {
        let config: ClusterApi = parse(yaml);
        let taken = self.world.compiler.cluster(&config, &ads());
        let cluster = taken.unwrap_or_else(|wrong| panic!("{yaml}\n{wrong:?}")).value;
        self.change.clusters.push((cluster.id, Some(cluster)));
        self
    }

    /// The hosts of a cluster, by EDS.
    pub(in crate::shard) fn endpoints(mut self, yaml: &str) -> Self {
        let config: ClusterLoadAssignment = parse(yaml);
        let id = self.id(&config.cluster_name);
        let new = self.change.clusters.iter().find(|(new, _)| *new == id);
        let cluster = match new {
            Some((_, Some(new))) => Arc::clone(new),
            _ => self.world.plan.clusters[id.0 as usize].clone().expect("a cluster"),
        };
        let old = self.world.shard.upstreams.get(id).filter(|have| have.plan().id == id);
        let old = old.map_or_else(|| cluster.hosts.clone(), |have| have.host_set());
        let taken = self.world.compiler.assignment(&cluster, &config, &old);
        let hosts = taken.unwrap_or_else(|wrong| panic!("{yaml}\n{wrong:?}")).value.hosts;
        hosts.hosts.iter().for_each(|host| _ = host.apply_eds_health());
        self.change.hosts.push((id, hosts));
        self
    }

    /// A route table, by RDS.
    pub(in crate::shard) fn routes(mut self, yaml: &str) -> Self {
        let config: RouteConfiguration = parse(yaml);
        let taken = self.world.compiler.routes(&config, &[], &ads());
        let table = taken.unwrap_or_else(|wrong| panic!("{yaml}\n{wrong:?}")).value;
        let new = self.change.listeners.iter().filter_map(|change| match change {
            ListenerChange::Set(listener) => Some(listener),
            ListenerChange::Remove(_) => None,
        });
        let slot = new
            .chain(&self.world.plan.listeners)
            .flat_map(|listener| &listener.needs.routes)
            .find(|route| *route.name == *config.name)
            .unwrap_or_else(|| panic!("no listener asks for {}", config.name))
            .slot;
        self.change.routes.push((slot, Some(table)));
        self
    }

    /// A listener that is new or other than before.
    pub(in crate::shard) fn listener(mut self, yaml: &str) -> Self {
        let config: ListenerApi = parse(yaml);
        let taken = self.world.compiler.listener(&config, &ads());
        let listener = taken.unwrap_or_else(|wrong| panic!("{yaml}\n{wrong:?}")).value;
        self.change.listeners.push(ListenerChange::Set(listener));
        self
    }

    /// A listener goes.
    pub(in crate::shard) fn without_listener(mut self, name: &str) -> Self {
        self.change.listeners.push(ListenerChange::Remove(Arc::from(name)));
        self
    }

    /// A cluster goes.
    pub(in crate::shard) fn without_cluster(mut self, name: &str) -> Self {
        let id = self.id(name);
        self.world.compiler.cluster_gone(id);
        self.change.clusters.push((id, None));
        self
    }

    /// Gives the shard the change, and sockets for addresses that are new.
    pub(in crate::shard) fn apply(self) {
        let Self { world, change } = self;
        world.compiler.registry().publish();
        world.plan.apply(&change);
        let shard = &world.shard;
        world.proxy.enter(|| {
            shard.handle(Message::Install(Arc::new(change)));
            for listener in &*shard.listeners.borrow() {
                for address in listener.plan.addresses.iter().filter(|_| listener.is_open()) {
                    if !listener.accepts_on(address) {
                        let at = crate::control::bind::sock_addr(address);
                        let socket = Socket::bind(&at, &ListenOptions::default()).expect("bind");
                        listener.accept_on(shard, address.clone(), socket);
                    }
                }
            }
        });
        world.compiler.sweep();
    }
}
