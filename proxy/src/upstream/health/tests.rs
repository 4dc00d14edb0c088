use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use ringway_runtime::{self as runtime, Chunk};

use super::tcp::contains_in_order;
use super::verdict::{Checked, History, Transition, interval, with_jitter};
use super::*;
use crate::observe::stats::Counter;
use crate::observe::stats::blocks::HealthCheckStats;
use crate::plan::cluster::{HealthCheck, HealthCheckKind, HttpHealthCheck};
use crate::plan::{Address, Cluster};
use crate::upstream::testing::{Bench, Server, cluster, run, template, until};

const PASS: Checked = Checked::Passed { degraded: false };
const FAIL: Checked = Checked::Failed { retriable: false };
const RETRY: Checked = Checked::Failed { retriable: true };

fn check(kind: HealthCheckKind) -> HealthCheck {
    let ms = Duration::from_millis;
    HealthCheck {
        timeout: ms(200),
        interval: ms(10),
        initial_jitter: ms(0),
        interval_jitter: ms(0),
        interval_jitter_percent: 0,
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        no_traffic_interval: ms(12),
        no_traffic_healthy_interval: ms(13),
        unhealthy_interval: ms(14),
        unhealthy_edge_interval: ms(15),
        healthy_edge_interval: ms(16),
        reuse_connection: true,
        socket: None,
        kind,
    }
}

fn http() -> HttpHealthCheck {
    HttpHealthCheck {
        host: "".into(),
        path: "/health".into(),
        method: "GET".into(),
        expected: Vec::new(),
        retriable: Vec::new(),
        add: Vec::new(),
        remove: Vec::new(),
        send: None,
        receive: Vec::new(),
        response_buffer: 1024,
        http2: None,
        service_name: None,
    }
}

fn tcp(send: Option<&[u8]>, receive: &[&[u8]]) -> HealthCheckKind {
    HealthCheckKind::Tcp {
        send: send.map(<[u8]>::to_vec),
        receive: receive.iter().map(|part| part.to_vec()).collect(),
    }
}

/// Applies results to a new host; the transitions and whether it is healthy in the end.
fn play(results: &[Checked]) -> (Vec<Transition>, bool) {
    let state = HostState::default();
    state.set(HostState::FAILED_ACTIVE_HC);
    let (check, mut history) = (check(tcp(None, &[])), History::new());
    let transitions = results.iter().map(|&r| history.apply(&check, &state, r)).collect();
    (transitions, state.is_healthy())
}

#[test]
fn the_first_result_decides_at_once() {
    assert_eq!(play(&[PASS]), (vec![Transition::Changed], true));
    assert_eq!(play(&[FAIL]), (vec![Transition::Unchanged], false));
}

#[test]
fn later_results_go_by_thresholds() {
    use Transition::{Changed, Pending, Unchanged};
    let network = Checked::Network;
    let (all, healthy) = play(&[PASS, network, network, PASS, network, Checked::Timeout, RETRY]);
    assert_eq!(all, [Changed, Pending, Pending, Unchanged, Pending, Pending, Changed]);
    assert!(!healthy);
    let (all, healthy) = play(&[PASS, FAIL, PASS, FAIL, PASS, PASS]);
    assert_eq!(all, [Changed, Changed, Pending, Unchanged, Pending, Changed], "no failure waits");
    assert!(healthy);
}

#[test]
fn timeouts_and_degradation_are_shown() {
    let state = HostState::default();
    let (check, mut history) = (check(tcp(None, &[])), History::new());
    let degraded = Checked::Passed { degraded: true };
    assert_eq!(history.apply(&check, &state, degraded), Transition::Changed);
    assert_eq!(state.flags(), HostState::DEGRADED_ACTIVE_HC);
    assert_eq!(history.apply(&check, &state, PASS), Transition::Changed);
    assert_eq!(state.flags(), 0);
    for _ in 0..3 {
        history.apply(&check, &state, Checked::Timeout);
    }
    assert_eq!(state.flags(), HostState::FAILED_ACTIVE_HC | HostState::ACTIVE_HC_TIMEOUT);
    history.apply(&check, &state, FAIL);
    assert_eq!(state.flags(), HostState::FAILED_ACTIVE_HC);
}

#[test]
fn a_host_that_waited_counts_after_any_result() {
    let state = HostState::default();
    state.set(HostState::FAILED_ACTIVE_HC | HostState::PENDING_ACTIVE_HC);
    let (check, mut history) = (check(tcp(None, &[])), History::new());
    assert_eq!(history.apply(&check, &state, FAIL), Transition::Changed);
    assert_eq!(state.flags(), HostState::FAILED_ACTIVE_HC);
}

#[test]
fn intervals_follow_state() {
    use Transition::{Changed, Pending, Unchanged};
    let check = check(tcp(None, &[]));
    let ms =
        |passed, transition, traffic| interval(&check, passed, transition, traffic).as_millis();
    assert_eq!(ms(true, Unchanged, true), 10);
    assert_eq!(ms(true, Changed, true), 10);
    assert_eq!(ms(true, Pending, true), 16);
    assert_eq!(ms(false, Pending, true), 15);
    assert_eq!(ms(false, Changed, true), 14);
    assert_eq!(ms(true, Unchanged, false), 13);
    assert_eq!(ms(true, Pending, false), 12);
    assert_eq!(ms(false, Changed, false), 12);
}

proptest! {
    #[test]
    fn jitter_stays_in_range(
        base in 0u64..5000, percent in 0u32..300, jitter in 0u64..500, r: u64,
    ) {
        let pause = with_jitter(
            Duration::from_millis(base), percent, Duration::from_millis(jitter), |n| r % n,
        );
        let most = base + u64::from(percent) * base / 100 + jitter;
        let ms = pause.as_millis() as u64;
        prop_assert!(ms >= base.max(1) && ms <= most.max(1), "{ms}");
    }

    /// Whatever comes, the bit is set exactly by the rule, counted independently.
    #[test]
    fn thresholds_hold(results in prop::collection::vec(0u8..4, 1..200)) {
        let state = HostState::default();
        state.set(HostState::FAILED_ACTIVE_HC);
        let (check, mut history) = (check(tcp(None, &[])), History::new());
        let (mut up, mut passes, mut failures) = (false, 0, 0);
        for (i, kind) in results.into_iter().enumerate() {
            let result = [PASS, FAIL, Checked::Network, RETRY][usize::from(kind)];
            history.apply(&check, &state, result);
            if result == PASS {
                (passes, failures) = (passes + 1, 0);
                // A row of passes counts from the last failure while down.
                up |= i == 0 || passes >= 2;
            } else {
                (passes, failures) = (0, failures + u32::from(result != FAIL));
                if up && (result == FAIL || failures >= 3) {
                    (up, failures) = (false, 0);
                }
            }
            prop_assert_eq!(state.is_healthy(), up, "after {}", i);
        }
    }
}

#[test]
fn parts_are_found_in_order() {
    let parts = [b"ab".to_vec(), b"cd".to_vec()];
    assert!(contains_in_order(b"xabyycdz", &parts));
    assert!(!contains_in_order(b"cdab", &parts));
    assert!(contains_in_order(b"", &[]));
}

/// A cluster with one checked host.
fn bench(server: &Server, check: HealthCheck, change: impl FnOnce(&mut Cluster)) -> Bench {
    let address = Address::Ip(server.address);
    let host = Arc::new(Host::new(address, template(), true));
    Bench::with(|registry| {
        let stats = HealthCheckStats::new(registry, "c");
        cluster(registry, vec![host], |cluster| {
            cluster.health_checks.push(check);
            cluster.health_stats = Some(stats);
            change(cluster);
        })
    })
}

impl Bench {
    fn checks(&self, name: impl Fn(&HealthCheckStats) -> Counter) -> u64 {
        self.plan.health_stats.as_ref().map_or(0, |s| self.stats.counter_value(name(s)))
    }

    fn healthy(&self) -> bool {
        self.plan.hosts.hosts[0].state.is_healthy()
    }

    fn healthy_gauge(&self) -> i64 {
        self.plan.health_stats.as_ref().map_or(-1, |s| self.stats.gauge_value(s.healthy()))
    }
}

/// Answers requests in turn with these; the last one again and again. Keeps what was asked.
fn answering(answers: &'static [&'static str], asked: &Rc<RefCell<Vec<String>>>) -> Server {
    let (asked, next) = (asked.clone(), Rc::new(std::cell::Cell::new(0)));
    Server::start(move |stream| {
        let (asked, next) = (asked.clone(), next.clone());
        async move {
            while let Ok(Some(data)) = stream.recv().await {
                asked.borrow_mut().push(String::from_utf8_lossy(&data).into_owned());
                let answer = answers[next.get().min(answers.len() - 1)];
                next.set(next.get() + 1);
                stream.write(Chunk::from_static(answer.as_bytes()));
            }
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn http_checks_over_one_connection() {
    run(async {
        let asked = Rc::default();
        let server = answering(&[OK], &asked);
        let bench = bench(&server, check(HealthCheckKind::Http(http())), |_| {});
        assert!(!bench.healthy());
        until("three passes", || bench.checks(HealthCheckStats::success) >= 3).await;
        assert!(bench.healthy());
        assert_eq!(server.accepted.get(), 1);
        let expected = "GET /health HTTP/1.1\r\nhost: c\r\nuser-agent: Envoy/HC\r\n\r\n";
        assert_eq!(asked.borrow()[0], expected);
        assert_eq!(bench.healthy_gauge(), 1);
        assert_eq!(bench.told.verdicts.borrow().len(), 1, "one change, one message");
        bench.upstreams.drain();
        assert_eq!(bench.healthy_gauge(), 0);
    });
}

#[test]
fn unexpected_answers_fail_the_host() {
    run(async {
        let asked = Rc::default();
        let bad = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\
                   x-envoy-immediate-health-check-fail: 1\r\n\r\n";
        let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let server = Rc::new(answering(Box::leak(Box::new([OK, bad, closing])), &asked));
        let bench = bench(&server, check(HealthCheckKind::Http(http())), |_| {});
        until("a failure", || bench.checks(HealthCheckStats::failure) == 1).await;
        assert!(!bench.healthy());
        let flags = bench.plan.hosts.hosts[0].state.flags();
        assert_eq!(flags, HostState::FAILED_ACTIVE_HC | HostState::EXCLUDED_IMMEDIATE);
        assert_eq!(bench.checks(HealthCheckStats::network_failure), 0);
        until("it is back", || bench.healthy()).await;
        assert_eq!(bench.plan.hosts.hosts[0].state.flags(), 0);
        assert!(server.accepted.get() >= 2, "connection: close is obeyed");
        let healthy: Vec<bool> = bench.told.verdicts.borrow().iter().map(|v| v.1).collect();
        assert_eq!(healthy[..3], [true, false, true]);
    });
}

#[test]
fn bodies_and_statuses_can_be_asked_for() {
    run(async {
        let asked = Rc::default();
        let answer = "HTTP/1.1 207 x\r\ntransfer-encoding: chunked\r\n\r\n\
                      3\r\nall\r\n6\r\n good!\r\n0\r\n\r\n";
        let server = answering(Box::leak(Box::new([answer])), &asked);
        let mut http = http();
        http.expected = vec![(200, 208)];
        http.receive = vec![b"all".to_vec(), b"good".to_vec()];
        let bench = bench(&server, check(HealthCheckKind::Http(http)), |_| {});
        until("a pass", || bench.checks(HealthCheckStats::success) > 0).await;
        assert_eq!(bench.checks(HealthCheckStats::failure), 0);
    });
}

#[test]
fn silence_is_a_timeout() {
    run(async {
        let server =
            Server::start(|stream| async move { while let Ok(Some(_)) = stream.recv().await {} });
        let mut check = check(HealthCheckKind::Http(http()));
        check.timeout = Duration::from_millis(20);
        let bench = bench(&server, check, |_| {});
        until("a failure", || bench.checks(HealthCheckStats::network_failure) == 2).await;
        let flags = bench.plan.hosts.hosts[0].state.flags();
        assert_eq!(flags, HostState::FAILED_ACTIVE_HC | HostState::ACTIVE_HC_TIMEOUT);
        assert_eq!(server.accepted.get(), 2, "a connection without an answer is not used again");
    });
}

#[test]
fn tcp_checks_connect_or_talk() {
    run(async {
        let server = Server::echo();
        let plain = bench(&server, check(tcp(Some(b"not sent"), &[])), |_| {});
        until("two passes", || plain.checks(HealthCheckStats::success) >= 2).await;
        assert!(plain.healthy());
        assert!(server.accepted.get() >= 2, "each makes a connection");
        let before = server.accepted.get();
        plain.upstreams.drain();
        let talking = bench(&server, check(tcp(Some(b"PING"), &[b"PI", b"G"])), |_| {});
        until("three passes", || talking.checks(HealthCheckStats::success) >= 3).await;
        assert!(server.accepted.get() <= before + 2);
    });
}

#[test]
fn a_tcp_connection_that_ends_is_a_failure() {
    run(async {
        let server = Server::start(|stream| async move {
            if let Ok(Some(data)) = stream.recv().await {
                stream.write(data);
                runtime::sleep(Duration::from_millis(3)).await;
            }
        });
        let bench = bench(&server, check(tcp(Some(b"PING"), &[b"PING"])), |_| {});
        until("a failure", || bench.checks(HealthCheckStats::network_failure) >= 1).await;
        assert!(bench.checks(HealthCheckStats::success) >= 1);
    });
}

#[test]
fn checks_go_where_they_are_told() {
    run(async {
        let server = Server::echo();
        let mut info = template();
        info.health_port = Some(server.address.port());
        let nowhere = Address::Ip(([127, 0, 0, 1], 1).into());
        let host = Arc::new(Host::new(nowhere, info, true));
        let bench = Bench::with(|registry| {
            cluster(registry, vec![host], |cluster| {
                cluster.health_checks.push(check(tcp(None, &[])));
            })
        });
        until("a pass", || bench.healthy()).await;
        assert_eq!(bench.told.verdicts.borrow().len(), 1);
    });
}

#[test]
fn other_shards_do_not_check() {
    run(async {
        let server = Server::echo();
        let bench = bench(&server, check(tcp(None, &[])), |cluster| {
            cluster.id = crate::plan::ClusterId(1);
        });
        // Of one shard, it owns every cluster; of two, cluster 1 belongs to shard 1.
        let told: Rc<crate::upstream::testing::Told> = Rc::default();
        let other = crate::upstream::Upstreams::new(0, 2, bench.stats.clone(), told.clone());
        bench.upstreams.drain();
        let accepted = server.accepted.get();
        other.set(bench.plan.id, Some(&bench.plan));
        runtime::sleep(Duration::from_millis(50)).await;
        assert!(server.accepted.get() <= accepted + 1);
        assert!(told.verdicts.borrow().is_empty());
    });
}
