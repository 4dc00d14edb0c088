//! What the control plane knows: clusters with their endpoints, a listener, its routes.

use anyhow::{Context, Result, anyhow};
use prost::{Message, Name};
use prost_types::Any;
use ringway_xds::api::envoy::config::cluster::v3::Cluster;
use ringway_xds::api::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address::PortSpecifier,
};
use ringway_xds::api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use ringway_xds::api::envoy::config::listener::v3::Listener;
use ringway_xds::api::envoy::config::route::v3::RouteConfiguration;
use ringway_xds::{Document, Format};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;

/// A kind of resource, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clusters (CDS).
    Cluster,
    /// Endpoints of clusters (EDS).
    Endpoints,
    /// Listeners (LDS).
    Listener,
    /// Routes (RDS).
    Routes,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    pub(super) const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    pub(super) fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether a response has to have all there are: what is not in it is gone.
    pub(super) const fn is_sent_whole(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// What there is to be at the start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of clusters: `c00000` and so on.
    pub clusters: usize,
    /// Endpoints of each.
    pub endpoints: usize,
    /// Port of all endpoints, each at an address of its own in 127.0.0.0/8.
    pub upstream: u16,
    /// Where the listener `in` listens.
    pub listen: SocketAddr,
}

/// All resources.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    version: u64,
    tables: [BTreeMap<Rc<str>, Vec<u8>>; Kind::ALL.len()],
}

const CLUSTER: &str = "
type: EDS
connect_timeout: 1s
eds_cluster_config: { eds_config: { ads: {}, resource_api_version: V3 } }
circuit_breakers:
  thresholds:
  - { max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }
";

const LISTENER: &str = r#"
name: in
address: { socket_address: { address: @HOST@, port_value: @PORT@ } }
per_connection_buffer_limit_bytes: @LIMIT@
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": "type.googleapis.com/envoy.extensions.filters.network.\
        http_connection_manager.v3.HttpConnectionManager"
      stat_prefix: in
      generate_request_id: false
      rds: { route_config_name: all, config_source: { ads: {}, resource_api_version: V3 } }
      http_filters:
      - name: envoy.filters.http.router
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          suppress_envoy_headers: true
"#;

/// The last cluster is the one whose endpoint is moved.
const ROUTES: &str = r#"
name: all
virtual_hosts:
- name: all
  domains: ["*"]
  routes:
  - { match: { prefix: "/moved" }, route: { cluster: @LAST@, timeout: 0s } }
  - { match: { prefix: "/" }, route: { cluster: @FIRST@, timeout: 0s } }
"#;

/// Name of the `index`th cluster.
#[must_use]
pub fn cluster_name(index: usize) -> String {
    format!("c{index:05}")
}

impl World {
    /// Everything as planned.
    ///
    /// # Errors
    /// A text of ours is no message.
    pub fn new(plan: Plan) -> Result<Self> {
        let mut world = Self { version: 1, tables: Default::default(), plan };
        let template: Cluster = message(CLUSTER)?;
        for index in 0..world.plan.clusters {
            let name = cluster_name(index);
            let cluster = Cluster { name: name.clone(), ..template.clone() };
            world.set(Kind::Cluster, &name, &cluster);
            let endpoints = (0..world.plan.endpoints).map(|at| world.endpoint(index, at, 0));
            let endpoints: Vec<_> = endpoints.collect();
            world.set_endpoints(index, &endpoints);
        }
        let last = cluster_name(world.plan.clusters.saturating_sub(1));
        let routes = ROUTES.replace("@LAST@", &last).replace("@FIRST@", &cluster_name(0));
        world.set(Kind::Routes, "all", &message::<RouteConfiguration>(&routes)?);
        world.change_listener(0)?;
        Ok(world)
    }

    /// The `at`th endpoint of a cluster after `moves` moves.
    #[must_use]
    pub fn endpoint(&self, cluster: usize, at: usize, moves: usize) -> SocketAddr {
        let [.., high, low] = (cluster as u32).to_be_bytes();
        // 127.0 is left to everything else.
        let net = 1 + (at * 20 + moves % 20) % 250;
        SocketAddrV4::new(Ipv4Addr::new(127, net as u8, high, low), self.plan.upstream).into()
    }

    /// How many clusters there are.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.plan.clusters
    }

    /// How many endpoints a cluster has.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.plan.endpoints
    }

    /// Gives a cluster other endpoints; the name of what changed.
    pub fn set_endpoints(&mut self, cluster: usize, endpoints: &[SocketAddr]) -> Rc<str> {
        let name = cluster_name(cluster);
        let assignment = ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: endpoints.iter().map(|addr| lb_endpoint(*addr)).collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        };
        self.set(Kind::Endpoints, &name, &assignment)
    }

    /// Makes the listener another one, in a way that concerns no request.
    ///
    /// # Errors
    /// The text of ours is no listener.
    pub fn change_listener(&mut self, change: u32) -> Result<Rc<str>> {
        let listen = self.plan.listen;
        let text = LISTENER
            .replace("@HOST@", &listen.ip().to_string())
            .replace("@PORT@", &listen.port().to_string())
            .replace("@LIMIT@", &((1 << 20) + change).to_string());
        Ok(self.set(Kind::Listener, "in", &message::<Listener>(&text)?))
    }

    /// Makes the next response another version, though nothing has changed.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn resource(&self, kind: Kind, name: &str) -> Option<Any> {
        let value = self.tables[kind as usize].get(name)?.clone();
        Some(Any { type_url: kind.type_url().to_owned(), value })
    }

    pub(super) fn all(&self, kind: Kind) -> Vec<Any> {
        let all = self.tables[kind as usize].values();
        let any =
            |value: &Vec<u8>| Any { type_url: kind.type_url().to_owned(), value: value.clone() };
        all.map(any).collect()
    }

    fn set(&mut self, kind: Kind, name: &str, message: &impl Message) -> Rc<str> {
        self.version += 1;
        let table = &mut self.tables[kind as usize];
        let name = match table.get_key_value(name) {
            Some((name, _)) => Rc::clone(name),
            None => name.into(),
        };
        table.insert(Rc::clone(&name), message.encode_to_vec());
        name
    }
}

fn lb_endpoint(addr: SocketAddr) -> LbEndpoint {
    let address = SocketAddress {
        address: addr.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(addr.port().into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(address)) }),
        ..Endpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }
}

/// A message from a text of ours; field rules are the proxy's business.
fn message<M: Message + Name + Default>(text: &str) -> Result<M> {
    let problem = |diagnostics: Vec<ringway_xds::Diagnostic>| {
        let list: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        anyhow!("{}", list.join("; "))
    };
    let document = Document::parse(text, "perf", Format::Yaml).map_err(problem)?;
    let (bytes, diagnostics) = document.encode_unchecked(&M::full_name());
    if !diagnostics.is_empty() {
        return Err(problem(diagnostics));
    }
    M::decode(bytes.as_slice()).with_context(M::full_name)
}
