//! `http.<stat_prefix>.*` and `http1.*`.

use super::{stat_block, suffix};
use crate::observe::stats::registry::BlockHandle;
use crate::observe::stats::{Counter, Gauge, Kind, Registry, ShardStats, Show, Source, StatDef};

/// All statistics of an HTTP connection manager with a router.
#[derive(Debug, Clone)]
pub struct HttpStats {
    /// Connections and requests.
    pub hcm: HcmStats,
    /// What the router counts.
    pub router: RouterStats,
    /// Sampling decisions.
    pub tracing: TracingStats,
}

impl HttpStats {
    /// The three blocks under `http.<stat_prefix>.`, new or shared.
    pub fn new(registry: &mut Registry, stat_prefix: &str) -> Self {
        Self {
            hcm: HcmStats::new(registry, stat_prefix),
            router: RouterStats::new(registry, stat_prefix),
            tracing: TracingStats::new(registry, stat_prefix),
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.downstream_*`.
    HcmStats in hcm_block, prefix(stat_prefix) = "http.{stat_prefix}.";
    counters {
        downstream_rq_total,
        downstream_rq_http1_total,
        downstream_rq_completed,
        downstream_rq_2xx,
        downstream_rq_3xx,
        downstream_rq_4xx,
        downstream_rq_5xx,
        downstream_cx_rx_bytes_total,
        downstream_cx_tx_bytes_total,
        downstream_cx_delayed_close_timeout,
        downstream_cx_destroy,
        downstream_cx_destroy_active_rq,
        downstream_cx_destroy_local,
        downstream_cx_destroy_local_active_rq,
        downstream_cx_destroy_remote,
        downstream_cx_destroy_remote_active_rq,
        downstream_cx_drain_close,
        downstream_cx_http1_total,
        downstream_cx_http2_total,
        downstream_cx_http3_total,
        downstream_cx_idle_timeout,
        downstream_cx_max_duration_reached,
        downstream_cx_max_requests_reached,
        downstream_cx_overload_disable_keepalive,
        downstream_cx_protocol_error,
        downstream_cx_ssl_total,
        downstream_cx_total,
        downstream_cx_upgrades_total,
        downstream_flow_control_paused_reading_total,
        downstream_flow_control_resumed_reading_total,
        downstream_rq_1xx,
        downstream_rq_failed_path_normalization,
        downstream_rq_header_timeout,
        downstream_rq_http2_total,
        downstream_rq_http3_total,
        downstream_rq_idle_timeout,
        downstream_rq_max_duration_reached,
        downstream_rq_non_relative_path,
        downstream_rq_overload_close,
        downstream_rq_redirected_with_normalized_path,
        downstream_rq_rejected_via_ip_detection,
        downstream_rq_response_before_rq_complete,
        downstream_rq_rx_reset,
        downstream_rq_timeout,
        downstream_rq_too_large,
        downstream_rq_too_many_premature_resets,
        downstream_rq_tx_reset,
        downstream_rq_ws_on_non_ws_route,
        rs_too_large,
    }
    gauges {
        downstream_cx_active,
        downstream_cx_http1_active,
        downstream_cx_http1_soft_drain,
        downstream_cx_http2_active,
        downstream_cx_http3_active,
        downstream_cx_rx_bytes_buffered,
        downstream_cx_ssl_active,
        downstream_cx_tx_bytes_buffered,
        downstream_cx_upgrades_active,
        downstream_rq_active,
    }
    histograms {
        downstream_cx_length_ms,
        downstream_rq_time,
    }
}

impl HcmStats {
    /// The counter `downstream_rq_<n>xx` of a response code; none for codes outside 100-599.
    pub fn downstream_rq_class(&self, code: u16) -> Option<Counter> {
        Some(match code / 100 {
            1 => self.downstream_rq_1xx(),
            2 => self.downstream_rq_2xx(),
            3 => self.downstream_rq_3xx(),
            4 => self.downstream_rq_4xx(),
            5 => self.downstream_rq_5xx(),
            _ => return None,
        })
    }
}

stat_block! {
    /// What a router counts under `http.<stat_prefix>.`.
    RouterStats in router_block, prefix(stat_prefix) = "http.{stat_prefix}.";
    counters {
        no_cluster,
        no_route,
        passthrough_internal_redirect_bad_location,
        passthrough_internal_redirect_no_route,
        passthrough_internal_redirect_predicate,
        passthrough_internal_redirect_too_many_redirects,
        passthrough_internal_redirect_unsafe_scheme,
        rq_direct_response,
        rq_overload_local_reply,
        rq_redirect,
        rq_reset_after_downstream_response_started,
        rq_total,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `http.<stat_prefix>.tracing.`
    TracingStats in tracing_block, prefix(stat_prefix) = "http.{stat_prefix}.tracing.";
    counters {
        client_enabled,
        health_check,
        not_traceable,
        random_sampling,
        service_forced,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `http1.*` of the connections of all listeners, listed from the first connection.
    Http1CodecStats in codec_block, prefix() = "http1.";
    counters {}
    gauges {}
    histograms {}
    hidden {
        codec,
        dropped_headers_with_underscores,
        metadata_not_supported_error,
        requests_rejected_with_underscores_in_headers,
        response_flood,
    }
    extra {
        codec_row("dropped_headers_with_underscores", 1),
        codec_row("metadata_not_supported_error", 2),
        codec_row("requests_rejected_with_underscores_in_headers", 3),
        codec_row("response_flood", 4),
    }
}

const fn codec_row(suffix: &'static str, index: u16) -> StatDef {
    let source = Source::Dense(index);
    StatDef { suffix, kind: Kind::Counter, source, show: Show::WhenSet(0) }
}

impl Http1CodecStats {
    /// The slots a codec writes.
    pub fn slots(&self) -> Http1CodecSlots {
        Http1CodecSlots::at(&self.0, 0)
    }
}

/// What an HTTP/1 codec counts, for a cluster or for the listeners.
#[derive(Debug, Clone, Copy)]
pub struct Http1CodecSlots {
    listed: Gauge,
    /// Headers dropped because their name has an underscore.
    pub dropped_headers_with_underscores: Counter,
    /// Never counted by HTTP/1, but listed.
    pub metadata_not_supported_error: Counter,
    /// Requests rejected because a header's name has an underscore.
    pub requests_rejected_with_underscores_in_headers: Counter,
    /// Connections closed because responses piled up.
    pub response_flood: Counter,
}

impl Http1CodecSlots {
    pub(super) fn at(block: &BlockHandle, first: u16) -> Self {
        Self {
            listed: block.gauge(first),
            dropped_headers_with_underscores: block.counter(first + 1),
            metadata_not_supported_error: block.counter(first + 2),
            requests_rejected_with_underscores_in_headers: block.counter(first + 3),
            response_flood: block.counter(first + 4),
        }
    }

    /// To be called for each new connection: from the first one on the names are listed.
    pub fn open(&self, stats: &ShardStats) {
        stats.gauge_set(self.listed, 1);
    }
}
