//! See Cargo.toml.

pub mod control;
pub mod observe;
pub mod plan;
pub mod upstream;
