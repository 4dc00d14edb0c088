//! `CircuitBreakers`.

use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3::RoutingPriority;

use super::at::At;
use super::cx::Cx;
use super::set::refuse;
use crate::plan::cluster::Thresholds;

/// Thresholds by priority; of several entries for one priority the first counts, as in Envoy.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    cluster: &str,
    config: Option<&api::CircuitBreakers>,
) -> [Thresholds; 2] {
    let empty = api::CircuitBreakers::default();
    let api::CircuitBreakers { thresholds, per_host_thresholds } = config.unwrap_or(&empty);
    let at = at.field("circuit_breakers");
    refuse!(cx, &at, per_host_thresholds);
    for (index, _) in thresholds.iter().enumerate() {
        check(cx, &at.field("thresholds").index(index), &thresholds[index]);
    }
    let of = |priority: RoutingPriority| {
        thresholds.iter().find(|entry| entry.priority == priority as i32)
    };
    [
        resolve(cx, cluster, "default", of(RoutingPriority::Default)),
        resolve(cx, cluster, "high", of(RoutingPriority::High)),
    ]
}

fn check(cx: &mut Cx<'_>, at: &At<'_>, entry: &api::circuit_breakers::Thresholds) {
    let Some(budget) = &entry.retry_budget else { return };
    let api::circuit_breakers::thresholds::RetryBudget {
        budget_percent: _,
        budget_interval,
        min_retry_concurrency: _,
    } = budget;
    refuse!(cx, &at.field("retry_budget"), budget_interval);
}

/// Values of the entry, of the runtime keys `circuit_breakers.<cluster>.<priority>.*`, or defaults.
fn resolve(
    cx: &Cx<'_>,
    cluster: &str,
    priority: &str,
    entry: Option<&api::circuit_breakers::Thresholds>,
) -> Thresholds {
    let empty = api::circuit_breakers::Thresholds::default();
    let api::circuit_breakers::Thresholds {
        priority: _,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = entry.unwrap_or(&empty);
    let overridden = cx.runtime.any_below("circuit_breakers.");
    let read = |name: &str, value: Option<u32>, default: u32| {
        let plain = value.unwrap_or(default);
        if !overridden {
            return plain;
        }
        let value = u64::from(plain);
        let key = format!("circuit_breakers.{cluster}.{priority}.{name}");
        u32::try_from(cx.runtime.integer(&key, value)).unwrap_or(u32::MAX)
    };
    Thresholds {
        max_connections: read("max_connections", *max_connections, 1024),
        max_pending: read("max_pending_requests", *max_pending_requests, 1024),
        max_requests: read("max_requests", *max_requests, 1024),
        max_retries: read("max_retries", *max_retries, 3),
        max_pools: *max_connection_pools,
        track_remaining: *track_remaining,
        retry_budget: retry_budget.as_ref().map(|budget| {
            let percent = budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
            (percent, budget.min_retry_concurrency.unwrap_or(3))
        }),
    }
}
