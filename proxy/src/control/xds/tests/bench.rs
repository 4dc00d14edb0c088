//! A management server, a configuration that follows it, and an eye on what goes out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{Backend, Chunk, Config, Runtime, now, sleep, yield_now};
use ringway_wire::grpc::{Deframer, Piece, encode_frame};
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};
use ringway_xds::client::Protocol;
use ringway_xds::server::{Cache, Encoded, Options, Session, Snapshot};
use ringway_xds::{Document, Format};

use super::super::publish::Outlet;
use super::super::{Identity, Kind, News, Stage, Start, StatNames, Xds};
use crate::config::load_text;
use crate::control::bind::Bound;
use crate::control::message::ListenSocket;
use crate::http::down::Frame;
use crate::http2::StreamHandle;
use crate::observe::stats::{
    ClusterManagerStats, ListenerManagerStats, Registry, RuntimeStats, ShardStats,
};
use crate::plan::demand::{Demand, Supply};
use crate::plan::http2::Http2Options;
use crate::plan::{Change, ClusterId, Plan};
use crate::upstream::testing::{Server, http2_server};

/// What the server serves.
pub(super) type Store = Rc<RefCell<Cache>>;

/// The node of all clients.
pub(crate) const NODE: &str = "node-1";

/// What went out.
#[derive(Default)]
pub(super) struct Out {
    news: RefCell<VecDeque<News>>,
    pub(super) plan: RefCell<Plan>,
    pub(super) changes: Cell<usize>,
    /// Clusters come only on demand.
    on_demand: Cell<bool>,
    /// What requests wait for no longer, by shard.
    pub(super) supplied: RefCell<Vec<(usize, Demand)>>,
    /// How many listening sockets went out.
    pub(super) sockets: Cell<usize>,
}

impl Outlet for Out {
    /// Whatever goes out, no route leads to a cluster that is not there, but for those that come on
    /// demand.
    fn change(&self, change: Arc<Change>) {
        let mut plan = self.plan.borrow_mut();
        plan.apply(&change);
        self.changes.set(self.changes.get() + 1);
        if self.on_demand.get() {
            return;
        }
        for table in plan.routes.iter().flatten() {
            for name in &table.clusters {
                let cluster = plan.clusters.get(name.id.0 as usize).and_then(Option::as_ref);
                assert!(cluster.is_some(), "a route leads to '{}', which is not there", name.name);
            }
        }
    }

    fn sockets(&self, _: usize, sockets: Vec<ListenSocket>) {
        self.sockets.set(self.sockets.get() + sockets.len());
    }

    fn supplied(&self, shard: usize, what: Demand, _: Supply) {
        self.supplied.borrow_mut().push((shard, what));
    }

    fn bound(&self, _: Vec<Bound>) {}
    fn health_changed(&self, _: ClusterId) {}

    fn news(&self, news: News) {
        self.news.borrow_mut().push_back(news);
    }
}

/// A configuration that follows a management server.
pub(super) struct Bench {
    pub(super) xds: Xds,
    pub(super) out: Rc<Out>,
    pub(super) store: Store,
    pub(super) protocol: Protocol,
    gone: Rc<Cell<bool>>,
    _server: Server,
}

/// Has clusters come only on demand: for [`run_with`].
pub(super) const NO_CDS: &str = "# no cds";

const CDS: &str = "  cds_config: {ads: {}, resource_api_version: V3}\n";

/// Runs a test on the simulated network, with both forms of the protocol.
pub(super) fn run<F: Future<Output = ()>>(test: impl Fn(Bench) -> F) {
    run_with("", test);
}

/// The same with more text at the end of the bootstrap, which is within `static_resources` there.
pub(super) fn run_with<F: Future<Output = ()>>(more: &str, test: impl Fn(Bench) -> F) {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let backend = Backend::Sim(Network::new(7, Faults::none()));
        let config = Config { backend, seed: 7, ..Config::default() };
        let mut runtime = Runtime::new(config).expect("a simulated runtime");
        runtime.block_on(async { test(Bench::new(protocol, more)).await });
    }
}

impl Bench {
    fn new(protocol: Protocol, more: &str) -> Self {
        let store = Store::default();
        store.borrow_mut().set(NODE, Snapshot::default());
        let gone = Rc::new(Cell::new(false));
        let server = serve(&store, protocol, &gone);
        let mut registry = Registry::new(1);
        let names = StatNames {
            clusters: ClusterManagerStats::new(&mut registry),
            listeners: ListenerManagerStats::new(&mut registry),
            runtime: RuntimeStats::new(&mut registry),
        };
        let text = bootstrap(server.address.port(), protocol) + more;
        let text = match more.contains(NO_CDS) {
            true => text.replace(CDS, ""),
            false => text,
        };
        let loaded = load_text(&text, "test.yaml", Format::Yaml, 1, &mut registry);
        let loaded = loaded.unwrap_or_else(|found| panic!("{found}"));
        let mut compiler = loaded.compiler;
        compiler.own(registry);
        let out = Rc::new(Out::default());
        out.on_demand.set(more.contains(NO_CDS));
        let node = ringway_xds::api::envoy::config::core::v3::Node {
            id: NODE.to_owned(),
            ..Default::default()
        };
        let listeners = loaded.plan.listeners.iter();
        let sockets = listeners.map(|listener| socket(&listener.name)).collect();
        let xds = Xds::new(Start {
            compiler,
            plan: loaded.plan,
            dynamic: loaded.dynamic,
            identity: Identity {
                node: prost::Message::encode_to_vec(&node).into(),
                context_params: Vec::new(),
            },
            names,
            stats: Rc::new(ShardStats::detached()),
            shards: 1,
            sockets: vec![sockets],
            bound: Vec::new(),
            outlet: out.clone(),
            bootstrap: (!more.is_empty()).then_some(loaded.bootstrap),
            inherited: Default::default(),
            logs: Default::default(),
        });
        Self { xds, out, store, protocol, gone, _server: server }
    }

    /// Puts a resource, written in YAML, into what the server serves.
    pub(super) fn put(&self, kind: Kind, name: &str, yaml: &str) {
        let document = Document::parse(yaml, name, Format::Yaml).expect("YAML");
        let (bytes, _, _) = document.encode(kind.message()).expect("a resource");
        let url = kind.type_url();
        self.store.borrow_mut().update(NODE, url, Encoded::new(name, url, &bytes));
    }

    /// Takes a resource away.
    pub(super) fn remove(&self, kind: Kind, name: &str) {
        self.store.borrow_mut().remove(NODE, kind.type_url(), name);
    }

    /// Goes on until something holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Xds, &Out) -> bool) {
        let end = now() + Duration::from_secs(60);
        while !holds(&self.xds, &self.out) {
            assert!(now() < end, "never: {what}");
            self.step().await;
        }
    }

    /// Goes on for a while.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let news = self.out.news.borrow_mut().pop_front();
        match news {
            Some(news) => self.xds.news(news),
            None if self.xds.has_work() => self.xds.work(),
            None => {
                if self.xds.next_deadline().is_some_and(|at| at <= now()) {
                    self.xds.deadlines();
                }
                sleep(Duration::from_millis(1)).await;
            }
        }
        if self.xds.stage() == Stage::Starting {
            self.xds.started();
        }
        yield_now().await;
    }

    /// The server ends every stream at once from now on.
    pub(super) fn lose_server(&self) {
        self.gone.set(true);
    }

    /// Names of the clusters that went out.
    pub(super) fn clusters(&self) -> Vec<String> {
        let plan = self.out.plan.borrow();
        let mut names: Vec<String> =
            plan.clusters.iter().flatten().map(|cluster| cluster.name.to_string()).collect();
        names.sort();
        names
    }
}

/// Stands for the socket of a listener of the bootstrap.
fn socket(listener: &Arc<str>) -> ListenSocket {
    let file = std::fs::File::open("/dev/null").expect("a descriptor");
    ListenSocket { listener: listener.clone(), address: 0, socket: file.into() }
}

/// Serves the aggregated stream.
fn serve(store: &Store, protocol: Protocol, gone: &Rc<Cell<bool>>) -> Server {
    let (store, gone) = (store.clone(), gone.clone());
    let handler = move |stream| answer(stream, store.clone(), protocol, gone.clone());
    http2_server(Http2Options::default(), handler).0
}

async fn answer(stream: StreamHandle, store: Store, protocol: Protocol, gone: Rc<Cell<bool>>) {
    let mut head = RequestHead::default();
    if stream.take_request(&mut head).is_err() {
        return;
    }
    let mut answer = ResponseHead::new(200);
    answer.headers.append("content-type", b"application/grpc");
    stream.send_response(&answer, false);
    let mut session = Session::new(Options::new(protocol));
    let (mut deframer, mut message) = (Deframer::new(), Vec::new());
    let mut trailers = HeaderMap::new();
    while !gone.get() {
        let time = Duration::from_nanos(now().as_nanos());
        while let Some(response) = session.poll_response(&store.borrow(), time) {
            let mut framed = Vec::new();
            encode_frame(0, &response, &mut framed);
            stream.send_data(Chunk::copy_from(&framed), false);
        }
        // What changes in the store is noticed with the next look.
        let mut tick = Box::pin(sleep(Duration::from_millis(5)));
        let body = poll_fn(|cx| {
            if let Poll::Ready(frame) = stream.poll_body(cx, &mut trailers) {
                return Poll::Ready(Some(frame));
            }
            tick.as_mut().poll(cx).map(|()| None)
        })
        .await;
        let mut data = match body {
            None => continue,
            Some(Ok(Frame::Data(data))) => data,
            Some(_) => return,
        };
        while !data.is_empty() {
            let (consumed, piece) = deframer.next(&data);
            let here = data.split_to(consumed);
            match piece {
                Some(Piece::Data { range, end }) => {
                    message.extend_from_slice(here.get(range).unwrap_or_default());
                    if end {
                        let request = std::mem::take(&mut message);
                        session.request(&store.borrow(), &request).expect("a request");
                    }
                }
                Some(Piece::Start(_)) | None => {}
            }
        }
    }
}

/// A bootstrap that follows the management server on this port of the machine.
pub(crate) fn bootstrap(port: u16, protocol: Protocol) -> String {
    let api_type = if protocol == Protocol::Delta { "DELTA_GRPC" } else { "GRPC" };
    format!(
        r#"
node: {{id: {NODE}, cluster: c}}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
"#
    )
}
