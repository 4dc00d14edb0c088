//! `envoy.filters.http.fault` that injects nothing: what a mesh has in every chain, for routes to
//! put something into. What would inject is refused.

use prost_types::Any;
use ringway_xds::api::envoy::extensions::filters::http::fault::v3 as api;

use super::{HttpFilter, Kind, Phases};
use crate::config::compile::set::refuse;
use crate::config::compile::{At, Cx};

pub(super) const KIND: Kind<Config, Route> =
    Kind { type_name: TYPE, compile, route_type_name: TYPE, compile_route };

const TYPE: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// It has nothing to do.
#[derive(Debug)]
pub(crate) struct Config;

/// Nor has it on a route.
#[derive(Debug)]
pub(crate) struct Route;

/// One request.
pub(crate) struct Filter;

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::HttpFault>(at, any)?;
    #[rustfmt::skip]
    let api::HttpFault {
        delay, abort, response_rate_limit,
        // Say for whom, how often and under which names the three above are injected.
        upstream_cluster: _, headers: _, downstream_nodes: _, max_active_faults: _,
        delay_percent_runtime: _, abort_percent_runtime: _, delay_duration_runtime: _,
        abort_http_status_runtime: _, max_active_faults_runtime: _,
        response_rate_limit_percent_runtime: _, abort_grpc_status_runtime: _,
        disable_downstream_cluster_stats: _, filter_metadata: _,
    } = config;
    refuse!(cx, at, delay, abort, response_rate_limit);
    Some(Config)
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    compile(cx, at, any).map(|Config| Route)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::default()
    }

    fn begin(_: &Config) -> Self {
        Self
    }
}
