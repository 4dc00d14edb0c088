//! What the tests of this module share: plans made by hand, a shard, tiny servers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{self as runtime, Backend, Config, Listener, Runtime, SockAddr, Stream};

use super::limits::Limits;
use super::{Outbox, Upstreams};
use crate::control::message::EjectReason;
use crate::http2::{Env, Session, StreamHandle, Times};
use crate::observe::stats::blocks::ClusterStats;
use crate::observe::stats::{Http2CodecStats, Registry};
use crate::plan::cluster::{
    Discovery, EdsHealth, HostTemplate, Lb, Thresholds, UpstreamHttp, UpstreamHttp2,
};
use crate::plan::http2::Http2Options;
use crate::plan::{Address, Change, Cluster, ClusterId, ClusterName, Host, HostSet};

/// A template with weight 1 at priority 0.
pub(crate) fn template() -> HostTemplate {
    HostTemplate {
        hostname: "".into(),
        weight: 1,
        priority: 0,
        locality: Arc::default(),
        health_port: None,
        health_hostname: "".into(),
        health_address: None,
        no_active_check: false,
        eds_health: EdsHealth::Healthy,
        canary: false,
        workload: None,
        socket: Default::default(),
        internal: None,
    }
}

/// A host at an address.
pub(crate) fn host(address: SocketAddr) -> Arc<Host> {
    host_with(address, |_| {})
}

/// A host whose template `change` adjusts.
pub(crate) fn host_with(address: SocketAddr, change: impl FnOnce(&mut HostTemplate)) -> Arc<Host> {
    let mut info = template();
    change(&mut info);
    Arc::new(Host::new(Address::Ip(address), info, false))
}

/// A set of hosts.
pub(crate) fn host_set(hosts: Vec<Arc<Host>>) -> Arc<HostSet> {
    Arc::new(HostSet { version: 1, hosts, ..HostSet::default() })
}

/// Envoy's defaults.
pub(crate) fn thresholds() -> Thresholds {
    Thresholds {
        max_connections: 1024,
        max_pending: 1024,
        max_requests: 1024,
        max_retries: 3,
        max_pools: None,
        track_remaining: false,
        retry_budget: None,
    }
}

/// A static cluster named `c`, adjusted by `change`.
pub(crate) fn cluster(
    registry: &mut Registry,
    hosts: Vec<Arc<Host>>,
    change: impl FnOnce(&mut Cluster),
) -> Arc<Cluster> {
    let circuit_breakers = [thresholds(); 2];
    let mut cluster = Cluster {
        id: ClusterId(0),
        lease: Arc::new(ClusterName { id: ClusterId(0), name: "c".into() }),
        name: "c".into(),
        stat_name: "c".into(),
        stats: ClusterStats::new(registry, "c"),
        discovery: Discovery::Static,
        lb: Lb::RoundRobin,
        locality_weighted: false,
        dropped: Default::default(),
        panic_threshold_percent: 50.0,
        sockets: Default::default(),
        connect_timeout: Duration::from_secs(5),
        buffer_limit: 1 << 20,
        circuit_breakers,
        limits: Arc::new(Limits::new(&circuit_breakers)),
        remaining: [None, None],
        health_checks: Vec::new(),
        health_stats: None,
        outlier: None,
        outlier_stats: None,
        http: UpstreamHttp {
            protocol: Default::default(),
            http2: None,
            idle_timeout: Duration::from_secs(3600),
            max_connection_duration: Duration::ZERO,
            max_headers_count: 100,
            max_headers_bytes: 60 * 1024,
            header_case: Default::default(),
            enable_trailers: false,
            allow_chunked_length: false,
            full_urls: false,
        },
        bind: None,
        extra_bind: None,
        socket_options: Vec::new(),
        tcp_keepalive: None,
        close_on_health_failure: false,
        ignore_health_on_removal: false,
        max_requests_per_connection: 0,
        hosts: host_set(hosts),
        needs: None,
        istio: None,
        metadata_exchange: None,
        hash: 0,
    };
    change(&mut cluster);
    cluster.limits = Arc::new(Limits::new(&cluster.circuit_breakers));
    Arc::new(cluster)
}

/// A change that brings these clusters.
pub(crate) fn change(clusters: &[Arc<Cluster>]) -> Change {
    let clusters = clusters.iter().map(|c| (c.id, Some(c.clone()))).collect();
    Change { version: 1, clusters, ..Change::default() }
}

/// What a shard told the control thread.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) ejects: RefCell<Vec<(Arc<Host>, EjectReason)>>,
    pub(crate) verdicts: RefCell<Vec<(Arc<Host>, bool)>>,
    pub(crate) added: RefCell<Vec<Arc<Host>>>,
}

impl Outbox for Told {
    fn eject(&self, _: ClusterId, host: &Arc<Host>, reason: EjectReason) {
        self.ejects.borrow_mut().push((host.clone(), reason));
    }

    fn health_verdict(&self, _: ClusterId, host: &Arc<Host>, healthy: bool) {
        self.verdicts.borrow_mut().push((host.clone(), healthy));
    }

    fn host_added(&self, _: ClusterId, host: &Arc<Host>) {
        self.added.borrow_mut().push(host.clone());
    }
}

/// A shard with one cluster.
pub(crate) struct Bench {
    pub(crate) upstreams: Upstreams,
    pub(crate) stats: Rc<crate::observe::stats::ShardStats>,
    pub(crate) told: Rc<Told>,
    pub(crate) plan: Arc<Cluster>,
    /// Keeps the names.
    _registry: Registry,
}

impl Bench {
    /// Inside a runtime.
    pub(crate) fn new(hosts: Vec<Arc<Host>>, change: impl FnOnce(&mut Cluster)) -> Self {
        Self::with(|registry| cluster(registry, hosts, change))
    }

    /// As [`Bench::new`], with a cluster that needs the registry.
    pub(crate) fn with(make: impl FnOnce(&mut Registry) -> Arc<Cluster>) -> Self {
        let mut registry = Registry::new(1);
        let plan = make(&mut registry);
        let stats = Rc::new(registry.writer(0).expect("the first writer of page 0"));
        let told = Rc::new(Told::default());
        let upstreams = Upstreams::new(0, 1, stats.clone(), told.clone());
        upstreams.set(ClusterId(0), Some(&plan));
        Self { upstreams, stats, told, plan, _registry: registry }
    }

    pub(crate) fn cluster(&self) -> Rc<super::ShardCluster> {
        self.upstreams.get(ClusterId(0)).expect("the cluster was installed")
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let config = Config { backend: Backend::Epoll, seed: 7, ..Config::default() };
    Runtime::new(config).expect("an epoll runtime").block_on(future)
}

/// A server on an address of its own: `serve` is called with every connection.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Rc<Cell<usize>>,
    task: runtime::Join<()>,
}

impl Server {
    pub(crate) fn start<F>(serve: impl Fn(Stream) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let any = SockAddr::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&any, &runtime::ListenOptions::default()).expect("a port");
        let address = listener.local_addr().expect("bound").as_inet().expect("inet");
        let accepted = Rc::new(Cell::new(0));
        let count = accepted.clone();
        let task = runtime::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                runtime::spawn(serve(stream));
            }
        });
        Self { address, accepted, task }
    }

    /// Answers every piece of data with itself.
    pub(crate) fn echo() -> Self {
        Self::start(|stream| async move {
            while let Ok(Some(data)) = stream.recv().await {
                stream.write(data);
            }
        })
    }
}

/// Sessions of a server, in the order of their connections.
pub(crate) type Sessions = Rc<RefCell<Vec<Rc<Session>>>>;

/// An HTTP/2 server: `handler` is called with every stream.
pub(crate) fn http2_server<F: Future<Output = ()> + 'static>(
    options: Http2Options,
    handler: impl Fn(StreamHandle) -> F + Clone + 'static,
) -> (Server, Sessions) {
    let sessions = Sessions::default();
    let (kept, options) = (sessions.clone(), Arc::new(options));
    let server = Server::start(move |stream| {
        let mut registry = Registry::new(1);
        let codec = Http2CodecStats::new(&mut registry, "");
        let stats = Rc::new(registry.writer(0).expect("the first writer of page 0"));
        let env = Env { stats, codec, heads: Rc::default() };
        let times = Times { flush: Duration::ZERO, close: Duration::ZERO };
        let session = Session::server(stream.into(), &options, env, times);
        kept.borrow_mut().push(session.clone());
        let handler = handler.clone();
        async move {
            poll_fn(|cx| {
                let ended = session.poll_drive(cx);
                while let Poll::Ready(Some(stream)) = session.poll_accept() {
                    runtime::spawn(handler(stream));
                }
                ended
            })
            .await;
            drop(registry);
        }
    });
    (server, sessions)
}

/// HTTP/2 for a cluster, under the name `c`.
pub(crate) fn http2(registry: &mut Registry, options: Http2Options) -> UpstreamHttp2 {
    let stats = Http2CodecStats::new(registry, "cluster.c.");
    UpstreamHttp2 { options: Arc::new(options), stats }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets other tasks run until `done`, at most two seconds.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = runtime::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(2), "waited in vain: {what}");
        runtime::sleep(Duration::from_millis(1)).await;
    }
}
