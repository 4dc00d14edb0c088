//! What one configuration response costs the client and the server: prints microseconds of one
//! core, best of many rounds. `cargo run --profile quick -p ringway-xds --example mux_cost`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use ringway_xds::api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use ringway_xds::api::envoy::config::cluster::v3::{CircuitBreakers, Cluster, circuit_breakers};
use ringway_xds::api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use ringway_xds::api::envoy::config::core::v3::{AggregatedConfigSource, ConfigSource, Node};
use ringway_xds::client::{Limits, Mux, Options, Protocol, Verdict};
use ringway_xds::server::{self, Cache, Encoded, Session, Snapshot};
use ringway_xds::types::CLUSTER;

const CLUSTERS: usize = 5_000;
const ROUNDS: usize = 30;
const GROUP: &str = "bench";

fn main() {
    let size = cluster(0, 0).encode_to_vec().len();
    println!("{CLUSTERS} clusters of {size} bytes, µs (best of {ROUNDS}):");
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let mut bench = Bench::new(protocol);
        println!("{protocol:?}");
        let first = bench.round(|_| {});
        report("first, all new", first);
        let resent = bench.resent();
        println!("  {:<34} client {:>9.1}", "all sent again unchanged", resent);
        let mut generation = 0;
        let mut best = [f64::MAX; 4];
        for _ in 0..ROUNDS {
            generation += 1;
            let times = bench.round(|cache| {
                for at in 0..CLUSTERS {
                    cache.update(GROUP, CLUSTER, encoded(at, generation));
                }
            });
            keep_best(&mut best, times);
        }
        report("all changed", best);
        let mut best = [f64::MAX; 4];
        for _ in 0..ROUNDS {
            generation += 1;
            let changed = |cache: &mut Cache| {
                cache.update(GROUP, CLUSTER, encoded(generation * 7 % CLUSTERS, generation));
            };
            keep_best(&mut best, bench.round(changed));
        }
        report("one changed", best);
    }
}

fn report(what: &str, [server, received, answered, request]: [f64; 4]) {
    println!(
        "  {what:<34} client {:>9.1} (compare {received:.1}, accept {answered:.1}, request \
         {request:.1}), server {server:.1}",
        received + answered + request
    );
}

fn keep_best(best: &mut [f64; 4], times: [f64; 4]) {
    for (best, time) in best.iter_mut().zip(times) {
        *best = best.min(time);
    }
}

/// A client and a server that have met.
struct Bench {
    protocol: Protocol,
    cache: Cache,
    session: Session,
    mux: Mux,
    last: Vec<u8>,
}

impl Bench {
    fn new(protocol: Protocol) -> Self {
        let mut snapshot = Snapshot::default();
        for at in 0..CLUSTERS {
            snapshot.insert(CLUSTER, encoded(at, 0));
        }
        let mut cache = Cache::default();
        cache.set(GROUP, snapshot);
        let mut mux = Mux::new(options(protocol));
        mux.subscribe_all(CLUSTER).expect("a valid subscription");
        mux.connected();
        let session = Session::new(server::Options::new(protocol));
        Self { protocol, cache, session, mux, last: Vec::new() }
    }

    /// One change until it is acknowledged: server, compare, accept, request.
    fn round(&mut self, change: impl FnOnce(&mut Cache)) -> [f64; 4] {
        self.exchange();
        change(&mut self.cache);
        let (response, server) =
            timed(|| self.session.poll_response(&self.cache, Duration::ZERO).expect("a change"));
        let (update, received) =
            timed(|| self.mux.received(&response, Duration::ZERO).expect("a valid response"));
        let changed = update.changed.len();
        let (_, answered) = timed(|| self.mux.answer(update.receipt, Verdict::default()));
        assert!(black_box(changed) > 0, "nothing changed");
        let (request, asked) = timed(|| self.mux.poll_request().expect("an acknowledgement"));
        self.session.request(&self.cache, &request).expect("a valid request");
        self.last = response;
        [server, received, answered, asked]
    }

    fn exchange(&mut self) {
        while let Some(request) = self.mux.poll_request() {
            self.session.request(&self.cache, &request).expect("a valid request");
        }
    }

    /// The last response comes again.
    fn resent(&mut self) -> f64 {
        // Whatever the server does, the client is sent all.
        let mut session = Session::new(server::Options::new(self.protocol));
        let mut fresh = Mux::new(options(self.protocol));
        fresh.subscribe_all(CLUSTER).expect("a valid subscription");
        fresh.connected();
        let first = fresh.poll_request().expect("a first request");
        session.request(&self.cache, &first).expect("a valid request");
        let response = session.poll_response(&self.cache, Duration::ZERO).expect("a response");
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let (update, received) =
                timed(|| self.mux.received(&response, Duration::ZERO).expect("a valid response"));
            assert_eq!((update.changed.len(), update.unchanged), (0, CLUSTERS));
            let (_, rest) = timed(|| {
                self.mux.answer(update.receipt, Verdict::default());
                self.mux.poll_request()
            });
            best = best.min(received + rest);
        }
        best
    }
}

fn options(protocol: Protocol) -> Options {
    let node = Node { id: GROUP.into(), ..Node::default() };
    Options {
        protocol,
        node: node.encode_to_vec().into(),
        node_on_first_only: true,
        context_params: Vec::new(),
        watch_all: false,
        limits: Limits::default(),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = work();
    (made, start.elapsed().as_secs_f64() * 1e6)
}

fn encoded(at: usize, generation: usize) -> Arc<Encoded> {
    let cluster = cluster(at, generation);
    Arc::new(Encoded::new(cluster.name.as_str(), CLUSTER, &cluster.encode_to_vec()))
}

/// An EDS cluster as control planes send them.
fn cluster(at: usize, generation: usize) -> Cluster {
    let name = format!("outbound|{}||service-{at}.namespace.svc.cluster.local", 8000 + at % 100);
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    let thresholds = circuit_breakers::Thresholds {
        max_connections: Some(10_000 + generation as u32),
        max_requests: Some(10_000),
        max_pending_requests: Some(10_000),
        max_retries: Some(3),
        ..circuit_breakers::Thresholds::default()
    };
    Cluster {
        alt_stat_name: format!("service-{at}.namespace;"),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource {
                config_source_specifier: Some(ads),
                initial_fetch_timeout: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
                ..ConfigSource::default()
            }),
            service_name: name.clone(),
        }),
        connect_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![thresholds],
            ..CircuitBreakers::default()
        }),
        name,
        ..Cluster::default()
    }
}
