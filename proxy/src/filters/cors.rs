//! `envoy.filters.http.cors`: cross-origin requests of browsers (Fetch Standard, section "HTTP
//! extensions").

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_wire::{HeaderMap, KnownName as K, Method};
use ringway_xds::api::envoy::extensions::filters::http::cors::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::scalar::{runtime_fraction, string_match};
use crate::config::compile::{At, Cx};
use crate::http::reply::LocalReply;
use crate::observe::stats::CorsStats;
use crate::plan::route::{Action, Fraction, StringMatch};

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.cors.v3.Cors",
    compile,
    route_type_name: "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    compile_route,
};

/// What it counts; all else is said on routes.
#[derive(Debug)]
pub(crate) struct Config {
    stats: CorsStats,
}

/// `CorsPolicy`.
#[derive(Debug)]
pub(crate) struct Route {
    origins: Vec<StringMatch>,
    methods: Option<Arc<str>>,
    headers: Option<Arc<str>>,
    exposed: Option<Arc<str>>,
    max_age: Option<Arc<str>>,
    credentials: Option<bool>,
    private_network: Option<bool>,
    forward_not_matching: Option<bool>,
    enabled: Option<Fraction>,
    shadow: Option<Fraction>,
}

/// One request.
pub(crate) struct Filter {
    /// Where it came from, if that place may ask.
    origin: Option<Vec<u8>>,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let api::Cors {} = cx.unpack::<api::Cors>(at, any)?;
    let prefix = cx.http_prefix.clone();
    Some(Config { stats: CorsStats::new(cx.registry, &prefix) })
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    let config = cx.unpack::<api::CorsPolicy>(at, any)?;
    let api::CorsPolicy {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    } = config;
    let origins_at = at.field("allow_origin_string_match");
    let each = allow_origin_string_match.iter().enumerate();
    let origins = each
        .filter_map(|(index, matcher)| string_match(cx, &origins_at.index(index), matcher))
        .collect();
    let mut share =
        |name, value: Option<_>| value.map(|value| runtime_fraction(cx, &at.field(name), &value));
    let enabled = share("filter_enabled", filter_enabled);
    let shadow = share("shadow_enabled", shadow_enabled);
    let text = |text: String| (!text.is_empty()).then(|| Arc::from(text));
    Some(Route {
        origins,
        methods: text(allow_methods),
        headers: text(allow_headers),
        exposed: text(expose_headers),
        max_age: text(max_age),
        credentials: allow_credentials,
        private_network: allow_private_network_access,
        forward_not_matching: forward_not_matching_preflights,
        enabled,
        shadow,
    })
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::RESPONSE_HEADERS
    }

    fn begin(_: &Config) -> Self {
        Self { origin: None }
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let policy = Policy::of(s);
        let (enabled, shadow) = policy.modes();
        if !enabled && !shadow {
            return CONTINUE;
        }
        let head = &s.work.request;
        let Some(origin) = head.headers.get(K::Origin).filter(|origin| !origin.is_empty()) else {
            return CONTINUE;
        };
        let asks = head.headers.get(K::AccessControlRequestMethod).unwrap_or_default();
        let preflight = head.method == Method::Options && !asks.is_empty();
        let stats = &s.conn.shard.stats;
        if !policy.allows(origin) {
            stats.inc(config.stats.origin_invalid());
            let forward = policy.first(|route| route.forward_not_matching).unwrap_or(true);
            if enabled && preflight && !forward {
                return Poll::Ready(bare_reply(policy.preflight(None, false)).into());
            }
            return CONTINUE;
        }
        stats.inc(config.stats.origin_valid());
        if !enabled {
            return CONTINUE;
        }
        let private = head.headers.get("access-control-request-private-network");
        let private = private == Some(b"true");
        let origin = origin.to_vec();
        self.origin = Some(origin.clone());
        if !preflight {
            return CONTINUE;
        }
        Poll::Ready(bare_reply(policy.preflight(Some(origin), private)).into())
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        if let Some(origin) = &self.origin {
            let policy = Policy::of(s);
            policy.mark(origin, &mut s.work.response.headers);
        }
        CONTINUE
    }
}

/// An answer to a preflight request, which no rule of a route touches.
fn bare_reply(headers: Vec<(Cow<'static, str>, Vec<u8>)>) -> LocalReply {
    LocalReply { headers, bare: true, ..LocalReply::new(200, "", "cors_response") }
}

/// The policies of all levels, the most specific first; each option is that of the first that has
/// it.
struct Policy<'p>(smallvec::SmallVec<[&'p Route; 4]>);

impl<'p> Policy<'p> {
    /// Only what is forwarded has any: a redirect or a direct response is nobody's resource.
    fn of(s: &mut StreamCx<'p>) -> Self {
        if !s.route().is_some_and(|matched| matches!(matched.route.action, Action::Forward(_))) {
            return Self(smallvec::SmallVec::new());
        }
        let mut levels: smallvec::SmallVec<[&'p Route; 4]> = s.route_configs().collect();
        levels.reverse();
        Self(levels)
    }

    fn first<T>(&self, option: impl Fn(&'p Route) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|route| option(route))
    }

    /// Whether it is enforced, and whether it is only tried.
    fn modes(&self) -> (bool, bool) {
        let Some(route) = self.0.first() else { return (false, false) };
        // Only tried, unless something else is said.
        let enabled = match (&route.enabled, &route.shadow) {
            (Some(share), _) => drawn(share),
            (None, _) => true,
        };
        (enabled, route.shadow.as_ref().is_some_and(drawn))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let listed = self.0.iter().find(|route| !route.origins.is_empty());
        listed.is_some_and(|route| route.origins.iter().any(|matcher| matcher.matches(origin)))
    }

    /// Headers of the answer to a preflight; without an origin it allows nothing.
    fn preflight(
        &self,
        origin: Option<Vec<u8>>,
        private: bool,
    ) -> Vec<(Cow<'static, str>, Vec<u8>)> {
        let allow = |origin| ("access-control-allow-origin".into(), origin);
        let mut headers: Vec<_> = origin.map(allow).into_iter().collect();
        let mut put = |name: &'static str, value: Option<&str>| {
            if let Some(value) = value {
                headers.push((name.into(), value.as_bytes().to_vec()));
            }
        };
        let credentials = self.first(|route| route.credentials).unwrap_or_default();
        let network = self.first(|route| route.private_network).unwrap_or_default();
        put("access-control-allow-credentials", credentials.then_some("true"));
        put("access-control-allow-methods", self.first(|route| route.methods.as_deref()));
        put("access-control-allow-headers", self.first(|route| route.headers.as_deref()));
        put("access-control-max-age", self.first(|route| route.max_age.as_deref()));
        put("access-control-allow-private-network", (network && private).then_some("true"));
        headers
    }

    /// Headers of the answer to an allowed request.
    fn mark(&self, origin: &[u8], headers: &mut HeaderMap) {
        headers.set(K::AccessControlAllowOrigin, origin);
        if self.first(|route| route.credentials) == Some(true) {
            headers.set(K::AccessControlAllowCredentials, b"true");
        }
        if let Some(exposed) = self.first(|route| route.exposed.as_deref()) {
            headers.set(K::AccessControlExposeHeaders, exposed.as_bytes());
        }
    }
}

fn drawn(share: &Fraction) -> bool {
    let Fraction { numerator, denominator } = share;
    ringway_runtime::rand_below(u64::from(*denominator)) < u64::from(*numerator)
}
