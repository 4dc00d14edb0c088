//! Expressions of `stats_tags`. Envoy reads them as ECMAScript (`std::regex`), not as RE2: they may
//! look ahead and refer back, as one of those that Istio's bootstraps have does.

use std::ops::Range;

use crate::config::compile::re2;

/// Steps of a search that has to go back, after which a name has no tag.
const BACKTRACKS_MAX: usize = 10_000;

/// An expression that finds a tag in a name.
#[derive(Debug, Clone)]
pub struct TagRegex {
    engine: Engine,
    anchored: bool,
}

#[derive(Debug, Clone)]
enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl TagRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let anchored = has_first_part(pattern);
        let engine = match re2::search(pattern) {
            Ok(regex) => Engine::Linear(regex),
            Err(error) => {
                let translated = re2::translate(pattern);
                let mut builder = fancy_regex::RegexBuilder::new(&translated);
                match builder.backtrack_limit(BACKTRACKS_MAX).build() {
                    Ok(regex) => Engine::Backtracking(Box::new(regex)),
                    Err(_) => return Err(error.to_string()),
                }
            }
        };
        Ok(Self { engine, anchored })
    }

    /// Whether it is only for names whose first part it begins with: Envoy asks those after all
    /// others.
    pub(super) fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// What is cut out of a name (the first group), and where the value is (the second group, if
    /// the expression has one).
    pub(super) fn find(&self, name: &str) -> Option<(Range<usize>, Range<usize>)> {
        let (count, first, second) = match &self.engine {
            Engine::Linear(regex) => {
                let groups = regex.captures(name.as_bytes())?;
                let range = |group| groups.get(group).map(|found| found.range());
                (groups.len(), range(1), range(2))
            }
            Engine::Backtracking(regex) => {
                let groups = regex.captures(name).ok()??;
                let range = |group| groups.get(group).map(|found| found.range());
                (groups.len(), range(1), range(2))
            }
        };
        // A group that took no part in the match is empty.
        let cut = first.unwrap_or_default();
        match count {
            0 | 1 => None,
            2 => Some((cut.clone(), cut)),
            _ => Some((cut, second.unwrap_or_default())),
        }
    }
}

/// `^word` and a dot, or nothing more.
fn has_first_part(pattern: &str) -> bool {
    let Some(rest) = pattern.strip_prefix('^') else { return false };
    let word = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let after = rest.get(word..).unwrap_or_default();
    word > 0 && (after == "$" || after.starts_with("\\.") || after.starts_with("(?=\\.)"))
}
