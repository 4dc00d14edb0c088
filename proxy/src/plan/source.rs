//! `core.v3.ConfigSource`, compiled: where a resource comes from that is named, not given.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where resources of a kind come from. Equal sources share a stream (or a watched file).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfigSource {
    /// Who has them.
    pub origin: Origin,
    /// `initial_fetch_timeout`, default 15 s: how long what needs the resource waits for its first
    /// version; zero waits for ever.
    pub initial_fetch_timeout: Duration,
}

impl ConfigSource {
    /// `initial_fetch_timeout` where it is not set.
    pub const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

    /// The aggregated stream, with the default wait.
    pub fn ads() -> Self {
        Self { origin: Origin::Ads, initial_fetch_timeout: Self::INITIAL_FETCH_TIMEOUT }
    }
}

/// `config_source_specifier`. `self` is compiled to where the resource that says so came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `ads`: the stream of `dynamic_resources.ads_config`.
    Ads,
    /// `path`, `path_config_source`: a file that is read again when it is replaced.
    Path {
        /// The file.
        path: PathBuf,
        /// `watched_directory.path`: replaced when a link in this directory is, instead.
        watched_directory: Option<PathBuf>,
    },
    /// `api_config_source` of type GRPC, DELTA_GRPC, AGGREGATED_GRPC or AGGREGATED_DELTA_GRPC.
    Grpc(Arc<GrpcSource>),
    /// `api_config_source` of type REST.
    Rest(Arc<RestSource>),
}

/// A stream of its own to a management server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcSource {
    /// `grpc_services`, of which there is one.
    pub service: GrpcService,
    /// DELTA_GRPC, AGGREGATED_DELTA_GRPC: the incremental protocol.
    pub delta: bool,
    /// AGGREGATED_*: one stream for all types, as ADS.
    pub aggregated: bool,
    /// `set_node_on_first_message_only`.
    pub node_on_first_only: bool,
    /// `rate_limit_settings`: tokens in the bucket and tokens a second, in thousandths.
    pub rate_limit: Option<(u32, u64)>,
}

/// `GrpcService` with `envoy_grpc`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcService {
    /// `envoy_grpc.cluster_name`, which the bootstrap defines.
    pub cluster: Arc<str>,
    /// `envoy_grpc.authority`; empty means the cluster's name.
    pub authority: Arc<str>,
    /// `initial_metadata`: names in lower case, with values that are sent as they are.
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
    /// `timeout` of unary calls; zero is the caller's default. Streams have none, as in Envoy.
    pub timeout: Duration,
    /// `envoy_grpc.retry_policy.retry_back_off`: base and maximum wait before the stream is opened
    /// again. Default: 500 ms, 30 s.
    pub backoff: (Duration, Duration),
    /// `envoy_grpc.max_receive_message_length`; zero is the default.
    pub receive_bytes_max: u32,
}

/// A management server that is polled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RestSource {
    /// `cluster_names`, of which there is one.
    pub cluster: Arc<str>,
    /// `refresh_delay`.
    pub refresh_delay: Duration,
    /// `request_timeout`, default 1 s.
    pub request_timeout: Duration,
}
