//! Renewed certificates: looks after the files that TLS contexts name, and has those made anew
//! whose files have changed.
//!
//! Looking is what works everywhere: through links (Kubernetes swaps one of a path's parents), on
//! file systems of the network, and without a limit of watches.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::sleep;

use super::log::log;
use crate::observe::stats::ShardStats;
use crate::plan::tls::Reload;

/// Between two looks. A renewed certificate is to be served within a second.
const INTERVAL: Duration = Duration::from_millis(400);

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let look = |meta: std::fs::Metadata| {
            (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
        };
        Self(std::fs::metadata(path).ok().map(look))
    }
}

struct Watched {
    context: Arc<dyn Reload>,
    stamps: Vec<Stamp>,
}

impl Watched {
    fn look(&self) -> Vec<Stamp> {
        self.context.files().iter().map(|path| Stamp::of(path)).collect()
    }
}

/// Watches the files of TLS contexts for as long as the task lives.
pub(super) async fn watch(contexts: Vec<Arc<dyn Reload>>, stats: Rc<ShardStats>) {
    let mut watched = Vec::new();
    for context in contexts {
        context.count(&stats, false);
        if !context.files().is_empty() {
            let stamps = Vec::new();
            let mut one = Watched { context, stamps };
            one.stamps = one.look();
            watched.push(one);
        }
    }
    while !watched.is_empty() {
        sleep(INTERVAL).await;
        for one in &mut watched {
            let stamps = one.look();
            if stamps != one.stamps {
                one.stamps = stamps;
                reload(&*one.context, &stats);
            }
        }
    }
}

/// Of certificate and key one changes before the other: what does not fit together is left for
/// the next look.
fn reload(context: &dyn Reload, stats: &ShardStats) {
    let files: Vec<String> =
        context.files().iter().map(|file| file.display().to_string()).collect();
    let files = files.join(", ");
    match context.reload() {
        Ok(()) => {
            context.count(stats, true);
            log!(Info, Config, "TLS: {files} read again");
        }
        Err(error) => {
            log!(Warning, Config, "TLS: {files} changed but are not taken: {error}");
        }
    }
}
