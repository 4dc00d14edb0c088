//! The proxy: a sidecar and edge gateway, a drop-in for Envoy.

pub mod boot;
pub mod cli;
pub mod config;
pub mod control;
pub(crate) mod filters;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod istio;
pub(crate) mod listener;
pub(crate) mod network;
pub mod observe;
pub mod plan;
pub mod shard;
pub(crate) mod transport;
pub mod upstream;
