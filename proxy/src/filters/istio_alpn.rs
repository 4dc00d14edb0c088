//! `istio.alpn`: what is offered to an upstream over TLS follows what is spoken to it, so that the
//! other proxy knows that one of its own speaks HTTP.

use std::task::{Context, Poll};

use prost_types::Any;
use ringway_wire::Version;

use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::{At, Cx, istio};
use crate::plan::cluster::UpstreamProtocol;
use crate::plan::istio::AlpnOverrides;

pub(super) const KIND: Kind<Config, Route> =
    Kind { type_name: TYPE, compile, route_type_name: "", compile_route: no_route };

const TYPE: &str = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";

/// Its options.
#[derive(Debug)]
pub(crate) struct Config(AlpnOverrides);

/// There are none on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// One request.
pub(crate) struct Filter;

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    istio::alpn(cx, at, any).map(Config)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS
    }

    fn begin(_: &Config) -> Self {
        Self
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        s.route();
        let Some(cluster) = &s.work.info.route_cluster else { return CONTINUE };
        let plan = cluster.plan();
        if plan.istio.as_ref().is_some_and(|facts| facts.own_alpn) {
            return CONTINUE;
        }
        let spoken = match plan.http.protocol {
            UpstreamProtocol::Http1 => Version::Http11,
            // What is tried first counts.
            UpstreamProtocol::Http2 | UpstreamProtocol::Auto => Version::Http2,
            UpstreamProtocol::Downstream if s.conn.down.is_http2() => Version::Http2,
            UpstreamProtocol::Downstream => s.work.request.version,
        };
        let at = match spoken {
            Version::Http10 => 0,
            Version::Http11 => 1,
            Version::Http2 => 2,
        };
        if let Some(Some(offer)) = config.0.by_protocol.get(at) {
            s.work.info.alpn = Some(offer.clone());
        }
        CONTINUE
    }
}
