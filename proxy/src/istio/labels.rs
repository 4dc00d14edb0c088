//! The labels of the standard metrics (Istio 1.30), in the order in which Istio's proxy writes
//! them.

use std::borrow::Cow;
use std::rc::Rc;

use super::Peer;
use crate::observe::format::ResponseFlags;
use crate::plan::certificate::San;
use crate::plan::istio::{Reporter, StatsOptions, Workload};
use crate::plan::{Cluster, Host};
use crate::transport::tls::TlsInfo;

/// What labels are made of: one stream or connection.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) options: &'a StatsOptions,
    /// The client's workload, if it said.
    pub(crate) downstream: Option<&'a Rc<Peer>>,
    /// The server's workload, if it said.
    pub(crate) upstream: Option<&'a Rc<Peer>>,
    pub(crate) cluster: Option<&'a Cluster>,
    pub(crate) host: Option<&'a Host>,
    pub(crate) route_name: &'a str,
    /// The `host` header; empty where there is none.
    pub(crate) authority: &'a str,
    pub(crate) downstream_tls: Option<&'a TlsInfo>,
    pub(crate) upstream_tls: Option<&'a TlsInfo>,
    pub(crate) flags: ResponseFlags,
    /// What is counted.
    pub(crate) group: Group,
}

/// Metrics that have labels in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Requests: whether they are gRPC calls, their code, their gRPC status.
    Http {
        /// `request_protocol="grpc"`.
        grpc: bool,
        /// `response_code`.
        code: u16,
        /// `grpc_response_status`.
        status: Option<u64>,
    },
    /// Messages of gRPC calls: counted without code, flags and policy.
    Messages,
    /// TCP connections.
    Tcp,
}

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, Cow<'a, str>);

const UNKNOWN: &str = "unknown";
const LATEST: &str = "latest";

/// Clusters that stand for themselves where a service would be named.
const CATCH_ALL: [&str; 5] = [
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
];

/// Where a request went, as far as its metadata says.
#[derive(Default)]
struct Service<'a> {
    host: &'a str,
    name: &'a str,
    namespace: &'a str,
}

impl<'a> Facts<'a> {
    /// Writes what tells these labels from others: cheaper than the labels.
    pub(crate) fn key(&self, out: &mut Vec<u8>) {
        out.clear();
        let id = |peer: Option<&Rc<Peer>>| peer.map_or(0, |peer| peer.id).to_le_bytes();
        out.extend_from_slice(&self.options.id.to_le_bytes());
        out.extend_from_slice(&id(self.downstream));
        out.extend_from_slice(&id(self.upstream));
        out.extend_from_slice(&self.cluster.map_or(0, |cluster| cluster.hash).to_le_bytes());
        match self.group {
            Group::Http { grpc, code, status } => {
                out.push(u8::from(grpc));
                out.extend_from_slice(&code.to_le_bytes());
                out.extend_from_slice(&status.map_or(u64::MAX, |status| status).to_le_bytes());
            }
            Group::Messages => out.push(2),
            Group::Tcp => out.push(3),
        }
        self.flags.write(false, out);
        let service = self.service();
        let (peer, own) = self.principals();
        let endpoint = self.host.and_then(|host| host.info.workload.as_deref()).unwrap_or_default();
        for text in [service.host, service.name, peer, own, endpoint] {
            out.push(0);
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// The same without what clients choose: for what there is no room for otherwise.
    pub(crate) fn anonymous(self) -> Self {
        Self { downstream: None, upstream: None, authority: "", ..self }
    }

    /// All labels.
    pub(crate) fn labels(&self) -> Vec<Label<'a>> {
        let mut out = Vec::with_capacity(25);
        let service = self.service();
        let (peer_san, own_san) = self.principals();
        match self.options.reporter {
            Reporter::Client => {
                out.push(("reporter", "source".into()));
                self.own(own_san, &mut out);
                let endpoint = self.host.and_then(|host| host.info.workload.as_deref());
                let endpoint = endpoint.and_then(Workload::of_endpoint);
                let peer = self.upstream.map(|peer| &peer.workload);
                let peer = peer.map(Cow::Borrowed).or_else(|| endpoint.map(Cow::Owned));
                let peer = peer.unwrap_or_default();
                let san = or(peer_san, &peer.identity);
                let namespace = namespace_of(san).unwrap_or(&peer.namespace);
                self.destination(&peer, namespace, san, LATEST, &service, &mut out);
            }
            reporter => {
                let gateway = reporter == Reporter::Gateway;
                let side = if gateway { "waypoint" } else { "destination" };
                out.push(("reporter", side.into()));
                self.source(peer_san, &mut out);
                if gateway {
                    let peer = self.upstream.map(|peer| peer.workload.clone()).unwrap_or_default();
                    let san = peer.identity.clone();
                    let namespace = peer.namespace.clone();
                    self.destination(&peer, &namespace, &san, UNKNOWN, &service, &mut out);
                } else {
                    self.own_destination(own_san, &service, &mut out);
                }
            }
        }
        self.rest(peer_san, own_san, &mut out);
        out
    }

    /// Labels about this proxy's own workload where it is the source.
    fn own(&self, san: &str, out: &mut Vec<Label<'a>>) {
        let own = &self.options.local.workload;
        out.push(("source_workload", known(&own.name)));
        out.push(("source_canonical_service", known(&own.canonical_name)));
        out.push(("source_canonical_revision", known(&own.canonical_revision)));
        out.push(("source_workload_namespace", known(&own.namespace)));
        out.push(("source_principal", owned(or(san, UNKNOWN))));
        out.push(("source_app", self.label("app")));
        out.push(("source_version", self.label("version")));
        out.push(("source_cluster", known(&own.cluster)));
    }

    /// Labels about the client, reported by the server's side.
    fn source(&self, san: &str, out: &mut Vec<Label<'a>>) {
        let nobody = Workload::default();
        let peer = self.downstream.map_or(&nobody, |peer| &peer.workload);
        let namespace = namespace_of(san).unwrap_or(&peer.namespace);
        out.push(("source_workload", owned(or(&peer.name, UNKNOWN))));
        out.push(("source_canonical_service", owned(or(&peer.canonical_name, UNKNOWN))));
        out.push(("source_canonical_revision", owned(or(&peer.canonical_revision, LATEST))));
        out.push(("source_workload_namespace", owned(or(namespace, UNKNOWN))));
        out.push(("source_principal", owned(or(san, UNKNOWN))));
        out.push(("source_app", owned(or(&peer.app, UNKNOWN))));
        out.push(("source_version", owned(or(&peer.version, UNKNOWN))));
        out.push(("source_cluster", owned(or(&peer.cluster, UNKNOWN))));
    }

    /// Labels about a server that another proxy stands before.
    fn destination(
        &self,
        peer: &Workload,
        namespace: &str,
        san: &str,
        revision: &str,
        service: &Service<'_>,
        out: &mut Vec<Label<'a>>,
    ) {
        let client = self.options.reporter == Reporter::Client;
        let service_namespace = match (service.namespace, client) {
            ("", true) => namespace,
            (told, _) => told,
        };
        out.push(("destination_workload", owned(or(&peer.name, UNKNOWN))));
        out.push(("destination_workload_namespace", owned(or(namespace, UNKNOWN))));
        out.push(("destination_principal", owned(or(san, UNKNOWN))));
        out.push(("destination_app", owned(or(&peer.app, UNKNOWN))));
        out.push(("destination_version", owned(or(&peer.version, UNKNOWN))));
        out.push(("destination_service", owned(or(service.host, UNKNOWN))));
        out.push(("destination_canonical_service", owned(or(&peer.canonical_name, UNKNOWN))));
        out.push(("destination_canonical_revision", owned(or(&peer.canonical_revision, revision))));
        out.push(("destination_service_name", owned(or(service.name, UNKNOWN))));
        out.push(("destination_service_namespace", owned(or(service_namespace, UNKNOWN))));
        out.push(("destination_cluster", owned(or(&peer.cluster, UNKNOWN))));
    }

    /// Labels about this proxy's own workload where it is the destination.
    fn own_destination(&self, san: &str, service: &Service<'_>, out: &mut Vec<Label<'a>>) {
        let own = &self.options.local.workload;
        out.push(("destination_workload", known(&own.name)));
        out.push(("destination_workload_namespace", known(&own.namespace)));
        out.push(("destination_principal", owned(or(san, UNKNOWN))));
        out.push(("destination_app", self.label("app")));
        out.push(("destination_version", self.label("version")));
        out.push(("destination_service", owned(or(service.host, &own.canonical_name))));
        out.push(("destination_canonical_service", known(&own.canonical_name)));
        out.push(("destination_canonical_revision", known(&own.canonical_revision)));
        out.push(("destination_service_name", owned(or(service.name, &own.canonical_name))));
        out.push(("destination_service_namespace", known(&own.namespace)));
        out.push(("destination_cluster", known(&own.cluster)));
    }

    /// Labels about what happened.
    fn rest(&self, peer_san: &str, own_san: &str, out: &mut Vec<Label<'a>>) {
        match self.group {
            Group::Messages => return,
            Group::Tcp => out.push(("request_protocol", "tcp".into())),
            Group::Http { grpc, code, status } => {
                out.push(("request_protocol", if grpc { "grpc" } else { "http" }.into()));
                out.push(("response_code", code.to_string().into()));
                let status = status.map_or(String::new(), |status| status.to_string());
                out.push(("grpc_response_status", status.into()));
            }
        }
        let mut flags = Vec::new();
        self.flags.write(false, &mut flags);
        out.push(("response_flags", String::from_utf8_lossy(&flags).into_owned().into()));
        let policy = match self.options.reporter {
            // The client's side cannot know what the server asks for.
            Reporter::Client => UNKNOWN,
            _ if peer_san.is_empty() || own_san.is_empty() => "none",
            _ => "mutual_tls",
        };
        out.push(("connection_security_policy", policy.into()));
    }

    /// One of this proxy's labels as it is, not its more specific sibling.
    fn label(&self, key: &str) -> Cow<'a, str> {
        use crate::plan::istio::string;
        use prost_types::value::Kind;
        let labels = self.options.local.metadata.fields.get("LABELS");
        match labels.and_then(|labels| labels.kind.as_ref()) {
            Some(Kind::StructValue(labels)) => string(labels, key).unwrap_or_default().into(),
            _ => "".into(),
        }
    }

    fn service(&self) -> Service<'a> {
        let fallback = if self.options.no_host_fallback { "" } else { self.authority };
        let mut out = Service { host: fallback, name: fallback, namespace: "" };
        match self.route_name {
            "block_all" => out.name = "BlackHoleCluster",
            "allow_any" => out.name = "PassthroughCluster",
            _ => {
                let Some(cluster) = self.cluster else { return out };
                if CATCH_ALL.contains(&&*cluster.name) {
                    out.name = &cluster.name;
                } else if let Some(facts) = cluster.istio.as_ref().filter(|f| !f.name.is_empty()) {
                    out.name = &facts.name;
                    out.namespace = &facts.namespace;
                    if !facts.host.is_empty() {
                        out.host = &facts.host;
                    }
                }
            }
        }
        out
    }

    /// The peer's identity and ours, of the certificates.
    fn principals(&self) -> (&'a str, &'a str) {
        let tls = match self.options.reporter {
            Reporter::Client => self.upstream_tls,
            Reporter::Server | Reporter::Gateway => self.downstream_tls,
        };
        let Some(tls) = tls else { return ("", "") };
        let uri = |sans: &'a [San]| {
            let uris = sans.iter().find_map(|san| match san {
                San::Uri(uri) => Some(&**uri),
                _ => None,
            });
            uris.unwrap_or_default()
        };
        let peer = tls.peer().map_or("", |peer| uri(&peer.sans));
        (peer, tls.local.as_ref().map_or("", |own| uri(&own.sans)))
    }
}

fn or<'s>(text: &'s str, other: &'s str) -> &'s str {
    if text.is_empty() { other } else { text }
}

fn owned<'a>(text: &str) -> Cow<'a, str> {
    Cow::Owned(text.to_owned())
}

fn known(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`
fn namespace_of(principal: &str) -> Option<&str> {
    let (_, rest) = principal.split_once("/ns/")?;
    Some(rest.split_once('/').map_or(rest, |(namespace, _)| namespace)).filter(|n| !n.is_empty())
}
