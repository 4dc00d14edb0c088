//! From a configuration file to a plan.

pub mod compile;
mod load;
pub mod runtime;
mod validate;

use crate::plan::Address;
use crate::plan::route::StringMatch;

pub use load::{Diagnostics, Loaded, load, load_text};
pub use validate::validate;

/// `bootstrap.admin`.
#[derive(Debug, Default)]
pub struct Admin {
    /// Where it listens; `None` where only its pages for others are wanted.
    pub address: Option<Address>,
    /// `allow_paths`: if there are any, other paths are answered with 403.
    pub allow_paths: Vec<StringMatch>,
}

/// `bootstrap.node`, as far as anybody but xDS asks for it; flags override it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `id`, `--service-node`.
    pub id: String,
    /// `cluster`, `--service-cluster`.
    pub cluster: String,
    /// `locality.region`.
    pub region: String,
    /// `locality.zone`, `--service-zone`.
    pub zone: String,
    /// `locality.sub_zone`.
    pub sub_zone: String,
}
