//! From bytes to plan; what is wrong with them, in one line.

use std::sync::Arc;

use ringway_xds::api::envoy::config::cluster::v3::Cluster as ClusterConfig;
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::api::envoy::config::listener::v3::Listener as ListenerConfig;
use ringway_xds::api::envoy::config::route::v3::RouteConfiguration;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3::Secret as SecretConfig;
use ringway_xds::client::Resource;

use super::Xds;
use crate::config::compile::{Assignment, Invalid, Taken, reasons};
use crate::control::log::log;
use crate::plan::route::RouteTable;
use crate::plan::{Cluster, ConfigSource, HostSet, Listener};

impl Xds {
    pub(super) fn compile_cluster(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<Arc<Cluster>, String> {
        let config = said(self.compiler.decode::<ClusterConfig>(&resource.body), &resource.name)?;
        said(self.compiler.cluster(&config, source), &resource.name)
    }

    pub(super) fn compile_listener(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<Arc<Listener>, String> {
        let config = said(self.compiler.decode::<ListenerConfig>(&resource.body), &resource.name)?;
        said(self.compiler.listener(&config, source), &resource.name)
    }

    pub(super) fn compile_routes(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<Arc<RouteTable>, String> {
        let decoded = self.compiler.decode::<RouteConfiguration>(&resource.body);
        let config = said(decoded, &resource.name)?;
        said(self.compiler.routes(&config, &[], source), &resource.name)
    }

    /// Takes a secret that a source serves.
    pub(super) fn take_secret(
        &mut self,
        source: &ConfigSource,
        name: &str,
        body: &[u8],
    ) -> Result<(), String> {
        let config = said(self.compiler.decode::<SecretConfig>(body), name)?;
        said(self.compiler.secret(source, &config, &self.stats), name)
    }

    pub(super) fn decode_endpoints(
        &mut self,
        resource: &Resource,
    ) -> Result<ClusterLoadAssignment, String> {
        said(self.compiler.decode(&resource.body), &resource.name)
    }

    pub(super) fn compile_endpoints(
        &mut self,
        cluster: &Cluster,
        assignment: &ClusterLoadAssignment,
        old: &Arc<HostSet>,
    ) -> Result<Assignment, String> {
        let compiled = self.compiler.assignment(cluster, assignment, old);
        said(compiled, &assignment.cluster_name)
    }
}

/// What came of it; warnings go to the log.
fn said<T>(result: Result<Taken<T>, Vec<Invalid>>, name: &str) -> Result<T, String> {
    match result {
        Ok(Taken { value, warnings, reads_runtime: _ }) => {
            for Invalid { path, message, .. } in warnings {
                log!(Warning, Config, "{name}: {path}: {message}");
            }
            Ok(value)
        }
        Err(findings) => Err(reasons(&findings)),
    }
}
