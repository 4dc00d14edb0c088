//! `TcpProxy`, compiled, and the other network filters that serve bytes.

use std::sync::Arc;
use std::time::Duration;

use super::ClusterId;
use super::demand::OnDemandClusters;
use super::names::ClusterName;
use super::transport::Tlv;
use crate::observe::accesslog::{AccessLog, LogFormat};
use crate::observe::stats::{TcpOnDemandStats, TcpStats};

/// `envoy.filters.network.tcp_proxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// `tcp.<stat_prefix>.*`.
    pub stats: TcpStats,
    /// Where connections go.
    pub target: Target,
    /// Every cluster it names: they keep their ids while this lives.
    pub clusters: Vec<Arc<ClusterName>>,
    /// `on_demand`: where a cluster comes from that is not there.
    pub on_demand: Option<(Arc<OnDemandClusters>, TcpOnDemandStats)>,
    /// `hash_policy`.
    pub hash: Option<TcpHash>,
    /// `idle_timeout`, default 1 h; zero is none.
    pub idle_timeout: Duration,
    /// `max_downstream_connection_duration`; zero is none.
    pub max_duration: Duration,
    /// `max_downstream_connection_duration_jitter_percentage`.
    pub max_duration_jitter_percent: f64,
    /// `max_connect_attempts`, default 1.
    pub max_connect_attempts: u32,
    /// `backoff_options`: base and maximum interval between attempts; without it they follow each
    /// other at once.
    pub backoff: Option<(Duration, Duration)>,
    /// `upstream_connect_mode`.
    pub connect: ConnectMode,
    /// `max_early_data_bytes`: what is read before there is an upstream; `None` reads nothing.
    pub early_data: Option<usize>,
    /// `check_drain_close`.
    pub check_drain_close: bool,
    /// `proxy_protocol_tlvs`, and how they are merged with those of the client's PROXY header.
    pub tlvs: (Vec<Tlv>, TlvMerge),
    /// `tunneling_config.hostname`: connections go into CONNECT requests to it.
    pub tunnel: Option<LogFormat>,
    /// `access_log`.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// When `access_log` is written besides at the end.
    pub log_when: LogWhen,
}

/// `cluster` or `weighted_clusters`.
#[derive(Debug)]
pub enum Target {
    /// One cluster, which need not exist.
    Cluster(ClusterId),
    /// Clusters with the sums of weights up to and including their own; the last sum is > 0.
    Weighted(Vec<(ClusterId, u64)>),
}

impl Target {
    /// The cluster a random number falls on.
    pub fn pick(&self, random: impl FnOnce() -> u64) -> ClusterId {
        match self {
            Self::Cluster(id) => *id,
            Self::Weighted(list) => {
                let total = list.last().map_or(1, |(_, sum)| *sum).max(1);
                let value = random() % total;
                let at = list.partition_point(|(_, sum)| *sum <= value);
                list.get(at).map_or(ClusterId(u32::MAX), |(id, _)| *id)
            }
        }
    }
}

/// `hash_policy`: what the hash for hashing load balancers is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpHash {
    /// The client's IP address.
    SourceIp,
}

/// `upstream_connect_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectMode {
    /// As soon as the client is connected (and its handshake done, which comes first here).
    #[default]
    Immediate,
    /// With the client's first bytes.
    OnDownstreamData,
}

/// `proxy_protocol_tlv_merge_policy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlvMerge {
    /// They are added where the client sent no header.
    #[default]
    AddIfAbsent,
    /// They take the place of those of the same type.
    Overwrite,
    /// They follow.
    Append,
}

/// `access_log_options`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWhen {
    /// `flush_access_log_on_start`.
    pub start: bool,
    /// `flush_access_log_on_connected`.
    pub connected: bool,
    /// `access_log_flush_interval`; zero is never.
    pub interval: Duration,
}

#[cfg(test)]
mod tests;
