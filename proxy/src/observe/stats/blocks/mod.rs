//! Blocks of statistics as typed structs: one call names all of them, one method each gives a
//! slot. Names and types are Envoy 1.40's.

mod cluster;
mod filters;
mod http;
mod http2;
mod listener;
mod process;
mod route;
mod tcp;
mod tls;
mod xds;

pub use cluster::{
    CircuitBreakersRemaining, ClusterManagerStats, ClusterStats, HealthCheckStats,
    OutlierDetectionStats, ThreadLocalClusterStats,
};
pub use filters::{
    CompressionStats, CompressorStats, CorsStats, GrpcAccessLogStats, MetadataExchangeStats,
};
pub use http::{HcmStats, Http1CodecSlots, Http1CodecStats, HttpStats, RouterStats, TracingStats};
pub use http2::Http2CodecStats;
pub use listener::{
    ConnectionLimitStats, HttpInspectorStats, ListenerExtensionStats, ListenerHttpStats,
    ListenerManagerStats, ListenerStats, ProxyProtocolErrorStats, ProxyProtocolStats,
    TlsInspectorStats, WorkerListenerStats,
};
pub use process::{
    DnsStats, FilesystemStats, OverloadActionStats, OverloadStats, ResourceMonitorStats,
    RuntimeStats, ServerStats, WatchdogStats,
};
pub use route::RouteStats;
pub use tcp::{TcpOnDemandStats, TcpStats};
pub use tls::{SslFactoryStats, SslStats};
pub use xds::{ControlPlaneStats, EdsStats, LoadReporterStats, ReloadStats, SubscriptionStats};

/// The suffix of a statistic: given, or its own name.
macro_rules! suffix {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident, $suffix:literal) => {
        $suffix
    };
}

/// Declares a block: a struct with a constructor, a method per statistic and the static table.
///
/// `hidden` are cells without a name; `extra` are further rows of the table, which may read them.
macro_rules! stat_block {
    (
        $(#[$doc:meta])*
        $Name:ident in $module:ident, prefix($($arg:ident),*) = $prefix:literal;
        counters { $($c:ident $(= $cs:literal)?,)* }
        gauges { $($g:ident $(= $gs:literal)?,)* }
        histograms { $($h:ident $(= $hs:literal)?,)* }
        $(hidden { $($x:ident,)* })?
        $(extra { $($e:expr,)* })?
        $(sparse { $($s:ident,)* } codes = $codes:expr;)?
        $(aligned = $first:ident;)?
    ) => {
        mod $module {
            #[allow(non_camel_case_types, dead_code, clippy::upper_case_acronyms)]
            #[repr(u16)]
            pub(super) enum Dense { $($c,)* $($g,)* $($($x,)*)? COUNT }
            #[allow(non_camel_case_types, dead_code, clippy::upper_case_acronyms)]
            #[repr(u16)]
            pub(super) enum Sparse { $($h,)* $($($s,)*)? COUNT }
        }

        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $Name($crate::observe::stats::registry::BlockHandle);

        impl $Name {
            #[doc = concat!("The block under `", $prefix, "`, new or shared.")]
            pub fn new(
                registry: &mut $crate::observe::stats::Registry $(, $arg: &str)*
            ) -> Self {
                Self(registry.block(Self::DEF, &format!($prefix)))
            }

            /// The names of the block.
            pub fn definition() -> &'static $crate::observe::stats::BlockDef {
                Self::DEF
            }

            const STATS: &'static [$crate::observe::stats::StatDef] = &[
                $($crate::observe::stats::blocks::row(
                    suffix!($c $(, $cs)?), $crate::observe::stats::Kind::Counter,
                    $crate::observe::stats::Source::Dense($module::Dense::$c as u16)),)*
                $($crate::observe::stats::blocks::row(
                    suffix!($g $(, $gs)?), $crate::observe::stats::Kind::Gauge,
                    $crate::observe::stats::Source::Dense($module::Dense::$g as u16)),)*
                $($crate::observe::stats::blocks::row(
                    suffix!($h $(, $hs)?), $crate::observe::stats::Kind::Histogram,
                    $crate::observe::stats::Source::Sparse($module::Sparse::$h as u16)),)*
                $($($e,)*)?
            ];

            #[allow(unused_mut, unused_assignments)]
            const CODES: Option<$crate::observe::stats::Codes> = {
                let mut codes = None;
                $(codes = $codes;)?
                codes
            };

            #[allow(unused_mut, unused_assignments)]
            const ALIGNED: Option<u16> = {
                let mut aligned = None;
                $(aligned = Some($module::Dense::$first as u16);)?
                aligned
            };

            $(
                #[doc = concat!("Counter `", suffix!($c $(, $cs)?), "`.")]
                pub fn $c(&self) -> $crate::observe::stats::Counter {
                    self.0.counter($module::Dense::$c as u16)
                }
            )*
            $(
                #[doc = concat!("Gauge `", suffix!($g $(, $gs)?), "`.")]
                pub fn $g(&self) -> $crate::observe::stats::Gauge {
                    self.0.gauge($module::Dense::$g as u16)
                }
            )*
            $(
                #[doc = concat!("Histogram `", suffix!($h $(, $hs)?), "`.")]
                pub fn $h(&self) -> $crate::observe::stats::Histogram {
                    self.0.histogram($module::Sparse::$h as u16)
                }
            )*
        }
        $crate::observe::stats::blocks::block_static!($Name, $module);
    };
}

/// The static table of a block; apart, because an associated constant cannot hold a cell.
macro_rules! block_static {
    ($Name:ident, $module:ident) => {
        const _: () = {
            static DEF: $crate::observe::stats::BlockDef = $crate::observe::stats::BlockDef {
                name: stringify!($Name),
                stats: $Name::STATS,
                dense: $module::Dense::COUNT as u16,
                sparse: $module::Sparse::COUNT as u16,
                codes: $Name::CODES,
                aligned: $Name::ALIGNED,
                order: std::sync::OnceLock::new(),
            };
            impl $Name {
                const DEF: &'static $crate::observe::stats::BlockDef = &DEF;
            }
        };
    };
}

use {block_static, stat_block, suffix};

/// A row that is listed from the start.
const fn row(suffix: &'static str, kind: super::Kind, source: super::Source) -> super::StatDef {
    super::StatDef { suffix, kind, source, show: super::Show::Always }
}
