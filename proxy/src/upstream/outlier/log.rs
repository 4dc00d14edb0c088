//! `cluster_manager.outlier_detection.event_log_path`: a line of JSON for every ejection and every
//! return, an `OutlierDetectionEvent` (envoy/data/cluster/v3/outlier_detection_event.proto).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ringway_runtime::file::{AppendOptions, Appender};

use crate::control::clock;
use crate::control::log::log;
use crate::control::message::EjectReason;
use crate::observe::format::write::json_string;
use crate::plan::Host;

/// The file.
pub struct EventLog {
    path: PathBuf,
    file: Appender,
}

/// What happened to a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// The rule it broke, and the rates by which; `None` if it came back.
    pub(super) broke: Option<(EjectReason, Rates)>,
    /// It was ejected; false if the rule is only watched.
    pub(super) enforced: bool,
    /// How often it has been ejected by now.
    pub(super) ejections: u32,
    /// Time since it came back before it was ejected, or was ejected before it came back.
    pub(super) since: Option<Duration>,
}

/// Success rates that led to an ejection, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) host: f64,
    pub(super) average: f64,
    pub(super) threshold: f64,
}

impl EventLog {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf, options: AppendOptions) -> io::Result<Self> {
        let file = Appender::open_with(&path, options)?;
        Ok(Self { path, file })
    }

    /// Opens the file again.
    pub(in crate::upstream) fn reopen(&self) {
        if let Err(error) = self.file.reopen() {
            log!(Error, File, "outlier event log {}: {error}", self.path.display());
        }
    }

    /// Writes a line.
    pub(super) fn write(&self, cluster: &str, host: &Host, event: &Event) {
        self.file.write(&line(clock::unix_now(), cluster, &host.address.to_string(), event));
    }
}

fn line(now: Duration, cluster: &str, host: &str, event: &Event) -> Vec<u8> {
    let Event { broke, enforced, ejections, since } = event;
    // A return is told as if of the first kind, which is what a field that is not set says.
    let kind = broke.map_or("CONSECUTIVE_5XX", |(reason, _)| name(reason));
    let action = if broke.is_some() { "EJECT" } else { "UNEJECT" };
    let time = clock::rfc3339(now);
    let time = time.replace(".000Z", "Z");
    let mut out = format!("{{\"type\":\"{kind}\",\"timestamp\":\"{time}\",").into_bytes();
    if let Some(since) = since {
        let since = format!("\"secs_since_last_action\":\"{}\",", since.as_secs());
        out.extend_from_slice(since.as_bytes());
    }
    out.extend_from_slice(b"\"cluster_name\":");
    json_string(cluster.as_bytes(), &mut out);
    out.extend_from_slice(b",\"upstream_url\":");
    json_string(host.as_bytes(), &mut out);
    let rest = format!(
        ",\"action\":\"{action}\",\"num_ejections\":{ejections},\"enforced\":{enforced}{}}}\n",
        broke.map(detail).unwrap_or_default()
    );
    out.extend_from_slice(rest.as_bytes());
    out
}

fn name(reason: EjectReason) -> &'static str {
    match reason {
        EjectReason::Consecutive5xx => "CONSECUTIVE_5XX",
        EjectReason::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
        EjectReason::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        EjectReason::SuccessRate => "SUCCESS_RATE",
        EjectReason::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
        EjectReason::FailurePercentage => "FAILURE_PERCENTAGE",
        EjectReason::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
    }
}

/// The oneof `event`; percentages lose their fractions.
fn detail((reason, rates): (EjectReason, Rates)) -> String {
    let Rates { host, average, threshold } = rates;
    let (host, average, threshold) = (host as u32, average as u32, threshold as u32);
    match reason {
        EjectReason::Consecutive5xx
        | EjectReason::ConsecutiveGatewayFailure
        | EjectReason::ConsecutiveLocalOriginFailure => {
            ",\"eject_consecutive_event\":{}".to_owned()
        }
        EjectReason::SuccessRate | EjectReason::SuccessRateLocalOrigin => format!(
            ",\"eject_success_rate_event\":{{\"host_success_rate\":{host},\
             \"cluster_average_success_rate\":{average},\
             \"cluster_success_rate_ejection_threshold\":{threshold}}}"
        ),
        EjectReason::FailurePercentage | EjectReason::FailurePercentageLocalOrigin => {
            format!(",\"eject_failure_percentage_event\":{{\"host_success_rate\":{host}}}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_envoys() {
        let now = Duration::from_millis(1_795_539_000_206);
        let event = |broke, enforced, ejections, since| Event { broke, enforced, ejections, since };
        let text = |event: Event| {
            String::from_utf8(line(now, "c\"", "127.0.0.1:80", &event)).expect("text")
        };
        let first = event(Some((EjectReason::Consecutive5xx, Rates::default())), true, 1, None);
        assert_eq!(
            text(first),
            "{\"type\":\"CONSECUTIVE_5XX\",\"timestamp\":\"2026-11-24T16:50:00.206Z\",\
             \"cluster_name\":\"c\\\"\",\"upstream_url\":\"127.0.0.1:80\",\"action\":\"EJECT\",\
             \"num_ejections\":1,\"enforced\":true,\"eject_consecutive_event\":{}}\n"
        );
        let back = event(None, false, 1, Some(Duration::from_millis(1900)));
        assert!(text(back).contains("Z\",\"secs_since_last_action\":\"1\",\"cluster_name\""));
        assert!(text(back).ends_with("\"UNEJECT\",\"num_ejections\":1,\"enforced\":false}\n"));
        let rates = Rates { host: 12.9, average: 80.0, threshold: 55.5 };
        let rate = event(Some((EjectReason::SuccessRate, rates)), false, 0, None);
        assert!(text(rate).ends_with(
            "\"eject_success_rate_event\":{\"host_success_rate\":12,\
             \"cluster_average_success_rate\":80,\
             \"cluster_success_rate_ejection_threshold\":55}}\n"
        ));
    }
}
