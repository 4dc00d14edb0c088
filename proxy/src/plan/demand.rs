//! What is fetched only when a request asks for it.

use std::sync::Arc;
use std::time::Duration;

use super::names::RouteSlot;
use super::source::ConfigSource;

/// `OnDemandCds`: where a cluster comes from that a request names and nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemandClusters {
    /// `source`: a stream of the incremental protocol.
    pub source: ConfigSource,
    /// `timeout`: how long a request waits for the cluster.
    pub timeout: Duration,
}

impl OnDemandClusters {
    /// `timeout` of an HTTP filter where nothing is said.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    /// The same of a TCP proxy.
    pub const TCP_TIMEOUT: Duration = Duration::from_secs(60);
}

/// Something a request waits for. Clients choose the names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Demand {
    /// The cluster of this name, by ODCDS.
    Cluster(Arc<str>),
    /// The virtual host of this domain in a route table, by VHDS.
    Host(RouteSlot, Arc<str>),
    /// The route table of a scope with `on_demand`, by RDS.
    Routes(RouteSlot),
}

/// What has come of a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// It is there, as far as anybody can say.
    Here,
    /// There is none, or it is not asked for.
    Missing,
    /// Nobody has said so in time.
    TimedOut,
}

impl Demand {
    /// Bytes of a name at the most: Envoy knows no limit, but clients choose what a management
    /// server is asked for.
    pub const NAME_MAX: usize = 1024;

    /// Whether a client may have the management server asked for this name. `*` would ask for all
    /// there are, and an `xdstp` name may be a pattern.
    pub fn may_be_asked(name: &str) -> bool {
        let plain = name != "*" && !name.starts_with("xdstp:");
        plain && !name.is_empty() && name.len() <= Self::NAME_MAX
    }
}
