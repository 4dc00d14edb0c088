//! DNS on the control thread: names of STRICT_DNS and LOGICAL_DNS clusters to addresses.
//!
//! - [`message`]: questions and answers as bytes.
//! - [`system`]: `/etc/resolv.conf` and `/etc/hosts`.
//! - [`Resolver`]: a name to addresses, with search list, servers, retries and TCP.
//! - [`refresh`]: when to ask again, and what an answer does to a cluster's hosts.
//!
//! Nothing waits for a server for longer than its timeouts; a cluster that waits for its first
//! answer holds up nobody else.

pub mod message;
pub mod refresh;
mod resolver;
pub mod system;

#[cfg(test)]
mod tests;

pub use resolver::{Answer, Failure, Resolver};
