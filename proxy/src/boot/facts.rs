//! What the process tells about itself: `node`, command line, runtime layers.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use ringway_xds::api::envoy::config::bootstrap::v3::{LayeredRuntime, runtime_layer};
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::core::v3::node::UserAgentVersionType;
use ringway_xds::api::envoy::r#type::v3::SemanticVersion;

use crate::cli::Options;
use crate::config::Node;
use crate::control::admin::info::{ENVOY_VERSION, Facts};
use crate::control::admin::runtime::Layers;

/// The fields of a `Bootstrap` that are read here; the rest is passed over without a copy.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(message, optional, tag = "1")]
    node: Option<core::Node>,
    #[prost(message, optional, tag = "17")]
    layered_runtime: Option<LayeredRuntime>,
}

fn part(bootstrap: &[u8]) -> Part {
    // These bytes were decoded when they were loaded: they do so again.
    Part::decode(bootstrap).unwrap_or_default()
}

/// `node` as control planes see it: the bootstrap's, with flags over it and what we are.
pub(super) fn node(bootstrap: &[u8], flags: &Node) -> core::Node {
    let mut node = part(bootstrap).node.unwrap_or_default();
    node.id.clone_from(&flags.id);
    node.cluster.clone_from(&flags.cluster);
    if !flags.zone.is_empty() {
        node.locality.get_or_insert_default().zone.clone_from(&flags.zone);
    }
    // Control planes decide by this name and number what a proxy understands.
    "envoy".clone_into(&mut node.user_agent_name);
    let (major, minor, patch) = ENVOY_VERSION;
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    let own = format!("ringway-{}", env!("CARGO_PKG_VERSION"));
    node.user_agent_version_type =
        Some(UserAgentVersionType::UserAgentBuildVersion(core::BuildVersion {
            version: Some(SemanticVersion { major_number: major, minor_number: minor, patch }),
            metadata: Some(Struct {
                fields: [
                    ("build.type".to_owned(), text(build)),
                    ("revision.status".to_owned(), text(&own)),
                ]
                .into(),
            }),
        }));
    node.extensions = EXTENSIONS.iter().map(extension).collect();
    node
}

/// Category, name and type of what this build has.
const EXTENSIONS: [(&str, &str, &str); 13] = [
    (
        "envoy.access_loggers",
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    ),
    (
        "envoy.access_loggers",
        "envoy.access_loggers.stderr",
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    ),
    (
        "envoy.access_loggers",
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    ),
    ("envoy.clusters", "envoy.cluster.logical_dns", ""),
    ("envoy.clusters", "envoy.cluster.static", ""),
    ("envoy.clusters", "envoy.cluster.strict_dns", ""),
    (
        "envoy.filters.http",
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
    ),
    (
        "envoy.filters.network",
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.least_request",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.random",
        "envoy.extensions.load_balancing_policies.random.v3.Random",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.round_robin",
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    ),
    (
        "envoy.transport_sockets.downstream",
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    ),
    (
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    ),
];

fn extension((category, name, type_url): &(&str, &str, &str)) -> core::Extension {
    let urls = Some(*type_url).filter(|url| !url.is_empty());
    core::Extension {
        name: (*name).to_owned(),
        category: (*category).to_owned(),
        type_urls: urls.into_iter().map(str::to_owned).collect(),
        ..core::Extension::default()
    }
}

/// What `/server_info` tells.
pub(super) fn facts(options: &Options, shards: usize, node: core::Node) -> Facts {
    Facts { options: options.message(u32::try_from(shards).unwrap_or(u32::MAX)), node }
}

/// The layers of `layered_runtime`, for `/runtime`.
pub(super) fn layers(bootstrap: &[u8]) -> Layers {
    let mut layers = Layers::new();
    let configured = part(bootstrap).layered_runtime.unwrap_or_default().layers;
    for layer in configured {
        match layer.layer_specifier {
            Some(runtime_layer::LayerSpecifier::StaticLayer(values)) => {
                layers.push_static(layer.name, &values);
            }
            Some(runtime_layer::LayerSpecifier::AdminLayer(_)) => layers.push_admin(layer.name),
            Some(runtime_layer::LayerSpecifier::RtdsLayer(_)) => layers.push_rtds(layer.name),
            // The compiler has refused the rest.
            Some(runtime_layer::LayerSpecifier::DiskLayer(_)) | None => {}
        }
    }
    layers
}
