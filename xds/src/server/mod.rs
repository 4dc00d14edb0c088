//! The server's side of xDS: what there is, and one state machine per client stream.
//!
//! A [`Cache`] holds resources by group of clients and type; a [`Session`] turns a client's
//! requests into responses. Neither does I/O or has a clock.
//!
//! ```
//! use std::time::Duration;
//! use prost::Message;
//! use ringway_xds::api::envoy::config::cluster::v3::Cluster;
//! use ringway_xds::api::envoy::config::core::v3::Node;
//! use ringway_xds::api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
//! use ringway_xds::client::Protocol;
//! use ringway_xds::server::{Cache, Encoded, Options, Session, Snapshot};
//! use ringway_xds::types::CLUSTER;
//!
//! let mut snapshot = Snapshot::default();
//! let cluster = Cluster { name: "a".into(), ..Cluster::default() };
//! snapshot.insert(CLUSTER, Encoded::new("a", CLUSTER, &cluster.encode_to_vec()));
//! let mut cache = Cache::default();
//! cache.set("node-1", snapshot);
//!
//! let mut session = Session::new(Options::new(Protocol::Sotw));
//! let node = Some(Node { id: "node-1".into(), ..Node::default() });
//! let request = DiscoveryRequest { node, type_url: CLUSTER.into(), ..Default::default() };
//! session.request(&cache, &request.encode_to_vec()).unwrap();
//! let bytes = session.poll_response(&cache, Duration::ZERO).unwrap();
//! assert_eq!(DiscoveryResponse::decode(&*bytes).unwrap().resources.len(), 1);
//! ```
//!
//! # LIFECYCLE
//!
//! Of a session: the first request names the node, and thereby the group → each type begins with
//! its first request → responses, one at a time per type: the next of a type waits until the
//! client has accepted or rejected the one before, and then carries all that has changed
//! meanwhile. Types come in the order that loses no request: clusters, endpoints, listeners,
//! routes, secrets.
//!
//! What a client has is known by content: what is equal is not sent, whatever happened between.
//! What a client rejected is sent again when it changes.

mod cache;
mod request;
mod response;
mod session;
mod snapshot;
mod status;
mod subscription;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use session::{BadRequest, Limits, Options, Session};
pub use snapshot::{Encoded, Snapshot};
