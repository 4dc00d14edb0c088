use super::config::{self, Task};
use super::data::{IdleRun, Peer, Raw, TrafficRun};
use super::peer::{Kind, version_in};
use super::scenario::{Front, Selection, Suite};
use super::second::{h2load, wrk};
use super::{StormRun, certificates, render, targets};
use crate::load::storm::Handshakes;
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
                    second: false,
                    report: report(cpu + round as f64, p99),
                    foreign: 0.01,
                    load_core: 0.9,
                });
            }
        }
        let (process, connected) = (8 << 20, 18 << 20);
        let scenario = "idle".to_owned();
        raw.idle.push(IdleRun {
            scenario,
            peer,
            round: 0,
            connections: 10_240,
            process,
            connected,
        });
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

fn task(front: Front) -> Task {
    Task {
        front,
        port: 8000,
        upstream: "127.0.0.1:9001".parse().unwrap(),
        echo: "127.0.0.1:9002".parse().unwrap(),
        connections: 100,
        routes: 0,
        splice: true,
        certificates: "/c".into(),
    }
}

#[test]
fn configurations_have_all_routes() {
    let task = Task { routes: 1000, ..task(Front::Http1) };
    for kind in Kind::ALL {
        let files = config::files(kind, &task, Path::new("/d"));
        let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
        for part in ["/r00000/", "/r00999/", "8000", "9001"] {
            assert!(all.contains(part), "{kind:?} has no {part}");
        }
    }
}

#[test]
fn configurations_of_every_front_have_no_gaps() {
    let scenarios = || Suite::Protocols.traffic().iter().chain(Suite::Protocols.idle());
    for scenario in scenarios() {
        let front = scenario.front;
        let backend = if front == Front::Tcp { "9002" } else { "9001" };
        for kind in Kind::ALL {
            let files = config::files(kind, &task(front), Path::new("/d"));
            let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
            assert!(all.contains("8000") && all.contains(backend), "{kind:?} {front:?}: {all}");
            assert_eq!(all.contains("/c/"), matches!(front, Front::Tls(_)), "{kind:?}: {all}");
            assert!(!all.replace("@type", "").contains('@'), "{kind:?} {front:?}: {all}");
        }
    }
    // One process serves all scenarios of a front.
    let mut fronts = Selection::new(Suite::Protocols, &[]).unwrap().fronts();
    let count = fronts.len();
    fronts.dedup_by_key(|front| format!("{front:?}"));
    fronts.sort_by_key(|front| format!("{front:?}"));
    fronts.dedup();
    assert_eq!(fronts.len(), count, "scenarios of a front stand together");
}

#[test]
fn every_scenario_has_a_request() {
    for suite in [Suite::Http1, Suite::Protocols] {
        let names: std::collections::HashSet<_> = suite.names().collect();
        assert_eq!(names.len(), suite.names().count(), "names are unique");
        for scenario in suite.traffic().iter().chain(suite.idle()) {
            let target = scenario.target(8000).unwrap();
            assert_eq!(target.addr.port(), 8000);
            assert_eq!(target.tls.is_some(), matches!(scenario.front, Front::Tls(_)));
        }
    }
}

#[test]
fn selections() {
    let select = |suite, names: &[&str]| {
        Selection::new(suite, &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    };
    assert!(select(Suite::Http1, &["s65"]).is_err());
    assert!(select(Suite::Http1, &["tls"]).is_err());
    assert!(select(Suite::Http1, &[]).unwrap().has("wrk"));
    let some = select(Suite::Http1, &["s64", "idle"]).unwrap();
    assert_eq!(some.traffic().count(), 1);
    assert!(some.has("idle") && !some.has("routes"));
    let some = select(Suite::Protocols, &["tcp", "idle", "storm"]).unwrap();
    assert_eq!(
        some.traffic().map(|scenario| scenario.connections).collect::<Vec<_>>(),
        [1, 16, 64]
    );
    assert!(some.repeated().is_empty());
    assert_eq!(select(Suite::Protocols, &["tls-full"]).unwrap().traffic().count(), 1);
    assert_eq!(select(Suite::Protocols, &["tls"]).unwrap().traffic().count(), 5);
    let again = select(Suite::Protocols, &["h2load"]).unwrap();
    assert_eq!((again.traffic().count(), again.repeated().len()), (0, 4));
    assert_eq!(again.fronts(), [Front::Http2, Front::Http2Both]);
    let again = select(Suite::Protocols, &["h2load", "h2-4x64"]).unwrap();
    assert_eq!(again.repeated().len(), 1);
    assert!(some.has("idle-tls") && some.has("storm") && !some.has("tls-64"));
}

#[test]
fn protocols_are_judged_and_shown() {
    let mut raw = raw();
    raw.suite = Suite::Protocols;
    raw.traffic.iter_mut().filter(|run| run.scenario == "s64").for_each(|run| {
        run.scenario = "plain-1m".to_owned();
    });
    raw.idle.iter_mut().for_each(|run| run.scenario = "idle-tcp".to_owned());
    let run = |peer, p99| StormRun {
        peer,
        round: 0,
        capacity: 3000.0,
        calm: report(100.0, 500.0),
        stormy: report(100.0, p99),
        rate: 3500.0,
        handshakes: Handshakes { seconds: 1.0, completed: 3000, ..Handshakes::default() },
    };
    raw.storms = vec![run(Kind::Ringway, 900.0), run(Kind::Envoy, 5000.0)];
    let mut lost = run(Kind::Envoy, 400.0);
    lost.stormy.statuses.insert(200, 90);
    lost.stormy.failures.insert("timeout".to_owned(), 10);
    assert!(lost.p99_ratio() > 1000.0, "what failed counts");
    let checks = targets::checks(&raw);
    let verdict = |scenario| {
        let mut all = checks.iter().filter(|check| check.scenario == scenario);
        all.next().map(|check| check.met)
    };
    assert_eq!(verdict("plain-1m"), Some(true));
    assert_eq!(verdict("idle-tcp"), Some(true));
    assert_eq!(verdict("storm"), Some(true));
    assert_eq!(verdict("tls-64"), None);
    // Envoy has figures and we have none: that is not met.
    let mut without = raw.clone();
    without.traffic.retain(|run| run.peer == Kind::Envoy);
    let checks = targets::checks(&without);
    let missed = checks.iter().find(|check| check.scenario == "plain-1m").unwrap();
    assert!(missed.failed() && missed.figure == "no figure");
    let files = render::files(&raw);
    let text = &files.last().unwrap().1;
    for part in ["| CPU s/GB |", "(bytes.svg)", "## idle-tcp", "| 1.80 |", "| 10.00 |"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn certificates_are_written() {
    let dir = std::env::temp_dir().join(format!("ringway-perf-certs-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    certificates::write(&dir).unwrap();
    for name in ["p256", "rsa2048"] {
        let pem = std::fs::read_to_string(dir.join(format!("{name}.pem"))).unwrap();
        assert!(pem.contains("BEGIN CERTIFICATE") && pem.contains("PRIVATE KEY"), "{name}");
        assert!(dir.join(format!("{name}.crt")).is_file());
        assert!(dir.join(format!("{name}.key")).is_file());
    }
    std::fs::remove_dir_all(&dir).unwrap();
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
fn what_h2load_says() {
    let text = "finished in 1.01s, 357568.00 req/s, 41.60MB/s\nrequests: 357568 total, 357824 \
        started, 357560 done, 357561 succeeded, 7 failed, 0 errored, 0 timeout\nstatus codes: \
        357568 2xx, 0 3xx, 0 4xx, 0 5xx\n                     min         max         mean\ntime \
        for request:      115us     14.87ms       422us       914us    94.24%\n";
    let report = h2load::parse(text).unwrap();
    assert_eq!(report.answered, 357_561);
    assert_eq!(report.requests_per_second, 357_568.0);
    assert_eq!((report.latency.mean, report.latency.max), (422.0, 14_870.0));
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures["failed"], 7);
    assert!(h2load::parse("nonsense").is_err());
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
