//! What a client has, in the words of CSDS.

use std::sync::Arc;

use prost::Message;

use super::cache::Resources;
use super::snapshot::Encoded;
use super::subscription::Subscription;
use crate::api::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use crate::api::envoy::service::status::v3::ConfigStatus;
use crate::api::envoy::service::status::v3::client_config::GenericXdsConfig;

/// One entry for each resource the client was sent or asked for, by name.
pub(super) fn of(
    subscription: &Subscription,
    resources: Option<&Resources>,
    with_contents: bool,
) -> Vec<GenericXdsConfig> {
    let mut names: Vec<&Arc<str>> = subscription.sent.keys().chain(&subscription.names).collect();
    names.sort_unstable();
    names.dedup();
    let one = |name: &Arc<str>| {
        let resource = resources.and_then(|resources| resources.get(name));
        status(subscription, name, resource, with_contents)
    };
    names.into_iter().map(one).collect()
}

fn status(
    subscription: &Subscription,
    name: &Arc<str>,
    resource: Option<&Arc<Encoded>>,
    with_contents: bool,
) -> GenericXdsConfig {
    let sent = subscription.sent.get(resource.map_or(name, |resource| &resource.name));
    let is_current = sent.is_some() && sent == resource.map(|resource| &resource.hash);
    let waits = subscription.in_flight.as_ref().is_some_and(|sent| sent.names.contains(name));
    let rejected = subscription.rejected.get(name);
    let (config, client) = match (resource, rejected) {
        (None, _) => (ConfigStatus::NotSent, ClientResourceStatus::DoesNotExist),
        (Some(_), Some(_)) => (ConfigStatus::Error, ClientResourceStatus::Nacked),
        _ if sent.is_none() => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
        _ if waits => (ConfigStatus::Stale, ClientResourceStatus::Requested),
        _ if is_current => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        _ => (ConfigStatus::Stale, ClientResourceStatus::Acked),
    };
    let contents = resource.filter(|_| with_contents);
    GenericXdsConfig {
        type_url: subscription.url.to_string(),
        name: name.to_string(),
        version_info: sent.map(|hash| format!("{hash:016x}")).unwrap_or_default(),
        xds_config: contents.and_then(|r| prost_types::Any::decode(r.any()).ok()),
        config_status: config.into(),
        client_status: client.into(),
        error_state: rejected.map(|details| UpdateFailureState {
            details: details.to_string(),
            version_info: sent.map(|hash| format!("{hash:016x}")).unwrap_or_default(),
            ..UpdateFailureState::default()
        }),
        ..GenericXdsConfig::default()
    }
}
