//! What HTTP filters count.

use super::{stat_block, suffix};

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
