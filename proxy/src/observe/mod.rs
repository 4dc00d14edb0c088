//! What the proxy tells about itself: statistics and access logs.
//!
//! - [`stats`]: names → slots, one-writer pages per shard, merging, `/stats` pages.
//! - [`format`]: Envoy's substitution format strings (`%OPERATOR(args):max%`), used by access
//!   logs, header formats and local replies.
//! - [`accesslog`]: log lines (text, JSON) and the filters that pick which streams are logged.

pub mod accesslog;
pub mod format;
pub mod stats;
