//! See Cargo.toml.

pub mod observe;
