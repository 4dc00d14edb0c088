use super::config::{self, Task};
use super::data::{IdleRun, Peer, Raw, TrafficRun};
use super::peer::{Kind, version_in};
use super::scenario::Selection;
use super::{render, targets, wrk};
use crate::load::{Latency, Report, WatchedCpu};
use std::path::Path;

fn report(cpu: f64, p99: f64) -> Report {
    Report {
        requests_per_second: 1e6 / cpu,
        seconds: 2.0,
        answered: 1000,
        latency: Latency { p50: p99 / 4.0, p99, p99_9: p99 * 2.0, ..Latency::default() },
        watched: Some(WatchedCpu {
            micros_per_request: cpu,
            resident_bytes: 8 << 20,
            ..WatchedCpu::default()
        }),
        curve: vec![(0.0, 50.0), (0.9, p99 / 2.0), (0.99, p99)],
        ..Report::default()
    }
}

fn raw() -> Raw {
    let kinds = [(Kind::Ringway, 12.0, 400.0), (Kind::Envoy, 32.0, 1800.0)];
    let mut raw = Raw { rounds: 2, ..Raw::default() };
    for (peer, cpu, p99) in kinds {
        raw.peers.push(Peer { kind: peer, version: "1.2.3".to_owned() });
        for round in 0..2 {
            for scenario in ["s64", "rate"] {
                raw.traffic.push(TrafficRun {
                    scenario: scenario.to_owned(),
                    peer,
                    round,
                    wrk: false,
                    report: report(cpu + round as f64, p99),
                    foreign: 0.01,
                    load_core: 0.9,
                });
            }
        }
        let (process, connected) = (8 << 20, 18 << 20);
        raw.idle.push(IdleRun { peer, round: 0, connections: 10_240, process, connected });
    }
    raw
}

#[test]
fn medians() {
    assert_eq!(render::median(&[]), None);
    assert_eq!(render::median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(render::median(&[4.0, 1.0, f64::NAN]), Some(2.5));
}

#[test]
fn targets_are_judged() {
    let checks = targets::checks(&raw());
    let found = |scenario, what: &str| {
        let mut all = checks.iter().filter(|check| check.scenario == scenario);
        all.find(|check| check.what == what).unwrap()
    };
    assert!(found("s64", "CPU per request ÷ Envoy").met);
    assert!(found("rate", "p99 ÷ Envoy").met);
    assert_eq!(found("idle", "memory of an idle connection").figure, "1.0 KB");
    let mut slow = raw();
    slow.traffic.iter_mut().filter(|run| run.peer == Kind::Ringway).for_each(|run| {
        run.report = report(30.0, 1700.0);
    });
    assert!(targets::checks(&slow).iter().filter(|check| check.scenario == "rate").all(|c| !c.met));
}

#[test]
fn the_report_has_tables_and_plots() {
    let files = render::files(&raw());
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["cpu.svg", "rate.svg", "README.md"]);
    let text = &files[2].1;
    for part in ["| ringway | 12.5 (12.0–13.0) | 0.38 |", "![", "## idle", "of 5 met"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let columns = |line: &str| line.matches('|').count();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[0].starts_with('|') && pair[1].starts_with('|'))
    {
        assert_eq!(columns(pair[0]), columns(pair[1]), "{pair:?}");
    }
    let again: Raw = serde_json::from_str(&serde_json::to_string(&raw()).unwrap()).unwrap();
    assert_eq!(render::files(&again)[2].1, *text);
}

#[test]
fn configurations_have_all_routes() {
    let upstream = "127.0.0.1:9001".parse().unwrap();
    let task = Task { port: 8000, upstream, connections: 100, routes: 1000 };
    for kind in Kind::ALL {
        let files = config::files(kind, &task, Path::new("/d"));
        let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
        for part in ["/r00000/", "/r00999/", "8000", "9001"] {
            assert!(all.contains(part), "{kind:?} has no {part}");
        }
        assert!(!all.contains('@') || all.contains("@type"), "{kind:?}: a gap was not filled");
    }
}

#[test]
fn selections() {
    assert!(Selection::new(&["s65".to_owned()]).is_err());
    assert!(Selection::new(&[]).unwrap().has("wrk"));
    let some = Selection::new(&["s64".to_owned(), "idle".to_owned()]).unwrap();
    assert_eq!(some.traffic().count(), 1);
    assert!(some.has("idle") && !some.has("routes"));
}

#[test]
fn versions() {
    assert_eq!(version_in("nginx version: nginx/1.22.1\n"), "1.22.1");
    assert_eq!(version_in("HAProxy version 2.6.12-1+deb12u2 2025/04/16"), "2.6.12-1");
    assert_eq!(version_in("envoy  version: 0a1b/1.40.0/Clean/RELEASE/BoringSSL"), "1.40.0");
    let ours = "ringway  version: 00ff/1.40.0/ringway-0.1.0/RELEASE/none";
    assert_eq!(version_in(ours), "0.1.0");
    assert_eq!(version_in(&ours.replace("RELEASE", "DEBUG")), "0.1.0 (DEBUG BUILD)");
    assert_eq!(version_in("nothing"), "unknown");
}

#[test]
fn what_wrk_says() {
    let text = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.04ms    1.03ms  \
        23.05ms   97.71%\n    Req/Sec    65.61k     7.66k   72.74k    80.95%\n  Latency \
        Distribution\n     50%    0.91ms\n     75%    1.02ms\n     90%    1.31ms\n     99%    \
        4.71ms\n  137034 requests in 2.10s, 27.05MB read\n  Socket errors: connect 0, read 3, \
        write 0, timeout 0\nRequests/sec:  65273.37\nTransfer/sec:     12.88MB\n";
    let report = wrk::parse(text).unwrap();
    assert_eq!(report.answered, 137_034);
    assert_eq!(report.latency.p99, 4710.0);
    assert_eq!(report.requests_per_second, 65_273.37);
    assert_eq!(report.failures["read"], 3);
    assert!(wrk::parse("nonsense").is_err());
}
