//! `stats_config`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::metrics::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::string_match;
use crate::observe::stats::Settings;
use crate::observe::stats::settings::Matcher;
use crate::observe::stats::tags::{CustomTag, TagRegex, TagRules, is_default};
use crate::plan::route::StringMatch;

/// Compiles it.
pub(super) fn compile(cx: &mut Cx<'_>, at: &At<'_>, value: &api::StatsConfig) -> Settings {
    let api::StatsConfig {
        stats_tags,
        use_all_default_tags,
        stats_matcher,
        histogram_bucket_settings,
        allow_default_tag_overrides,
    } = value;
    let defaults = use_all_default_tags.unwrap_or(true);
    let (custom, named) = tags(cx, &at.field("stats_tags"), stats_tags);
    let tags = TagRules::new(custom, defaults, named);
    let overrides = allow_default_tag_overrides.unwrap_or_default();
    let matcher = stats_matcher.as_ref();
    Settings {
        tags: Arc::new(if overrides { tags.with_overrides() } else { tags }),
        matcher: matcher
            .map(|value| matcher_of(cx, &at.field("stats_matcher"), value))
            .unwrap_or_default(),
        buckets: buckets(cx, &at.field("histogram_bucket_settings"), histogram_bucket_settings),
    }
}

/// Tags with an expression or a value, and the names of those that mean the default of their name.
fn tags(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::TagSpecifier]) -> (Vec<CustomTag>, Vec<String>) {
    use api::tag_specifier::TagValue;
    let (mut custom, mut named) = (Vec::new(), Vec::new());
    for (index, tag) in list.iter().enumerate() {
        let at = at.index(index);
        let api::TagSpecifier { tag_name, tag_value } = tag;
        if tag_name.is_empty() {
            cx.invalid(&at.field("tag_name"), "tag_name cannot be empty");
        }
        let name = tag_name.clone();
        match tag_value {
            Some(TagValue::FixedValue(value)) => {
                custom.push(CustomTag::Fixed { name, value: value.clone() });
            }
            Some(TagValue::Regex(regex)) if !regex.is_empty() => match TagRegex::new(regex) {
                Ok(regex) => custom.push(CustomTag::Regex { name, regex }),
                Err(problem) => cx.invalid(&at.field("regex"), problem),
            },
            Some(TagValue::Regex(_)) | None if is_default(tag_name) => named.push(name),
            Some(TagValue::Regex(_)) | None => {
                let message = format!(
                    "No regex specified for tag specifier and no default regex for name: \
                     '{tag_name}'"
                );
                cx.invalid(&at, message);
            }
        }
    }
    (custom, named)
}

fn matcher_of(cx: &mut Cx<'_>, at: &At<'_>, value: &api::StatsMatcher) -> Matcher {
    use api::stats_matcher::StatsMatcher as Kind;
    let api::StatsMatcher { stats_matcher } = value;
    let mut list = |name, patterns: &[_]| -> Vec<StringMatch> {
        let at = at.field(name);
        let at = at.field("patterns");
        let patterns = patterns.iter().enumerate();
        patterns.filter_map(|(i, pattern)| string_match(cx, &at.index(i), pattern)).collect()
    };
    match stats_matcher {
        Some(Kind::RejectAll(true)) => Matcher::Nothing,
        Some(Kind::RejectAll(false)) | None => Matcher::Everything,
        Some(Kind::ExclusionList(patterns)) => {
            Matcher::Except(list("exclusion_list", &patterns.patterns))
        }
        Some(Kind::InclusionList(patterns)) => {
            Matcher::Only(list("inclusion_list", &patterns.patterns))
        }
    }
}

fn buckets(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::HistogramBucketSettings],
) -> Vec<(StringMatch, Arc<[f64]>)> {
    let mut out = Vec::new();
    for (index, settings) in list.iter().enumerate() {
        let at = at.index(index);
        let api::HistogramBucketSettings {
            r#match,
            buckets,
            // How much memory a histogram begins with; ours grow as they need.
            bins: _,
        } = settings;
        let Some(pattern) = r#match else {
            cx.invalid(&at.field("match"), "value is required");
            continue;
        };
        let Some(pattern) = string_match(cx, &at.field("match"), pattern) else { continue };
        // One without bounds leaves its histograms to those that follow.
        if !buckets.is_empty() {
            let mut bounds = buckets.clone();
            bounds.sort_by(f64::total_cmp);
            out.push((pattern, bounds.into()));
        }
    }
    out
}
