//! Route configurations that are written inside a listener.

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use ringway_xds::api::envoy::config::listener::v3::filter::ConfigType;
use ringway_xds::api::envoy::config::route::v3::RouteConfiguration;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};

/// The `route_config` of every HTTP connection manager, in the order of the listeners.
pub(super) fn inline(resources: &StaticResources) -> impl Iterator<Item = RouteConfiguration> {
    resources
        .listeners
        .iter()
        .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain))
        .flat_map(|chain| &chain.filters)
        .filter_map(|filter| match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) => {
                HttpConnectionManager::decode(any.value.as_slice())
                    .ok()
                    .filter(|_| any.type_url.ends_with(".HttpConnectionManager"))
            }
            _ => None,
        })
        .filter_map(|manager| match manager.route_specifier {
            Some(RouteSpecifier::RouteConfig(routes)) => Some(routes),
            _ => None,
        })
}
