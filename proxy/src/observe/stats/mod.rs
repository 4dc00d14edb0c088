//! Statistics in one-writer pages.
//!
//! Every shard owns one [`page::Page`]: plain atomics that only this shard writes (one relaxed
//! load, one relaxed store), and that readers sum over all shards while writers go on. The
//! [`Registry`] (control thread) gives names to slots; nothing is named, hashed or locked on the
//! path of a request.
//!
//! - [`blocks`]: typed groups of slots, e.g. [`blocks::ClusterStats`].
//! - [`ShardStats`]: the writer of one page.
//! - [`Merger`]: reader side: flush interval, counter resets, [`View`] for the `/stats` pages.
//!
//! LIFECYCLE of a slot: free → named (`Registry::block`, a handle lives) → written by shards →
//! last handle dropped → cleared and free again at the next [`Registry::sweep`].

pub mod blocks;
mod def;
mod directory;
pub mod histogram;
mod merge;
pub mod page;
pub mod registry;
pub mod render;
pub mod settings;
mod sparse;
pub mod tags;
mod transfer;
mod writer;

#[cfg(test)]
mod tests;

pub use blocks::{
    CircuitBreakersRemaining, ClusterManagerStats, ClusterStats, CompressionStats, CompressorStats,
    ConnectionLimitStats, ControlPlaneStats, CorsStats, DnsStats, EdsStats, FilesystemStats,
    GrpcAccessLogStats, HcmStats, HealthCheckStats, Http1CodecSlots, Http1CodecStats,
    Http2CodecStats, HttpInspectorStats, HttpStats, ListenerExtensionStats, ListenerHttpStats,
    ListenerManagerStats, ListenerStats, LoadReporterStats, MetadataExchangeStats,
    OutlierDetectionStats, OverloadActionStats, OverloadStats, ProxyProtocolErrorStats,
    ProxyProtocolStats, ReloadStats, ResourceMonitorStats, RouteStats, RouterStats, RuntimeStats,
    ServerStats, SslFactoryStats, SslStats, SubscriptionStats, TcpOnDemandStats, TcpStats,
    ThreadLocalClusterStats, TlsInspectorStats, TracingStats, WatchdogStats, WorkerListenerStats,
};
pub use def::{
    BlockDef, CodeTable, Codes, Counter, Gauge, Histogram, Kind, Show, Source, StatDef, TimeTable,
};
pub use directory::{Directory, Scope};
pub use merge::{HistogramView, Merger, View};
pub use registry::{BlockHandle, Registry, TextReadout};
pub use settings::Settings;
pub use transfer::{Importer, ScopeValues};
pub use writer::{ShardStats, Variant};
