//! `RetryPolicy`.

use std::time::Duration;

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::headers::matchers;
use super::scalar::{duration, optional_duration, type_name};
use super::set::refuse;
use crate::plan::route::{RetryOn, RetryPolicy};

/// Compiles a retry policy.
pub(crate) fn compile(cx: &mut Cx<'_>, at: &At<'_>, policy: &api::RetryPolicy) -> RetryPolicy {
    let api::RetryPolicy {
        retry_on,
        num_retries,
        per_try_timeout,
        per_try_idle_timeout,
        retry_priority,
        retry_host_predicate,
        retry_options_predicates,
        host_selection_retry_max_attempts,
        retriable_status_codes,
        retry_back_off,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        refresh_cluster_on_retry,
    } = policy;
    refuse!(cx, at, retry_options_predicates, rate_limited_retry_back_off);
    refuse!(cx, at, refresh_cluster_on_retry, retry_priority);
    let (backoff_base, backoff_max) = backoff(cx, at, retry_back_off.as_ref());
    let zero = Duration::ZERO;
    RetryPolicy {
        on: words(cx, &at.field("retry_on"), retry_on),
        num_retries: num_retries.unwrap_or(1),
        per_try_timeout: duration(cx, &at.field("per_try_timeout"), *per_try_timeout, zero),
        per_try_idle_timeout: duration(
            cx,
            &at.field("per_try_idle_timeout"),
            *per_try_idle_timeout,
            zero,
        ),
        status_codes: retriable_status_codes
            .iter()
            .filter_map(|code| u16::try_from(*code).ok())
            .collect(),
        response_headers: matchers(cx, &at.field("retriable_headers"), retriable_headers),
        request_headers: matchers(
            cx,
            &at.field("retriable_request_headers"),
            retriable_request_headers,
        ),
        backoff_base,
        backoff_max,
        host_selection_attempts: u32::try_from(*host_selection_retry_max_attempts)
            .unwrap_or_default()
            .max(1),
        previous_hosts: previous_hosts(cx, at, retry_host_predicate),
    }
}

/// Bits of the words; Envoy skips words it does not know.
fn words(cx: &mut Cx<'_>, at: &At<'_>, text: &str) -> RetryOn {
    let mut on = RetryOn::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match RetryOn::word(word) {
            Some(bit) => on.0 |= bit,
            None => cx.warn(at, format!("'{word}' is no retry condition and has no effect")),
        }
    }
    on
}

fn backoff(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::retry_policy::RetryBackOff>,
) -> (Duration, Duration) {
    let base = Duration::from_millis(25);
    let Some(api::retry_policy::RetryBackOff { base_interval, max_interval }) = config else {
        return (base, base * 10);
    };
    let at = at.field("retry_back_off");
    // A back-off below a millisecond is one, as in Envoy.
    let base = duration(cx, &at.field("base_interval"), *base_interval, base)
        .max(Duration::from_millis(1));
    let max_at = at.field("max_interval");
    let max = optional_duration(cx, &max_at, *max_interval).unwrap_or(base * 10);
    let max = max.max(Duration::from_millis(1));
    if max < base {
        cx.invalid(&max_at, "max_interval must greater than or equal to the base_interval");
    }
    (base, max)
}

fn previous_hosts(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::retry_policy::RetryHostPredicate],
) -> bool {
    use api::retry_policy::retry_host_predicate::ConfigType;
    const PREVIOUS_HOSTS: &str =
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    let mut found = false;
    for (index, predicate) in list.iter().enumerate() {
        let at = at.field("retry_host_predicate");
        let at = at.index(index);
        let api::retry_policy::RetryHostPredicate { name, config_type } = predicate;
        match config_type {
            Some(ConfigType::TypedConfig(any)) => match type_name(&any.type_url) {
                PREVIOUS_HOSTS => found = true,
                other => cx.unsupported_allowed(&at.field("typed_config"), other, PREVIOUS_HOSTS),
            },
            None => {
                let message = format!("retry host predicate '{name}' has no typed_config");
                cx.invalid_allowed(&at, message, PREVIOUS_HOSTS);
            }
        }
    }
    found
}
