//! `stats_config`: which statistics there are, how they are tagged, and the bounds of histograms.
//!
//! Writers know nothing of it: what nobody is to see is counted all the same, for a counter costs
//! less than the question. Whether a name is shown is found out when a page first comes to its
//! block, and kept with the block, a bit for each name.

use std::sync::Arc;

use super::directory::Scope;
use super::histogram::BOUNDS;
use super::render::full_name;
use super::tags::{LABELLED, TagRules};
use crate::plan::route::{CaseSensitivity, StringMatch};

/// `stats_config`.
#[derive(Debug, Default)]
pub struct Settings {
    /// `stats_tags`, `use_all_default_tags`
    pub tags: Arc<TagRules>,
    /// `stats_matcher`
    pub matcher: Matcher,
    /// `histogram_bucket_settings`: the first that matches a name gives its upper bounds, in
    /// ascending order.
    pub buckets: Vec<(StringMatch, Arc<[f64]>)>,
}

/// `stats_matcher`, asked with full names.
#[derive(Debug, Default)]
pub enum Matcher {
    /// There is none.
    #[default]
    Everything,
    /// `reject_all`
    Nothing,
    /// `inclusion_list`
    Only(Vec<StringMatch>),
    /// `exclusion_list`
    Except(Vec<StringMatch>),
}

/// Which statistics of a block are shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    All,
    None,
    /// One bit for each, in the order of the block.
    Some(Box<[u64]>),
}

impl Shown {
    /// Whether the statistic at `index` of the block is shown.
    pub(super) fn has(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(bits) => {
                bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
            }
        }
    }
}

/// What a pattern says about all names of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    All,
    None,
    ByName,
}

impl Settings {
    /// Upper bounds of the buckets of a histogram.
    pub(super) fn bounds(&self, name: impl FnOnce() -> String) -> &[f64] {
        if self.buckets.is_empty() {
            return &BOUNDS;
        }
        let name = name();
        let found = self.buckets.iter().find(|(pattern, _)| pattern.matches(name.as_bytes()));
        found.map_or(&BOUNDS, |(_, bounds)| bounds)
    }
}

impl Matcher {
    /// Whether a statistic is shown.
    pub(super) fn shows(&self, name: &str) -> bool {
        let any = |list: &[StringMatch]| list.iter().any(|p| p.matches(name.as_bytes()));
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Only(list) => any(list),
            Self::Except(list) => !any(list),
        }
    }

    /// Which statistics of a block are shown. Most patterns need to see no more than the prefix.
    pub(super) fn of_scope(&self, scope: &Scope) -> Shown {
        let (list, wanted) = match self {
            Self::Everything => return Shown::All,
            Self::Nothing => return Shown::None,
            Self::Only(list) => (list, true),
            Self::Except(list) => (list, false),
        };
        let all = |matched: bool| if matched == wanted { Shown::All } else { Shown::None };
        let verdict = |pattern: &&StringMatch| of_prefix(pattern, &scope.prefix);
        if list.iter().any(|pattern| verdict(&pattern) == Verdict::All) {
            return all(true);
        }
        let list: Vec<_> = list.iter().filter(|p| verdict(p) == Verdict::ByName).collect();
        if list.is_empty() {
            return all(false);
        }
        let stats = scope.def.stats;
        let mut bits = vec![0u64; stats.len().div_ceil(64)].into_boxed_slice();
        let (mut name, mut count) = (String::new(), 0);
        for (i, stat) in stats.iter().enumerate() {
            full_name(&mut name, &scope.prefix, stat.suffix);
            let matched = list.iter().any(|pattern| pattern.matches(name.as_bytes()));
            if let Some(word) = bits.get_mut(i / 64).filter(|_| matched == wanted) {
                *word |= 1 << (i % 64);
                count += 1;
            }
        }
        match count {
            0 => Shown::None,
            _ if count == stats.len() => Shown::All,
            _ => Shown::Some(bits),
        }
    }
}

fn of_prefix(pattern: &StringMatch, prefix: &str) -> Verdict {
    use CaseSensitivity::Sensitive;
    // Such a name is put together from its labels first.
    if prefix.starts_with(LABELLED) {
        return Verdict::ByName;
    }
    match pattern {
        StringMatch::Prefix(text, Sensitive) if prefix.starts_with(&**text) => Verdict::All,
        StringMatch::Contains(text, Sensitive) if prefix.contains(&**text) => Verdict::All,
        StringMatch::Prefix(text, Sensitive) | StringMatch::Exact(text, Sensitive)
            if !text.starts_with(prefix) =>
        {
            Verdict::None
        }
        _ => Verdict::ByName,
    }
}
