//! What a management server has: one consistent configuration, and its resources as YAML.
//!
//! Every version of a resource has a label of its own that can be told from outside: buffer limits
//! of clusters and listeners, names of virtual hosts and `x-route` of route tables, `server` of
//! filter chains.

use std::collections::BTreeMap;

use crate::control::xds::Kind;

/// Labels of this come on top, so that limits are large enough for any traffic.
pub(super) const LIMIT: u32 = 1_000_000;

/// Hosts that clients ask for.
pub(super) const HOSTS: [&str; 2] = ["a", "b"];

/// The listener that is always there, and the one that comes and goes.
pub(super) const LISTENERS: [(&str, u16); 2] = [("l0", 8080), ("l1", 8081)];

pub(super) const TABLES: [&str; 3] = ["t0", "t1", "t2"];

/// Clusters; servers of the second speak HTTP/2, the others share theirs.
pub(super) const CLUSTERS: [&str; 3] = ["c0", "c1", "c2"];

/// Ports of servers that speak HTTP/1, and of those that speak HTTP/2.
pub(super) const HTTP1: [u16; 4] = [9001, 9002, 9003, 9004];
pub(super) const HTTP2: [u16; 2] = [9011, 9012];

/// Where hosts of a cluster may be.
pub(super) fn ports_of(cluster: &str) -> &'static [u16] {
    if cluster == "c1" { &HTTP2 } else { &HTTP1 }
}

/// Hosts: port and weight.
pub(super) type Hosts = BTreeMap<u16, u32>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cluster {
    pub label: u32,
    /// Its hosts, where they do not come by EDS.
    pub inline: Option<Hosts>,
}

/// A route table: where requests of each host go.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub label: u32,
    pub to: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listener {
    pub label: u32,
    /// The one for all, and perhaps one for HTTP/2.
    pub chains: BTreeMap<&'static str, Chain>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chain {
    pub label: u32,
    pub table: &'static str,
}

/// All resources.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub clusters: BTreeMap<&'static str, Cluster>,
    pub endpoints: BTreeMap<&'static str, Hosts>,
    pub tables: BTreeMap<&'static str, Table>,
    pub listeners: BTreeMap<&'static str, Listener>,
}

/// A resource by kind and name.
pub(super) type Key = (Kind, &'static str);

impl State {
    /// A resource as YAML, if it is there.
    pub(super) fn yaml(&self, (kind, name): Key) -> Option<String> {
        match kind {
            Kind::Cluster => self.clusters.get(name).map(|cluster| cluster.yaml(name)),
            Kind::Endpoints => self.endpoints.get(name).map(|hosts| assignment(name, hosts)),
            Kind::Routes => self.tables.get(name).map(|table| table.yaml(name)),
            Kind::Listener => self.listeners.get(name).map(|listener| listener.yaml(name)),
            other => panic!("no {other} here"),
        }
    }

    /// Where it differs from `other`.
    pub(super) fn differences(&self, other: &Self) -> Vec<Key> {
        fn differ<V: PartialEq>(
            kind: Kind,
            one: &BTreeMap<&'static str, V>,
            other: &BTreeMap<&'static str, V>,
        ) -> Vec<Key> {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            let names = names.filter(|name| one.get(*name) != other.get(*name));
            names.map(|name| (kind, *name)).collect()
        }
        let mut all = differ(Kind::Cluster, &self.clusters, &other.clusters);
        all.extend(differ(Kind::Endpoints, &self.endpoints, &other.endpoints));
        all.extend(differ(Kind::Routes, &self.tables, &other.tables));
        all.extend(differ(Kind::Listener, &self.listeners, &other.listeners));
        all
    }

    /// How many types a client that follows asks for at least.
    pub(super) fn types(&self) -> usize {
        let by_eds = self.clusters.values().any(|cluster| cluster.inline.is_none());
        2 + usize::from(by_eds) + usize::from(!self.listeners.is_empty())
    }

    /// Hosts of a cluster.
    pub(super) fn hosts(&self, cluster: &str) -> Option<&Hosts> {
        let inline = self.clusters.get(cluster)?.inline.as_ref();
        inline.or_else(|| self.endpoints.get(cluster))
    }
}

fn assignment(cluster: &str, hosts: &Hosts) -> String {
    let host = |(port, weight): (&u16, &u32)| {
        let address = format!("socket_address: {{address: 10.0.0.1, port_value: {port}}}");
        format!("{{endpoint: {{address: {{{address}}}}}, load_balancing_weight: {weight}}}")
    };
    let hosts: Vec<String> = hosts.iter().map(host).collect();
    format!("{{cluster_name: {cluster}, endpoints: [{{lb_endpoints: [{}]}}]}}", hosts.join(", "))
}

impl Cluster {
    fn yaml(&self, name: &str) -> String {
        let hosts = match &self.inline {
            Some(hosts) => format!("type: STATIC, load_assignment: {}", assignment(name, hosts)),
            None => "type: EDS, eds_cluster_config: {eds_config: {ads: {}}}".to_owned(),
        };
        let http2 = if name == "c1" { ", http2_protocol_options: {}" } else { "" };
        let limit = LIMIT + self.label;
        format!("{{name: {name}, per_connection_buffer_limit_bytes: {limit}, {hosts}{http2}}}")
    }
}

impl Table {
    /// The name of a virtual host.
    pub(super) fn host_name(&self, host: &str) -> String {
        format!("{host}.{}", self.label)
    }

    fn yaml(&self, name: &str) -> String {
        let label = self.label;
        let host = |(host, cluster): (&&str, &&str)| {
            let header = format!("{{key: x-route, value: {name}.{label}.{cluster}}}");
            format!(
                "{{name: {}, domains: [{host}], response_headers_to_add: [{{header: {header}}}], \
                 routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}",
                self.host_name(host)
            )
        };
        let hosts: Vec<String> = self.to.iter().map(host).collect();
        format!("{{name: {name}, virtual_hosts: [{}]}}", hosts.join(", "))
    }
}

impl Listener {
    /// `server` of the answers of a chain.
    pub(super) fn server(&self, name: &str, chain: &str) -> String {
        let label = self.chains.get(chain).map_or(0, |chain| chain.label);
        format!("{name}.{}.{chain}.{label}", self.label)
    }

    fn yaml(&self, name: &str) -> String {
        let port = LISTENERS.iter().find(|(other, _)| *other == name).map_or(0, |(_, port)| *port);
        let inspector = "{name: i, typed_config: {'@type': type.googleapis.com/\
            envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}}";
        let chains: Vec<String> =
            self.chains.iter().map(|(chain, of)| self.chain_yaml(name, chain, of)).collect();
        format!(
            "{{name: {name}, per_connection_buffer_limit_bytes: {}, \
             address: {{socket_address: {{address: 10.0.0.1, port_value: {port}}}}}, \
             listener_filters: [{inspector}], filter_chains: [{}]}}",
            LIMIT + self.label,
            chains.join(", ")
        )
    }

    fn chain_yaml(&self, name: &str, chain: &str, of: &Chain) -> String {
        let matches = if chain == "h2" { "{application_protocols: [h2c]}" } else { "{}" };
        let server = self.server(name, chain);
        let router = "{name: r, typed_config: {'@type': type.googleapis.com/\
            envoy.extensions.filters.http.router.v3.Router}}";
        format!(
            "{{name: {chain}, filter_chain_match: {matches}, filters: [{{name: h, typed_config: \
             {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
             http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, \
             server_name: {server}, drain_timeout: 0.1s, delayed_close_timeout: 0.1s, \
             rds: {{config_source: {{ads: {{}}}}, route_config_name: {}}}, \
             http_filters: [{router}]}}}}]}}",
            of.table
        )
    }
}

/// A resource of this name that has to be refused.
pub(super) fn bad((kind, name): Key) -> String {
    match kind {
        Kind::Cluster => {
            format!(
                "{{name: {name}, type: STATIC, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"
            )
        }
        Kind::Endpoints => format!(
            "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
             {{socket_address: {{address: nowhere, port_value: 1}}}}}}}}]}}]}}"
        ),
        Kind::Routes => format!(
            "{{name: {name}, virtual_hosts: [{{name: v, domains: [a]}}, {{name: w, domains: \
             [a]}}]}}"
        ),
        Kind::Listener => format!(
            "{{name: {name}, address: {{socket_address: {{address: 10.0.0.1, port_value: 8099}}}}, \
             filter_chains: [{{filters: [{{name: unknown}}]}}]}}"
        ),
        other => panic!("no {other} here"),
    }
}
