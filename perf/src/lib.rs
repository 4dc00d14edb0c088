//! Load generator and comparison runner.
//!
//! [`upstream`] is a static HTTP/1.1 server, [`load`] a generator with a closed and an open loop,
//! [`compare`] sends the same load through this proxy and its peers and writes a report. All
//! traffic runs on the project's own runtime.

pub mod cli;
pub mod compare;
pub mod load;
pub mod output;
pub mod proc;
pub mod units;
pub mod upstream;
