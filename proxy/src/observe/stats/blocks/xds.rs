//! What clients of xDS count: subscriptions and streams.

use super::{stat_block, suffix};

stat_block! {
    /// A subscription: `cluster_manager.cds.`, `listener_manager.lds.`, `http.<p>.rds.<route>.` …;
    /// `prefix` brings its dot.
    SubscriptionStats in subscription_block, prefix(prefix) = "{prefix}";
    counters {
        init_fetch_timeout,
        update_attempt,
        update_failure,
        update_rejected,
        update_success,
    }
    gauges {
        update_time,
        version,
    }
    histograms {
        update_duration,
    }
}

stat_block! {
    /// What a subscription for the endpoints of a cluster counts besides the cluster's own block;
    /// `name` is the cluster's.
    EdsStats in eds_block, prefix(name) = "cluster.{name}.";
    counters {
        init_fetch_timeout,
        update_rejected,
    }
    gauges {
        update_time,
    }
    histograms {
        update_duration,
    }
}

stat_block! {
    /// `cluster_manager.cds.` and `http.<p>.rds.<route>.`, besides the subscription's.
    ReloadStats in reload_block, prefix(prefix) = "{prefix}";
    counters {
        config_reload,
    }
    gauges {
        config_reload_time_ms,
    }
    histograms {}
}

stat_block! {
    /// A stream to a management server: `control_plane.` of ADS, with the prefix of a subscription
    /// before it where the stream is its own.
    ControlPlaneStats in control_plane_block, prefix(prefix) = "{prefix}control_plane.";
    counters {
        rate_limit_enforced,
    }
    gauges {
        connected_state,
        pending_requests,
    }
    histograms {}
}

stat_block! {
    /// `load_reporter.*`
    LoadReporterStats in load_reporter_block, prefix() = "load_reporter.";
    counters {
        errors,
        requests,
        responses,
        retries,
    }
    gauges {}
    histograms {}
}
