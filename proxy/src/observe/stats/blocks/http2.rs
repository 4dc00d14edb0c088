//! `http2.*` and `cluster.<name>.http2.*`.

use super::stat_block;
use crate::observe::stats::{Counter, Gauge, Kind, ShardStats, Show, Source, StatDef};

/// The block with all its rows hidden until the first connection, as Envoy makes them with it.
macro_rules! codec_block {
    (counters { $($c:ident,)* } gauges { $($g:ident,)* } histograms { $($h:ident,)* }) => {
        stat_block! {
            /// What HTTP/2 connections count: those of all listeners (`http2.*`, scope empty), or
            /// those of a cluster (scope `cluster.<name>.`). Listed from the first connection on.
            Http2CodecStats in http2_block, prefix(scope) = "{scope}http2.";
            counters {}
            gauges {}
            histograms {}
            hidden { codec, $($c,)* $($g,)* }
            extra {
                $(dense(stringify!($c), Kind::Counter, http2_block::Dense::$c as u16),)*
                $(dense(stringify!($g), Kind::Gauge, http2_block::Dense::$g as u16),)*
                $(sparse(stringify!($h), http2_block::Sparse::$h as u16),)*
            }
            sparse { $($h,)* }
            codes = None;
        }

        impl Http2CodecStats {
            $(
                #[doc = concat!("Counter `", stringify!($c), "`.")]
                pub fn $c(&self) -> Counter {
                    self.0.counter(http2_block::Dense::$c as u16)
                }
            )*
            $(
                #[doc = concat!("Gauge `", stringify!($g), "`.")]
                pub fn $g(&self) -> Gauge {
                    self.0.gauge(http2_block::Dense::$g as u16)
                }
            )*
        }
    };
}

// Envoy lists, but does not fill: histograms, everything of `oghttp2` (its other codec), metadata.
codec_block! {
    counters {
        cookies_total_bytes_too_large,
        dropped_headers_with_underscores,
        goaway_sent,
        header_list_size_too_large,
        header_overflow,
        headers_cb_no_stream,
        inbound_empty_frames_flood,
        inbound_priority_frames_flood,
        inbound_window_update_frames_flood,
        keepalive_timeout,
        metadata_empty_frames,
        nghttp2_downstream_connections,
        nghttp2_upstream_connections,
        oghttp2_downstream_connections,
        oghttp2_upstream_connections,
        outbound_control_flood,
        outbound_flood,
        requests_rejected_with_underscores_in_headers,
        rx_messaging_error,
        rx_reset,
        stream_refused_errors,
        trailers,
        tx_flush_timeout,
        tx_reset,
    }
    gauges {
        deferred_stream_close,
        outbound_control_frames_active,
        outbound_frames_active,
        pending_send_bytes,
        streams_active,
    }
    histograms {
        cookie_count,
        cookie_size,
        header_count,
        header_list_size,
    }
}

const fn dense(suffix: &'static str, kind: Kind, index: u16) -> StatDef {
    StatDef { suffix, kind, source: Source::Dense(index), show: Show::WhenSet(0) }
}

const fn sparse(suffix: &'static str, index: u16) -> StatDef {
    let source = Source::Sparse(index);
    StatDef { suffix, kind: Kind::Histogram, source, show: Show::WhenSet(0) }
}

impl Http2CodecStats {
    /// To be called for each new connection: from the first one on the names are listed.
    pub fn open(&self, stats: &ShardStats) {
        stats.gauge_set(self.0.gauge(http2_block::Dense::codec as u16), 1);
    }
}
