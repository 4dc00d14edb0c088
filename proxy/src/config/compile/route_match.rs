//! `RouteMatch`: the path condition and the others.

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::headers;
use super::scalar::{case, extension, regex, runtime_fraction};
use super::set::refuse;
use crate::plan::route::{Conditions, PathMatch};

/// The path condition and the others of one route; `None` where an error was recorded.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    matcher: &api::RouteMatch,
) -> Option<(PathMatch, Conditions)> {
    let api::RouteMatch {
        case_sensitive,
        runtime_fraction: fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = matcher;
    refuse!(cx, at, cookies, tls_context, dynamic_metadata, filter_state);
    let conditions = Conditions {
        headers: headers::matchers(cx, &at.field("headers"), headers),
        query: headers::query_matchers(cx, &at.field("query_parameters"), query_parameters),
        grpc: grpc.is_some(),
        fraction: fraction
            .as_ref()
            .map(|value| runtime_fraction(cx, &at.field("runtime_fraction"), value)),
    };
    let path = path(cx, at, path_specifier.as_ref(), case_sensitive.unwrap_or(true))?;
    Some((path, conditions))
}

fn path(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    specifier: Option<&api::route_match::PathSpecifier>,
    case_sensitive: bool,
) -> Option<PathMatch> {
    use api::route_match::PathSpecifier;
    let case = case(case_sensitive);
    match specifier {
        Some(PathSpecifier::Prefix(text)) => Some(PathMatch::Prefix(cx.text(text), case)),
        Some(PathSpecifier::Path(text)) => Some(PathMatch::Exact(cx.text(text), case)),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            Some(PathMatch::SeparatedPrefix(cx.text(text), case))
        }
        Some(PathSpecifier::SafeRegex(value)) => {
            regex(cx, &at.field("safe_regex"), value).map(PathMatch::Regex)
        }
        Some(PathSpecifier::ConnectMatcher(api::route_match::ConnectMatcher {})) => {
            Some(PathMatch::Connect)
        }
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            extension(cx, &at.field("path_match_policy"), policy);
            None
        }
        None => {
            let allowed = "prefix, path, path_separated_prefix, safe_regex, connect_matcher";
            cx.invalid_allowed(at, "one of the path specifiers is required", allowed);
            None
        }
    }
}
