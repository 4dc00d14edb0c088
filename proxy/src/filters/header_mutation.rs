//! `envoy.filters.http.header_mutation`: changes to headers and trailers, either way.

use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::Chain;
use ringway_wire::HeaderMap;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::http::header_mutation::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::set::refuse;
use crate::config::compile::{At, Cx, headers};
use crate::http::{account, mutate, query};
use crate::observe::format::{Extensions, Format};
use crate::plan::mutation::HeaderMutation;
use crate::plan::query::QueryMutation;
use crate::plan::route::AppendAction;

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
    query: Vec<QueryMutation>,
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
    refuse!(cx, at, formatters);
    let query_at = at.field("query_parameter_mutations");
    let each = query_parameter_mutations.into_iter().enumerate();
    let query = each.filter_map(|(index, one)| query_mutation(cx, &query_at.index(index), one));
    let query = query.collect();
    let mut list = |name, list: &[_]| headers::mutations(cx, &at.field(name), list);
    Mutations {
        query,
        request: list("request_mutations", &request_mutations),
        request_trailers: list("request_trailers_mutations", &request_trailers_mutations),
        response: list("response_mutations", &response_mutations),
        response_trailers: list("response_trailers_mutations", &response_trailers_mutations),
    }
}

fn query_mutation(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: core::KeyValueMutation,
) -> Option<QueryMutation> {
    use core::key_value_append::KeyValueAppendAction as Action;
    let core::KeyValueMutation { append, remove } = config;
    let append = match (append, remove.is_empty()) {
        (None, false) => return Some(QueryMutation::Remove(Arc::from(remove))),
        (Some(append), true) => append,
        (Some(_), false) => {
            cx.invalid(at, "Only one of 'append'/'remove can be specified.");
            return None;
        }
        (None, true) => {
            cx.invalid(at, "One of 'append'/'remove' must be specified.");
            return None;
        }
    };
    let at = at.field("append");
    let core::KeyValueAppend { record, entry, action } = append;
    refuse!(cx, &at, entry);
    let Some(core::KeyValuePair { key, value }) = record else {
        cx.invalid(&at.field("record"), "No record specified.");
        return None;
    };
    let Some(prost_types::value::Kind::StringValue(text)) = value.and_then(|value| value.kind)
    else {
        let message = "Only string value is allowed for record value.";
        cx.invalid(&at.field("record").field("value"), message);
        return None;
    };
    let format = Format::parse_with(&text, true, Extensions::default());
    let value = cx.ok(&at.field("record").field("value"), format)?;
    let action = match Action::try_from(action) {
        Ok(Action::AddIfAbsent) => AppendAction::AddIfAbsent,
        Ok(Action::OverwriteIfExistsOrAdd) => AppendAction::OverwriteIfExistsOrAdd,
        Ok(Action::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        Ok(Action::AppendIfExistsOrAdd) | Err(_) => AppendAction::AppendIfExistsOrAdd,
    };
    Some(QueryMutation::Append { key: Arc::from(key), value, action })
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
            query::mutate(s.conn, s.work, &mutations.query);
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
