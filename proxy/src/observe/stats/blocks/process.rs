//! Statistics of the process: `server.*`, watchdogs, `runtime.*`, `filesystem.*`, `overload.*`.

use super::{stat_block, suffix};

stat_block! {
    /// `server.`
    ServerStats in server_block, prefix() = "server.";
    counters {
        debug_assertion_failures,
        dropped_stat_flushes,
        dynamic_unknown_fields,
        envoy_bug_failures,
        envoy_notifications,
        static_unknown_fields,
        wip_protos,
    }
    gauges {
        compilation_settings_fips_mode = "compilation_settings.fips_mode",
        concurrency,
        days_until_first_cert_expiring,
        hot_restart_epoch,
        live,
        memory_allocated,
        memory_heap_size,
        memory_physical_size,
        parent_connections,
        seconds_until_first_ocsp_response_expiring,
        state,
        stats_recent_lookups,
        total_connections,
        uptime,
        version,
    }
    histograms {
        initialization_time_ms,
    }
}

stat_block! {
    /// Watchdog counters under `<owner>.`: `main_thread`, `workers`, `server.main_thread`,
    /// `server.worker_<n>`.
    WatchdogStats in watchdog_block, prefix(owner) = "{owner}.";
    counters {
        watchdog_mega_miss,
        watchdog_miss,
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `runtime.`
    RuntimeStats in runtime_block, prefix() = "runtime.";
    counters {
        deprecated_feature_use,
        load_error,
        load_success,
        override_dir_exists,
        override_dir_not_exists,
    }
    gauges {
        admin_overrides_active,
        deprecated_feature_seen_since_process_start,
        num_keys,
        num_layers,
    }
    histograms {}
}

stat_block! {
    /// `filesystem.`: access logs.
    FilesystemStats in filesystem_block, prefix() = "filesystem.";
    counters {
        flushed_by_timer,
        reopen_failed,
        write_buffered,
        write_completed,
        write_failed,
    }
    gauges {
        write_total_buffered,
    }
    histograms {}
}

stat_block! {
    /// `overload.`
    OverloadStats in overload_block, prefix() = "overload.";
    counters {}
    gauges {}
    histograms {
        refresh_interval_delay,
    }
}

stat_block! {
    /// `overload.<name>.`, of a resource monitor that is asked for every unit of its resource.
    ResourceMonitorStats in monitor_block, prefix(name) = "overload.{name}.";
    counters {
        failed_updates,
    }
    gauges {
        pressure,
    }
    histograms {}
}

stat_block! {
    /// `envoy.overload_actions.reset_high_memory_stream.count`
    OverloadActionStats in action_block, prefix() = "envoy.overload_actions.";
    counters {
        reset_high_memory_stream_count = "reset_high_memory_stream.count",
    }
    gauges {}
    histograms {}
}

stat_block! {
    /// `dns.cares.`: lookups, listed with the first cluster that resolves names.
    DnsStats in dns_block, prefix() = "dns.cares.";
    counters {
        get_addr_failure,
        not_found,
        reinits,
        resolve_total,
        timeouts,
    }
    gauges {
        pending_resolutions,
    }
    histograms {}
}
