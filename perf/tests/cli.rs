//! The binary as a user meets it: help, exit codes, files.

use std::process::{Command, Output};

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway-perf")).args(args).output().expect("it starts")
}

fn code(args: &[&str]) -> i32 {
    perf(args).status.code().expect("it ends by itself")
}

#[test]
fn every_command_has_help_with_examples_and_exit_codes() {
    for command in ["upstream", "load", "compare", "bench"] {
        let output = perf(&[command, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success());
        for part in ["Examples:", "Exit codes:", "ringway-perf"] {
            assert!(text.contains(part), "{command}: no {part}");
        }
    }
}

#[test]
fn wrong_arguments_and_impossible_runs() {
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["load", "http://127.0.0.1:1/", "--rate", "0"]), 2);
    assert_eq!(code(&["load", "http://127.0.0.1:1/", "-d", "soon"]), 2);
    assert_eq!(code(&["load", "http://127.0.0.1:1/", "-d", "100ms", "-q"]), 1);
    assert_eq!(code(&["load", "https://127.0.0.1:1/"]), 1);
    assert_eq!(code(&["compare", "--only", "s65"]), 1);
    assert_eq!(code(&["compare", "--peers", "apache"]), 1);
}

#[test]
fn load_reports_as_text_json_and_plot() {
    let addr = ringway_perf::upstream::Background::start(None).expect("an upstream").addr;
    let plot = std::env::temp_dir().join(format!("ringway-perf-test-{}.html", std::process::id()));
    let url = format!("http://{addr}/100b");
    let short = ["-d", "100ms", "--warmup", "0s", "-c", "2"];
    let file = plot.to_string_lossy().into_owned();
    let output = perf(&[&["load", &url, "--json", "--plot", &file], &short[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: ringway_perf::load::Report =
        serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report.answered > 0 && report.failures.is_empty());
    let page = std::fs::read_to_string(&plot).expect("a plot");
    assert!(page.contains("<svg") && page.contains("closed loop"));
    std::fs::remove_file(&plot).expect("it can be removed");

    let url = format!("http://{addr}/nowhere");
    let output = perf(&[&["load", &url], &short[..]].concat());
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Statuses   404"));
}
