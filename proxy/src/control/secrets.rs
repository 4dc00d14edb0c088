//! Renewed certificates: looks after the files of secrets, and has those read again that have
//! changed.
//!
//! Looking is what works everywhere: through links (Kubernetes swaps one of a path's parents), on
//! file systems of the network, and without a limit of watches.

use std::time::Duration;

use ringway_runtime::sleep;

use super::log::log;
use crate::config::compile::Compiler;
use crate::observe::stats::ShardStats;

/// Between two looks. A renewed certificate is to be served within a second.
const INTERVAL: Duration = Duration::from_millis(400);

/// Says when it is time to look, for as long as the task lives.
pub(super) async fn tick(due: impl Fn()) {
    loop {
        sleep(INTERVAL).await;
        due();
    }
}

/// Takes what has changed. Of certificate and key one changes before the other: what does not fit
/// together is left for the next change.
pub(super) fn look(compiler: &mut Compiler, stats: &ShardStats) {
    let (read, findings) = compiler.look_at_secrets(stats);
    // A secret that comes late brings gauges of its certificates.
    compiler.registry().publish();
    for what in read {
        log!(Info, Config, "TLS: {what} read again");
    }
    for finding in findings {
        log!(Warning, Config, "TLS: a file has changed but is not taken: {}", finding.message);
    }
}
