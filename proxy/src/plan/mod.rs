//! What the configuration compiles to: immutable, `Send + Sync`, indexed for the data path.
//!
//! The control thread and the admin thread keep a whole [`Plan`]; what becomes of it goes to the
//! shards as a [`Change`], so that its cost is that of what changed. The data path never sees
//! protobuf: everything a request needs is here.

pub mod ceiling;
pub mod certificate;
pub mod chain_match;
pub mod change;
pub mod cluster;
pub mod demand;
pub mod extension;
pub mod host_page;
pub mod host_set;
pub mod http;
pub mod http2;
pub mod istio;
pub mod listener;
pub mod listener_filter;
pub mod metadata;
pub mod mutation;
pub mod names;
pub mod network;
pub mod query;
pub mod reply;
pub mod route;
pub mod source;
pub mod tcp;
pub mod tls;
pub mod transport;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use change::{Change, ListenerChange, Needs};
pub use cluster::{Cluster, ClusterId, Host};
pub use host_set::HostSet;
pub use listener::Listener;
pub use names::{ClusterName, RouteName, RouteSlot, ScopeName, ScopeSlot};
pub use source::ConfigSource;

/// One complete configuration.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Grows by one with every change.
    pub version: u64,
    /// In the order of the configuration.
    pub listeners: Vec<Arc<Listener>>,
    /// Indexed by [`ClusterId`]; `None` where a name is referred to but not (or no longer) defined.
    pub clusters: Vec<Option<Arc<Cluster>>>,
    /// Cluster names, for `cluster_header` and admin.
    pub cluster_ids: hashbrown::HashMap<Arc<str>, ClusterId, foldhash::fast::RandomState>,
    /// Route tables that came by RDS, by [`RouteSlot`].
    pub routes: Vec<Option<Arc<route::RouteTable>>>,
    /// Sets of scopes that came by SRDS, by [`ScopeSlot`].
    pub scopes: Vec<Option<Arc<route::ScopeSet>>>,
}

impl Plan {
    /// Every TLS context, those of listeners first.
    pub fn tls_contexts(&self) -> Vec<Arc<dyn tls::Context>> {
        let chains = self.listeners.iter().flat_map(|listener| &listener.chains);
        let servers = chains.filter_map(|chain| match &chain.transport {
            transport::Downstream::Raw => None,
            transport::Downstream::Tls(context) => Some(context.clone() as Arc<dyn tls::Context>),
        });
        let sockets = self.clusters.iter().flatten().flat_map(|cluster| cluster.sockets.iter());
        let clients = sockets.filter_map(|socket| match &socket.transport {
            transport::Upstream::Raw => None,
            transport::Upstream::Tls(context) => Some(context.clone() as Arc<dyn tls::Context>),
        });
        servers.chain(clients).collect()
    }
}

/// Address of a socket, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `socket_address`: TCP.
    Ip(SocketAddr),
    /// `pipe`: a unix socket; mode bits apply to listeners only. A leading `@` means the abstract
    /// namespace, as in Envoy.
    Pipe {
        /// Path of the socket.
        path: PathBuf,
        /// File mode, 0 for the default.
        mode: u32,
    },
    /// `envoy_internal_address`: a listener of the same shard. Only of hosts.
    Internal {
        /// `server_listener_name`.
        listener: Arc<str>,
        /// `endpoint_id`: tells hosts apart.
        endpoint: Arc<str>,
    },
}

impl fmt::Display for Address {
    /// As Envoy prints it: `127.0.0.1:80`, `[::1]:80`, or the path of a pipe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Pipe { path, .. } => path.display().fmt(f),
            Self::Internal { listener, endpoint } => write!(f, "envoy://{listener}/{endpoint}"),
        }
    }
}

/// One socket option of `socket_options` / `upstream_bind_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// `level` of setsockopt(2).
    pub level: i32,
    /// `optname` of setsockopt(2).
    pub name: i32,
    /// The value's bytes, as given to setsockopt(2).
    pub value: Vec<u8>,
}

/// `core.v3.TcpKeepalive`; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dropped.
    pub probes: Option<u32>,
    /// Seconds of idleness before the first probe.
    pub time_s: Option<u32>,
    /// Seconds between probes.
    pub interval_s: Option<u32>,
}
