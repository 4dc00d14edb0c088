//! `envoy.filters.http.buffer`: a request goes on once it is here as a whole.

use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::Chain;
use ringway_wire::KnownName as K;
use ringway_wire::chars::Decimal;
use ringway_xds::api::envoy::extensions::filters::http::buffer::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::{At, Cx};

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.buffer.v3.Buffer",
    compile,
    route_type_name: "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    compile_route,
};

/// Its options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// `max_request_bytes`; a longer body is answered with 413.
    bytes_max: usize,
}

/// Its options on a route: other ones, or none where it rests.
#[derive(Debug)]
pub(crate) struct Route(Option<Config>);

/// One request.
pub(crate) struct Filter;

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::Buffer>(at, any)?;
    config_of(cx, at, &config)
}

fn config_of(cx: &mut Cx<'_>, at: &At<'_>, config: &api::Buffer) -> Option<Config> {
    let api::Buffer { max_request_bytes } = config;
    match max_request_bytes {
        Some(bytes) if *bytes > 0 => Some(Config { bytes_max: *bytes as usize }),
        _ => {
            cx.invalid_allowed(&at.field("max_request_bytes"), "value is required", "1 and more");
            None
        }
    }
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    use api::buffer_per_route::Override;
    let config = cx.unpack::<api::BufferPerRoute>(at, any)?;
    let api::BufferPerRoute { r#override } = config;
    match r#override {
        Some(Override::Disabled(_)) => Some(Route(None)),
        Some(Override::Buffer(config)) => {
            config_of(cx, &at.field("buffer"), &config).map(|config| Route(Some(config)))
        }
        None => {
            cx.invalid_allowed(at, "an override is required", "disabled, buffer");
            None
        }
    }
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST
    }

    fn begin(_: &Config) -> Self {
        Self
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        let config = match s.route_config::<Route>() {
            Some(Route(Some(config))) => Some(config),
            Some(Route(None)) => None,
            None => Some(config),
        };
        let Some(config) = config.filter(|_| !end) else {
            s.ignore(Phases::REQUEST);
            return CONTINUE;
        };
        s.work.filters.limit_request(config.bytes_max);
        Poll::Ready(Step::Stop)
    }

    fn poll_request_data(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        if !end {
            return Poll::Ready(Step::Stop);
        }
        name_length(s, data.len());
        CONTINUE
    }

    fn poll_request_trailers(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
    ) -> Poll<Step> {
        name_length(s, data.len());
        CONTINUE
    }
}

/// The length is known by now, so the upstream is told.
fn name_length(s: &mut StreamCx<'_>, bytes: usize) {
    let headers = &mut s.work.request.headers;
    if !headers.contains(K::ContentLength) {
        headers.append(K::ContentLength, Decimal::new(bytes as u64).as_bytes());
    }
}
