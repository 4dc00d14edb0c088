//! `cluster.*`, `cluster_manager.*`, `thread_local_cluster_manager.*`.

use super::{Http1CodecSlots, row, stat_block, suffix};
use crate::observe::stats::def::{CodeTable, TimeTable};
use crate::observe::stats::{Codes, Kind, Show, Source, StatDef};

stat_block! {
    /// Statistics of one cluster (`cluster.<name>.`).
    ///
    /// Response codes and times are listed on first use, `http1.*` from the first HTTP/1
    /// connection on. What the control thread writes stands together, the last counters and the
    /// first gauges: of an unused cluster nothing else takes memory.
    ClusterStats in cluster_block, prefix(name) = "cluster.{name}.";
    counters {
        upstream_rq_total,
        upstream_cx_rx_bytes_total,
        upstream_cx_tx_bytes_total,
        upstream_rq_pending_total,
        upstream_cx_total,
        upstream_cx_http1_total,
        upstream_cx_destroy,
        upstream_cx_destroy_remote,
        bind_errors,
        lb_healthy_panic,
        lb_local_cluster_not_ok,
        lb_recalculate_zone_structures,
        lb_subsets_created,
        lb_subsets_fallback,
        lb_subsets_fallback_panic,
        lb_subsets_removed,
        lb_subsets_selected,
        lb_zone_cluster_too_small,
        lb_zone_no_capacity_left,
        lb_zone_routing_all_directly,
        lb_zone_routing_cross_zone,
        lb_zone_routing_sampled,
        original_dst_host_invalid,
        retry_or_shadow_abandoned,
        upstream_cx_close_notify,
        upstream_cx_connect_attempts_exceeded,
        upstream_cx_connect_fail,
        upstream_cx_connect_timeout,
        upstream_cx_connect_with_0_rtt,
        upstream_cx_destroy_local,
        upstream_cx_destroy_local_with_active_rq,
        upstream_cx_destroy_remote_with_active_rq,
        upstream_cx_destroy_with_active_rq,
        upstream_cx_http2_total,
        upstream_cx_http3_total,
        upstream_cx_idle_timeout,
        upstream_cx_max_duration_reached,
        upstream_cx_max_requests,
        upstream_cx_none_healthy,
        upstream_cx_overflow,
        upstream_cx_pool_overflow,
        upstream_cx_preconnect_skipped,
        upstream_cx_protocol_error,
        upstream_flow_control_backed_up_total,
        upstream_flow_control_drained_total,
        upstream_flow_control_paused_reading_total,
        upstream_flow_control_resumed_reading_total,
        upstream_http3_broken,
        upstream_internal_redirect_failed_total,
        upstream_internal_redirect_succeeded_total,
        upstream_rq_0rtt,
        upstream_rq_active_overflow,
        upstream_rq_cancelled,
        upstream_rq_maintenance_mode,
        upstream_rq_max_duration_reached,
        upstream_rq_pending_failure_eject,
        upstream_rq_pending_overflow,
        upstream_rq_per_try_idle_timeout,
        upstream_rq_per_try_timeout,
        upstream_rq_retry,
        upstream_rq_retry_backoff_exponential,
        upstream_rq_retry_backoff_ratelimited,
        upstream_rq_retry_limit_exceeded,
        upstream_rq_retry_overflow,
        upstream_rq_retry_success,
        upstream_rq_rx_reset,
        upstream_rq_rx_reset_no_error,
        upstream_rq_timeout,
        upstream_rq_tx_reset,
        assignment_stale,
        assignment_timeout_received,
        assignment_use_cached,
        default_total_match_count = "default.total_match_count",
        membership_change,
        update_attempt,
        update_empty,
        update_failure,
        update_no_rebuild,
        update_success,
    }
    gauges {
        max_host_weight,
        membership_degraded,
        membership_excluded,
        membership_healthy,
        membership_total,
        version,
        warming_state,
        circuit_breakers_default_cx_open = "circuit_breakers.default.cx_open",
        circuit_breakers_default_cx_pool_open = "circuit_breakers.default.cx_pool_open",
        circuit_breakers_default_rq_open = "circuit_breakers.default.rq_open",
        circuit_breakers_default_rq_pending_open = "circuit_breakers.default.rq_pending_open",
        circuit_breakers_default_rq_retry_open = "circuit_breakers.default.rq_retry_open",
        circuit_breakers_high_cx_open = "circuit_breakers.high.cx_open",
        circuit_breakers_high_cx_pool_open = "circuit_breakers.high.cx_pool_open",
        circuit_breakers_high_rq_open = "circuit_breakers.high.rq_open",
        circuit_breakers_high_rq_pending_open = "circuit_breakers.high.rq_pending_open",
        circuit_breakers_high_rq_retry_open = "circuit_breakers.high.rq_retry_open",
        lb_subsets_active,
        upstream_cx_active,
        upstream_cx_rx_bytes_buffered,
        upstream_cx_tx_bytes_buffered,
        upstream_queue_overloaded,
        upstream_rq_active,
        upstream_rq_pending_active,
    }
    histograms {
        upstream_cx_connect_ms,
        upstream_cx_length_ms,
        upstream_rq_per_cx,
    }
    hidden {
        http1_codec,
        http1_dropped_headers_with_underscores,
        http1_metadata_not_supported_error,
        http1_requests_rejected_with_underscores_in_headers,
        http1_response_flood,
    }
    extra {
        row("upstream_rq_completed", Kind::Counter, Source::CodesTotal),
        http1("http1.dropped_headers_with_underscores", 1),
        http1("http1.metadata_not_supported_error", 2),
        http1("http1.requests_rejected_with_underscores_in_headers", 3),
        http1("http1.response_flood", 4),
        time("upstream_rq_time", Source::SparseSum(TIMES, TIMES + 1)),
        time("external.upstream_rq_time", Source::Sparse(TIMES)),
        time("internal.upstream_rq_time", Source::Sparse(TIMES + 1)),
        time("canary.upstream_rq_time", Source::Sparse(TIMES + 2)),
    }
    sparse { codes, time_external, time_internal, time_canary, }
    codes = Some(Codes {
        table: cluster_block::Sparse::codes as u16,
        split: true,
        completed_listed: true,
    });
    aligned = default_total_match_count;
}

const TIMES: u16 = cluster_block::Sparse::time_external as u16;
const HTTP1: u16 = cluster_block::Dense::http1_codec as u16;

const fn http1(suffix: &'static str, index: u16) -> StatDef {
    let source = Source::Dense(HTTP1 + index);
    StatDef { suffix, kind: Kind::Counter, source, show: Show::WhenSet(HTTP1) }
}

const fn time(suffix: &'static str, source: Source) -> StatDef {
    StatDef { suffix, kind: Kind::Histogram, source, show: Show::WhenUsed }
}

impl ClusterStats {
    /// Response codes, for [`ShardStats::response`](crate::observe::stats::ShardStats::response):
    /// `upstream_rq_completed`, `upstream_rq_2xx`, `upstream_rq_200` and their variants.
    pub fn upstream_rq_codes(&self) -> CodeTable {
        CodeTable(self.0.histogram(cluster_block::Sparse::codes as u16).0)
    }

    /// Response times, for
    /// [`ShardStats::response_time`](crate::observe::stats::ShardStats::response_time).
    pub fn upstream_rq_time(&self) -> TimeTable {
        TimeTable(self.0.histogram(TIMES).0)
    }

    /// `http1.*` of the cluster's connections.
    pub fn http1_codec(&self) -> Http1CodecSlots {
        Http1CodecSlots::at(&self.0, HTTP1)
    }
}

stat_block! {
    /// `cluster.<name>.outlier_detection.`, of clusters that have outlier detection.
    OutlierDetectionStats in outlier_block, prefix(name) = "cluster.{name}.outlier_detection.";
    counters {
        ejections_consecutive_5xx,
        ejections_detected_consecutive_5xx,
        ejections_detected_consecutive_gateway_failure,
        ejections_detected_consecutive_local_origin_failure,
        ejections_detected_degradation,
        ejections_detected_failure_percentage,
        ejections_detected_local_origin_failure_percentage,
        ejections_detected_local_origin_success_rate,
        ejections_detected_success_rate,
        ejections_enforced_consecutive_5xx,
        ejections_enforced_consecutive_gateway_failure,
        ejections_enforced_consecutive_local_origin_failure,
        ejections_enforced_failure_percentage,
        ejections_enforced_local_origin_failure_percentage,
        ejections_enforced_local_origin_success_rate,
        ejections_enforced_success_rate,
        ejections_enforced_total,
        ejections_overflow,
        ejections_success_rate,
        ejections_total,
    }
    gauges {
        ejections_active,
    }
    histograms {}
}

stat_block! {
    /// `cluster.<name>.health_check.`, of clusters with active health checks.
    HealthCheckStats in health_block, prefix(name) = "cluster.{name}.health_check.";
    counters {
        attempt,
        failure,
        network_failure,
        passive_failure,
        success,
        verify_cluster,
    }
    gauges {
        degraded,
        healthy,
    }
    histograms {}
}

stat_block! {
    /// `cluster.<name>.circuit_breakers.<priority>.remaining_*`, with `track_remaining`.
    CircuitBreakersRemaining in remaining_block, prefix(name, priority)
        = "cluster.{name}.circuit_breakers.{priority}.";
    counters {}
    gauges {
        remaining_cx,
        remaining_cx_pools,
        remaining_pending,
        remaining_retries,
        remaining_rq,
    }
    histograms {}
}

stat_block! {
    /// `cluster_manager.`
    ClusterManagerStats in manager_block, prefix() = "cluster_manager.";
    counters {
        cluster_added,
        cluster_modified,
        cluster_removed,
        cluster_updated,
        cluster_updated_via_merge,
        update_merge_cancelled,
        update_out_of_merge_window,
    }
    gauges {
        active_clusters,
        warming_clusters,
    }
    histograms {}
}

stat_block! {
    /// `thread_local_cluster_manager.<thread>.`: `main_thread` or `worker_<n>`.
    ThreadLocalClusterStats in thread_local_block, prefix(thread)
        = "thread_local_cluster_manager.{thread}.";
    counters {}
    gauges {
        clusters_inflated,
    }
    histograms {}
}
