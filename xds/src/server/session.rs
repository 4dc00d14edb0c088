//! One client's stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::cache::Cache;
use super::request::Request;
use super::response::{self, Envelope};
use super::status;
use super::subscription::{InFlight, Subscription};
use crate::api::envoy::config::core::v3::Node;
use crate::api::envoy::service::status::v3::ClientConfig;
use crate::client::Protocol;
use crate::names;
use crate::types;

/// How a [`Session`] serves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which form the stream speaks.
    pub protocol: Protocol,
    /// The type of a request that names none: that of a stream for one type.
    pub type_url: Option<Arc<str>>,
    /// Which group of the cache a node belongs to.
    pub group: fn(&Node) -> Arc<str>,
    /// `control_plane.identifier` of every response.
    pub control_plane: Arc<str>,
    /// What a client may make us keep.
    pub limits: Limits,
}

impl Options {
    /// An aggregated stream; the group of a node is its id.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            type_url: None,
            group: |node| node.id.as_str().into(),
            control_plane: "".into(),
            limits: Limits::default(),
        }
    }
}

/// What a client may make us keep or read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Types on one stream.
    pub types: usize,
    /// Names subscribed to in one type.
    pub names: usize,
    /// Bytes of a name.
    pub name_bytes: usize,
    /// Bytes of a request.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { types: 64, names: 1_000_000, name_bytes: 16 * 1024, message_bytes: 256 << 20 }
    }
}

/// A request that ends the stream: status `INVALID_ARGUMENT` with this text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest(String);

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRequest {}

/// The server's side of one stream.
#[derive(Debug)]
pub struct Session {
    options: Options,
    /// As the client encoded it.
    node: Vec<u8>,
    group: Option<Arc<str>>,
    /// In the order in which they are served.
    subscriptions: Vec<Subscription>,
    nonce: u64,
}

impl Session {
    /// A stream on which nothing has come yet.
    pub fn new(options: Options) -> Self {
        Self { options, node: Vec::new(), group: None, subscriptions: Vec::new(), nonce: 0 }
    }

    /// The group of the client's node, once it is known: whose changes concern this session.
    pub fn group(&self) -> Option<&Arc<str>> {
        self.group.as_ref()
    }

    /// Takes a request: a subscription, its change, an ACK or a NACK.
    ///
    /// # Errors
    /// What ends the stream: bytes that are no request, no node in the first one, or more than
    /// the limits allow.
    pub fn request(&mut self, cache: &Cache, bytes: &[u8]) -> Result<(), BadRequest> {
        let (protocol, limits) = (self.options.protocol, self.options.limits);
        if bytes.len() > limits.message_bytes {
            let max = limits.message_bytes;
            return Err(bad(format!("a request of {} bytes; {max} are allowed", bytes.len())));
        }
        let request = Request::read(protocol, bytes)
            .map_err(|_| bad("the request is no valid message of the protocol".into()))?;
        self.take_node(request.node)?;
        check(&request, &limits)?;
        let url = match (request.type_url, &self.options.type_url) {
            ("", Some(implied)) => Arc::clone(implied),
            ("", None) => return Err(bad("the request has no type_url: set it".into())),
            (url, _) => url.into(),
        };
        let resources = self.group.as_ref().and_then(|group| cache.resources(group, &url));
        let subscription = subscription(&mut self.subscriptions, &url, &limits)?;
        let is_current = request.nonce.is_empty()
            || subscription.last_nonce == 0
            || subscription.answered(request.nonce, request.error);
        match protocol {
            // What was said before the last response is said again in the answer to it.
            Protocol::Sotw if !is_current => {}
            Protocol::Sotw => subscription.request_sotw(&request, resources),
            Protocol::Delta => subscription.request_delta(&request, resources),
        }
        if subscription.names.len() > limits.names {
            return Err(bad(format!("more than {} names of type {url}", limits.names)));
        }
        Ok(())
    }

    /// The next response to send. To be asked until there is none, after every request, every
    /// change of the group, and at [`next_deadline`](Self::next_deadline).
    pub fn poll_response(&mut self, cache: &Cache, now: Duration) -> Option<Vec<u8>> {
        let group = self.group.clone()?;
        let protocol = self.options.protocol;
        let (subscription, resources, content) =
            self.subscriptions.iter_mut().find_map(|subscription| {
                let resources = cache.resources(&group, &subscription.url)?;
                let content = subscription.poll(protocol, resources, now)?;
                Some((subscription, resources, content))
            })?;
        self.nonce += 1;
        subscription.last_nonce = self.nonce;
        let sent = content.resources.iter().chain(&content.heartbeats);
        let names = sent.map(|resource| Arc::clone(&resource.name)).collect();
        // Who asks for some must not be taken for one that has all.
        let version = if subscription.wildcard { resources.version() } else { content.version() };
        subscription.in_flight = Some(InFlight { nonce: self.nonce, names });
        let envelope = Envelope {
            protocol,
            type_url: &subscription.url,
            version: &version,
            nonce: &self.nonce.to_string(),
            control_plane: &self.options.control_plane,
        };
        Some(response::write(&envelope, &content))
    }

    /// When a resource with a time to live has to be renewed.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.subscriptions.iter().filter_map(Subscription::deadline).min()
    }

    /// What the client has, has rejected and waits for (CSDS); with the resources themselves
    /// where `with_contents` is set.
    pub fn client_status(&self, cache: &Cache, with_contents: bool) -> ClientConfig {
        let node = Node::decode(&*self.node).ok();
        let group = self.group.as_deref().unwrap_or_default();
        let configs = self.subscriptions.iter().flat_map(|subscription| {
            let resources = cache.resources(group, &subscription.url);
            status::of(subscription, resources, with_contents)
        });
        ClientConfig { node, generic_xds_configs: configs.collect(), ..ClientConfig::default() }
    }

    /// The first request must have a node; a later one may replace it.
    fn take_node(&mut self, node: Option<&[u8]>) -> Result<(), BadRequest> {
        let Some(bytes) = node else {
            let text = "the first request of a stream must have a node: set it";
            return self.group.is_some().then_some(()).ok_or_else(|| bad(text.into()));
        };
        if self.group.is_some() && *bytes == *self.node {
            return Ok(());
        }
        let node = Node::decode(bytes).map_err(|_| bad("the node is no valid message".into()))?;
        let group = (self.options.group)(&node);
        self.node = bytes.to_vec();
        if self.group.replace(Arc::clone(&group)).is_some_and(|before| before != group) {
            self.subscriptions.iter_mut().for_each(Subscription::regroup);
        }
        Ok(())
    }
}

/// The subscription of this type, if need be a new one where it belongs in the order.
fn subscription<'a>(
    all: &'a mut Vec<Subscription>,
    url: &str,
    limits: &Limits,
) -> Result<&'a mut Subscription, BadRequest> {
    let at = match all.iter().position(|subscription| *subscription.url == *url) {
        Some(at) => at,
        None if all.len() >= limits.types => {
            return Err(bad(format!("more than {} types on one stream", limits.types)));
        }
        None => {
            let order = types::order(url);
            let at = all.partition_point(|other| types::order(&other.url) <= order);
            all.insert(at, Subscription::new(url));
            at
        }
    };
    all.get_mut(at).ok_or_else(|| bad("no such type".into()))
}

fn check(request: &Request<'_>, limits: &Limits) -> Result<(), BadRequest> {
    if request.has_parameters {
        let text = "dynamic parameters of resource locators are not supported: subscribe by name";
        return Err(bad(text.into()));
    }
    let initial = request.initial.iter().map(|(name, _)| name);
    let mut names = request.names.iter().chain(&request.leaving).chain(initial);
    if let Some(name) = names.find(|name| name.len() > limits.name_bytes) {
        return Err(bad(format!("a name of {} bytes: {}…", name.len(), names::start(name))));
    }
    if request.initial.len() > limits.names {
        return Err(bad(format!("more than {} initial_resource_versions", limits.names)));
    }
    Ok(())
}

fn bad(text: String) -> BadRequest {
    BadRequest(text)
}
