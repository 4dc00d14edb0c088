//! `OutlierDetection`.

use std::time::Duration;

use ringway_xds::api::envoy::config::cluster::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::duration;
use super::set::refuse;
use crate::plan::cluster::Outlier;

/// Compiles outlier detection; runtime keys `outlier_detection.*` override what is configured.
pub(crate) fn compile(cx: &mut Cx<'_>, at: &At<'_>, config: &api::OutlierDetection) -> Outlier {
    // Several fields in a line: a list, not code.
    #[rustfmt::skip]
    let api::OutlierDetection {
        consecutive_5xx, interval, base_ejection_time, max_ejection_percent,
        enforcing_consecutive_5xx, enforcing_success_rate, success_rate_minimum_hosts,
        success_rate_request_volume, success_rate_stdev_factor, consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
        consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate, failure_percentage_threshold,
        enforcing_failure_percentage, enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts, failure_percentage_request_volume, max_ejection_time,
        max_ejection_time_jitter, successful_active_health_check_uneject_host, monitors,
        always_eject_one_host, detect_degraded_hosts,
    } = config;
    let detect_degraded_hosts = detect_degraded_hosts.unwrap_or_default();
    refuse!(cx, at, monitors, detect_degraded_hosts);
    let runtime = cx.runtime;
    let number = |name: &str, value: &Option<u32>, default: u32| {
        let value = u64::from(value.unwrap_or(default));
        let value = runtime.integer(&format!("outlier_detection.{name}"), value);
        u32::try_from(value).unwrap_or(u32::MAX)
    };
    let mut time = |name, value, default| duration(cx, &at.field(name), value, default);
    let base = time("base_ejection_time", *base_ejection_time, Duration::from_secs(30));
    let max_at = at.field("max_ejection_time");
    let max = time("max_ejection_time", *max_ejection_time, base.max(Duration::from_secs(300)));
    let interval = time("interval", *interval, Duration::from_secs(10));
    let ejection_jitter =
        time("max_ejection_time_jitter", *max_ejection_time_jitter, Duration::ZERO);
    if max < base {
        let message = "max_ejection_time cannot be smaller than base_ejection_time";
        cx.invalid_allowed(&max_at, message, format!("{base:?} and longer"));
    }
    let stdev = number("success_rate_stdev_factor", success_rate_stdev_factor, 1900);
    macro_rules! of {
        ($field:ident, $default:literal) => {
            number(stringify!($field), $field, $default)
        };
    }
    Outlier {
        consecutive_5xx: of!(consecutive_5xx, 5),
        enforcing_consecutive_5xx: of!(enforcing_consecutive_5xx, 100),
        consecutive_gateway: of!(consecutive_gateway_failure, 5),
        enforcing_consecutive_gateway: of!(enforcing_consecutive_gateway_failure, 0),
        split_local_origin: *split_external_local_origin_errors,
        consecutive_local_origin: of!(consecutive_local_origin_failure, 5),
        enforcing_local_origin: of!(enforcing_consecutive_local_origin_failure, 100),
        interval,
        base_ejection: base,
        max_ejection: max,
        ejection_jitter,
        max_ejection_percent: of!(max_ejection_percent, 10),
        always_eject_one: always_eject_one_host.unwrap_or_default(),
        uneject_on_health_check: successful_active_health_check_uneject_host.unwrap_or(true),
        enforcing_success_rate: of!(enforcing_success_rate, 100),
        success_rate_minimum_hosts: of!(success_rate_minimum_hosts, 5),
        success_rate_request_volume: of!(success_rate_request_volume, 100),
        success_rate_stdev_factor: f64::from(stdev) / 1000.0,
        enforcing_local_origin_success_rate: of!(enforcing_local_origin_success_rate, 100),
        enforcing_failure_percentage_local_origin: of!(
            enforcing_failure_percentage_local_origin,
            0
        ),
        enforcing_failure_percentage: of!(enforcing_failure_percentage, 0),
        failure_percentage_threshold: of!(failure_percentage_threshold, 85),
        failure_percentage_minimum_hosts: of!(failure_percentage_minimum_hosts, 5),
        failure_percentage_request_volume: of!(failure_percentage_request_volume, 50),
    }
}
