//! Messages in, messages out.

mod converge;
mod delta;
mod sotw;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::{Cache, Encoded, Options, Session, Snapshot};
use crate::api::envoy::admin::v3::ClientResourceStatus;
use crate::api::envoy::config::cluster::v3::Cluster;
use crate::api::envoy::config::core::v3::Node;
use crate::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use crate::api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use crate::api::google::rpc::Status;
use crate::client::Protocol;
use crate::types::{CLUSTER, ENDPOINTS, LISTENER, WILDCARD};

const GROUP: &str = "n";
const NOW: Duration = Duration::from_secs(1000);

fn node() -> Option<Node> {
    Some(Node { id: GROUP.into(), ..Node::default() })
}

fn cluster(name: &str, content: &str) -> Encoded {
    let message =
        Cluster { name: name.into(), alt_stat_name: content.into(), ..Cluster::default() };
    Encoded::new(name, CLUSTER, &message.encode_to_vec())
}

fn assignment(name: &str, content: &str) -> Encoded {
    let mut message =
        ClusterLoadAssignment { cluster_name: name.into(), ..ClusterLoadAssignment::default() };
    message.named_endpoints.insert(content.into(), Default::default());
    Encoded::new(name, ENDPOINTS, &message.encode_to_vec())
}

/// A cache whose group has these clusters, all of content `x`.
fn cache(clusters: &[&str]) -> Cache {
    let mut snapshot = Snapshot::default();
    for name in clusters {
        snapshot.insert(CLUSTER, cluster(name, "x"));
    }
    let mut cache = Cache::default();
    cache.set(GROUP, snapshot);
    cache
}

fn session(protocol: Protocol) -> Session {
    Session::new(Options::new(protocol))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn error(text: &str) -> Option<Status> {
    Some(Status { code: 13, message: text.into(), ..Status::default() })
}

/// Name and status of every resource, as CSDS tells.
fn statuses(session: &Session, cache: &Cache) -> Vec<(String, ClientResourceStatus)> {
    let configs = session.client_status(cache, false).generic_xds_configs;
    configs.into_iter().map(|config| (config.name.clone(), config.client_status())).collect()
}
