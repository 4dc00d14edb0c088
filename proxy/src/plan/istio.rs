//! What Istio's filters are told and know: who this proxy stands for, what clusters and hosts are
//! to the mesh. The object and its forms are those of Istio's proxy (1.30).

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// A workload, as proxies tell each other of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The pod: `NAME`.
    pub instance: Box<str>,
    /// `NAMESPACE`.
    pub namespace: Box<str>,
    /// `WORKLOAD_NAME`.
    pub name: Box<str>,
    /// `CLUSTER_ID`: the Kubernetes cluster.
    pub cluster: Box<str>,
    /// `IDENTITY`.
    pub identity: Box<str>,
    /// What `OWNER` says it is: `pod`, `deployment`, `job`, `cronjob`, or nothing known.
    pub kind: &'static str,
    /// Label `service.istio.io/canonical-name`.
    pub canonical_name: Box<str>,
    /// Label `service.istio.io/canonical-revision`.
    pub canonical_revision: Box<str>,
    /// Label `app.kubernetes.io/name`, else `app`.
    pub app: Box<str>,
    /// Label `app.kubernetes.io/version`, else `version`.
    pub version: Box<str>,
    /// `REGION`, or the node's locality.
    pub region: Box<str>,
    /// `AVAILABILITY_ZONE`, or the node's locality.
    pub zone: Box<str>,
    /// Labels that `additional_labels` asks for.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// Who this proxy is, of `node`.
#[derive(Debug, Default)]
pub struct Local {
    /// `node.id`.
    pub id: Arc<str>,
    /// Its metadata.
    pub metadata: Struct,
    /// Region and zone of its locality.
    pub locality: (Box<str>, Box<str>),
    /// What it stands for, without further labels.
    pub workload: Workload,
}

/// What a cluster's metadata says below `istio`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// `services[0].host`.
    pub host: Box<str>,
    /// `services[0].name`, or the first part of `host`.
    pub name: Box<str>,
    /// `services[0].namespace`.
    pub namespace: Box<str>,
    /// `external: true`: outside the mesh.
    pub external: bool,
    /// `disable_mx: true`: told nothing of us.
    pub no_exchange: bool,
    /// `alpn_override: "false"`: `istio.alpn` leaves it alone.
    pub own_alpn: bool,
}

/// What an endpoint's metadata has for the internal listener it leads to, below
/// `envoy.filters.listener.original_dst`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InternalFacts {
    /// `local`: where the connection is to be taken to be on its way.
    pub destination: Option<std::net::SocketAddr>,
    /// `waypoint`: whom to connect to instead.
    pub waypoint: Option<std::net::SocketAddr>,
}

/// `istio.metadata_exchange` among the network filters of a chain or a cluster.
#[derive(Debug)]
pub struct MetadataExchange {
    /// `protocol`: what ALPN must agree on.
    pub protocol: Box<[u8]>,
    /// `additional_labels`.
    pub labels: Vec<Box<str>>,
    /// What this proxy says, with its header.
    pub hello: Box<[u8]>,
    /// `metadata_exchange.*`
    pub stats: crate::observe::stats::MetadataExchangeStats,
}

/// `istio.stats`, in an HTTP or a network chain.
#[derive(Debug)]
pub struct StatsOptions {
    /// Whose part it has.
    pub reporter: Reporter,
    /// `disable_host_header_fallback`.
    pub no_host_fallback: bool,
    /// `tcp_reporting_duration`, default 5 s; zero reports at the end only.
    pub interval: Duration,
    /// Metrics that are not counted, and labels that are left out, by metric.
    pub metrics: [MetricOptions; METRICS.len()],
    /// Who we are.
    pub local: Arc<Local>,
    /// Distinguishes these options from others on a shard.
    pub id: u64,
}

/// Which side of a request a proxy reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporter {
    /// The client's proxy: `source`.
    Client,
    /// The server's proxy: `destination`.
    Server,
    /// `SERVER_GATEWAY`: `waypoint`.
    Gateway,
}

/// The standard metrics, without `istio_`.
pub const METRICS: [&str; 10] = [
    "requests_total",
    "request_duration_milliseconds",
    "request_bytes",
    "response_bytes",
    "request_messages_total",
    "response_messages_total",
    "tcp_connections_opened_total",
    "tcp_connections_closed_total",
    "tcp_sent_bytes_total",
    "tcp_received_bytes_total",
];

/// What `metrics` says of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricOptions {
    /// `drop`.
    pub dropped: bool,
    /// `tags_to_remove`.
    pub without: Vec<Box<str>>,
}

/// `istio.alpn`: what is offered to upstreams, by what is spoken to them.
#[derive(Debug, Default)]
pub struct AlpnOverrides {
    /// To HTTP/1.0, HTTP/1.1 and HTTP/2.
    pub by_protocol: [Option<Protocols>; 3],
}

/// Names of protocols, as ALPN offers them.
pub type Protocols = Arc<[Box<[u8]>]>;

const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
const OWNER: &str = "kubernetes://apis/apps/v1/namespaces/";
const KINDS: [&str; 4] = ["pod", "deployment", "job", "cronjob"];

impl Workload {
    /// Of a node's metadata. `labels` are those to keep besides.
    pub fn of_struct(from: &Struct, labels: &[Box<str>]) -> Self {
        let text = |key: &str| string(from, key).unwrap_or_default().into();
        let mut out = Self {
            instance: text("NAME"),
            namespace: text("NAMESPACE"),
            name: text("WORKLOAD_NAME"),
            cluster: text("CLUSTER_ID"),
            identity: text("IDENTITY"),
            region: text("REGION"),
            zone: text("AVAILABILITY_ZONE"),
            ..Self::default()
        };
        out.kind = owner_kind(string(from, "OWNER").unwrap_or_default(), &out.name);
        let Some(Kind::StructValue(given)) = from.fields.get("LABELS").and_then(kind) else {
            return out;
        };
        let label = |key: &str| string(given, key);
        let first = |keys: [&str; 2]| keys.iter().find_map(|key| label(key)).unwrap_or_default();
        out.canonical_name = label(CANONICAL_NAME).unwrap_or_default().into();
        out.canonical_revision = label(CANONICAL_REVISION).unwrap_or_default().into();
        out.app = first(["app.kubernetes.io/name", "app"]).into();
        out.version = first(["app.kubernetes.io/version", "version"]).into();
        let kept = labels.iter().filter_map(|key| Some((key.clone(), label(key)?.into())));
        out.labels = kept.collect();
        out
    }

    /// Of the short form in an endpoint's metadata: name, namespace, canonical name, canonical
    /// revision and cluster, with semicolons between.
    pub fn of_endpoint(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(Box::from);
        let mut next = || parts.next();
        Some(Self {
            name: next()?,
            namespace: next()?,
            canonical_name: next()?,
            canonical_revision: next()?,
            cluster: next()?,
            ..Self::default()
        })
    }

    /// As a node's metadata, for others to read.
    pub fn to_struct(&self) -> Struct {
        let mut out = Struct::default();
        let mut put = |key: &str, value: &str| put(&mut out, key, value);
        put("NAME", &self.instance);
        put("NAMESPACE", &self.namespace);
        put("WORKLOAD_NAME", &self.name);
        put("CLUSTER_ID", &self.cluster);
        put("IDENTITY", &self.identity);
        put("REGION", &self.region);
        put("AVAILABILITY_ZONE", &self.zone);
        if !self.kind.is_empty() {
            put("OWNER", &format!("{OWNER}{}/{}s/{}", self.namespace, self.kind, self.name));
        }
        let mut labels = Struct::default();
        for (key, value) in [
            (CANONICAL_NAME, &self.canonical_name),
            (CANONICAL_REVISION, &self.canonical_revision),
            ("app", &self.app),
            ("version", &self.version),
        ] {
            self::put(&mut labels, key, value);
        }
        for (key, value) in &self.labels {
            self::put(&mut labels, key, value);
        }
        let labels = Value { kind: Some(Kind::StructValue(labels)) };
        out.fields.insert("LABELS".to_owned(), labels);
        out
    }

    /// As a Struct of the names it goes by in logs and expressions.
    pub fn to_state(&self) -> Struct {
        let mut out = Struct::default();
        for (key, value) in self.tokens() {
            put(&mut out, key, value);
        }
        if !self.labels.is_empty() {
            let mut labels = Struct::default();
            for (key, value) in &self.labels {
                put(&mut labels, key, value);
            }
            let labels = Value { kind: Some(Kind::StructValue(labels)) };
            out.fields.insert("labels".to_owned(), labels);
        }
        out
    }

    fn tokens(&self) -> [(&'static str, &str); 11] {
        [
            ("type", self.kind),
            ("workload", &self.name),
            ("name", &self.instance),
            ("cluster", &self.cluster),
            ("namespace", &self.namespace),
            ("service", &self.canonical_name),
            ("revision", &self.canonical_revision),
            ("app", &self.app),
            ("version", &self.version),
            ("region", &self.region),
            ("availability_zone", &self.zone),
        ]
    }

    /// As `key=value` pairs with commas between, which is how logs show it.
    pub fn pairs(&self) -> String {
        let mut out = String::new();
        let mut pair = |key: &str, value: &str| {
            if !value.is_empty() {
                if !out.is_empty() {
                    out.push(',');
                }
                out.extend([key, "=", value]);
            }
        };
        for (key, value) in self.tokens() {
            pair(key, value);
        }
        for (key, value) in &self.labels {
            pair(&format!("labels[]{key}"), value);
        }
        out
    }

    /// As the value of a `baggage` header.
    pub fn baggage(&self) -> String {
        let kind = if self.kind.is_empty() { "pod" } else { self.kind };
        let workload_key = format!("k8s.{kind}.name");
        let or = |first: &str, second: &str| -> Box<str> {
            Box::from(if first.is_empty() { second } else { first })
        };
        let service = or(&self.canonical_name, &self.app);
        let revision = or(&self.canonical_revision, &self.version);
        let unless = |value: &str, known: &str| -> Box<str> {
            Box::from(if value == known { "" } else { value })
        };
        let mut out = String::new();
        for (key, value) in [
            (workload_key.as_str(), &self.name),
            ("service.name", &service),
            ("app.name", &unless(&self.app, &service)),
            ("service.version", &revision),
            ("app.version", &unless(&self.version, &revision)),
            ("k8s.namespace.name", &self.namespace),
            ("k8s.cluster.name", &self.cluster),
            ("k8s.instance.name", &self.instance),
            ("cloud.region", &self.region),
            ("cloud.availability_zone", &self.zone),
        ] {
            if !value.is_empty() {
                if !out.is_empty() {
                    out.push(',');
                }
                out.extend([key, "=", value]);
            }
        }
        out
    }

    /// Of a `baggage` header; `None` if it says nothing of a workload.
    pub fn of_baggage(text: &str) -> Option<Self> {
        let mut out = Self::default();
        let mut known = false;
        for (key, value) in text.split(',').filter_map(|pair| pair.trim().split_once('=')) {
            let place = match key {
                "service.name" => &mut out.canonical_name,
                "service.version" => &mut out.canonical_revision,
                "app.name" => &mut out.app,
                "app.version" => &mut out.version,
                "k8s.namespace.name" => &mut out.namespace,
                "k8s.cluster.name" => &mut out.cluster,
                "k8s.instance.name" => &mut out.instance,
                "cloud.region" => &mut out.region,
                "cloud.availability_zone" => &mut out.zone,
                _ => {
                    let kind = key.strip_prefix("k8s.").and_then(|key| key.strip_suffix(".name"));
                    let kind = kind.and_then(|kind| KINDS.iter().find(|known| **known == kind));
                    let Some(kind) = kind else { continue };
                    out.kind = kind;
                    &mut out.name
                }
            };
            *place = value.into();
            known = true;
        }
        if out.app.is_empty() {
            out.app = out.canonical_name.clone();
        }
        if out.version.is_empty() {
            out.version = out.canonical_revision.clone();
        }
        known.then_some(out)
    }
}

impl Local {
    /// Of a node: its id, metadata and locality (region and zone).
    pub fn new(id: &str, metadata: Struct, (region, zone): (&str, &str)) -> Self {
        let locality = (Box::from(region), Box::from(zone));
        let mut out = Self { id: id.into(), locality, metadata, ..Self::default() };
        out.workload = out.workload_with(&[]);
        out
    }

    /// What it stands for, with more of its labels.
    pub fn workload_with(&self, labels: &[Box<str>]) -> Workload {
        let mut out = Workload::of_struct(&self.metadata, labels);
        let (region, zone) = &self.locality;
        if out.region.is_empty() {
            out.region.clone_from(region);
        }
        if out.zone.is_empty() {
            out.zone.clone_from(zone);
        }
        out
    }

    /// A text of its metadata.
    pub fn text(&self, key: &str) -> &str {
        string(&self.metadata, key).unwrap_or_default()
    }

    /// What the network filter says first: magic number, length, and an Any with a Struct of two
    /// entries, the metadata and the id.
    pub fn hello(&self, labels: &[Box<str>]) -> Box<[u8]> {
        let mut said = Struct::default();
        // The filter knows nothing of the locality.
        let metadata = Workload::of_struct(&self.metadata, labels).to_struct();
        let metadata = Value { kind: Some(Kind::StructValue(metadata)) };
        said.fields.insert(METADATA_KEY.to_owned(), metadata);
        put(&mut said, ID_KEY, &self.id);
        let any = prost_types::Any { type_url: STRUCT_URL.to_owned(), value: said.encode_to_vec() };
        let body = any.encode_to_vec();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        [&MAGIC.to_be_bytes()[..], &length.to_be_bytes(), &body].concat().into()
    }
}

/// First bytes of what a proxy says of itself on a TCP connection, in network order.
pub const MAGIC: u32 = 0x3D23_0467;
/// Where the metadata is, in headers and in the Struct of a TCP connection.
pub const METADATA_KEY: &str = "x-envoy-peer-metadata";
/// Where the id is.
pub const ID_KEY: &str = "x-envoy-peer-metadata-id";
const STRUCT_URL: &str = "type.googleapis.com/google.protobuf.Struct";

fn kind(value: &Value) -> Option<&Kind> {
    value.kind.as_ref()
}

/// A text in a Struct.
pub fn string<'a>(from: &'a Struct, key: &str) -> Option<&'a str> {
    match from.fields.get(key).and_then(kind)? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn put(into: &mut Struct, key: &str, value: &str) {
    if !value.is_empty() {
        let value = Value { kind: Some(Kind::StringValue(value.to_owned())) };
        into.fields.insert(key.to_owned(), value);
    }
}

/// `…/namespaces/NS/deployments/NAME`: what the word before the name says.
fn owner_kind(owner: &str, name: &str) -> &'static str {
    let head = owner.len().checked_sub(name.len() + 2).and_then(|end| owner.get(..end));
    let word = head.and_then(|head| head.rsplit_once('/')).map_or("", |(_, word)| word);
    KINDS.iter().find(|known| **known == word).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
