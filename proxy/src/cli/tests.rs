//! Envoy's flags, each with a value of its type.

use super::*;

fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
    Options::from_arguments(arguments.iter().copied())
}

#[test]
fn every_flag_of_envoy_is_taken() {
    let flags = [
        "--stats-tag a:b",
        "--stats-tag a:b --stats-tag c:d",
        "--enable-core-dump",
        "--socket-mode 700",
        "--socket-path @x",
        "--disable-extensions a,b",
        "--cpuset-threads",
        "--enable-mutex-tracing",
        "--disable-hot-restart",
        "--mode serve",
        "--mode validate",
        "--mode init_only",
        "--parent-shutdown-time-s 1",
        "--drain-strategy immediate",
        "--drain-time-s 1",
        "--file-flush-min-size-kb 1",
        "--file-flush-interval-msec 1",
        "--service-zone z",
        "--service-node n",
        "--service-cluster c",
        "--hot-restart-version",
        "--restart-epoch 1",
        "--log-path x",
        "--enable-fine-grain-logging",
        "--log-format-escaped",
        "--log-format x",
        "--component-log-level upstream:debug,config:trace",
        "-l warn",
        "--log-level critical",
        "--local-address-ip-version v6",
        "--admin-address-path x",
        "--log-stacktrace-single-entry",
        "--skip-deprecated-logs",
        "--ignore-unknown-dynamic-fields",
        "--reject-unknown-dynamic-fields",
        "--allow-unknown-static-fields",
        "--allow-unknown-fields",
        "--config-yaml {}",
        "-c x",
        "--config-path x",
        "--concurrency 1",
        "--base-id-path x",
        "--skip-hot-restart-parent-stats",
        "--skip-hot-restart-on-no-parent",
        "--use-dynamic-base-id",
        "--base-id 1",
        "--version",
        "-- whatever follows",
    ];
    for flag in flags {
        let arguments: Vec<&str> = flag.split(' ').collect();
        parse(&arguments).unwrap_or_else(|error| panic!("{flag}: {error}"));
    }
}

#[test]
fn wrong_values_are_refused() {
    for flag in [
        "--concurrency -1",
        "--concurrency 4294967296",
        "--mode nonsense",
        "--drain-strategy slow",
        "--local-address-ip-version v5",
        "-l loud",
        "--config-path",
        "--io-backend kqueue",
        "--unknown-flag",
        "stray",
    ] {
        let arguments: Vec<&str> = flag.split(' ').collect();
        assert!(parse(&arguments).is_err(), "{flag}");
    }
}

#[test]
fn options_as_server_info_shows_them() {
    let options = parse(&["-c", "a.yaml", "--drain-time-s", "5", "--disable-extensions", "a,b"]);
    let message = options.expect("good flags").message(3);
    assert_eq!((message.concurrency, message.config_path.as_str()), (3, "a.yaml"));
    assert_eq!(message.drain_time.map(|time| time.seconds), Some(5));
    assert_eq!(message.disabled_extensions, ["a", "b"]);
    assert_eq!(message.file_flush_interval.map(|time| time.seconds), Some(10));
    assert_eq!(message.log_level, "info");
}
