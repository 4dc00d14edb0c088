//! Mutations of query parameters.

use std::sync::Arc;

use super::route::AppendAction;
use crate::observe::format::Format;

/// One `KeyValueMutation` of `query_parameter_mutations`.
#[derive(Debug)]
pub enum QueryMutation {
    /// `append`
    Append {
        /// Its name.
        key: Arc<str>,
        /// Its value, a format string.
        value: Format,
        /// What happens where it is there already.
        action: AppendAction,
    },
    /// `remove`
    Remove(Arc<str>),
}
