//! Load generator and comparison runner.
//!
//! [`upstream`] has servers, [`ads`] a control plane, [`load`] is a generator with a closed and an
//! open loop, [`compare`]
//! sends the same load through this proxy and its peers and writes a report. All traffic runs on
//! the project's own runtime and codecs; TLS is rustls.

pub mod ads;
pub mod cli;
pub mod compare;
mod http2;
pub mod load;
pub mod output;
pub mod proc;
pub mod units;
pub mod upstream;
