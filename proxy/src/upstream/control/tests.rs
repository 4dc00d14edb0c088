use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::observe::stats::blocks::{ClusterStats, OutlierDetectionStats};
use crate::observe::stats::{Gauge, Registry};
use crate::plan::cluster::{Dns, DnsFamily, DnsTarget, EdsHealth};
use crate::plan::{Address, Change};
use crate::upstream::testing::{change, cluster, host, host_with, run, template, until};

#[derive(Default)]
struct News {
    hosts: RefCell<Vec<Arc<HostSet>>>,
    changes: Cell<usize>,
    initialized: Cell<usize>,
}

impl ClusterEvents for News {
    fn hosts(&self, _: ClusterId, hosts: Arc<HostSet>) {
        self.hosts.borrow_mut().push(hosts);
    }

    fn health_changed(&self, _: ClusterId) {
        self.changes.set(self.changes.get() + 1);
    }

    fn progressed(&self, _: ClusterId) {
        self.initialized.set(self.initialized.get() + 1);
    }
}

struct Desk {
    control: ClusterControl,
    news: Rc<News>,
    stats: Rc<ShardStats>,
    plan: Arc<Cluster>,
}

impl Desk {
    fn new(make: impl FnOnce(&mut Registry) -> Arc<Cluster>) -> Self {
        let mut registry = Registry::new(1);
        let cluster = make(&mut registry);
        let stats = Rc::new(registry.writer(0).expect("page 0"));
        let news: Rc<News> = Rc::default();
        let files = Resolver::with_files("/nonexistent", "/nonexistent");
        let control = ClusterControl::new(stats.clone(), news.clone(), files);
        control.install(&change(std::slice::from_ref(&cluster)));
        Self { control, news, stats, plan: cluster }
    }

    fn gauge(&self, name: impl Fn(&ClusterStats) -> Gauge) -> i64 {
        self.stats.gauge_value(name(&self.plan.stats))
    }
}

fn dns(names: &[&str]) -> Dns {
    let target = |name: &&str| DnsTarget { name: (*name).into(), port: 80, template: template() };
    let ms = Duration::from_millis;
    Dns {
        targets: names.iter().map(target).collect(),
        refresh: ms(5),
        failure_refresh: (ms(5), ms(5)),
        jitter: Duration::ZERO,
        respect_ttl: false,
        family: DnsFamily::V4Only,
        resolvers: vec![(Ipv4Addr::LOCALHOST, 1).into()],
    }
}

#[test]
fn a_static_cluster_is_ready_at_once() {
    run(async {
        let health = [EdsHealth::Unhealthy, EdsHealth::Degraded, EdsHealth::Healthy];
        let hosts = (1..).zip(health).map(|(i, health)| {
            host_with(([10, 0, 0, i], 80).into(), |info| info.eds_health = health)
        });
        let hosts: Vec<_> = hosts.collect();
        let desk = Desk::new(|registry| cluster(registry, hosts, |_| {}));
        assert_eq!(desk.news.initialized.get(), 1);
        assert!(desk.control.all_initialized());
        assert!(desk.news.hosts.borrow().is_empty(), "the shards have them from the plan");
        assert_eq!(desk.gauge(ClusterStats::membership_total), 3);
        assert_eq!(desk.gauge(ClusterStats::membership_healthy), 1);
        assert_eq!(desk.gauge(ClusterStats::membership_degraded), 1);
        assert_eq!(desk.stats.counter_value(desk.plan.stats.membership_change()), 1);
        desk.control.install(&change(std::slice::from_ref(&desk.plan)));
        assert_eq!(desk.news.initialized.get(), 1, "the same cluster goes on");
    });
}

#[test]
fn a_checked_cluster_waits_for_its_checks() {
    run(async {
        let checked =
            Arc::new(Host::new(Address::Ip(([10, 0, 0, 1], 80).into()), template(), true));
        let desk = Desk::new(|registry| {
            cluster(registry, vec![checked.clone()], |cluster| {
                cluster.health_checks.push(crate::plan::cluster::HealthCheck {
                    timeout: Duration::from_secs(1),
                    interval: Duration::from_secs(1),
                    initial_jitter: Duration::ZERO,
                    interval_jitter: Duration::ZERO,
                    interval_jitter_percent: 0,
                    unhealthy_threshold: 1,
                    healthy_threshold: 1,
                    no_traffic_interval: Duration::from_secs(1),
                    no_traffic_healthy_interval: Duration::from_secs(1),
                    unhealthy_interval: Duration::from_secs(1),
                    unhealthy_edge_interval: Duration::from_secs(1),
                    healthy_edge_interval: Duration::from_secs(1),
                    reuse_connection: true,
                    socket: None,
                    kind: crate::plan::cluster::HealthCheckKind::Tcp {
                        send: None,
                        receive: Vec::new(),
                    },
                });
            })
        });
        assert!(!desk.control.all_initialized());
        assert_eq!(desk.gauge(ClusterStats::membership_healthy), 0);
        checked.state.clear(HostState::FAILED_ACTIVE_HC);
        desk.control.health_verdict(ClusterId(0), &checked, true);
        assert!(desk.control.all_initialized());
        assert_eq!(desk.gauge(ClusterStats::membership_healthy), 1);
        assert_eq!(desk.news.changes.get(), 1);
    });
}

#[test]
fn dns_brings_hosts() {
    run(async {
        let settings = dns(&["10.0.0.1", "localhost", "10.0.0.2"]);
        let desk = Desk::new(|registry| {
            cluster(registry, Vec::new(), |c| c.discovery = Discovery::StrictDns(settings))
        });
        assert!(!desk.control.all_initialized());
        until("all names have an answer", || desk.control.all_initialized()).await;
        let set = desk.control.hosts(ClusterId(0)).expect("installed");
        let addresses: Vec<String> = set.hosts.iter().map(|h| format!("{:?}", h.address)).collect();
        assert_eq!(addresses, ["Ip(10.0.0.1:80)", "Ip(127.0.0.1:80)", "Ip(10.0.0.2:80)"]);
        assert_eq!(set.overprovisioning_percent, 140);
        assert!(Arc::ptr_eq(&set, desk.news.hosts.borrow().last().expect("told")));
        assert_eq!(desk.gauge(ClusterStats::membership_total), 3);
        assert_eq!(desk.gauge(ClusterStats::max_host_weight), 1);
        let told = desk.news.hosts.borrow().len();
        let no_rebuild = || desk.stats.counter_value(desk.plan.stats.update_no_rebuild());
        until("it is looked up again", || no_rebuild() >= 3).await;
        assert_eq!(desk.news.hosts.borrow().len(), told, "nothing new");
    });
}

#[test]
fn a_name_that_fails_holds_up_nobody() {
    run(async {
        let settings = dns(&["nobody.test"]);
        let desk = Desk::new(|registry| {
            cluster(registry, Vec::new(), |c| c.discovery = Discovery::LogicalDns(settings))
        });
        until("the first failure", || desk.control.all_initialized()).await;
        assert!(desk.stats.counter_value(desk.plan.stats.update_failure()) >= 1);
        assert_eq!(desk.stats.counter_value(desk.plan.stats.update_success()), 0);
        assert!(desk.news.hosts.borrow().is_empty());
        // Without the cluster its look-ups end.
        desk.control.install(&Change { clusters: vec![(ClusterId(0), None)], ..Change::default() });
        let attempts = desk.stats.counter_value(desk.plan.stats.update_attempt());
        runtime::sleep(Duration::from_millis(30)).await;
        assert_eq!(desk.stats.counter_value(desk.plan.stats.update_attempt()), attempts);
    });
}

#[test]
fn ejected_hosts_come_back_by_themselves() {
    run(async {
        let hosts: Vec<_> = (1..3).map(|i| host(([10, 0, 0, i], 80).into())).collect();
        let bad = hosts[0].clone();
        let desk = Desk::new(|registry| {
            let stats = OutlierDetectionStats::new(registry, "c");
            cluster(registry, hosts, |cluster| {
                let mut rules = crate::upstream::outlier::test_rules();
                rules.interval = Duration::from_millis(5);
                rules.base_ejection = Duration::from_millis(20);
                cluster.outlier = Some(rules);
                cluster.outlier_stats = Some(stats);
            })
        });
        desk.control.eject(ClusterId(0), &bad, EjectReason::Consecutive5xx);
        assert_eq!(bad.state.flags(), HostState::FAILED_OUTLIER);
        assert_eq!(desk.gauge(ClusterStats::membership_healthy), 1);
        assert_eq!(desk.news.changes.get(), 1);
        until("its time is over", || bad.state.flags() == 0).await;
        assert_eq!(desk.gauge(ClusterStats::membership_healthy), 2);
        assert_eq!(desk.news.changes.get(), 2);
    });
}
