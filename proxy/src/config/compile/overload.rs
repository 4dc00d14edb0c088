//! `overload_manager`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::overload::v3 as api;
use ringway_xds::api::envoy::extensions::resource_monitors as monitors;

use super::at::At;
use super::cx::Cx;
use super::scalar::{optional_duration, type_name};
use super::set::refuse;
use crate::observe::stats::ResourceMonitorStats;
use crate::plan::ceiling::Ceiling;

type Connections = monitors::downstream_connections::v3::DownstreamConnectionsConfig;

/// The monitor that limits connections.
const CONNECTIONS: &str = "envoy.resource_monitors.global_downstream_max_connections";

/// Compiles it: the limit of connections is kept for the listeners.
pub(super) fn compile(cx: &mut Cx<'_>, at: &At<'_>, value: &api::OverloadManager) {
    let api::OverloadManager {
        refresh_interval,
        resource_monitors,
        actions,
        loadshed_points,
        buffer_factory_config,
    } = value;
    refuse!(cx, at, actions, loadshed_points, buffer_factory_config);
    // How often monitors look at their resource; the one there is counts by itself.
    optional_duration(cx, &at.field("refresh_interval"), *refresh_interval);
    let list_at = at.field("resource_monitors");
    for (index, monitor) in resource_monitors.iter().enumerate() {
        let at = list_at.index(index);
        if resource_monitors.iter().take(index).any(|other| other.name == monitor.name) {
            let message = format!("Duplicate resource monitor {}", monitor.name);
            cx.invalid(&at.field("name"), message);
            continue;
        }
        monitor_of(cx, &at, monitor);
    }
}

fn monitor_of(cx: &mut Cx<'_>, at: &At<'_>, monitor: &api::ResourceMonitor) {
    use api::resource_monitor::ConfigType;
    const TYPE: &str = "envoy.extensions.resource_monitors.downstream_connections.v3.\
                        DownstreamConnectionsConfig";
    let api::ResourceMonitor { name, config_type } = monitor;
    let Some(ConfigType::TypedConfig(any)) = config_type else {
        cx.invalid_allowed(at, "typed_config is required", TYPE);
        return;
    };
    let at = at.field("typed_config");
    let Some(any) = cx.typed(&at, any) else { return };
    let kind = type_name(&any.type_url);
    if kind != TYPE {
        cx.unsupported_allowed(&at, kind, TYPE);
        return;
    }
    if name != CONNECTIONS {
        let message = format!("Didn't find a registered implementation for name: '{name}'");
        cx.invalid_allowed(&at, message, CONNECTIONS);
        return;
    }
    let found = cx.unpack::<Connections>(&at, &any);
    let Some(config) = found else { return };
    let Connections { max_active_downstream_connections } = config;
    let Some(limit) = u64::try_from(max_active_downstream_connections).ok().filter(|n| *n > 0)
    else {
        let at = at.field("max_active_downstream_connections");
        cx.invalid_allowed(&at, "value must be greater than 0", "1 and above");
        return;
    };
    let stats = ResourceMonitorStats::new(cx.registry, CONNECTIONS);
    cx.kept.ceiling = Arc::new(Ceiling::monitored(limit, stats));
}
