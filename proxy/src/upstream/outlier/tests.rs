use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringway_runtime::Instant;

use super::rates::{Rate, judge};
use super::*;
use crate::control::message::EjectReason::{self, Consecutive5xx};
use crate::observe::stats::blocks::OutlierDetectionStats;
use crate::observe::stats::{Counter, Registry, ShardStats};
use crate::plan::Host;
use crate::plan::cluster::{HostState, Outlier};
use crate::upstream::LbContext;
use crate::upstream::testing::{Bench, host, run};

/// Envoy's defaults, but for 100 % that may be out.
pub(in crate::upstream) fn rules() -> Outlier {
    Outlier {
        consecutive_5xx: 5,
        enforcing_consecutive_5xx: 100,
        consecutive_gateway: 5,
        enforcing_consecutive_gateway: 0,
        split_local_origin: false,
        consecutive_local_origin: 5,
        enforcing_local_origin: 100,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        ejection_jitter: Duration::ZERO,
        max_ejection_percent: 100,
        always_eject_one: false,
        uneject_on_health_check: true,
        enforcing_success_rate: 100,
        success_rate_minimum_hosts: 5,
        success_rate_request_volume: 100,
        success_rate_stdev_factor: 1.9,
        enforcing_local_origin_success_rate: 100,
        enforcing_failure_percentage: 0,
        enforcing_failure_percentage_local_origin: 0,
        failure_percentage_threshold: 85,
        failure_percentage_minimum_hosts: 5,
        failure_percentage_request_volume: 50,
    }
}

/// A detector with hosts, a clock set by hand, and dice that always show 0.
struct Table {
    detector: Detector,
    hosts: Vec<Arc<Host>>,
    stats: ShardStats,
    names: OutlierDetectionStats,
    now: Duration,
}

impl Table {
    fn new(hosts: usize, rules: Outlier) -> Self {
        let address = |i: usize| ([10, 0, 0, i as u8], 80).into();
        let hosts: Vec<_> = (0..hosts).map(|i| host(address(i))).collect();
        let mut registry = Registry::new(1);
        let mut table = Self {
            detector: Detector::new(rules),
            hosts: hosts.clone(),
            stats: registry.writer(0).expect("page 0"),
            names: OutlierDetectionStats::new(&mut registry, "c"),
            now: Duration::from_secs(1000),
        };
        table.with(|detector, o| detector.set_hosts(&hosts, o));
        table
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Detector, &mut Observer<'_>) -> T) -> T {
        let mut observer = Observer {
            stats: &self.stats,
            names: &self.names,
            random_below: &mut |_| 0,
            now: Instant::default() + self.now,
            cluster: "c",
            log: None,
        };
        f(&mut self.detector, &mut observer)
    }

    fn eject(&mut self, host: usize, reason: EjectReason) -> bool {
        let host = self.hosts[host].clone();
        self.with(|detector, o| detector.eject(&host, reason, o))
    }

    /// Lets time pass, sweeping every interval; which hosts are out then.
    fn after(&mut self, seconds: u64) -> Vec<usize> {
        for _ in 0..seconds / 10 {
            self.now += Duration::from_secs(10);
            self.with(Detector::sweep);
        }
        self.out()
    }

    fn out(&self) -> Vec<usize> {
        let out = |host: &Arc<Host>| host.state.flags() & HostState::FAILED_OUTLIER != 0;
        self.hosts.iter().enumerate().filter(|h| out(h.1)).map(|h| h.0).collect()
    }

    fn count(&self, name: impl Fn(&OutlierDetectionStats) -> Counter) -> u64 {
        self.stats.counter_value(name(&self.names))
    }

    fn active(&self) -> i64 {
        self.stats.gauge_value(self.names.ejections_active())
    }
}

#[test]
fn ejections_grow_longer() {
    let mut table = Table::new(3, rules());
    assert!(table.eject(1, Consecutive5xx));
    assert!(!table.eject(1, Consecutive5xx), "it is out already");
    assert_eq!((table.after(20), table.active()), (vec![1], 1));
    assert_eq!((table.after(10), table.active()), (vec![], 0));
    assert!(table.eject(1, Consecutive5xx));
    assert_eq!(table.after(50), [1], "twice the time");
    assert!(table.after(10).is_empty());
    // Two intervals in bring the multiplier down from 2 to 0.
    table.after(20);
    assert!(table.eject(1, Consecutive5xx));
    assert_eq!(table.after(20), [1]);
    assert!(table.after(10).is_empty());
    assert_eq!(table.count(OutlierDetectionStats::ejections_enforced_total), 3);
    assert_eq!(table.count(OutlierDetectionStats::ejections_enforced_consecutive_5xx), 3);
    assert_eq!(table.count(OutlierDetectionStats::ejections_detected_consecutive_5xx), 3);
    assert_eq!(table.count(OutlierDetectionStats::ejections_total), 3);
}

#[test]
fn ejections_have_a_longest_time() {
    let mut rules = rules();
    rules.max_ejection = Duration::from_secs(60);
    let mut table = Table::new(2, rules);
    for expected in [30, 60, 60, 60] {
        assert!(table.eject(0, Consecutive5xx));
        assert_eq!(table.after(expected - 10), [0]);
        assert!(table.after(10).is_empty(), "{expected}");
    }
}

#[test]
fn only_so_many_are_out_at_once() {
    let mut rules = rules();
    rules.max_ejection_percent = 40;
    let mut table = Table::new(5, rules.clone());
    assert!(table.eject(0, Consecutive5xx) && table.eject(1, Consecutive5xx));
    assert!(!table.eject(2, Consecutive5xx));
    assert_eq!(table.count(OutlierDetectionStats::ejections_overflow), 1);
    rules.max_ejection_percent = 0;
    assert!(!Table::new(5, rules.clone()).eject(0, Consecutive5xx));
    rules.always_eject_one = true;
    let mut table = Table::new(5, rules);
    assert!(table.eject(0, Consecutive5xx));
    assert!(!table.eject(1, Consecutive5xx));
}

#[test]
fn rules_that_are_not_enforced_only_count() {
    let mut table = Table::new(2, rules());
    assert!(!table.eject(0, EjectReason::ConsecutiveGatewayFailure));
    let detected = OutlierDetectionStats::ejections_detected_consecutive_gateway_failure;
    assert_eq!(table.count(detected), 1);
    assert!(table.out().is_empty());
}

#[test]
fn a_passed_health_check_brings_a_host_back() {
    let mut table = Table::new(2, rules());
    table.eject(0, Consecutive5xx);
    let host = table.hosts[0].clone();
    host.state.set(HostState::FAILED_ACTIVE_HC);
    assert!(!table.with(|detector, o| detector.health_check_passed(&host, o)));
    host.state.clear(HostState::FAILED_ACTIVE_HC);
    assert!(table.with(|detector, o| detector.health_check_passed(&host, o)));
    assert_eq!((table.out(), table.active()), (vec![], 0));
}

#[test]
fn hosts_that_leave_are_no_longer_counted() {
    let mut table = Table::new(3, rules());
    table.eject(0, Consecutive5xx);
    table.eject(1, Consecutive5xx);
    let rest = table.hosts[1..].to_vec();
    table.with(|detector, o| detector.set_hosts(&rest, o));
    assert_eq!((table.active(), table.detector.ejected()), (1, 1));
    assert!(!table.eject(0, Consecutive5xx), "it is not one of ours");
}

#[test]
fn outliers_by_success_rate() {
    let mut table = Table::new(5, rules());
    for (i, host) in table.hosts.iter().enumerate() {
        let page = host.pages.of_shard(0);
        for n in 0..100 {
            page.external_total.inc();
            if i > 0 || n % 2 == 0 {
                page.external_success.inc();
            }
        }
    }
    // 50, 100, 100, 100, 100: mean 90, deviation 20, threshold 90 - 1.9 × 20 = 52.
    assert_eq!(table.after(10), [0]);
    assert_eq!(table.count(OutlierDetectionStats::ejections_enforced_success_rate), 1);
    // Old results do not count again.
    assert!(table.after(30).is_empty());
}

#[test]
fn too_few_results_or_hosts_judge_nobody() {
    let rules = rules();
    let rate = |host, total, percent| Rate { host, total, percent };
    let rates: Vec<Rate> = (0..5).map(|i| rate(i, 100, if i == 0 { 0.0 } else { 100.0 })).collect();
    let verdict = judge(&rules, 5, &rates);
    assert_eq!((verdict.success_rate, verdict.failure_percentage), (vec![0], vec![0]));
    assert_eq!(judge(&rules, 4, &rates[..4]), Default::default(), "4 hosts");
    let few: Vec<Rate> = rates.iter().map(|r| Rate { total: 99, ..*r }).collect();
    let verdict = judge(&rules, 5, &few);
    assert_eq!((verdict.success_rate, verdict.failure_percentage), (vec![], vec![0]));
}

proptest! {
    /// Whatever is reported and however time passes: the gauge is the number of hosts out, and
    /// never more than the share allowed.
    #[test]
    fn the_share_holds(
        percent in 0u32..=100,
        events in prop::collection::vec((0usize..6, 0u8..4), 1..100),
    ) {
        let mut rules = rules();
        rules.max_ejection_percent = percent;
        let mut table = Table::new(6, rules);
        for (host, what) in events {
            match what {
                0 => { table.after(10); }
                1 => {
                    let host = table.hosts[host].clone();
                    table.with(|detector, o| detector.health_check_passed(&host, o));
                }
                _ => { table.eject(host, Consecutive5xx); }
            }
            let out = table.out().len();
            prop_assert_eq!(table.active(), out as i64);
            prop_assert!(out as u32 * 100 <= percent * 6);
        }
    }
}

/// Reports outcomes on the one host of a shard; the reasons it sent.
fn reported(change: impl FnOnce(&mut Outlier), outcomes: &[Outcome]) -> Vec<EjectReason> {
    let mut rules = rules();
    (rules.consecutive_5xx, rules.consecutive_gateway, rules.consecutive_local_origin) = (3, 2, 2);
    change(&mut rules);
    run(async {
        let host = host(([10, 0, 0, 1], 80).into());
        let bench = Bench::new(vec![host], |cluster| cluster.outlier = Some(rules));
        let picked = bench.cluster().pick(&LbContext::default()).expect("a host");
        for outcome in outcomes {
            bench.cluster().report(&picked, *outcome);
        }
        let sent = bench.told.ejects.borrow().iter().map(|e| e.1).collect();
        let totals = picked.plan().pages.totals();
        assert_eq!(totals.external.0 + totals.local.0, outcomes.len() as u64);
        sent
    })
}

#[test]
fn rows_of_failures_are_reported_once() {
    use EjectReason::{
        ConsecutiveGatewayFailure as Gateway, ConsecutiveLocalOriginFailure as Local,
    };
    use Outcome::{Failure, Status, Timeout};
    let five = Status(500);
    assert_eq!(reported(|_| {}, &[five, five, five, five]), [Consecutive5xx]);
    assert_eq!(reported(|_| {}, &[five, five, Status(404), five, five]), []);
    assert_eq!(reported(|_| {}, &[Status(503), Status(500), Status(502)]), [Consecutive5xx]);
    assert_eq!(reported(|_| {}, &[Failure, Timeout, five]), [Gateway, Consecutive5xx]);
    let split = |rules: &mut Outlier| rules.split_local_origin = true;
    assert_eq!(reported(split, &[Failure, Timeout, five]), [Local]);
    assert_eq!(reported(split, &[Failure, five, five, five]), [Consecutive5xx]);
}
