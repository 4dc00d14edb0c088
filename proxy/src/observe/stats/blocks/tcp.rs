//! `tcp.*`.

use super::{stat_block, suffix};

stat_block! {
    /// `tcp.<stat_prefix>.`, of the TCP proxy.
    TcpStats in tcp_block, prefix(prefix) = "tcp.{prefix}.";
    counters {
        downstream_cx_drain_close,
        downstream_cx_no_route,
        downstream_cx_overload_close,
        downstream_cx_rx_bytes_total,
        downstream_cx_total,
        downstream_cx_tx_bytes_total,
        downstream_flow_control_paused_reading_total,
        downstream_flow_control_resumed_reading_total,
        early_data_received_count_total,
        idle_timeout,
        max_downstream_connection_duration,
        route_delayed_total,
        upstream_flush_total,
    }
    gauges {
        downstream_cx_rx_bytes_buffered,
        downstream_cx_tx_bytes_buffered,
        upstream_flush_active,
    }
    histograms {}
}

stat_block! {
    /// The same, of one whose clusters come on demand.
    TcpOnDemandStats in tcp_on_demand_block, prefix(prefix) = "tcp.{prefix}.";
    counters {
        on_demand_cluster_attempt,
        on_demand_cluster_missing,
        on_demand_cluster_success,
        on_demand_cluster_timeout,
    }
    gauges {}
    histograms {}
}
