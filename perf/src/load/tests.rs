use super::pacer::{Queue, Times};
use super::{Failure, Load, Target};
use crate::upstream::Background;
use ringway_runtime::Instant;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn load(url: &str) -> Load {
    Load {
        connections: 4,
        duration: Duration::from_millis(200),
        warmup: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        watch: Some(std::process::id()),
        ..Load::trial(Target::get(url, true).unwrap())
    }
}

#[test]
fn times_are_evenly_spaced() {
    let start = Instant::from_nanos(1_000);
    let times = Times::new(start, 1_000.0, Duration::from_millis(10));
    assert_eq!(times.count, 10);
    assert_eq!(times.at(3), Instant::from_nanos(3_001_000));
    assert_eq!(times.due(Instant::from_nanos(999)), 0);
    assert_eq!(times.due(start), 1);
    assert_eq!(times.due(start + Duration::from_millis(3)), 4);
    assert_eq!(times.due(start + Duration::from_secs(1)), 10);
}

#[test]
fn queue_hands_out_each_time_once() {
    let queue = Queue::new(Times { start: Instant::from_nanos(1), interval: 1.0, count: 3 });
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(queue.overdue(), 3);
    for at in 1..=3 {
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some(Instant::from_nanos(at))));
    }
    assert_eq!(queue.poll_next(&mut cx), Poll::Ready(None));
    let later = Times { start: Instant::FAR_FUTURE, interval: 1.0, count: 3 };
    assert_eq!(Queue::new(later).poll_next(&mut cx), Poll::Pending);
}

#[test]
fn closed_loop() {
    let addr = Background::start(None).unwrap().addr;
    let load = Load { threads: 2, ..load(&format!("http://{addr}/100b")) };
    let report = load.run(false).unwrap();
    assert!(report.answered > 100, "{report:?}");
    assert_eq!(report.failures.len(), 0, "{report:?}");
    assert_eq!(report.statuses.keys().collect::<Vec<_>>(), [&200]);
    assert!(report.latency.p50 > 0.0 && report.latency.p50 <= report.latency.p99);
    assert!(report.watched.unwrap().micros_per_request > 0.0);
}

#[test]
fn open_loop_keeps_its_rate() {
    let addr = Background::start(None).unwrap().addr;
    let load = Load { rate: Some(500.0), ..load(&format!("http://{addr}/100b")) };
    let report = load.run(false).unwrap();
    assert_eq!(report.statuses[&200], 100, "{report:?}");
    assert!(report.sent_late.unwrap().p50 <= report.latency.p50);
}

#[test]
fn a_slow_server_is_charged_for_all_it_kept_waiting() {
    let addr = Background::start(None).unwrap().addr;
    // One connection can do 20 requests per second: of 100 per second most wait for long.
    let load = Load {
        connections: 1,
        rate: Some(100.0),
        timeout: Duration::from_millis(300),
        warmup: Duration::ZERO,
        ..load(&format!("http://{addr}/100b?delay=50"))
    };
    let report = load.run(false).unwrap();
    let sent: u64 = report.statuses.values().sum();
    assert_eq!(sent + report.failed(), 20, "{report:?}");
    assert!(report.failures[Failure::NotSent.name()] > 0, "{report:?}");
    assert!(report.latency.p99 > 150_000.0, "{report:?}");
    // Waiting for a busy connection is not the generator's fault.
    assert!(report.sent_late.unwrap().max < 100_000.0, "{report:?}");
}

#[test]
fn new_connection_for_each_request() {
    let addr = Background::start(None).unwrap().addr;
    let url = format!("http://{addr}/bytes/5");
    let target = Target::get(&url, false).unwrap();
    let report = Load { target, keep_alive: false, ..load(&url) }.run(false).unwrap();
    assert!(report.answered > 10 && report.failures.is_empty(), "{report:?}");
}

#[test]
fn failures_are_counted_by_kind() {
    let addr = Background::start(None).unwrap().addr;
    let report = load(&format!("http://{addr}/nowhere")).run(false).unwrap();
    assert_eq!(report.failures["status"], report.statuses[&404]);
    let slow = Load {
        timeout: Duration::from_millis(30),
        ..load(&format!("http://{addr}/100b?delay=5000"))
    };
    assert!(slow.run(false).unwrap().failures["timeout"] > 0);
    let nobody = load("http://127.0.0.1:1/").run(false).unwrap_err();
    assert!(nobody.to_string().contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn urls() {
    for wrong in ["", "https://a/", "127.0.0.1/", "http:///", "http://127.0.0.1?x", "http://a b/"] {
        assert!(Target::get(wrong, true).is_err(), "{wrong}");
    }
    let target = Target::get("http://127.0.0.1/a?b", true).unwrap();
    assert_eq!(target.addr.port(), 80);
    assert_eq!(target.request, b"GET /a?b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    assert_eq!(Target::get("http://[::1]:81", true).unwrap().addr.port(), 81);
}
