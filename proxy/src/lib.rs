//! See Cargo.toml.

pub mod config;
/// The control thread and the admin thread.
pub mod control {
    pub mod message;
}
pub mod observe;
pub mod plan;
pub mod upstream;
