//! The machine a report was made on.

use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine a report was made on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores online.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Load average over one minute at the start.
    pub load: f64,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes = after(&meminfo, "MemTotal").unwrap_or_default();
        let kilobytes: u64 = kilobytes.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            cpu: after(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory: kilobytes * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// Date and time, UTC.
pub(super) fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    String::from_utf8_lossy(&ringway_wire::date::imf_fixdate(since.as_secs())).into_owned()
}
