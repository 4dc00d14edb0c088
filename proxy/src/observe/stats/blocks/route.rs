//! `vhost.<virtual host>.vcluster.<name>.*` and `vhost.<virtual host>.route.<stat_prefix>.*`.

use super::{stat_block, suffix};
use crate::observe::stats::def::CodeTable;
use crate::observe::stats::{Codes, Histogram, Kind, Registry, Show, Source, StatDef};

stat_block! {
    /// Statistics of a route with a `stat_prefix` or of a virtual cluster, below
    /// `vhost.<virtual host>.`.
    RouteStats in route_block, prefix(virtual_host, kind, name)
        = "vhost.{virtual_host}.{kind}.{name}.";
    counters {
        upstream_rq_retry,
        upstream_rq_retry_limit_exceeded,
        upstream_rq_retry_overflow,
        upstream_rq_retry_success,
        upstream_rq_timeout,
        upstream_rq_total,
    }
    gauges {}
    histograms {}
    extra {
        StatDef {
            suffix: "upstream_rq_time",
            kind: Kind::Histogram,
            source: Source::Sparse(0),
            show: Show::WhenUsed,
        },
    }
    sparse { time, codes, }
    codes = Some(Codes { table: 1, split: false, completed_listed: false });
}

impl RouteStats {
    /// `vhost.<virtual host>.route.<stat_prefix>.`
    pub fn route(registry: &mut Registry, virtual_host: &str, stat_prefix: &str) -> Self {
        Self::new(registry, virtual_host, "route", stat_prefix)
    }

    /// `vhost.<virtual host>.vcluster.<name>.`
    pub fn virtual_cluster(registry: &mut Registry, virtual_host: &str, name: &str) -> Self {
        Self::new(registry, virtual_host, "vcluster", name)
    }

    /// Response codes, for [`ShardStats::response`](crate::observe::stats::ShardStats::response).
    pub fn upstream_rq_codes(&self) -> CodeTable {
        CodeTable(self.0.histogram(route_block::Sparse::codes as u16).0)
    }

    /// Histogram `upstream_rq_time`.
    pub fn upstream_rq_time(&self) -> Histogram {
        self.0.histogram(route_block::Sparse::time as u16)
    }
}
