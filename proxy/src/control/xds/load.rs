//! Load reports (`cluster_manager.load_stats_config`): what went to the hosts of each locality,
//! told to a service at the interval it asks for (envoy/service/load_stats/v3).
//!
//! LIFECYCLE of the stream: calling → the first request says who we are → a response names clusters
//! and an interval, from then on a report at each interval, until another response changes both →
//! lost → waiting → calling. Counts of a cluster begin with the response that first names it.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use prost::Message;
use ringway_runtime::{Instant, Sleep, now, rand_f64, sleep};
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as api;
use ringway_xds::api::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};

use super::Xds;
use super::feeds::{FeedCx, News};
use super::pace::Backoff;
use crate::control::log::log;
use crate::observe::stats::LoadReporterStats;
use crate::plan::cluster::Discovery;
use crate::plan::host_page::HostTotals;
use crate::plan::host_set::Locality;
use crate::plan::source::GrpcSource;
use crate::plan::{Address, Cluster, Host, HostSet};
use crate::upstream::grpc::{Call, Client, Failure, MESSAGE_BYTES_MAX};

const METHOD: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";

/// A service that asks for reports all the time does not get them all the time.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What the service asks for.
#[derive(Debug, Default)]
struct Asked {
    clusters: HashSet<String, RandomState>,
    all: bool,
    granular: bool,
    interval: Option<Duration>,
}

/// Keeps the stream to the service.
pub(super) struct Reporter {
    cx: Rc<FeedCx>,
    source: Arc<GrpcSource>,
    node: Arc<[u8]>,
    stats: LoadReporterStats,
    asked: RefCell<Asked>,
    /// When each cluster was last told of, and what its hosts had counted by then.
    told: RefCell<HashMap<Arc<str>, Told, RandomState>>,
    /// A report, made and not yet sent.
    ready: RefCell<Option<Vec<u8>>>,
    waker: Cell<Option<std::task::Waker>>,
}

/// A cluster as it was last told of.
struct Told {
    at: Instant,
    /// [`DropPages::totals`](crate::plan::host_page::DropPages).
    dropped: (u64, u64),
    hosts: HashMap<usize, (HostTotals, Arc<Host>), RandomState>,
}

impl Reporter {
    pub(super) fn new(
        cx: &Rc<FeedCx>,
        source: Arc<GrpcSource>,
        node: Arc<[u8]>,
        stats: LoadReporterStats,
    ) -> Rc<Self> {
        Rc::new(Self {
            cx: cx.clone(),
            source,
            node,
            stats,
            asked: RefCell::default(),
            told: RefCell::default(),
            ready: RefCell::default(),
            waker: Cell::new(None),
        })
    }

    /// The cluster of the service.
    pub(super) fn cluster(&self) -> &Arc<str> {
        &self.source.service.cluster
    }

    /// Keeps the stream up; never returns.
    pub(super) async fn run(self: Rc<Self>) {
        let mut backoff = Backoff::new(self.source.service.backoff);
        let mut problem = String::new();
        loop {
            let failure = match self.open().await {
                Ok(mut call) => self.serve(&mut call, &mut backoff).await,
                Err(failure) => failure,
            };
            self.cx.stats.inc(self.stats.errors());
            let text = failure.to_string();
            if text != problem {
                log!(Warning, Upstream, "load reporter stream closed: {text}");
                problem = text;
            }
            // What was asked for was asked on that stream, and a report is for who asked.
            self.asked.take();
            self.ready.take();
            self.told.borrow_mut().clear();
            sleep(backoff.wait(rand_f64())).await;
            self.cx.stats.inc(self.stats.retries());
        }
    }

    async fn open(&self) -> Result<Call, Failure> {
        let service = &self.source.service;
        let cluster = self.cx.upstreams.by_name(service.cluster.as_bytes());
        let cluster = cluster.ok_or_else(|| Failure {
            status: ringway_wire::grpc::Status::UNAVAILABLE,
            message: format!("there is no cluster '{}' (yet)", service.cluster),
        })?;
        let client = Client::of_service(&cluster, service, MESSAGE_BYTES_MAX);
        let call = client.begin(METHOD, None).await?;
        let node = core::Node::decode(&*self.node).unwrap_or_default();
        call.send(&LoadStatsRequest { node: Some(node), cluster_stats: Vec::new() });
        self.cx.stats.inc(self.stats.requests());
        Ok(call)
    }

    async fn serve(&self, call: &mut Call, backoff: &mut Backoff) -> Failure {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            self.waker.set(Some(cx.waker().clone()));
            loop {
                match call.poll_recv::<LoadStatsResponse>(cx) {
                    Poll::Ready(Ok(Some(response))) => {
                        backoff.reset();
                        timer = self.take(response);
                    }
                    Poll::Ready(Ok(None)) => {
                        return Poll::Ready(Failure {
                            status: ringway_wire::grpc::Status::OK,
                            message: "the service has ended the stream".to_owned(),
                        });
                    }
                    Poll::Ready(Err(failure)) => return Poll::Ready(failure),
                    Poll::Pending => break,
                }
            }
            if let Some(report) = self.ready.take() {
                call.send_encoded(&report);
                self.cx.stats.inc(self.stats.requests());
                timer = self.timer();
            }
            self.poll_due(cx, &mut timer);
            Poll::Pending
        })
        .await
    }

    /// The service asks for other reports.
    fn take(&self, response: LoadStatsResponse) -> Option<Pin<Box<Sleep>>> {
        let LoadStatsResponse {
            clusters,
            send_all_clusters,
            load_reporting_interval,
            report_endpoint_granularity,
        } = response;
        self.cx.stats.inc(self.stats.responses());
        let interval =
            load_reporting_interval.and_then(|interval| Duration::try_from(interval).ok());
        self.asked.replace(Asked {
            clusters: clusters.into_iter().collect(),
            all: send_all_clusters,
            granular: report_endpoint_granularity,
            interval: interval.map(|interval| interval.max(INTERVAL_MIN)),
        });
        // Counts begin now.
        self.cx.tell(News::LoadReport { begin: true });
        self.timer()
    }

    fn timer(&self) -> Option<Pin<Box<Sleep>>> {
        self.asked.borrow().interval.map(|interval| Box::pin(sleep(interval)))
    }

    fn poll_due(&self, cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>) {
        let Some(running) = timer else { return };
        if running.as_mut().poll(cx).is_ready() {
            // The next one is set when this report is out.
            *timer = None;
            self.cx.tell(News::LoadReport { begin: false });
        }
    }

    fn wants(&self, cluster: &str) -> bool {
        let asked = self.asked.borrow();
        asked.all || asked.clusters.contains(cluster)
    }

    /// What has happened on a cluster since it was last told of; `None` where it was not yet.
    fn count(&self, cluster: &Cluster, hosts: &HostSet) -> Option<api::ClusterStats> {
        let mut told = self.told.borrow_mut();
        let before = told.insert(cluster.name.clone(), Told::now(cluster, hosts))?;
        let granular = self.asked.borrow().granular;
        Some(stats_of(cluster, hosts, &before, granular))
    }
}

impl Told {
    fn now(cluster: &Cluster, hosts: &HostSet) -> Self {
        let each = hosts.hosts.iter();
        let hosts =
            each.map(|host| (identity(host), (host.pages.totals(), host.clone()))).collect();
        Self { at: now(), dropped: cluster.dropped.totals(), hosts }
    }
}

impl Xds {
    /// Begins to report, where the bootstrap says to whom.
    pub(super) fn begin_load_reports(&mut self) {
        let Some(source) = self.dynamic.load_stats.clone() else { return };
        let stats = LoadReporterStats::new(self.compiler.registry());
        let reporter = self.feeds.load_reporter(source, stats);
        self.keep_here(reporter.cluster());
        drop(ringway_runtime::spawn(reporter.clone().run()));
        self.reporter = Some(reporter);
    }

    /// A report is due, or (`begin`) the service asks for others than before.
    pub(super) fn report_load(&mut self, begin: bool) {
        let Some(reporter) = &self.reporter else { return };
        let mut cluster_stats = Vec::new();
        let there = &self.plan.cluster_ids;
        reporter.told.borrow_mut().retain(|name, _| there.contains_key(name));
        for cluster in self.plan.clusters.iter().flatten() {
            if !reporter.wants(&cluster.name) {
                reporter.told.borrow_mut().remove(&cluster.name);
                continue;
            }
            if begin && reporter.told.borrow().contains_key(&cluster.name) {
                continue;
            }
            let Some(hosts) = self.control.hosts(cluster.id) else { continue };
            cluster_stats.extend(reporter.count(cluster, &hosts));
        }
        if begin {
            return;
        }
        let report = LoadStatsRequest { node: None, cluster_stats };
        reporter.ready.replace(Some(report.encode_to_vec()));
        if let Some(waker) = reporter.waker.take() {
            waker.wake();
        }
    }
}

/// What stays when what is told of a host changes.
fn identity(host: &Arc<Host>) -> usize {
    Arc::as_ptr(&host.shared).addr()
}

/// One cluster's part of a report.
fn stats_of(
    cluster: &Cluster,
    hosts: &HostSet,
    before: &Told,
    granular: bool,
) -> api::ClusterStats {
    type Place = (Arc<Locality>, u32);
    let mut places: Vec<(Place, api::UpstreamLocalityStats)> = Vec::new();
    let mut add = |host: &Arc<Host>| {
        let from = before.hosts.get(&identity(host)).map(|(totals, _)| *totals);
        let delta = Delta::between(&from.unwrap_or_default(), &host.pages.totals());
        if delta.is_nothing() {
            return;
        }
        let place = (host.info.locality.clone(), host.info.priority);
        let at = places.iter().position(|(known, _)| *known == place).unwrap_or_else(|| {
            places.push((place.clone(), locality_stats(&place.0, place.1)));
            places.len() - 1
        });
        if let Some((_, stats)) = places.get_mut(at) {
            delta.add_to(stats, granular.then_some(&**host));
        }
    };
    hosts.hosts.iter().for_each(&mut add);
    // Hosts that have left since count until they left.
    let here: HashSet<usize, RandomState> = hosts.hosts.iter().map(identity).collect();
    let gone = before.hosts.iter().filter(|(identity, _)| !here.contains(*identity));
    gone.for_each(|(_, (_, host))| add(host));
    let service = match &cluster.discovery {
        Discovery::Eds(eds) if eds.name != cluster.name => eds.name.to_string(),
        _ => String::new(),
    };
    let (overload, overflow) = dropped_since(before.dropped, cluster.dropped.totals());
    let category = hosts.drop.as_ref().map_or("", |drop| &drop.category);
    let dropped = api::cluster_stats::DroppedRequests {
        category: category.to_owned(),
        dropped_count: overload,
    };
    api::ClusterStats {
        total_dropped_requests: overflow,
        dropped_requests: (overload > 0).then_some(dropped).into_iter().collect(),
        cluster_name: cluster.name.to_string(),
        cluster_service_name: service,
        upstream_locality_stats: places.into_iter().map(|(_, stats)| stats).collect(),
        load_report_interval: prost_types::Duration::try_from(before.at.elapsed()).ok(),
    }
}

/// What was dropped between two looks: a version of the cluster that is new counts from zero.
fn dropped_since(before: (u64, u64), now: (u64, u64)) -> (u64, u64) {
    let since = |before: u64, now: u64| if now < before { now } else { now - before };
    (since(before.0, now.0), since(before.1, now.1))
}

fn locality_stats(
    (region, zone, sub_zone): &Locality,
    priority: u32,
) -> api::UpstreamLocalityStats {
    let locality =
        core::Locality { region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() };
    api::UpstreamLocalityStats { locality: Some(locality), priority, ..Default::default() }
}

/// What a host did between two reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delta {
    success: u64,
    error: u64,
    issued: u64,
    in_progress: u64,
    connections: u64,
    connect_failures: u64,
    active: u64,
}

impl Delta {
    fn between(before: &HostTotals, now: &HostTotals) -> Self {
        Self {
            success: now.rq_success.saturating_sub(before.rq_success),
            error: now.rq_error.saturating_sub(before.rq_error),
            issued: now.rq_total.saturating_sub(before.rq_total),
            in_progress: now.rq_active,
            connections: now.cx_total.saturating_sub(before.cx_total),
            connect_failures: now.cx_connect_fail.saturating_sub(before.cx_connect_fail),
            active: now.cx_active,
        }
    }

    fn is_nothing(self) -> bool {
        self.success | self.error | self.issued | self.in_progress == 0
    }

    fn add_to(self, stats: &mut api::UpstreamLocalityStats, host: Option<&Host>) {
        stats.total_successful_requests += self.success;
        stats.total_error_requests += self.error;
        stats.total_issued_requests += self.issued;
        stats.total_requests_in_progress += self.in_progress;
        stats.total_new_connections += self.connections;
        stats.total_fail_connections += self.connect_failures;
        stats.total_active_connections += self.active;
        let Some(host) = host else { return };
        stats.upstream_endpoint_stats.push(api::UpstreamEndpointStats {
            address: Some(address(&host.current_address())),
            total_successful_requests: self.success,
            total_error_requests: self.error,
            total_issued_requests: self.issued,
            total_requests_in_progress: self.in_progress,
            ..Default::default()
        });
    }
}

fn address(address: &Address) -> core::Address {
    use core::address::Address as Choice;
    use core::socket_address::PortSpecifier;
    let choice = match address {
        Address::Ip(ip) => Choice::SocketAddress(core::SocketAddress {
            address: ip.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(ip.port().into())),
            ..Default::default()
        }),
        Address::Pipe { path, .. } => {
            Choice::Pipe(core::Pipe { path: path.display().to_string(), ..Default::default() })
        }
        Address::Internal { listener, endpoint } => {
            use core::envoy_internal_address::AddressNameSpecifier;
            Choice::EnvoyInternalAddress(core::EnvoyInternalAddress {
                endpoint_id: endpoint.to_string(),
                address_name_specifier: Some(AddressNameSpecifier::ServerListenerName(
                    listener.to_string(),
                )),
            })
        }
    };
    core::Address { address: Some(choice) }
}
