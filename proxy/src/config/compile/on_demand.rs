//! `OnDemandCds`: clusters that are asked for when a request or a connection names them.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3::ConfigSource;
use ringway_xds::api::envoy::extensions::filters::http::on_demand::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::duration;
use super::set::refuse;
use super::source;
use crate::plan::demand::OnDemandClusters;
use crate::plan::source::Origin;

/// Compiles where clusters come from; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::OnDemandCds,
) -> Option<Arc<OnDemandClusters>> {
    let api::OnDemandCds { source, resources_locator, timeout } = config;
    refuse!(cx, at, resources_locator);
    let timeout = duration(cx, &at.field("timeout"), *timeout, OnDemandClusters::TIMEOUT);
    let at = at.field("source");
    let Some(source) = source else {
        let allowed = "ads, api_config_source with api_type DELTA_GRPC";
        cx.invalid_allowed(&at, "a source is required", allowed);
        return None;
    };
    from_source(cx, &at, source, timeout)
}

/// Clusters from a source; `None` after an error.
pub(super) fn from_source(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    source: &ConfigSource,
    timeout: Duration,
) -> Option<Arc<OnDemandClusters>> {
    let source = source::compile(cx, at, Some(source))?;
    if matches!(&source.origin, Origin::Grpc(grpc) if grpc.delta) || source.origin == Origin::Ads {
        cx.kept.clusters_on_demand = true;
        return Some(Arc::new(OnDemandClusters { source, timeout }));
    }
    let message = "clusters come on demand by the incremental protocol only";
    cx.invalid_allowed(at, message, "ads, api_config_source with api_type DELTA_GRPC");
    None
}
