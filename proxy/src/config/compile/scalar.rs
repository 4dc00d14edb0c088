//! Durations, percentages, regular expressions and strings, checked and converted.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::r#type::matcher::v3 as matcher;
use ringway_xds::api::envoy::r#type::v3 as types;

use super::at::At;
use super::cx::Cx;
use super::re2;
use super::set::refuse;
use crate::config::files::read_file;
use crate::plan::route::{CaseSensitivity, Fraction, StringMatch};

/// A duration, or `default` where there is none. Negative ones are wrong, and beyond 290 years.
pub(crate) fn duration(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<prost_types::Duration>,
    default: Duration,
) -> Duration {
    optional_duration(cx, at, value).unwrap_or(default)
}

/// As [`duration`], keeping "absent" apart.
pub(crate) fn optional_duration(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<prost_types::Duration>,
) -> Option<Duration> {
    let prost_types::Duration { seconds, nanos } = value?;
    if seconds > 9_223_372_036 {
        cx.invalid_allowed(at, "duration out of range", "at most 9223372036s");
        return None;
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
        _ => {
            cx.invalid_allowed(at, "expected a positive duration", "0s and longer");
            None
        }
    }
}

/// `FractionalPercent`; the numerator must not exceed the denominator.
pub(crate) fn fractional_percent(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &types::FractionalPercent,
) -> Fraction {
    let types::FractionalPercent { numerator, denominator } = value;
    let denominator = match types::fractional_percent::DenominatorType::try_from(*denominator) {
        Ok(types::fractional_percent::DenominatorType::Hundred) => 100,
        Ok(types::fractional_percent::DenominatorType::TenThousand) => 10_000,
        Ok(types::fractional_percent::DenominatorType::Million) => 1_000_000,
        Err(_) => {
            cx.invalid(&at.field("denominator"), "unknown denominator");
            100
        }
    };
    Fraction { numerator: *numerator, denominator }
}

/// `RuntimeFractionalPercent`, resolved.
pub(crate) fn runtime_fraction(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &core::RuntimeFractionalPercent,
) -> Fraction {
    let core::RuntimeFractionalPercent { default_value, runtime_key } = value;
    let default = default_value
        .as_ref()
        .unwrap_or(&types::FractionalPercent { numerator: 0, denominator: 0 });
    let default = fractional_percent(cx, &at.field("default_value"), default);
    if runtime_key.is_empty() { default } else { cx.runtime.fraction(runtime_key, default) }
}

/// `RegexMatcher`, compiled to match whole values.
pub(crate) fn regex(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &matcher::RegexMatcher,
) -> Option<Arc<regex::bytes::Regex>> {
    pattern(cx, at, value, re2::full_match)
}

/// `RegexMatcher`, compiled to find matches anywhere, as substitutions do.
pub(crate) fn search_regex(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &matcher::RegexMatcher,
) -> Option<Arc<regex::bytes::Regex>> {
    pattern(cx, at, value, re2::search)
}

fn pattern(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &matcher::RegexMatcher,
    compile: fn(&str) -> Result<regex::bytes::Regex, re2::Error>,
) -> Option<Arc<regex::bytes::Regex>> {
    // RE2 is the only engine there is, so the field that names the engine says nothing.
    let matcher::RegexMatcher { regex, engine_type: _ } = value;
    cx.ok(&at.field("regex"), compile(regex)).map(Arc::new)
}

/// `RegexMatchAndSubstitute`.
pub(crate) fn substitution(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &matcher::RegexMatchAndSubstitute,
) -> Option<(Arc<regex::bytes::Regex>, Arc<[u8]>)> {
    let matcher::RegexMatchAndSubstitute { pattern, substitution } = value;
    let Some(pattern) = pattern else {
        cx.invalid(&at.field("pattern"), "value is required");
        return None;
    };
    let regex = search_regex(cx, &at.field("pattern"), pattern)?;
    let text = match re2::substitution(substitution, regex.captures_len()) {
        Ok(text) => text,
        Err((partial, error)) => {
            cx.warn(&at.field("substitution"), error.to_string());
            partial?
        }
    };
    Some((regex, Arc::from(text.into_bytes())))
}

/// `StringMatcher`.
pub(crate) fn string_match(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &matcher::StringMatcher,
) -> Option<StringMatch> {
    use matcher::string_matcher::MatchPattern;
    let matcher::StringMatcher { ignore_case, match_pattern } = value;
    let case = case(!*ignore_case);
    match match_pattern {
        Some(MatchPattern::Exact(text)) => Some(StringMatch::Exact(cx.text(text), case)),
        Some(MatchPattern::Prefix(text)) => Some(StringMatch::Prefix(cx.text(text), case)),
        Some(MatchPattern::Suffix(text)) => Some(StringMatch::Suffix(cx.text(text), case)),
        Some(MatchPattern::Contains(text)) => Some(StringMatch::Contains(cx.text(text), case)),
        Some(MatchPattern::SafeRegex(value)) => {
            if *ignore_case {
                let message = "ignore_case has no effect for safe_regex";
                cx.invalid_allowed(&at.field("ignore_case"), message, "`(?i)` in the regex");
            }
            regex(cx, &at.field("safe_regex"), value).map(StringMatch::Regex)
        }
        Some(MatchPattern::Custom(custom)) => {
            let any = custom.typed_config.as_ref();
            let name = any.map_or(custom.name.as_str(), |any| type_name(&any.type_url));
            cx.unsupported_value(&at.field("custom"), name);
            None
        }
        None => {
            cx.invalid(at, "one of exact, prefix, suffix, safe_regex, contains is required");
            None
        }
    }
}

/// Refuses an extension nobody here knows, naming its type.
pub(crate) fn extension(cx: &mut Cx<'_>, at: &At<'_>, value: &core::TypedExtensionConfig) {
    let core::TypedExtensionConfig { name, typed_config } = value;
    match typed_config {
        Some(any) => cx.unsupported_value(&at.field("typed_config"), type_name(&any.type_url)),
        None => cx.unsupported_value(at, &format!("extension '{name}'")),
    }
}

/// Type name of a type URL.
pub(crate) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// `case_sensitive`.
pub(crate) fn case(sensitive: bool) -> CaseSensitivity {
    if sensitive { CaseSensitivity::Sensitive } else { CaseSensitivity::Insensitive }
}

/// `RuntimeDouble`, resolved.
pub(crate) fn runtime_double(cx: &Cx<'_>, value: &core::RuntimeDouble) -> f64 {
    let core::RuntimeDouble { default_value, runtime_key } = value;
    cx.runtime.double(runtime_key, *default_value)
}

/// Bytes or text of a `DataSource`, read now.
pub(crate) fn data_source(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &core::DataSource,
) -> Option<Vec<u8>> {
    use core::data_source::Specifier;
    let core::DataSource { watched_directory, specifier } = value;
    refuse!(cx, at, watched_directory);
    match specifier {
        Some(Specifier::InlineString(text)) => Some(text.clone().into_bytes()),
        Some(Specifier::InlineBytes(bytes)) => Some(bytes.clone()),
        Some(Specifier::Filename(path)) => match read_file(path) {
            Ok(bytes) => Some(bytes),
            Err(message) => {
                cx.invalid(&at.field("filename"), message);
                None
            }
        },
        Some(Specifier::EnvironmentVariable(name)) => match std::env::var(name) {
            Ok(text) => Some(text.into_bytes()),
            Err(_) => {
                let message = format!("environment variable doesn't exist: {name}");
                cx.invalid(&at.field("environment_variable"), message);
                None
            }
        },
        None => {
            cx.invalid(
                at,
                "one of filename, inline_bytes, inline_string, environment_variable is required",
            );
            None
        }
    }
}

/// A `google.protobuf.Value` as JSON.
pub(crate) fn json(value: prost_types::Value) -> serde_json::Value {
    use prost_types::value::Kind;
    match value.kind {
        Some(Kind::NullValue(_)) | None => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => serde_json::Value::Bool(value),
        Some(Kind::NumberValue(number)) => {
            // Whole numbers print without a fraction.
            if number.fract() == 0.0 && number.abs() < 9e15 {
                serde_json::Value::from(number as i64)
            } else {
                serde_json::Value::from(number)
            }
        }
        Some(Kind::StringValue(text)) => serde_json::Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(map)) => {
            map.fields.into_iter().map(|(key, value)| (key, json(value))).collect()
        }
    }
}

/// Bytes as pairs of hexadecimal digits.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()).collect()
}
