//! Lists of header mutations: `envoy.config.common.mutation_rules.v3.HeaderMutation`.

use std::sync::Arc;

use super::route::{HeaderAdd, StringMatch};

/// One `HeaderMutation`.
#[derive(Debug)]
pub enum HeaderMutation {
    /// `append`.
    Append(HeaderAdd),
    /// `remove` (lower case).
    Remove(Arc<str>),
    /// `remove_on_match.key_matcher`: every header whose name it takes.
    RemoveOnMatch(StringMatch),
}
