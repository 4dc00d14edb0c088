//! `upgrade_configs` of connection managers and routes.

use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3::route_action as route;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::at::At;
use super::cx::Cx;
use super::set::refuse;
use crate::plan::http::Upgrade;
use crate::plan::route::RouteUpgrade;

/// Those of a connection manager.
pub(crate) fn of_manager(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    configs: &[hcm::http_connection_manager::UpgradeConfig],
) -> Vec<Upgrade> {
    let mut out: Vec<Upgrade> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let at = at.index(index);
        let hcm::http_connection_manager::UpgradeConfig { upgrade_type, filters, enabled } = config;
        refuse!(cx, &at, filters);
        if out.iter().any(|known| known.kind.eq_ignore_ascii_case(upgrade_type)) {
            let message = format!("multiple upgrade configs with the same name: '{upgrade_type}'");
            cx.invalid(&at.field("upgrade_type"), message);
        }
        out.push(Upgrade { kind: Arc::from(&**upgrade_type), enabled: enabled.unwrap_or(true) });
    }
    out
}

/// Those of a route.
pub(crate) fn of_route(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    configs: &[route::UpgradeConfig],
) -> Vec<RouteUpgrade> {
    let mut out: Vec<RouteUpgrade> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let at = at.index(index);
        let route::UpgradeConfig { upgrade_type, enabled, connect_config } = config;
        if out.iter().any(|known| known.kind.eq_ignore_ascii_case(upgrade_type)) {
            cx.invalid(&at.field("upgrade_type"), format!("duplicate upgrade {upgrade_type}"));
        }
        if let Some(connect) = connect_config {
            let at = at.field("connect_config");
            let route::upgrade_config::ConnectConfig { proxy_protocol_config, allow_post } =
                connect;
            refuse!(cx, &at, proxy_protocol_config, allow_post);
            if upgrade_type.eq_ignore_ascii_case("CONNECT-UDP") {
                cx.unsupported_value(&at, "CONNECT-UDP");
            } else if !upgrade_type.eq_ignore_ascii_case("CONNECT") {
                let message = format!("non-CONNECT upgrade type {upgrade_type} has ConnectConfig");
                cx.invalid(&at, message);
            }
        }
        out.push(RouteUpgrade {
            kind: Arc::from(&**upgrade_type),
            enabled: enabled.unwrap_or(true),
            terminates_connect: connect_config.is_some(),
        });
    }
    out
}
