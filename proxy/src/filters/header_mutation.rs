//! `envoy.filters.http.header_mutation`: changes to headers and trailers, either way.

use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::Chain;
use ringway_wire::HeaderMap;
use ringway_xds::api::envoy::extensions::filters::http::header_mutation::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::set::refuse;
use crate::config::compile::{At, Cx, headers};
use crate::http::{account, mutate};
use crate::plan::mutation::HeaderMutation;

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    compile,
    route_type_name: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    compile_route,
};

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    mutations: Mutations,
    /// `most_specific_header_mutations_wins`: routes come after the levels above them.
    most_specific_wins: bool,
}

/// Its options on a route: mutations after those of the filter.
#[derive(Debug)]
pub(crate) struct Route(Mutations);

/// One stream.
pub(crate) struct Filter;

/// `Mutations`.
#[derive(Debug, Default)]
struct Mutations {
    request: Vec<HeaderMutation>,
    request_trailers: Vec<HeaderMutation>,
    response: Vec<HeaderMutation>,
    response_trailers: Vec<HeaderMutation>,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::HeaderMutation>(at, any)?;
    let api::HeaderMutation { mutations, most_specific_header_mutations_wins } = config;
    Some(Config {
        mutations: mutations_of(cx, &at.field("mutations"), mutations),
        most_specific_wins: most_specific_header_mutations_wins,
    })
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    let config = cx.unpack::<api::HeaderMutationPerRoute>(at, any)?;
    let api::HeaderMutationPerRoute { mutations } = config;
    Some(Route(mutations_of(cx, &at.field("mutations"), mutations)))
}

fn mutations_of(cx: &mut Cx<'_>, at: &At<'_>, config: Option<api::Mutations>) -> Mutations {
    let api::Mutations {
        request_mutations,
        query_parameter_mutations,
        response_mutations,
        response_trailers_mutations,
        request_trailers_mutations,
        formatters,
    } = config.unwrap_or_default();
    refuse!(cx, at, query_parameter_mutations, formatters);
    let mut list = |name, list: &[_]| headers::mutations(cx, &at.field(name), list);
    Mutations {
        request: list("request_mutations", &request_mutations),
        request_trailers: list("request_trailers_mutations", &request_trailers_mutations),
        response: list("response_mutations", &response_mutations),
        response_trailers: list("response_trailers_mutations", &response_trailers_mutations),
    }
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS
            | Phases::REQUEST_TRAILERS
            | Phases::RESPONSE_HEADERS
            | Phases::RESPONSE_TRAILERS
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
        let mut trailers = false;
        each(config, s, |s, mutations| {
            mutate::request(s.conn, s.work, &mutations.request);
            trailers |= !mutations.request_trailers.is_empty();
        });
        if !trailers {
            s.ignore(Phases::REQUEST_TRAILERS);
        }
        CONTINUE
    }

    fn poll_request_trailers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: &mut Chain,
    ) -> Poll<Step> {
        each(config, s, |s, mutations| {
            let mut trailers = std::mem::take(&mut s.work.request_trailers);
            in_trailers(s, &mut trailers, &mutations.request_trailers);
            s.work.request_trailers = trailers;
        });
        CONTINUE
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let mut trailers = false;
        each(config, s, |s, mutations| {
            mutate::response(s.conn, s.work, &mutations.response);
            trailers |= !mutations.response_trailers.is_empty();
        });
        if !trailers {
            s.ignore(Phases::RESPONSE_TRAILERS);
        }
        CONTINUE
    }

    fn poll_response_trailers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: &mut Chain,
    ) -> Poll<Step> {
        each(config, s, |s, mutations| {
            let mut trailers = std::mem::take(&mut s.work.response_trailers);
            in_trailers(s, &mut trailers, &mutations.response_trailers);
            s.work.response_trailers = trailers;
        });
        CONTINUE
    }
}

/// The filter's own mutations, then those of the levels above and of the route: the last word has
/// the most general level, or the route where the options say so.
fn each<'s>(
    config: &Config,
    s: &mut StreamCx<'s>,
    mut apply: impl FnMut(&mut StreamCx<'s>, &Mutations),
) {
    apply(s, &config.mutations);
    let levels: smallvec::SmallVec<[&'s Route; 4]> = s.route_configs::<Route>().collect();
    if config.most_specific_wins {
        levels.iter().for_each(|Route(mutations)| apply(s, mutations));
    } else {
        levels.iter().rev().for_each(|Route(mutations)| apply(s, mutations));
    }
}

fn in_trailers(s: &StreamCx<'_>, trailers: &mut HeaderMap, mutations: &[HeaderMutation]) {
    mutate::apply(trailers, mutations, |format, _| {
        let mut value = Vec::new();
        let head = &s.work.request;
        let response = Some(&s.work.response.headers);
        format.eval(&account::context(s.conn, s.work, head, response), &mut value);
        value
    });
}
