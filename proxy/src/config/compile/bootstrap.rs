//! `Bootstrap`: everything around listeners and clusters.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::bootstrap::v3 as api;
use ringway_xds::api::envoy::config::cluster::v3 as cluster_api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::bootstrap::internal_listener::v3::InternalListener;

use super::address::{address, ipv4_compat, socket_options};
use super::at::At;
use super::cx::Cx;
use super::scalar::{duration, extension, json, string_match, type_name};
use super::set::refuse;
use super::{access_log, discovery, overload, source, stats};
use crate::config::{Admin, Node};
use crate::plan::source::{ConfigSource, GrpcSource};

/// What the bootstrap says besides listeners and clusters.
pub(crate) struct Rest {
    pub(crate) node: Node,
    pub(crate) admin: Option<Admin>,
    pub(crate) stats_flush_interval: Duration,
    pub(crate) dynamic: Dynamic,
    /// `application_log_config.log_format`, as `--log-format` would say it.
    pub(crate) log_format: Option<String>,
}

/// What comes from management servers and files.
#[derive(Debug, Default)]
pub struct Dynamic {
    /// `dynamic_resources.ads_config`.
    pub ads: Option<Arc<GrpcSource>>,
    /// `dynamic_resources.cds_config`.
    pub cds: Option<ConfigSource>,
    /// `dynamic_resources.lds_config`.
    pub lds: Option<ConfigSource>,
    /// Layers of the runtime that come by RTDS, the weakest first.
    pub layers: Vec<RtdsLayer>,
    /// `cluster_manager.load_stats_config`: where load is reported to.
    pub load_stats: Option<Arc<GrpcSource>>,
    /// `cluster_manager.outlier_detection.event_log_path`
    pub outlier_log: Option<PathBuf>,
}

/// `rtds_layer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtdsLayer {
    /// Name of the layer.
    pub layer: String,
    /// Name of the resource.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// Clusters that configuration may come from: those that do not wait for any themselves, as those
/// of EDS do unless it reads a file.
pub(crate) fn primary_clusters(cx: &mut Cx<'_>, bootstrap: &api::Bootstrap) {
    use cluster_api::cluster::{ClusterDiscoveryType, DiscoveryType};
    use core::config_source::ConfigSourceSpecifier as Specifier;
    let Some(resources) = &bootstrap.static_resources else { return };
    for cluster in &resources.clusters {
        let eds = match &cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) => *kind == DiscoveryType::Eds as i32,
            Some(ClusterDiscoveryType::ClusterType(custom)) => custom.name == "envoy.cluster.eds",
            None => false,
        };
        let config = cluster.eds_cluster_config.as_ref();
        let source = config.and_then(|config| config.eds_config.as_ref());
        let of_file = matches!(
            source.and_then(|source| source.config_source_specifier.as_ref()),
            Some(Specifier::Path(_) | Specifier::PathConfigSource(_))
        );
        if !eds || of_file {
            cx.kept.primary.insert(Arc::from(cluster.name.as_str()));
        }
    }
}

/// Checks every field but `static_resources` and `layered_runtime`, which the caller reads.
pub(crate) fn compile(cx: &mut Cx<'_>, bootstrap: &api::Bootstrap) -> Rest {
    let at = At::root();
    check(cx, &at, bootstrap);
    #[rustfmt::skip]
    let api::Bootstrap {
        node, dynamic_resources, cluster_manager, stats_config, stats_flush_interval, admin,
        header_prefix, dns_resolution_config, typed_dns_resolver_config, bootstrap_extensions,
        default_socket_interface, default_regex_engine, listener_manager, stats_flush,
        overload_manager, application_log_config,
        ..
    } = bootstrap;
    bootstrap_extensions_of(cx, &at.field("bootstrap_extensions"), bootstrap_extensions);
    if let Some(api::bootstrap::StatsFlush::StatsFlushOnAdmin(true)) = stats_flush {
        cx.unsupported(&at.field("stats_flush_on_admin"));
    }
    // What these name is what happens anyway.
    const PREFIX: &str = "x-envoy";
    const SOCKETS: &str = "envoy.extensions.network.socket_interface.default_socket_interface";
    for (name, value, usual) in [
        ("header_prefix", header_prefix, PREFIX),
        ("default_socket_interface", default_socket_interface, SOCKETS),
    ] {
        if !value.is_empty() && value != usual {
            cx.unsupported_allowed(&at.field(name), &format!("'{value}'"), usual);
        }
    }
    const RE2: &str = "envoy.extensions.regex_engines.v3.GoogleRE2";
    const MANAGER: &str = "envoy.config.listener.v3.ListenerManager";
    only(cx, &at.field("default_regex_engine"), default_regex_engine.as_ref(), RE2);
    only(cx, &at.field("listener_manager"), listener_manager.as_ref(), MANAGER);
    let mut dynamic = dynamic_resources_of(cx, &at, dynamic_resources.as_ref());
    dynamic.layers = rtds_layers(cx, bootstrap);
    cluster_manager_of(cx, &at, cluster_manager.as_ref(), &mut dynamic);
    if let Some(value) = overload_manager {
        overload::compile(cx, &at.field("overload_manager"), value);
    }
    if let Some(value) = stats_config {
        let settings = stats::compile(cx, &at.field("stats_config"), value);
        cx.registry.configure(settings);
    }
    default_resolvers(cx, &at, dns_resolution_config.as_ref(), typed_dns_resolver_config.as_ref());
    let flush_at = at.field("stats_flush_interval");
    let log_at = at.field("application_log_config");
    let log_config = application_log_config.as_ref();
    Rest {
        dynamic,
        log_format: log_config.and_then(|config| log_format_of(cx, &log_at, config)),
        node: node_of(node.as_ref()),
        admin: admin.as_ref().map(|admin| admin_of(cx, &at.field("admin"), admin)),
        stats_flush_interval: duration(
            cx,
            &flush_at,
            *stats_flush_interval,
            Duration::from_secs(5),
        ),
    }
}

/// Names every field: refused here, read elsewhere, or of no effect.
fn check(cx: &mut Cx<'_>, at: &At<'_>, bootstrap: &api::Bootstrap) {
    #[rustfmt::skip]
    let api::Bootstrap {
        // Refused.
        hds_config, flags_path, stats_sinks, watchdog, watchdogs, tracing,
        enable_dispatcher_stats, stats_server_version_override, use_tcp_for_dns_lookups,
        fatal_actions, config_sources, default_config_source, certificate_provider_instances,
        inline_headers, perf_tracing_file_path, xds_delegate_extension,
        xds_config_tracker_extension, stats_eviction, node_context_params,
        // Read by `compile`.
        node: _, dynamic_resources: _, cluster_manager: _, stats_config: _,
        stats_flush_interval: _, admin: _, header_prefix: _, dns_resolution_config: _,
        typed_dns_resolver_config: _, bootstrap_extensions: _, default_socket_interface: _,
        default_regex_engine: _, listener_manager: _, stats_flush: _, overload_manager: _,
        application_log_config: _,
        // Read by the caller.
        static_resources: _, layered_runtime: _,
        // Says when names of statistics are made, not which.
        deferred_stat_options: _,
        // Clients of gRPC services, and nothing that has one is taken.
        grpc_async_client_manager_config: _,
        // Dials of tcmalloc; our allocator has others.
        memory_allocator_manager: _,
        // Shards are always pinned.
        enable_worker_cpu_affinity: _,
    } = bootstrap;
    refuse!(cx, &at, hds_config, flags_path, stats_sinks, watchdog, watchdogs, tracing);
    refuse!(cx, &at, enable_dispatcher_stats, stats_server_version_override);
    refuse!(cx, &at, use_tcp_for_dns_lookups, fatal_actions, config_sources);
    refuse!(cx, &at, default_config_source, certificate_provider_instances, inline_headers);
    refuse!(cx, &at, perf_tracing_file_path, xds_delegate_extension);
    refuse!(cx, &at, xds_config_tracker_extension, stats_eviction);
    refuse!(cx, &at, node_context_params);
}

/// The extension of internal listeners, which are only taken where it is asked for, as in Envoy.
fn bootstrap_extensions_of(cx: &mut Cx<'_>, at: &At<'_>, list: &[core::TypedExtensionConfig]) {
    const INTERNAL: &str = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
    for (index, value) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(any) = &value.typed_config else {
            extension(cx, &at, value);
            continue;
        };
        let at = at.field("typed_config");
        let Some(any) = cx.typed(&at, any) else { continue };
        if type_name(&any.type_url) == INTERNAL {
            let found = cx.unpack::<InternalListener>(&at, &any);
            let Some(InternalListener { buffer_size_kb }) = found else { continue };
            cx.kept.internal_listeners = true;
            cx.kept.internal_buffer = buffer_size_kb.map(|size| size.saturating_mul(1024));
        } else {
            cx.unsupported_allowed(&at, type_name(&any.type_url), INTERNAL);
        }
    }
}

/// Takes the one type that is what happens anyway.
fn only(cx: &mut Cx<'_>, at: &At<'_>, value: Option<&core::TypedExtensionConfig>, usual: &str) {
    let Some(value) = value else { return };
    let any = value.typed_config.as_ref();
    if any.is_none_or(|any| type_name(&any.type_url) != usual) {
        extension(cx, at, value);
    }
}

fn dynamic_resources_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::bootstrap::DynamicResources>,
) -> Dynamic {
    let mut out = Dynamic::default();
    let Some(value) = value else { return out };
    let api::bootstrap::DynamicResources {
        lds_config,
        lds_resources_locator,
        cds_config,
        cds_resources_locator,
        ads_config,
    } = value;
    let at = at.field("dynamic_resources");
    refuse!(cx, &at, lds_resources_locator, cds_resources_locator);
    let ads_at = at.field("ads_config");
    out.ads = ads_config.as_ref().and_then(|config| source::ads(cx, &ads_at, config));
    let mut of = |name, config: &Option<core::ConfigSource>| {
        config.as_ref().and_then(|config| source::compile(cx, &at.field(name), Some(config)))
    };
    out.cds = of("cds_config", cds_config);
    out.lds = of("lds_config", lds_config);
    out
}

/// `rtds_layer` of each layer that has one.
fn rtds_layers(cx: &mut Cx<'_>, bootstrap: &api::Bootstrap) -> Vec<RtdsLayer> {
    use api::runtime_layer::LayerSpecifier;
    let Some(api::LayeredRuntime { layers }) = &bootstrap.layered_runtime else {
        return Vec::new();
    };
    let root = At::root();
    let at = root.field("layered_runtime");
    let at = at.field("layers");
    let mut out = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let Some(LayerSpecifier::RtdsLayer(config)) = &layer.layer_specifier else { continue };
        let at = at.index(index);
        let at = at.field("rtds_layer");
        let api::runtime_layer::RtdsLayer { name, rtds_config } = config;
        let source_at = at.field("rtds_config");
        if let Some(source) = source::compile(cx, &source_at, rtds_config.as_ref()) {
            let layer = layer.name.clone();
            out.push(RtdsLayer { layer, name: Arc::from(name.as_str()), source });
        }
    }
    out
}

/// `application_log_config`
fn log_format_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &api::bootstrap::ApplicationLogConfig,
) -> Option<String> {
    use api::bootstrap::application_log_config::{LogFormat, log_format::LogFormat as Choice};
    let api::bootstrap::ApplicationLogConfig { log_format } = value;
    let LogFormat { log_format } = log_format.as_ref()?;
    let at = at.field("log_format");
    match log_format {
        Some(Choice::TextFormat(text)) => Some(text.clone()),
        Some(Choice::JsonFormat(value)) => {
            let value = value.clone();
            let kind = Some(prost_types::value::Kind::StructValue(value));
            let text = json(prost_types::Value { kind }).to_string();
            // A message that is put in as it is need not leave valid JSON.
            for flag in ["%v", "%_"].into_iter().filter(|flag| text.contains(flag)) {
                let message = format!("usage of {flag} is unavailable for JSON log formats");
                cx.invalid_allowed(&at.field("json_format"), message, "%j");
            }
            Some(text)
        }
        None => {
            cx.invalid_allowed(&at, "a log format is required", "text_format, json_format");
            None
        }
    }
}

/// `cluster_manager`: where load is reported to, and ejections are logged.
fn cluster_manager_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&api::ClusterManager>,
    dynamic: &mut Dynamic,
) {
    let Some(value) = value else { return };
    let api::ClusterManager {
        local_cluster_name,
        outlier_detection,
        // Read with the clusters, whose default it is.
        upstream_bind_config: _,
        load_stats_config,
        // Says when a cluster is made on a worker, not what it does.
        enable_deferred_cluster_creation: _,
    } = value;
    let at = at.field("cluster_manager");
    refuse!(cx, &at, local_cluster_name);
    if let Some(api::cluster_manager::OutlierDetection { event_log_path, event_service }) =
        outlier_detection
    {
        let at = at.field("outlier_detection");
        refuse!(cx, &at, event_service);
        dynamic.outlier_log = (!event_log_path.is_empty()).then(|| event_log_path.into());
    }
    let load_at = at.field("load_stats_config");
    // Envoy takes one that names nobody, and reports to nobody.
    let config = load_stats_config.as_ref().filter(|config| !config.grpc_services.is_empty());
    dynamic.load_stats = config.and_then(|config| source::ads(cx, &load_at, config));
}

fn default_resolvers(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    old: Option<&core::DnsResolutionConfig>,
    typed: Option<&core::TypedExtensionConfig>,
) {
    let resolvers = match (typed, old) {
        (Some(typed), _) => {
            discovery::typed_resolvers(cx, &at.field("typed_dns_resolver_config"), Some(typed))
        }
        (None, Some(old)) => discovery::resolvers(cx, &at.field("dns_resolution_config"), old),
        (None, None) => Vec::new(),
    };
    cx.kept.resolvers = resolvers;
}

fn node_of(node: Option<&core::Node>) -> Node {
    // What of it is not kept here is told to xDS servers only, and they read the bootstrap itself.
    let node = node.cloned().unwrap_or_default();
    let core::Locality { region, zone, sub_zone } = node.locality.unwrap_or_default();
    Node { id: node.id, cluster: node.cluster, region, zone, sub_zone }
}

fn admin_of(cx: &mut Cx<'_>, at: &At<'_>, admin: &api::Admin) -> Admin {
    let api::Admin {
        access_log,
        access_log_path,
        // Where the CPU profiler writes, which is not built in (the page says so).
        profile_path: _,
        address: listen,
        socket_options: options,
        ignore_global_conn_limit,
        allow_paths,
    } = admin;
    let mut access_logs = access_log::compile(cx, &at.field("access_log"), access_log);
    if !access_log_path.is_empty() {
        let at = at.field("access_log_path");
        access_logs.extend(access_log::default_file(cx, &at, access_log_path).map(Arc::new));
    }
    if ipv4_compat(listen.as_ref()) {
        let at = at.field("address");
        cx.unsupported_value(&at.field("socket_address"), "ipv4_compat of admin");
    }
    let allow_at = at.field("allow_paths");
    let allow_paths = allow_paths.iter().enumerate();
    Admin {
        address: listen.as_ref().and_then(|a| address(cx, &at.field("address"), Some(a))),
        socket_options: socket_options(cx, &at.field("socket_options"), options),
        access_logs,
        ceiling: Arc::clone(&cx.kept.ceiling),
        // A monitor does not count connections of admin.
        ignores_ceiling: *ignore_global_conn_limit || cx.kept.ceiling.is_monitored(),
        allow_paths: allow_paths
            .filter_map(|(index, matcher)| string_match(cx, &allow_at.index(index), matcher))
            .collect(),
    }
}

/// Checks `layered_runtime`, whose static layers are in `cx.runtime` already.
pub(crate) fn check_runtime(cx: &mut Cx<'_>, bootstrap: &api::Bootstrap) {
    use api::runtime_layer::LayerSpecifier;
    let Some(api::LayeredRuntime { layers }) = &bootstrap.layered_runtime else { return };
    let root = At::root();
    let at = root.field("layered_runtime");
    let at = at.field("layers");
    let mut admin = 0;
    for (index, layer) in layers.iter().enumerate() {
        let at = at.index(index);
        let api::RuntimeLayer { name, layer_specifier } = layer;
        if layers.iter().take(index).any(|other| other.name == *name) {
            cx.invalid(&at.field("name"), format!("duplicate layer name: {name}"));
        }
        match layer_specifier {
            Some(LayerSpecifier::StaticLayer(values)) => {
                check_layer(cx, &at.field("static_layer"), values);
            }
            // Empty until `/runtime_modify` fills it.
            Some(LayerSpecifier::AdminLayer(api::runtime_layer::AdminLayer {})) => admin += 1,
            Some(LayerSpecifier::DiskLayer(_)) => cx.unsupported(&at.field("disk_layer")),
            // Its source is read with the other ones.
            Some(LayerSpecifier::RtdsLayer(_)) => {}
            None => {
                let allowed = "static_layer, admin_layer, rtds_layer";
                cx.invalid_allowed(&at, "a layer specifier is required", allowed);
            }
        }
    }
    if admin > 1 {
        let message =
            "too many admin layers specified in LayeredRuntime, at most one may be specified";
        cx.invalid(&at, message);
    }
}

/// Whether a runtime key has an effect in Envoy that is not there yet.
pub(crate) fn runtime_key_is_refused(key: &str) -> bool {
    key == "upstream.use_http2"
}

/// Keys whose effect is known and not there yet are refused; other keys are only read by those
/// who name them.
pub(crate) fn check_layer(cx: &mut Cx<'_>, at: &At<'_>, layer: &prost_types::Struct) {
    use prost_types::value::Kind;
    let root = At::root();
    for (key, value) in &layer.fields {
        let path = format!("{at}.{key}");
        let at = root.field(&path);
        match &value.kind {
            Some(Kind::NullValue(_) | Kind::ListValue(_)) | None => {
                let allowed = "a number, a boolean, a string, a fractional percent, or a map";
                cx.invalid_allowed(&at, format!("invalid runtime entry value for {key}"), allowed);
            }
            Some(_) if key.starts_with("envoy.reloadable_features.") => {
                cx.warn(&at, format!("the guard {key} has no effect here"));
            }
            Some(_) if runtime_key_is_refused(key) => {
                cx.unsupported_value(&at, &format!("the runtime key {key}"));
            }
            Some(_) => {}
        }
    }
}
