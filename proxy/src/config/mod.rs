//! From a configuration file to a plan.

pub mod compile;
pub(crate) mod files;
mod load;
pub mod runtime;
pub mod sds;
mod validate;

use std::sync::Arc;

use crate::observe::accesslog::AccessLog;
use crate::plan::ceiling::Ceiling;
use crate::plan::route::StringMatch;
use crate::plan::{Address, SocketOption};

pub use load::{Diagnostics, Loaded, load, load_text};
pub use validate::validate;

/// `bootstrap.admin`.
#[derive(Debug, Default)]
pub struct Admin {
    /// Where it listens; `None` where only its pages for others are wanted.
    pub address: Option<Address>,
    /// Options of its listening socket.
    pub socket_options: Vec<SocketOption>,
    /// `access_log`, and the deprecated `access_log_path`.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// How many connections may be open, over all listeners.
    pub ceiling: Arc<Ceiling>,
    /// `ignore_global_conn_limit`
    pub ignores_ceiling: bool,
    /// `allow_paths`: if there are any, other paths are answered with 403.
    pub allow_paths: Vec<StringMatch>,
}

/// `bootstrap.node`, as far as anybody but xDS asks for it; flags override it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `id`, `--service-node`.
    pub id: String,
    /// `cluster`, `--service-cluster`.
    pub cluster: String,
    /// `locality.region`.
    pub region: String,
    /// `locality.zone`, `--service-zone`.
    pub zone: String,
    /// `locality.sub_zone`.
    pub sub_zone: String,
}
