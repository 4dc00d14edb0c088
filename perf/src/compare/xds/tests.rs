use super::super::peer::Kind;
use super::super::{Peer, Suite};
use super::figures::{Goal, Raw, Run, SCENARIOS};
use super::proxy::is_whole;
use super::{render, restart};

/// A run whose every figure is just what ringway must reach, times `share`.
fn raw(share: f64) -> Raw {
    let mut raw = Raw { suite: Suite::Xds, rounds: 1, ..Raw::default() };
    for peer in [Kind::Ringway, Kind::Envoy] {
        raw.peers.push(Peer { kind: peer, version: "1.2.3".to_owned() });
        for scenario in SCENARIOS {
            let figures = scenario.figures.iter().map(|figure| {
                let value = match figure.goal {
                    Goal::None => 5.0,
                    Goal::AtMost(0.0) => share - 1.0,
                    Goal::AtMost(limit) => limit * share,
                    Goal::AtLeast(limit) => limit / share,
                };
                (figure.key.to_owned(), value.max(0.0))
            });
            let scenario = scenario.key.to_owned();
            raw.runs.push(Run { scenario, peer, round: 0, figures: figures.collect() });
        }
    }
    raw
}

#[test]
fn targets_are_judged() {
    assert!(raw(0.9).checks().iter().all(|check| check.met));
    assert!(raw(1.1).checks().iter().all(|check| !check.met));
    let mut one_failed = raw(0.9);
    let restart = one_failed.runs.iter_mut().find(|run| run.scenario == "restart").unwrap();
    let mut again = restart.clone();
    again.figures.insert("hot".to_owned(), 1.0);
    for round in 1..3 {
        one_failed.runs.push(Run { round, ..raw(0.9).runs.last().unwrap().clone() });
    }
    one_failed.runs.push(again);
    let missed: Vec<_> = one_failed.checks().into_iter().filter(|check| !check.met).collect();
    assert_eq!(missed.len(), 1, "a failed request in one round is one too many: {missed:?}");
    let mut absent = raw(0.9);
    absent.runs.retain(|run| run.peer == Kind::Envoy);
    assert!(absent.checks().iter().all(|check| !check.met && check.figure == "no figure"));
}

#[test]
fn the_report_has_tables_and_plots() {
    let files = render::files(&raw(0.8));
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["start.svg", "memory.svg", "move.svg", "updates.svg", "README.md"]);
    let text = &files.last().unwrap().1;
    for scenario in SCENARIOS {
        assert!(text.contains(&format!("\n## {}: ", scenario.key)), "{text}");
    }
    let columns = |line: &str| line.matches('|').count();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[0].starts_with('|') && pair[1].starts_with('|'))
    {
        assert_eq!(columns(pair[0]), columns(pair[1]), "{pair:?}");
    }
    let again: Raw = serde_json::from_str(&serde_json::to_string(&raw(0.8)).unwrap()).unwrap();
    assert_eq!(render::files(&again).last().unwrap().1, *text);
}

#[test]
fn answers_are_read_to_their_end() {
    for whole in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLIVE\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nLIVE\n\r\n0\r\n\r\n",
    ] {
        assert!(is_whole(whole.as_bytes()));
        assert!((0..whole.len()).all(|end| !is_whole(&whole.as_bytes()[..end])));
    }
}

#[test]
fn configurations_have_no_gaps() {
    for routes in [0, 3] {
        let text = restart::fixed(8000, 9001, routes);
        assert!(!text.replace("@type", "").contains('@'), "{text}");
        assert_eq!(text.matches("cluster: b,").count(), routes.max(1));
    }
}
