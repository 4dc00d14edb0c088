//! From bytes to plan; what is wrong with them, in one line.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_xds::api::envoy::config::cluster::v3::Cluster as ClusterConfig;
use ringway_xds::api::envoy::config::core::v3::TypedExtensionConfig;
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::api::envoy::config::listener::v3::Listener as ListenerConfig;
use ringway_xds::api::envoy::config::route::v3::{
    RouteConfiguration, ScopedRouteConfiguration, VirtualHost,
};
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3::Secret as SecretConfig;
use ringway_xds::api::envoy::service::runtime::v3::Runtime;
use ringway_xds::client::Resource;

use super::Xds;
use crate::config::compile::{Assignment, Invalid, Taken, reasons};
use crate::control::log::log;
use crate::plan::extension::{Extension, ExtensionSlot};
use crate::plan::route::{RouteTable, Scope, ScopeKey};
use crate::plan::{Cluster, ConfigSource, HostSet, Listener, RouteSlot, ScopeName};

/// What a resource was compiled to.
#[derive(Debug, Clone)]
pub(super) struct Made<T> {
    pub(super) value: T,
    /// It has to be compiled again when values of the runtime change.
    pub(super) reads_runtime: bool,
}

impl Xds {
    pub(super) fn compile_cluster(
        &mut self,
        source: &ConfigSource,
        name: &str,
        body: &[u8],
    ) -> Result<Made<Arc<Cluster>>, String> {
        let config = said(self.compiler.decode::<ClusterConfig>(body), name)?.value;
        said(self.compiler.cluster(&config, source), name)
    }

    pub(super) fn compile_listener(
        &mut self,
        source: &ConfigSource,
        name: &str,
        body: &[u8],
    ) -> Result<Made<Arc<Listener>>, String> {
        let config = said(self.compiler.decode::<ListenerConfig>(body), name)?.value;
        said(self.compiler.listener(&config, source), name)
    }

    /// The route table of a slot, with the virtual hosts that VHDS has added to it.
    pub(super) fn compile_table(
        &mut self,
        slot: RouteSlot,
        source: &ConfigSource,
        name: &str,
        body: &[u8],
    ) -> Result<Made<Arc<RouteTable>>, String> {
        let config = said(self.compiler.decode::<RouteConfiguration>(body), name)?.value;
        let hosts = self.hosts_of(slot);
        said(self.compiler.routes(&config, &hosts, source), name)
    }

    pub(super) fn compile_host(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<VirtualHost, String> {
        let decoded = self.compiler.decode::<VirtualHost>(&resource.body);
        let config = said(decoded, &resource.name)?.value;
        said(self.compiler.virtual_host(&config, source), &resource.name)?;
        Ok(config)
    }

    pub(super) fn compile_scope(
        &mut self,
        lease: &ScopeName,
        name: &str,
        body: &[u8],
    ) -> Result<Made<(ScopeKey, Scope)>, String> {
        let config = said(self.compiler.decode::<ScopedRouteConfiguration>(body), name)?.value;
        said(self.compiler.scoped_route(&config, lease), name)
    }

    pub(super) fn compile_extension(
        &mut self,
        slot: &ExtensionSlot,
        name: &str,
        body: &[u8],
    ) -> Result<Arc<Extension>, String> {
        let config = said(self.compiler.decode::<TypedExtensionConfig>(body), name)?.value;
        Ok(said(self.compiler.extension(&config, slot), name)?.value)
    }

    /// Puts values into a layer of the runtime; answers whether that has changed any.
    pub(super) fn compile_layer(
        &mut self,
        layer: &str,
        resource: &Resource,
    ) -> Result<bool, String> {
        let config = said(self.compiler.decode::<Runtime>(&resource.body), &resource.name)?.value;
        let values = config.layer.unwrap_or_default();
        Ok(said(self.compiler.runtime_layer(layer, &values), &resource.name)?.value)
    }

    /// Gives a layer of the runtime these values, which are read as Envoy reads text; whether any
    /// has changed.
    pub(super) fn fill_layer(&mut self, layer: &str, values: &BTreeMap<String, String>) -> bool {
        let value = |text: &String| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(text.clone())),
        };
        let fields = values.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        let values = prost_types::Struct { fields };
        said(self.compiler.runtime_layer(layer, &values), layer).is_ok_and(|made| made.value)
    }

    /// Takes a secret that a source serves.
    pub(super) fn take_secret(
        &mut self,
        source: &ConfigSource,
        name: &str,
        body: &[u8],
    ) -> Result<(), String> {
        let config = said(self.compiler.decode::<SecretConfig>(body), name)?.value;
        said(self.compiler.secret(source, &config, &self.stats), name).map(drop)
    }

    pub(super) fn decode_endpoints(
        &mut self,
        resource: &Resource,
    ) -> Result<ClusterLoadAssignment, String> {
        Ok(said(self.compiler.decode(&resource.body), &resource.name)?.value)
    }

    pub(super) fn compile_endpoints(
        &mut self,
        cluster: &Cluster,
        assignment: &ClusterLoadAssignment,
        old: &Arc<HostSet>,
    ) -> Result<Assignment, String> {
        let compiled = self.compiler.assignment(cluster, assignment, old);
        Ok(said(compiled, &assignment.cluster_name)?.value)
    }
}

/// What came of it; warnings go to the log.
pub(super) fn said<T>(
    result: Result<Taken<T>, Vec<Invalid>>,
    name: &str,
) -> Result<Made<T>, String> {
    match result {
        Ok(Taken { value, warnings, reads_runtime }) => {
            for Invalid { path, message, .. } in warnings {
                log!(Warning, Config, "{name}: {path}: {message}");
            }
            Ok(Made { value, reads_runtime })
        }
        Err(findings) => Err(reasons(&findings)),
    }
}
