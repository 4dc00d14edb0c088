//! Messages in, messages out.

mod delta;
mod garbage;
mod names;
mod sotw;

use std::sync::Arc;
use std::time::Duration;

use prost::{Message, Name};

use super::{Answer, Limits, Mux, Options, Protocol, Update, Verdict};
use crate::api::envoy::config::cluster::v3::Cluster;
use crate::api::envoy::config::core::v3::{ControlPlane, Node};
use crate::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use crate::api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use crate::types::{CLUSTER, ENDPOINTS, WILDCARD};

const NOW: Duration = Duration::from_secs(1000);

fn node() -> Node {
    Node { id: "n".into(), ..Node::default() }
}

fn mux(protocol: Protocol) -> Mux {
    Mux::new(Options {
        protocol,
        node: node().encode_to_vec().into(),
        node_on_first_only: true,
        context_params: Vec::new(),
        watch_all: false,
        limits: Limits::default(),
    })
}

fn connected(protocol: Protocol) -> Mux {
    let mut mux = mux(protocol);
    mux.connected();
    mux
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

/// The next request, state of the world.
fn asks(mux: &mut Mux) -> Option<DiscoveryRequest> {
    mux.poll_request().map(|bytes| DiscoveryRequest::decode(&*bytes).unwrap())
}

/// The next request, incremental.
fn asks_delta(mux: &mut Mux) -> Option<DeltaDiscoveryRequest> {
    mux.poll_request().map(|bytes| DeltaDiscoveryRequest::decode(&*bytes).unwrap())
}

fn packed(type_url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: type_url.into(), value: message.encode_to_vec() }
}

/// A cluster whose content is told from others by `content`.
fn cluster(name: &str, content: &str) -> prost_types::Any {
    let message =
        Cluster { name: name.into(), alt_stat_name: content.into(), ..Cluster::default() };
    packed(CLUSTER, &message)
}

fn assignment(name: &str) -> prost_types::Any {
    let message =
        ClusterLoadAssignment { cluster_name: name.into(), ..ClusterLoadAssignment::default() };
    packed(ENDPOINTS, &message)
}

fn wrapped(resource: Resource) -> prost_types::Any {
    let url = format!("type.googleapis.com/{}", Resource::full_name());
    packed(&url, &resource)
}

fn response(version: &str, nonce: &str, resources: Vec<prost_types::Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.into(),
        nonce: nonce.into(),
        type_url: CLUSTER.into(),
        resources,
        control_plane: Some(ControlPlane { identifier: "cp".into() }),
        ..DiscoveryResponse::default()
    }
}

fn resource(version: &str, name: &str, body: Option<prost_types::Any>) -> Resource {
    Resource { name: name.into(), version: version.into(), resource: body, ..Resource::default() }
}

fn delta(nonce: &str, resources: Vec<Resource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        nonce: nonce.into(),
        type_url: CLUSTER.into(),
        system_version_info: format!("v{nonce}"),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn ttl(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Feeds a response and accepts all of it but `rejected`.
fn feed_rejecting(mux: &mut Mux, message: &impl Message, rejected: &[&str]) -> (Update, Answer) {
    let mut update = mux.received(&message.encode_to_vec(), NOW).unwrap();
    let unanswered = super::unsubscribed(&super::Head::default(), 0).receipt;
    let receipt = std::mem::replace(&mut update.receipt, unanswered);
    let rejected = rejected.iter().map(|name| (Arc::from(*name), "bad".to_owned())).collect();
    let answer = mux.answer(receipt, Verdict { rejected });
    (update, answer)
}

fn feed(mux: &mut Mux, message: &impl Message) -> Update {
    let (update, answer) = feed_rejecting(mux, message, &[]);
    assert_eq!(answer, Answer::Ack);
    update
}

fn changed(update: &Update) -> Vec<&str> {
    update.changed.iter().map(|resource| &*resource.name).collect()
}

fn removed(update: &Update) -> Vec<&str> {
    update.removed.iter().map(|name| &**name).collect()
}
