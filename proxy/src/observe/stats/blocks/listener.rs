//! `listener.*`, `listener_manager.*`.

use super::{stat_block, suffix};
use crate::observe::stats::Counter;

stat_block! {
    /// `listener.<address>.`; the address has `_` for `:`, or is the `stat_prefix`.
    ListenerStats in listener_block, prefix(address) = "listener.{address}.";
    counters {
        downstream_cx_destroy,
        downstream_cx_overflow,
        downstream_cx_overload_reject,
        downstream_cx_total,
        downstream_cx_transport_socket_connect_timeout,
        downstream_global_cx_overflow,
        downstream_listener_filter_error,
        downstream_listener_filter_remote_close,
        downstream_pre_cx_timeout,
        no_filter_chain_match,
    }
    gauges {
        downstream_cx_active,
        downstream_pre_cx_active,
    }
    histograms {
        connections_accepted_per_socket_event,
        downstream_cx_length_ms,
    }
}

stat_block! {
    /// Of listeners whose filters may come by ECDS (all but the admin listener).
    ListenerExtensionStats in extension_block, prefix(address) = "listener.{address}.";
    counters {
        extension_config_missing,
        network_extension_config_missing,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `listener.<address>.<thread>.`: `worker_<n>`, or `main_thread` for admin.
    WorkerListenerStats in worker_block, prefix(address, thread) = "listener.{address}.{thread}.";
    counters {
        downstream_cx_total,
    }
    gauges {
        downstream_cx_active,
    }
    histograms {}
}

stat_block! {
    /// `listener.<address>.http.<stat_prefix>.`
    ListenerHttpStats in listener_http_block, prefix(address, stat_prefix)
        = "listener.{address}.http.{stat_prefix}.";
    counters {
        downstream_rq_1xx,
        downstream_rq_2xx,
        downstream_rq_3xx,
        downstream_rq_4xx,
        downstream_rq_5xx,
        downstream_rq_completed,
    }
    gauges {}
    histograms {}
}

impl ListenerHttpStats {
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
    /// `listener_manager.`
    ListenerManagerStats in manager_block, prefix() = "listener_manager.";
    counters {
        listener_added,
        listener_create_failure,
        listener_create_success,
        listener_in_place_updated,
        listener_modified,
        listener_removed,
        listener_stopped,
    }
    gauges {
        total_filter_chains_draining,
        total_listeners_active,
        total_listeners_draining,
        total_listeners_warming,
        workers_pinned,
        workers_started,
    }
    histograms {}
}

stat_block! {
    /// `proxy_proto.<stat_prefix>.`; `prefix` brings its dot.
    ProxyProtocolStats in proxy_protocol_block, prefix(prefix) = "proxy_proto.{prefix}";
    counters {
        not_found_allowed,
        not_found_disallowed,
        v1_disallowed = "versions.v1.disallowed",
        v1_error = "versions.v1.error",
        v1_found = "versions.v1.found",
        v2_disallowed = "versions.v2.disallowed",
        v2_error = "versions.v2.error",
        v2_found = "versions.v2.found",
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// What all PROXY protocol filters share.
    ProxyProtocolErrorStats in proxy_protocol_error_block, prefix() = "";
    counters {
        downstream_cx_proxy_proto_error,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `tls_inspector.`
    TlsInspectorStats in tls_inspector_block, prefix() = "tls_inspector.";
    counters {
        alpn_found,
        alpn_not_found,
        client_hello_too_large,
        sni_found,
        sni_not_found,
        tls_found,
        tls_not_found,
    }
    gauges {}
    histograms {
        bytes_processed,
    }
}

stat_block! {
    /// `http_inspector.`
    HttpInspectorStats in http_inspector_block, prefix() = "http_inspector.";
    counters {
        http10_found,
        http11_found,
        http2_found,
        http_not_found,
        read_error,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `connection_limit.<stat_prefix>.`
    ConnectionLimitStats in connection_limit_block, prefix(prefix)
        = "connection_limit.{prefix}.";
    counters {
        limited_connections,
    }
    gauges {
        active_connections,
    }
    histograms {}
}
