//! Hot restart: a new process takes the place of this one, and nobody notices.
//!
//! Every process listens on a unix socket whose name tells its base id and epoch
//! (`--base-id`, `--restart-epoch`); only processes of the same user are heard. The one with the
//! next epoch, its child, connects there. Both ends notice at once when the other one dies, at any
//! step, for then the socket closes.
//!
//! LIFECYCLE, child on the left: Hello → Welcome, and all listening sockets → (configuration is
//! bound to them) → TakeAdmin → AdminStopped → (clusters are warm) → Claim, TakeOver → Stopped: the
//! parent accepts no more, what comes waits in the sockets' queues → (shards accept) → Live → the
//! parent drains, idle connections follow as Connection, each answered by Taken or Refused →
//! Terminate after `--parent-shutdown-time-s`.
//!
//! A child that dies before Terminate leaves a parent that has kept everything (its listening
//! sockets, a duplicate of every connection that was not answered for) and goes on as if there had
//! been no restart. A parent that dies leaves a child that has all sockets since Welcome.
//!
//! | Module | Holds |
//! |---|---|
//! | `note` | what is said, as bytes |
//! | `link` | sending and receiving notes |
//! | [`begin`] | the child's first steps, before it runs |
//! | `inherited` | sockets of the parent, by address |
//! | `parent` | answering a child |
//! | `child` | following a parent |
//! | `run` | both of them as the control thread sees them |

pub mod begin;
mod child;
pub mod inherited;
mod link;
pub mod note;
mod parent;
pub(super) mod run;

use std::path::PathBuf;
use std::time::Duration;

use ringway_runtime::SockAddr;

pub use begin::{Begun, RestartError, begin};
pub use inherited::Inherited;

/// The version as `--hot-restart-version` prints it, with that of Envoy's protocol, which this is
/// not, left out: processes of different versions cannot restart each other.
pub fn version() -> String {
    format!("ringway.{}", note::VERSION)
}

/// What the command line says about hot restart.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--restart-epoch`
    pub epoch: u32,
    /// `--base-id`; `None` with `--use-dynamic-base-id`.
    pub base: Option<u32>,
    /// `--socket-path`; an abstract name begins with `@`.
    pub socket_path: String,
    /// `--socket-mode`, of a socket that has a path.
    pub socket_mode: u32,
    /// `--base-id-path`
    pub base_id_path: Option<PathBuf>,
    /// `--parent-shutdown-time-s`
    pub parent_shutdown_time: Duration,
    /// Not `--skip-hot-restart-on-no-parent`.
    pub needs_parent: bool,
    /// Not `--skip-hot-restart-parent-stats`.
    pub merges_stats: bool,
}

impl Settings {
    /// Where the process of this base id and epoch listens.
    fn address(&self, base: u32, epoch: u32) -> SockAddr {
        SockAddr::unix(format!("{}_{base}_{epoch}", self.socket_path))
    }
}
