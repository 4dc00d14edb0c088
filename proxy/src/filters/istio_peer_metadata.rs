//! `istio.metadata_exchange` in an HTTP chain: proxies tell each other whom they stand for, in
//! headers of requests and responses.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_wire::{HeaderMap, Name};

use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::{At, Cx, istio};
use crate::http::filter_state::Object;
use crate::istio::Peer;
use crate::plan::istio::{ID_KEY, METADATA_KEY, Workload};

pub(super) const KIND: Kind<Config, Route> =
    Kind { type_name: TYPE, compile, route_type_name: "", compile_route: no_route };

const TYPE: &str = "io.istio.http.peer_metadata.Config";
const BAGGAGE: &str = "baggage";

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    /// `downstream_discovery`: how the client is found out.
    pub(crate) of_client: Vec<Discovery>,
    /// `upstream_discovery`.
    pub(crate) of_server: Vec<Discovery>,
    /// `downstream_propagation`: what the client is told.
    pub(crate) to_client: Vec<Propagation>,
    /// `upstream_propagation`.
    pub(crate) to_server: Vec<Propagation>,
    /// `additional_labels`.
    pub(crate) labels: Vec<Box<str>>,
    /// Keys under which others find the peers.
    pub(crate) client_key: Arc<str>,
    /// Likewise.
    pub(crate) server_key: Arc<str>,
}

/// Finds out who a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// `istio_headers`
    Headers,
    /// `baggage`, of clients.
    Baggage,
    /// `workload_discovery`: asks a service that only a bootstrap extension brings. Without that
    /// it knows nobody, in Istio's proxy as well, and here the extension is refused.
    Service,
}

/// Tells a peer who we are.
#[derive(Debug)]
pub(crate) enum Propagation {
    /// `istio_headers`: id and metadata, and whether clusters outside the mesh are spared.
    Headers { id: Box<str>, value: Box<str>, skip_external: bool },
    /// `baggage`
    Baggage(Box<str>),
}

/// There are none on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// One request: whether the client said its id and its metadata.
#[derive(Default)]
pub(crate) struct Filter {
    said: (bool, bool),
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    istio::peer_metadata(cx, at, any)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::RESPONSE_HEADERS
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let headers = &s.work.request.headers;
        if config.of_client.contains(&Discovery::Headers) {
            self.said = (headers.contains(ID_KEY), headers.contains(METADATA_KEY));
        }
        let peer = discover(config, &config.of_client, headers, s);
        remove(&config.of_client, &mut s.work.request.headers);
        remember(s, &config.client_key, peer);
        if !config.to_server.is_empty() {
            s.route();
            for way in &config.to_server {
                if !spared(way, s) {
                    tell(way, (true, true), &mut s.work.request.headers);
                }
            }
        }
        CONTINUE
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let peer = discover(config, &config.of_server, &s.work.response.headers, s);
        remove(&config.of_server, &mut s.work.response.headers);
        remember(s, &config.server_key, peer);
        for way in &config.to_client {
            // Who does not speak of itself does not want to hear of us.
            if !spared(way, s) {
                tell(way, self.said, &mut s.work.response.headers);
            }
        }
        CONTINUE
    }
}

/// The peer, by the first way that knows it.
fn discover(
    config: &Config,
    ways: &[Discovery],
    headers: &HeaderMap,
    s: &StreamCx<'_>,
) -> Option<Rc<Peer>> {
    let istio = &s.conn.shard.istio;
    ways.iter().find_map(|way| match way {
        Discovery::Headers => istio.of_header(headers.get(METADATA_KEY)?, &config.labels),
        Discovery::Baggage => {
            let text = std::str::from_utf8(headers.get(BAGGAGE)?).ok()?;
            Some(Peer::new(Workload::of_baggage(text)?))
        }
        Discovery::Service => None,
    })
}

/// What was meant for us goes no further.
fn remove(ways: &[Discovery], headers: &mut HeaderMap) {
    if ways.contains(&Discovery::Headers) {
        headers.remove(ID_KEY);
        headers.remove(METADATA_KEY);
    }
}

/// Who came first stays: another filter of this kind may have known better.
fn remember(s: &mut StreamCx<'_>, key: &Arc<str>, peer: Option<Rc<Peer>>) {
    let state = &mut s.work.info.filter_state;
    if let Some(peer) = peer
        && state.get(key).is_none()
    {
        state.set(key, Object::Peer(peer));
    }
}

/// Whether the request's cluster is not to hear of us.
fn spared(way: &Propagation, s: &StreamCx<'_>) -> bool {
    let Propagation::Headers { skip_external, .. } = way else { return false };
    let Some(cluster) = &s.work.info.route_cluster else { return false };
    let facts = cluster.plan().istio.as_deref();
    let outside = || {
        *cluster.plan().name == *"PassthroughCluster" || facts.is_some_and(|facts| facts.external)
    };
    (*skip_external && outside()) || facts.is_some_and(|facts| facts.no_exchange)
}

/// Tells the peer of us: the id, the metadata, or both.
fn tell(way: &Propagation, (id_too, metadata_too): (bool, bool), headers: &mut HeaderMap) {
    match way {
        Propagation::Headers { id, value, skip_external: _ } => {
            if id_too {
                headers.set(Name::from(ID_KEY), id.as_bytes());
            }
            if metadata_too {
                headers.set(Name::from(METADATA_KEY), value.as_bytes());
            }
        }
        Propagation::Baggage(value) => {
            headers.set(Name::from(BAGGAGE), value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
