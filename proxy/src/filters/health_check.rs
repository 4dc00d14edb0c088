//! `envoy.filters.http.health_check`: answers health checks of others, or lets them pass and
//! remembers the answer.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost_types::Any;
use ringway_runtime::{Chain, Instant};
use ringway_wire::KnownName as K;
use ringway_xds::api::envoy::extensions::filters::http::health_check::v3 as api;
use ringway_xds::api::envoy::r#type::v3 as types;

use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::scalar::optional_duration;
use crate::config::compile::{At, Cx, headers};
use crate::http::reply::LocalReply;
use crate::http::stream::header_lines;
use crate::observe::format::ResponseFlag;
use crate::plan::route::HeaderMatcher;

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    compile,
    route_type_name: "",
    compile_route: no_route,
};

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    /// `pass_through_mode`: checks go to the upstream.
    pass_through: bool,
    /// `cache_time`: for how long its answer is given again.
    cache: Option<Duration>,
    /// `headers`: what makes a request a health check.
    headers: Vec<HeaderMatcher>,
    /// `cluster_min_healthy_percentages`
    clusters: Vec<(Arc<str>, f64)>,
}

/// It has none on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// One request.
#[derive(Default)]
pub(crate) struct Filter {
    /// It is a health check.
    check: bool,
}

/// Answers of upstreams a shard remembers, by the filter that let the check pass.
#[derive(Default)]
pub(crate) struct Answers(RefCell<Vec<(usize, Answer)>>);

#[derive(Debug, Clone, Copy)]
struct Answer {
    at: Instant,
    status: u16,
    degraded: bool,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::HealthCheck>(at, any)?;
    let api::HealthCheck {
        pass_through_mode,
        cache_time,
        cluster_min_healthy_percentages,
        headers: matchers,
    } = config;
    let Some(pass_through) = pass_through_mode else {
        cx.invalid(&at.field("pass_through_mode"), "value is required");
        return None;
    };
    let cache = optional_duration(cx, &at.field("cache_time"), cache_time);
    let cache = cache.filter(|time| !time.is_zero());
    if cache.is_some() && !pass_through {
        let message = "cache_time_ms must not be set when path_through_mode is disabled";
        cx.invalid_allowed(&at.field("cache_time"), message, "pass_through_mode: true");
    }
    let each = cluster_min_healthy_percentages.into_iter();
    let clusters = each.map(|(name, types::Percent { value })| (Arc::from(name), value)).collect();
    let headers = headers::matchers(cx, &at.field("headers"), &matchers);
    Some(Config { pass_through, cache, headers, clusters })
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST | Phases::RESPONSE_HEADERS
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        let head = &s.work.request;
        self.check = config
            .headers
            .iter()
            .all(|matcher| matcher.matches_lines(header_lines(head, &matcher.name)));
        s.work.info.health_check |= self.check;
        let cached = config.cache.and_then(|time| s.conn.shard.answers.get(config, time));
        let failed = s.conn.shard.health_check_failed();
        if !self.check || config.pass_through && !failed && cached.is_none() {
            s.ignore(Phases::REQUEST);
            return CONTINUE;
        }
        Poll::Ready(if end { answer(config, s).into() } else { Step::Stop })
    }

    fn poll_request_data(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        data.clear();
        Poll::Ready(if end { answer(config, s).into() } else { Step::Stop })
    }

    fn poll_request_trailers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: &mut Chain,
    ) -> Poll<Step> {
        Poll::Ready(answer(config, s).into())
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let headers = &mut s.work.response.headers;
        if self.check {
            if config.cache.is_some() && !s.work.info.local_reply {
                let degraded = headers.contains(K::XEnvoyDegraded);
                let status = s.work.response.status;
                s.conn.shard.answers.set(config, Answer { at: now(), status, degraded });
            }
            let name = s.conn.shard.local.cluster.as_bytes();
            headers.set(K::XEnvoyUpstreamHealthcheckedCluster, name);
        }
        if s.conn.shard.health_check_failed() {
            headers.set(K::XEnvoyImmediateHealthCheckFail, b"true");
        }
        CONTINUE
    }
}

fn now() -> Instant {
    ringway_runtime::now()
}

/// The answer to a check that does not pass, or whose answer is known.
fn answer(config: &Config, s: &StreamCx<'_>) -> LocalReply {
    let shard = &s.conn.shard;
    let mut degraded = false;
    let (status, details) = if shard.health_check_failed() {
        (503, "health_check_failed")
    } else if let Some(known) = config.cache.and_then(|time| shard.answers.get(config, time)) {
        degraded = known.degraded;
        (known.status, "health_check_cached")
    } else if config.clusters.is_empty() {
        (200, "health_check_ok")
    } else {
        of_clusters(config, s)
    };
    let mut reply = LocalReply::new(status, "", details);
    if !(200..300).contains(&status) {
        reply = reply.flag(ResponseFlag::FailedLocalHealthCheck);
    }
    if degraded {
        reply.headers.push(("x-envoy-degraded".into(), Vec::new()));
    }
    reply
}

/// By the share of healthy hosts of some clusters.
fn of_clusters(config: &Config, s: &StreamCx<'_>) -> (u16, &'static str) {
    for (name, least) in &config.clusters {
        let Some(cluster) = s.conn.shard.upstreams.by_name(name.as_bytes()) else {
            return (503, "health_check_failed_no_cluster_found");
        };
        let (healthy, degraded, all) = cluster.host_counts();
        if all == 0 && *least > 0.0 {
            return (503, "health_check_failed_cluster_empty");
        }
        if 100.0 * ((healthy + degraded) as f64) < all as f64 * least {
            return (503, "health_check_failed_cluster_unhealthy");
        }
    }
    (200, "health_check_ok_cluster_healthy")
}

impl Answers {
    fn get(&self, config: &Config, time: Duration) -> Option<Answer> {
        let id = std::ptr::from_ref(config) as usize;
        let answers = self.0.borrow();
        let (_, answer) = answers.iter().find(|(known, _)| *known == id)?;
        (now() - answer.at < time).then_some(*answer)
    }

    /// Keeps few: filters of plans that are gone make room.
    fn set(&self, config: &Config, answer: Answer) {
        const KEPT: usize = 64;
        let id = std::ptr::from_ref(config) as usize;
        let mut answers = self.0.borrow_mut();
        answers.retain(|(known, _)| *known != id);
        if answers.len() >= KEPT {
            answers.remove(0);
        }
        answers.push((id, answer));
    }
}
