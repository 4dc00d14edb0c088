//! What HTTP filters count.

use super::{stat_block, suffix};

stat_block! {
    /// `metadata_exchange.*`, of all filters of this kind.
    MetadataExchangeStats in metadata_exchange_block, prefix() = "metadata_exchange.";
    counters {
        alpn_protocol_found,
        alpn_protocol_not_found,
        header_not_found,
        initial_header_not_found,
        metadata_added,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `http.<stat_prefix>.cors.*`; the prefix is given with `http.` before it.
    CorsStats in cors_block, prefix(prefix) = "{prefix}.cors.";
    counters {
        origin_invalid,
        origin_valid,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `access_logs.grpc_access_log.*`, of all gRPC access logs, and
    /// `access_logs.open_telemetry_access_log.<stat_prefix>.*`; the kind is given with the prefix.
    GrpcAccessLogStats in grpc_access_log_block, prefix(kind) = "access_logs.{kind}.";
    counters {
        grpc_entries_flush_failed,
        grpc_entries_flushed,
        logs_dropped,
        logs_written,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `http.<stat_prefix>.compressor.<name>.<library>.*`: what clients take; the whole of it is
    /// the prefix.
    CompressorStats in compressor_block, prefix(prefix) = "{prefix}.";
    counters {
        header_compressor_overshadowed,
        header_compressor_used,
        header_identity,
        header_not_valid,
        header_wildcard,
        no_accept_header,
        not_compressed_etag,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// The same of one direction.
    CompressionStats in compression_block, prefix(prefix) = "{prefix}.";
    counters {
        compressed,
        content_length_too_small,
        not_compressed,
        total_compressed_bytes,
        total_uncompressed_bytes,
    }
    gauges {}
    histograms {}
}
