//! The conditions of a route beyond its path, and conditions on values.

use std::sync::Arc;

use super::{CaseSensitivity, HeaderMatcher, StringMatch, ValueMatch};
use crate::observe::accesslog::HeaderCondition;
use crate::observe::format::HeaderSource;

/// What the route matcher wants to know of a request.
pub trait RouteRequest {
    /// `:path` with its query; `None` for a CONNECT without one.
    fn path(&self) -> Option<&[u8]>;

    /// `:authority`.
    fn authority(&self) -> Option<&[u8]>;

    /// Is it a CONNECT?
    fn is_connect(&self) -> bool;

    /// Was the request made over TLS, by `x-forwarded-proto`?
    fn is_https(&self) -> bool;

    /// Does Envoy's `x-envoy-internal` rule call the request internal?
    fn is_internal(&self) -> bool;

    /// Values of a header or pseudo header by its lower-case name, line by line.
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// Conditions of a route besides its path. All of them must hold.
#[derive(Debug, Default)]
pub struct Conditions {
    /// `headers`.
    pub headers: Vec<HeaderMatcher>,
    /// `query_parameters`.
    pub query: Vec<QueryMatcher>,
    /// `grpc`: the content type says gRPC.
    pub grpc: bool,
    /// `runtime_fraction`, with the runtime's value at load time.
    pub fraction: Option<Fraction>,
}

impl Conditions {
    /// Nothing besides the path.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && !self.grpc && self.fraction.is_none()
    }

    /// Do all hold? `random` is the request's random number, the same for every route it meets.
    pub fn hold<R: RouteRequest>(&self, request: &R, random: u64) -> bool {
        if let Some(fraction) = self.fraction
            && !fraction.takes(random)
        {
            return false;
        }
        if self.grpc && !is_grpc(request) {
            return false;
        }
        if !self.headers.iter().all(|matcher| matcher.matches(request)) {
            return false;
        }
        if self.query.is_empty() {
            return true;
        }
        let path = request.path().unwrap_or_default();
        let query = memchr::memchr(b'?', path).and_then(|at| path.get(at + 1..));
        self.query.iter().all(|matcher| matcher.matches(query.unwrap_or_default()))
    }
}

/// `core.v3.RuntimeFractionalPercent`, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    /// How many of `denominator`.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

impl Fraction {
    /// Is this random number among them?
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

/// `QueryParameterMatcher`.
#[derive(Debug)]
pub struct QueryMatcher {
    /// Key, compared without decoding, as Envoy does.
    pub name: Arc<str>,
    /// Condition on its first value.
    pub value: QueryMatch,
}

/// Condition on a query parameter.
#[derive(Debug)]
pub enum QueryMatch {
    /// `present_match`, and what Envoy assumes where nothing is given.
    Present(bool),
    /// `string_match`.
    String(StringMatch),
}

impl QueryMatcher {
    /// `query` is what follows the first `?`.
    pub fn matches(&self, query: &[u8]) -> bool {
        let value = query_value(query, self.name.as_bytes());
        match &self.value {
            QueryMatch::Present(wanted) => value.is_some() == *wanted,
            QueryMatch::String(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

impl HeaderMatcher {
    /// Does the request meet the condition?
    pub fn matches<R: RouteRequest>(&self, request: &R) -> bool {
        self.matches_lines(request.header(&self.name))
    }

    /// As [`Self::matches`], with the header's lines at hand. One line that meets the condition is
    /// enough, and one is enough to fail an inverted condition
    /// (`envoy.reloadable_features.match_headers_individually`, on in 1.40).
    ///
    /// A missing header fails every condition on a value, inverted or not, unless
    /// `treat_missing_header_as_empty` is set.
    pub fn matches_lines<'a>(&self, lines: impl Iterator<Item = &'a [u8]>) -> bool {
        let (mut present, mut met) = (false, false);
        for line in lines {
            present = true;
            met = met || self.value.matches(line);
        }
        self.verdict(present, met)
    }

    /// The verdict on a header: is it there, and does a line of it meet the condition?
    fn verdict(&self, present: bool, met: bool) -> bool {
        let empty = !present && self.missing_as_empty;
        if let ValueMatch::Present(wanted) = self.value {
            return ((present || empty) == wanted) != self.invert;
        }
        let met = if empty { self.value.matches(b"") } else { met };
        (present || empty) && met != self.invert
    }
}

/// The condition of an access-log filter.
impl HeaderCondition for HeaderMatcher {
    fn holds(&self, headers: &dyn HeaderSource) -> bool {
        let (mut present, mut met) = (false, false);
        headers.each(&self.name, &mut |line| {
            present = true;
            met = met || self.value.matches(line);
        });
        self.verdict(present, met)
    }
}

impl ValueMatch {
    /// Is the value of a header that exists as wanted?
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(wanted) => *wanted,
            Self::String(matcher) => matcher.matches(value),
            Self::Range(start, end) => {
                integer(value).is_some_and(|number| *start <= number && number < *end)
            }
        }
    }
}

impl StringMatch {
    /// Is `value` as wanted?
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text, case) => equal(value, text.as_bytes(), *case),
            Self::Prefix(text, case) => {
                value.get(..text.len()).is_some_and(|head| equal(head, text.as_bytes(), *case))
            }
            Self::Suffix(text, case) => value
                .len()
                .checked_sub(text.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|tail| equal(tail, text.as_bytes(), *case)),
            Self::Contains(text, case) => contains(value, text.as_bytes(), *case),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// First value of a key in a query; a key without `=` has an empty value.
fn query_value<'a>(query: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(key)?;
        match rest.split_first() {
            // The split of an empty query yields one empty pair, which Envoy's parser does not see.
            None if pair.is_empty() => None,
            None => Some(rest),
            Some((b'=', value)) => Some(value),
            Some(_) => None,
        }
    })
}

/// `application/grpc`, alone or with `+suffix`, and a path.
fn is_grpc<R: RouteRequest>(request: &R) -> bool {
    request.path().is_some()
        && request.header("content-type").next().is_some_and(ringway_wire::grpc::is_grpc)
}

/// A decimal integer with optional sign, the whole value; white space around it is allowed.
fn integer(value: &[u8]) -> Option<i64> {
    str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

fn equal(value: &[u8], text: &[u8], case: CaseSensitivity) -> bool {
    match case {
        CaseSensitivity::Sensitive => value == text,
        CaseSensitivity::Insensitive => value.eq_ignore_ascii_case(text),
    }
}

fn contains(value: &[u8], text: &[u8], case: CaseSensitivity) -> bool {
    match case {
        CaseSensitivity::Sensitive => memchr::memmem::find(value, text).is_some(),
        CaseSensitivity::Insensitive => {
            text.is_empty() || value.windows(text.len()).any(|w| w.eq_ignore_ascii_case(text))
        }
    }
}
