use std::net::SocketAddr;
use std::rc::Rc;

use proptest::prelude::*;

use super::priority::{Counts, Load, distribute};
use super::*;
use crate::plan::cluster::Lb;
use crate::upstream::ShardHost;
use crate::upstream::testing::{Bench, host_with, run};

fn hosts(weights: &[u32], priority: impl Fn(usize) -> u32) -> Vec<Rc<ShardHost>> {
    let hosts = weights.iter().enumerate().map(|(i, &weight)| {
        let address = SocketAddr::from(([127, 0, (i >> 8) as u8, i as u8], 80));
        host_with(address, |info| {
            info.weight = weight;
            info.priority = priority(i);
        })
    });
    run(async { Bench::new(hosts.collect(), |_| {}).cluster().hosts_for_tests() })
}

fn rules(panic_threshold: f64) -> Rules<'static> {
    Rules { factor: 140, panic_threshold, localities: None }
}

fn balancer(lb: Lb, hosts: &[Rc<ShardHost>], seed: u64) -> LoadBalancer {
    let mut balancer = LoadBalancer::new(lb, seed);
    balancer.rebuild(hosts, rules(50.0));
    balancer
}

fn picks(balancer: &LoadBalancer, hosts: &[Rc<ShardHost>], n: usize) -> Vec<usize> {
    let index = |host: Rc<ShardHost>| hosts.iter().position(|h| Rc::ptr_eq(h, &host));
    (0..n)
        .map(|_| balancer.pick(&LbContext::default()).host.and_then(index).expect("a host"))
        .collect()
}

fn counts(picks: &[usize], hosts: usize) -> Vec<usize> {
    let mut counts = vec![0; hosts];
    picks.iter().for_each(|&i| counts[i] += 1);
    counts
}

const LEAST: Lb = Lb::LeastRequest { choices: 2, bias: 1.0 };

#[test]
fn round_robin_goes_round() {
    let hosts = hosts(&[1; 5], |_| 0);
    let picks = picks(&balancer(Lb::RoundRobin, &hosts, 3), &hosts, 10);
    for pair in picks.windows(2) {
        assert_eq!(pair[1], (pair[0] + 1) % 5);
    }
}

#[test]
fn round_robin_goes_on_after_a_rebuild() {
    let hosts = hosts(&[1; 5], |_| 0);
    let mut balancer = balancer(Lb::RoundRobin, &hosts, 0);
    assert_eq!(picks(&balancer, &hosts, 3), [0, 1, 2]);
    balancer.rebuild(&hosts, rules(50.0));
    assert_eq!(picks(&balancer, &hosts, 2), [3, 4]);
}

#[test]
fn weighted_round_robin_is_smooth() {
    let hosts = hosts(&[3, 1, 1], |_| 0);
    let picks = picks(&balancer(Lb::RoundRobin, &hosts, 0), &hosts, 500);
    assert_eq!(counts(&picks, 3), [300, 100, 100]);
    // The heavy host is never away for longer than its share allows.
    let gaps = picks.iter().enumerate().filter(|p| *p.1 == 0).map(|p| p.0);
    let gaps: Vec<usize> = gaps.collect();
    assert!(gaps.windows(2).all(|w| w[1] - w[0] <= 3), "{gaps:?}");
}

#[test]
fn least_request_prefers_the_idle_one() {
    let hosts = hosts(&[1, 1], |_| 0);
    for _ in 0..10 {
        hosts[0].page().rq_active.inc();
    }
    let counted = counts(&picks(&balancer(LEAST, &hosts, 1), &hosts, 4000), 2);
    // Host 0 is chosen only when both draws hit it.
    assert!((900..1100).contains(&counted[0]), "{counted:?}");
    let equal = Lb::LeastRequest { choices: 8, bias: 1.0 };
    let counted = counts(&picks(&balancer(equal, &hosts, 1), &hosts, 4000), 2);
    assert!(counted[0] < 40, "{counted:?}");
}

#[test]
fn weighted_least_request_divides_by_active() {
    let hosts = hosts(&[4, 2], |_| 0);
    hosts[0].page().rq_active.inc();
    hosts[0].page().rq_active.inc();
    hosts[0].page().rq_active.inc();
    // 4 / (3 + 1) against 2 / 1.
    let counted = counts(&picks(&balancer(LEAST, &hosts, 0), &hosts, 3000), 2);
    assert!((980..1020).contains(&counted[0]), "{counted:?}");
    let unbiased = Lb::LeastRequest { choices: 2, bias: 0.0 };
    let counted = counts(&picks(&balancer(unbiased, &hosts, 0), &hosts, 3000), 2);
    assert!((1980..2020).contains(&counted[0]), "{counted:?}");
}

#[test]
fn random_ignores_weights() {
    let hosts = hosts(&[1, 9, 1, 1], |_| 0);
    let counted = counts(&picks(&balancer(Lb::Random, &hosts, 5), &hosts, 8000), 4);
    assert!(counted.iter().all(|&n| (1800..2200).contains(&n)), "{counted:?}");
}

#[test]
fn previous_hosts_are_avoided_as_far_as_attempts_go() {
    let hosts = hosts(&[1; 3], |_| 0);
    let balancer = balancer(Lb::RoundRobin, &hosts, 0);
    let avoid = &hosts[..1];
    let first = balancer
        .pick(&LbContext { avoid, attempts: 1, ..LbContext::default() })
        .host
        .expect("a host");
    assert!(Rc::ptr_eq(&first, &hosts[1]));
    let all = LbContext { avoid: &hosts, attempts: 5, ..LbContext::default() };
    assert!(balancer.pick(&all).host.is_some(), "the last one counts when all are bad");
}

#[test]
fn unhealthy_hosts_get_nothing_until_there_is_panic() {
    let hosts = hosts(&[1; 4], |_| 0);
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 0);
    hosts[0].plan().state.set(HostState::FAILED_OUTLIER);
    balancer.rebuild(&hosts, rules(50.0));
    assert_eq!(balancer.sizes(), (3, 0, 4));
    assert_eq!(counts(&picks(&balancer, &hosts, 300), 4)[0], 0);
    for host in &hosts[1..3] {
        host.plan().state.set(HostState::FAILED_ACTIVE_HC);
    }
    balancer.rebuild(&hosts, rules(50.0));
    assert_eq!(counts(&picks(&balancer, &hosts, 400), 4), [100; 4], "panic below 50 %");
    assert_eq!(balancer.pick(&LbContext::default()).panics, 1);
    balancer.rebuild(&hosts, rules(0.0));
    assert_eq!(counts(&picks(&balancer, &hosts, 40), 4), [0, 0, 0, 40]);
    hosts[3].plan().state.set(HostState::FAILED_EDS);
    balancer.rebuild(&hosts, rules(0.0));
    assert_eq!(balancer.pick(&LbContext::default()).host.map(|_| ()), None);
}

#[test]
fn load_spills_to_the_next_priority() {
    let hosts = hosts(&[1; 8], |i| u32::from(i >= 4));
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 9);
    for host in &hosts[..2] {
        host.plan().state.set(HostState::FAILED_ACTIVE_HC);
    }
    balancer.rebuild(&hosts, rules(50.0));
    let counted = counts(&picks(&balancer, &hosts, 10_000), 8);
    let first: usize = counted[..4].iter().sum();
    assert!((6800..7200).contains(&first), "2 of 4 healthy × 1.4 = 70 %: {counted:?}");
    assert_eq!(counted[0] + counted[1], 0);
}

#[test]
fn loads_by_the_book() {
    let count = |all, healthy, degraded| Counts { all, healthy, degraded, excluded: 0 };
    let load = |healthy, degraded, panic| Load { healthy, degraded, panic };
    // The table of Envoy's documentation on priority levels: P0 and P1, factor 1.4.
    for (p0, p1, expected) in [
        (100, 100, (100, 0)),
        (72, 100, (100, 0)),
        (71, 100, (99, 1)),
        (50, 100, (70, 30)),
        (25, 100, (35, 65)),
        (0, 100, (0, 100)),
    ] {
        let loads = distribute(&[count(100, p0, 0), count(100, p1, 0)], 140, 0.0);
        assert_eq!((loads[0].healthy, loads[1].healthy), expected, "{p0} {p1}");
    }
    // Degraded hosts take what healthy ones cannot.
    let loads = distribute(&[count(100, 5, 60)], 140, 0.0);
    assert_eq!(loads, [load(8, 92, false)]);
    // Total panic: by size.
    let loads = distribute(&[count(5, 0, 0), count(15, 1, 0)], 140, 50.0);
    assert_eq!(loads, [load(25, 0, true), load(75, 0, true)]);
    // Excluded hosts are not counted.
    let excluded = Counts { all: 10, healthy: 5, degraded: 0, excluded: 5 };
    assert_eq!(distribute(&[excluded], 140, 50.0), [load(100, 0, false)]);
    assert_eq!(distribute(&[count(0, 0, 0)], 140, 50.0), [load(100, 0, true)]);
    assert!(distribute(&[], 140, 50.0).is_empty());
}

proptest! {
    /// At every moment there is a virtual time by which each host has had exactly the picks that
    /// were due: nobody is ahead of its weight or behind it by a whole pick.
    #[test]
    fn edf_is_fair_at_every_moment(
        weights in prop::collection::vec(1u32..100, 2..40),
        ahead in 0u64..100,
    ) {
        let floats: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        let mut edf = edf::Edf::new(&floats, ahead);
        let mut reference = edf::Edf::new(&floats, 0);
        let mut picks = vec![0.0; floats.len()];
        for _ in 0..ahead {
            picks[reference.pick(|i| floats[i]).expect("hosts")] += 1.0;
        }
        for _ in 0..1000 {
            let host = edf.pick(|i| floats[i]).expect("hosts");
            prop_assert_eq!(reference.pick(|i| floats[i]), Some(host));
            picks[host] += 1.0;
            let had = picks.iter().zip(&floats).map(|(n, w)| n / w).fold(0.0, f64::max);
            let due = picks.iter().zip(&floats).map(|(n, w)| (n + 1.0) / w);
            let due = due.fold(f64::MAX, f64::min);
            prop_assert!(had <= due + 1e-9, "{had} {due}");
        }
    }

    /// Loads always sum to 100 and no priority without hosts gets any (unless there are none).
    #[test]
    fn loads_sum_up(
        raw in prop::collection::vec((0u32..50, 0u32..50, 0u32..50, 0u32..50), 1..6),
        threshold in 0.0f64..100.0,
        factor in 100u32..200,
    ) {
        let counts: Vec<Counts> = raw.iter().map(|&(healthy, degraded, bad, excluded)| Counts {
            all: healthy + degraded + bad,
            healthy,
            degraded,
            excluded: excluded.min(bad),
        }).collect();
        let loads = distribute(&counts, factor, threshold);
        let sum: u32 = loads.iter().map(|l| l.healthy + l.degraded).sum();
        prop_assert_eq!(sum, 100);
        if counts.iter().any(|c| c.healthy > 0) && !loads.iter().any(|l| l.panic) {
            for (load, count) in loads.iter().zip(&counts) {
                prop_assert!(load.healthy == 0 || count.healthy > 0);
                prop_assert!(load.degraded == 0 || count.degraded > 0);
            }
        }
    }
}

/// Not a benchmark: a pick that takes microseconds would be a mistake of order.
#[test]
fn a_pick_among_a_thousand_is_quick() {
    for (lb, weights) in [
        (Lb::RoundRobin, vec![1; 1000]),
        (LEAST, vec![1; 1000]),
        (Lb::Random, vec![1; 1000]),
        (Lb::RoundRobin, (1..=1000).collect()),
        (LEAST, (1..=1000).collect()),
    ] {
        let hosts = hosts(&weights, |_| 0);
        let balancer = balancer(lb, &hosts, 1);
        let mut best = u128::MAX;
        for _ in 0..5 {
            let start = ringway_runtime::precise_now();
            for _ in 0..20_000 {
                std::hint::black_box(balancer.pick(&LbContext::default()));
            }
            best = best.min(ringway_runtime::precise_now().since(start).as_nanos() / 20_000);
        }
        println!(
            "{lb:?}, {} weights: {best} ns",
            if weights[999] == 1 { "equal" } else { "other" }
        );
        assert!(best < 5_000, "{lb:?}: {best} ns a pick");
    }
}

/// What `balancer` picks after a change of one weight, against the same without a change.
#[test]
fn weighted_round_robin_goes_on_after_a_rebuild() {
    // Powers of two, so that no deadline is rounded.
    let hosts = hosts(&[8, 4, 2, 1], |_| 0);
    for ahead in 0..22 {
        let (mut rebuilt, untouched) =
            (balancer(Lb::RoundRobin, &hosts, 0), balancer(Lb::RoundRobin, &hosts, 0));
        assert_eq!(picks(&rebuilt, &hosts, ahead), picks(&untouched, &hosts, ahead));
        rebuilt.rebuild(&hosts, rules(50.0));
        assert_eq!(picks(&rebuilt, &hosts, 40), picks(&untouched, &hosts, 40), "after {ahead}");
    }
}

#[test]
fn rebuilds_do_not_starve_the_light() {
    let hosts = hosts(&[100, 1], |_| 0);
    let mut balancer = balancer(Lb::RoundRobin, &hosts, 0);
    let mut light = 0;
    for _ in 0..1010 {
        light += picks(&balancer, &hosts, 1)[0];
        balancer.rebuild(&hosts, rules(50.0));
    }
    assert_eq!(light, 10);
}

/// Hosts in localities of so many hosts each.
fn in_localities(sizes: &[usize], priority: u32) -> Vec<Rc<ShardHost>> {
    let places = sizes.iter().enumerate().flat_map(|(place, size)| vec![place; *size]);
    let hosts = places.enumerate().map(|(i, place)| {
        let address = SocketAddr::from(([127, 0, (i >> 8) as u8, i as u8], 80));
        host_with(address, |info| {
            info.priority = priority;
            info.locality = named(place);
        })
    });
    run(async { Bench::new(hosts.collect(), |_| {}).cluster().hosts_for_tests() })
}

fn named(place: usize) -> std::sync::Arc<(String, String, String)> {
    std::sync::Arc::new((format!("region {place}"), String::new(), String::new()))
}

fn weights(list: &[(usize, u32)]) -> LocalityWeights {
    let mut weights = LocalityWeights::default();
    list.iter().for_each(|(place, weight)| weights.set(0, named(*place), *weight));
    weights
}

fn by_locality(localities: &LocalityWeights) -> Rules<'_> {
    Rules { localities: Some(localities), ..rules(0.0) }
}

/// How many of these picks go to each locality.
fn shares_of(balancer: &LoadBalancer, hosts: &[Rc<ShardHost>], n: usize) -> Vec<usize> {
    let mut counts = vec![0; 8];
    for host in picks(balancer, hosts, n) {
        let place = &hosts[host].plan().info.locality;
        counts[(0..8).find(|at| named(*at) == *place).expect("a place")] += 1;
    }
    counts
}

/// The table in Envoy's documentation: X weighs 1 and Y 2, and so many of 100 in X are healthy.
#[test]
fn a_locality_counts_with_its_weight_and_its_health() {
    let weights = weights(&[(0, 1), (1, 2)]);
    for lb in [Lb::RoundRobin, LEAST, Lb::Random] {
        for (healthy, percent) in [(100, 33), (70, 33), (69, 32), (50, 26), (25, 15), (0, 0)] {
            let hosts = in_localities(&[100, 100], 0);
            hosts[healthy..100]
                .iter()
                .for_each(|host| host.plan().state.set(HostState::FAILED_EDS));
            let mut balancer = LoadBalancer::new(lb, 7);
            balancer.rebuild(&hosts, by_locality(&weights));
            let counts = shares_of(&balancer, &hosts, 10_000);
            let found = (counts[0] as f64 / 100.0).round() as usize;
            assert!(found.abs_diff(percent) <= 1, "{lb:?}, {healthy} healthy: {counts:?}");
        }
    }
}

#[test]
fn a_locality_without_weight_gets_nothing_unless_none_has_any() {
    let hosts = in_localities(&[1, 3], 0);
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 1);
    balancer.rebuild(&hosts, by_locality(&weights(&[(1, 1)])));
    assert_eq!(counts(&picks(&balancer, &hosts, 30), 4), [0, 10, 10, 10]);
    assert_eq!(balancer.sizes(), (4, 0, 4));
    // The one that has a weight is down: the other is better than nothing.
    hosts[1..].iter().for_each(|host| host.plan().state.set(HostState::FAILED_EDS));
    balancer.rebuild(&hosts, by_locality(&weights(&[(1, 1)])));
    assert_eq!(counts(&picks(&balancer, &hosts, 30), 4), [30, 0, 0, 0]);
}

#[test]
fn hosts_that_are_not_counted_do_not_lower_the_share_of_their_locality() {
    let hosts = in_localities(&[4, 1], 0);
    for host in &hosts[..3] {
        host.plan().state.set(HostState::PENDING_ACTIVE_HC | HostState::FAILED_ACTIVE_HC);
    }
    let weights = weights(&[(0, 1), (1, 1)]);
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 0);
    balancer.rebuild(&hosts, by_locality(&weights));
    assert_eq!(shares_of(&balancer, &hosts, 100)[..2], [50, 50]);
}

#[test]
fn localities_and_their_hosts_go_on_after_a_rebuild() {
    let hosts = in_localities(&[3, 3], 0);
    let weights = weights(&[(0, 3), (1, 1)]);
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 0);
    balancer.rebuild(&hosts, by_locality(&weights));
    let mut all = Vec::new();
    for _ in 0..24 {
        all.extend(picks(&balancer, &hosts, 1));
        balancer.rebuild(&hosts, by_locality(&weights));
    }
    assert_eq!(counts(&all, 6), [6, 6, 6, 2, 2, 2]);
}

#[test]
fn in_panic_localities_do_not_count() {
    let hosts = in_localities(&[2, 2], 0);
    hosts[..3].iter().for_each(|host| host.plan().state.set(HostState::FAILED_EDS));
    let weights = weights(&[(0, 1), (1, 1)]);
    let mut balancer = LoadBalancer::new(Lb::RoundRobin, 0);
    balancer.rebuild(&hosts, Rules { localities: Some(&weights), ..rules(50.0) });
    assert_eq!(counts(&picks(&balancer, &hosts, 40), 4), [10; 4]);
}
