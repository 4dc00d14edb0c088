//! Header rules (`*_headers_to_add`, `*_headers_to_remove`) and header matchers.

use std::sync::Arc;

use ringway_xds::api::envoy::config::common::mutation_rules::v3 as mutation_rules;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::route::v3 as route;
use ringway_xds::api::envoy::r#type::v3 as types;

use super::at::At;
use super::cx::Cx;
use super::scalar::{regex, string_match};
use crate::observe::format::{Extensions, Format};
use crate::plan::mutation::HeaderMutation;
use crate::plan::route::{
    AppendAction, CaseSensitivity, HeaderAdd, HeaderMatcher, HeaderRules, QueryMatch, QueryMatcher,
    StringMatch, ValueMatch,
};

/// The request and response rules of one level, under their usual names.
pub(crate) struct Rules<'a> {
    /// `request_headers_to_add`.
    pub(crate) request_add: &'a [core::HeaderValueOption],
    /// `request_headers_to_remove`.
    pub(crate) request_remove: &'a [String],
    /// `response_headers_to_add`.
    pub(crate) response_add: &'a [core::HeaderValueOption],
    /// `response_headers_to_remove`.
    pub(crate) response_remove: &'a [String],
}

impl Rules<'_> {
    /// Request rules, response rules.
    pub(crate) fn compile(&self, cx: &mut Cx<'_>, at: &At<'_>) -> (HeaderRules, HeaderRules) {
        let request = HeaderRules {
            add: additions(cx, &at.field("request_headers_to_add"), self.request_add),
            remove: removals(cx, &at.field("request_headers_to_remove"), self.request_remove),
        };
        let response = HeaderRules {
            add: additions(cx, &at.field("response_headers_to_add"), self.response_add),
            remove: removals(cx, &at.field("response_headers_to_remove"), self.response_remove),
        };
        (request, response)
    }
}

/// A list of `HeaderValueOption`.
pub(crate) fn additions(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[core::HeaderValueOption],
) -> Vec<HeaderAdd> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, option)| addition(cx, &at.index(index), option)).collect()
}

fn addition(cx: &mut Cx<'_>, at: &At<'_>, option: &core::HeaderValueOption) -> Option<HeaderAdd> {
    if let Some(core::HeaderValue { key, .. }) = &option.header
        && !is_modifiable(&key.to_ascii_lowercase())
    {
        let message = ":-prefixed or host headers may not be modified";
        cx.invalid(&at.field("header").field("key"), message);
        return None;
    }
    any_addition(cx, at, option)
}

/// As [`addition`], pseudo headers and the host among the names.
fn any_addition(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    option: &core::HeaderValueOption,
) -> Option<HeaderAdd> {
    let core::HeaderValueOption { header, append, append_action, keep_empty_value } = option;
    let Some(core::HeaderValue { key, value, raw_value }) = header else {
        cx.invalid(&at.field("header"), "value is required");
        return None;
    };
    let header_at = at.field("header");
    let name = key.to_ascii_lowercase();
    // Where both are there the text counts, as in Envoy.
    let text = if value.is_empty() {
        let raw = str::from_utf8(raw_value).map_err(|_| "raw_value is not UTF-8");
        cx.ok(&header_at.field("raw_value"), raw)?
    } else {
        value.as_str()
    };
    // The old name of FILTER_STATE, which Envoy knows in headers only.
    if text.contains("%PER_REQUEST_STATE(") {
        cx.unsupported_value(&header_at.field("value"), "%PER_REQUEST_STATE(…)%");
        return None;
    }
    // What is absent leaves nothing in a header, where a log line has `-`.
    let format = Format::parse_with(text, true, Extensions::default());
    let value = cx.ok(&header_at.field("value"), format)?;
    let action = append_action_of(cx, at, *append, *append_action);
    Some(HeaderAdd { name: Arc::from(name), value, action, keep_empty: *keep_empty_value })
}

/// A list of `HeaderMutation`.
pub(crate) fn mutations(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[mutation_rules::HeaderMutation],
) -> Vec<HeaderMutation> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, config)| mutation(cx, &at.index(index), config)).collect()
}

fn mutation(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &mutation_rules::HeaderMutation,
) -> Option<HeaderMutation> {
    use mutation_rules::header_mutation::{Action, RemoveOnMatch};
    let mutation_rules::HeaderMutation { action } = config;
    match action {
        Some(Action::Append(option)) => {
            any_addition(cx, &at.field("append"), option).map(HeaderMutation::Append)
        }
        Some(Action::Remove(name)) => {
            Some(HeaderMutation::Remove(Arc::from(name.to_ascii_lowercase())))
        }
        Some(Action::RemoveOnMatch(RemoveOnMatch { key_matcher })) => {
            let at = at.field("remove_on_match");
            let at = at.field("key_matcher");
            match key_matcher {
                Some(matcher) => string_match(cx, &at, matcher).map(HeaderMutation::RemoveOnMatch),
                None => {
                    cx.invalid(&at, "value is required");
                    None
                }
            }
        }
        None => {
            cx.invalid_allowed(at, "an action is required", "append, remove, remove_on_match");
            None
        }
    }
}

/// `append_action`, or what the deprecated `append` means.
fn append_action_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    append: Option<bool>,
    action: i32,
) -> AppendAction {
    use core::header_value_option::HeaderAppendAction as Action;
    let action = Action::try_from(action).unwrap_or(Action::AppendIfExistsOrAdd);
    if append.is_some() && action != Action::AppendIfExistsOrAdd {
        let message = "both append and append_action are set and it's not allowed";
        cx.invalid_allowed(&at.field("append"), message, "append_action alone");
    }
    match (append, action) {
        (Some(false), _) | (None, Action::OverwriteIfExistsOrAdd) => {
            AppendAction::OverwriteIfExistsOrAdd
        }
        (Some(true), _) | (None, Action::AppendIfExistsOrAdd) => AppendAction::AppendIfExistsOrAdd,
        (None, Action::AddIfAbsent) => AppendAction::AddIfAbsent,
        (None, Action::OverwriteIfExists) => AppendAction::OverwriteIfExists,
    }
}

/// A list of header names that are taken away.
pub(crate) fn removals(cx: &mut Cx<'_>, at: &At<'_>, names: &[String]) -> Vec<Arc<str>> {
    let mut out = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        if is_modifiable(&name) {
            out.push(Arc::from(name));
        } else {
            cx.invalid(&at.index(index), ":-prefixed or host headers may not be removed");
        }
    }
    out
}

/// The router owns the pseudo headers and the host.
fn is_modifiable(name: &str) -> bool {
    !name.starts_with(':') && name != "host"
}

/// A list of header names, in lower case.
pub(crate) fn names(names: &[String]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(name.to_ascii_lowercase())).collect()
}

/// A list of `HeaderMatcher`.
pub(crate) fn matchers(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[route::HeaderMatcher],
) -> Vec<HeaderMatcher> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, matcher)| header_matcher(cx, &at.index(index), matcher)).collect()
}

fn header_matcher(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    matcher: &route::HeaderMatcher,
) -> Option<HeaderMatcher> {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let route::HeaderMatcher {
        name,
        invert_match,
        treat_missing_header_as_empty,
        header_match_specifier,
    } = matcher;
    let exactly = CaseSensitivity::Sensitive;
    let value = match header_match_specifier {
        // Envoy matches on presence where nothing is said.
        None => ValueMatch::Present(true),
        Some(Specifier::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(Specifier::ExactMatch(text)) if text.is_empty() => ValueMatch::Present(true),
        Some(Specifier::ExactMatch(text)) => {
            ValueMatch::String(StringMatch::Exact(cx.text(text), exactly))
        }
        Some(Specifier::PrefixMatch(text)) => {
            ValueMatch::String(StringMatch::Prefix(cx.text(text), exactly))
        }
        Some(Specifier::SuffixMatch(text)) => {
            ValueMatch::String(StringMatch::Suffix(cx.text(text), exactly))
        }
        Some(Specifier::ContainsMatch(text)) => {
            ValueMatch::String(StringMatch::Contains(cx.text(text), exactly))
        }
        Some(Specifier::SafeRegexMatch(value)) => {
            ValueMatch::String(StringMatch::Regex(regex(cx, &at.field("safe_regex_match"), value)?))
        }
        Some(Specifier::RangeMatch(types::Int64Range { start, end })) => {
            ValueMatch::Range(*start, *end)
        }
        Some(Specifier::StringMatch(value)) => {
            ValueMatch::String(string_match(cx, &at.field("string_match"), value)?)
        }
    };
    Some(HeaderMatcher {
        name: Arc::from(name.to_ascii_lowercase()),
        value,
        invert: *invert_match,
        missing_as_empty: *treat_missing_header_as_empty,
    })
}

/// A list of `QueryParameterMatcher`.
pub(crate) fn query_matchers(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[route::QueryParameterMatcher],
) -> Vec<QueryMatcher> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let mut out = Vec::with_capacity(list.len());
    for (index, matcher) in list.iter().enumerate() {
        let at = at.index(index);
        let route::QueryParameterMatcher { name, query_parameter_match_specifier } = matcher;
        let value = match query_parameter_match_specifier {
            None => Some(QueryMatch::Present(true)),
            Some(Specifier::PresentMatch(wanted)) => Some(QueryMatch::Present(*wanted)),
            Some(Specifier::StringMatch(value)) => {
                string_match(cx, &at.field("string_match"), value).map(QueryMatch::String)
            }
        };
        out.extend(value.map(|value| QueryMatcher { name: cx.text(name), value }));
    }
    out
}
