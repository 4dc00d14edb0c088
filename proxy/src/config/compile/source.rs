//! `ConfigSource`: where resources come from that are named, not given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3 as api;
use ringway_xds::api::envoy::config::core::v3::api_config_source::ApiType;

use super::at::At;
use super::cx::Cx;
use super::scalar::{duration, optional_duration};
use super::set::refuse;
use crate::plan::source::{ConfigSource, GrpcService, GrpcSource, Origin, RestSource};

/// Envoy's wait before a stream is opened again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// `request_timeout` where nothing is said.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Compiles a source; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    source: Option<&api::ConfigSource>,
) -> Option<ConfigSource> {
    use api::config_source::ConfigSourceSpecifier as Specifier;
    let Some(source) = source else {
        missing(cx, at);
        return None;
    };
    let api::ConfigSource {
        authorities,
        initial_fetch_timeout,
        // v3 is the only one there is, for Envoy as well.
        resource_api_version: _,
        config_source_specifier,
    } = source;
    refuse!(cx, at, authorities);
    let timeout_at = at.field("initial_fetch_timeout");
    let default = ConfigSource::INITIAL_FETCH_TIMEOUT;
    let initial_fetch_timeout = duration(cx, &timeout_at, *initial_fetch_timeout, default);
    let origin = match config_source_specifier {
        Some(Specifier::Ads(api::AggregatedConfigSource {})) => Origin::Ads,
        Some(Specifier::Self_(api::SelfConfigSource {
            // As `resource_api_version`.
            transport_api_version: _,
        })) => cx.kept.from.clone(),
        Some(Specifier::Path(path)) => existing(cx, &at.field("path"), Path::new(path), None)?,
        Some(Specifier::PathConfigSource(config)) => {
            path(cx, &at.field("path_config_source"), config)?
        }
        Some(Specifier::ApiConfigSource(config)) => {
            api_source(cx, &at.field("api_config_source"), config, false)?
        }
        None => {
            missing(cx, at);
            return None;
        }
    };
    Some(ConfigSource { origin, initial_fetch_timeout })
}

fn missing(cx: &mut Cx<'_>, at: &At<'_>) {
    let message = "Missing config source specifier in envoy.config.core.v3.ConfigSource";
    let allowed = "ads, self, path_config_source, api_config_source";
    cx.invalid_allowed(at, message, allowed);
}

/// `ads_config`: the stream for all types; `None` after an error.
pub(crate) fn ads(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::ApiConfigSource,
) -> Option<Arc<GrpcSource>> {
    match api_source(cx, at, config, true)? {
        Origin::Grpc(source) => Some(source),
        _ => {
            cx.invalid_allowed(&at.field("api_type"), "ADS is a gRPC stream", "GRPC, DELTA_GRPC");
            None
        }
    }
}

fn path(cx: &mut Cx<'_>, at: &At<'_>, config: &api::PathConfigSource) -> Option<Origin> {
    let api::PathConfigSource { path, watched_directory, poll_interval } = config;
    refuse!(cx, at, poll_interval);
    let watched = watched_directory.as_ref().map(|watched| {
        let api::WatchedDirectory { path, watch_modify } = watched;
        let at = at.field("watched_directory");
        refuse!(cx, &at, watch_modify);
        if !Path::new(path).is_dir() {
            let message = format!("unable to add filesystem watch for '{path}': no such directory");
            cx.invalid(&at.field("path"), message);
        }
        PathBuf::from(path)
    });
    existing(cx, &at.field("path"), Path::new(path), watched)
}

/// Envoy wants the file to be there when the source is read, not what is in it.
fn existing(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    path: &Path,
    watched_directory: Option<PathBuf>,
) -> Option<Origin> {
    if !path.exists() {
        let path = path.display();
        let message =
            format!("paths must refer to an existing path in the system: '{path}' does not exist");
        cx.invalid(at, message);
        return None;
    }
    Some(Origin::Path { path: path.to_owned(), watched_directory })
}

fn api_source(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::ApiConfigSource,
    ads: bool,
) -> Option<Origin> {
    let api::ApiConfigSource {
        api_type,
        transport_api_version,
        cluster_names,
        grpc_services,
        refresh_delay,
        request_timeout,
        rate_limit_settings,
        set_node_on_first_message_only,
        config_validators,
    } = config;
    refuse!(cx, at, config_validators);
    if *transport_api_version == api::ApiVersion::V2 as i32 {
        let message = "the v2 xDS major version has been removed and is no longer supported";
        cx.invalid_allowed(&at.field("transport_api_version"), message, "V3");
    }
    let (delta, aggregated) = match ApiType::try_from(*api_type) {
        Ok(ApiType::Grpc) => (false, false),
        Ok(ApiType::DeltaGrpc) => (true, false),
        Ok(ApiType::AggregatedGrpc) if ads => (false, true),
        Ok(ApiType::AggregatedDeltaGrpc) if ads => (true, true),
        Ok(kind @ (ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc)) => {
            let message = format!("Unsupported config source {}", kind.as_str_name());
            cx.invalid_allowed(&at.field("api_type"), message, "GRPC, DELTA_GRPC, REST");
            return None;
        }
        Ok(ApiType::Rest) => {
            let delays = (*refresh_delay, *request_timeout);
            return rest(cx, at, cluster_names, grpc_services, delays);
        }
        _ => {
            let message = "REST_LEGACY no longer a supported ApiConfigSource. Please specify an \
                           explicit supported api_type";
            cx.invalid_allowed(&at.field("api_type"), message, "GRPC, DELTA_GRPC, REST");
            return None;
        }
    };
    let name = "envoy.config.core.v3.ApiConfigSource";
    if !cluster_names.is_empty() {
        let message = format!("{name}::(DELTA_)GRPC must not have a cluster name specified");
        cx.invalid(&at.field("cluster_names"), message);
    }
    if grpc_services.len() > 1 {
        let message =
            format!("{name}::(DELTA_)GRPC must have no more than 1 gRPC services specified");
        cx.invalid(&at.field("grpc_services"), message);
    }
    let Some(service) = grpc_services.first() else {
        let message = "API configs must have either a gRPC service or a cluster name defined";
        cx.invalid(&at.field("grpc_services"), message);
        return None;
    };
    let services_at = at.field("grpc_services");
    let service_at = services_at.index(0);
    let service = grpc_service(cx, &service_at, Some(service))?;
    backed(cx, &service_at.field("envoy_grpc").field("cluster_name"), &service.cluster);
    Some(Origin::Grpc(Arc::new(GrpcSource {
        service,
        delta,
        aggregated,
        node_on_first_only: *set_node_on_first_message_only,
        rate_limit: rate_limit_settings.as_ref().map(rate_limit),
    })))
}

fn rest(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    names: &[String],
    services: &[api::GrpcService],
    (refresh, timeout): (Option<prost_types::Duration>, Option<prost_types::Duration>),
) -> Option<Origin> {
    let name = "envoy.config.core.v3.ApiConfigSource";
    if !services.is_empty() {
        let message = format!("{name}, if not a gRPC type, must not have a gRPC service specified");
        cx.invalid(&at.field("grpc_services"), message);
    }
    let names_at = at.field("cluster_names");
    let [cluster] = names else {
        cx.invalid(&names_at, format!("{name} must have a singleton cluster name specified"));
        return None;
    };
    backed(cx, &names_at.index(0), cluster);
    let refresh_at = at.field("refresh_delay");
    let Some(refresh_delay) = optional_duration(cx, &refresh_at, refresh) else {
        if refresh.is_none() {
            cx.invalid(&refresh_at, "refresh_delay is required for REST API configuration sources");
        }
        return None;
    };
    let request_timeout = duration(cx, &at.field("request_timeout"), timeout, REQUEST_TIMEOUT);
    let cluster = Arc::from(cluster.as_str());
    Some(Origin::Rest(Arc::new(RestSource { cluster, refresh_delay, request_timeout })))
}

/// `max_tokens`, default 100; `fill_rate` a second in thousandths, default 10.
fn rate_limit(settings: &api::RateLimitSettings) -> (u32, u64) {
    let api::RateLimitSettings { max_tokens, fill_rate } = settings;
    // Field rules want more than zero; a float becomes an integer with saturation.
    (max_tokens.unwrap_or(100), (fill_rate.unwrap_or(10.0) * 1000.0).max(1.0) as u64)
}

/// Compiles `envoy_grpc`, the one kind of client there is; `None` after an error. Whether the
/// cluster may be one that comes later is the caller's business.
pub(crate) fn grpc_service(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    service: Option<&api::GrpcService>,
) -> Option<GrpcService> {
    use api::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let Some(service) = service else {
        cx.invalid(at, "value is required");
        return None;
    };
    let api::GrpcService { timeout, initial_metadata, retry_policy, target_specifier } = service;
    refuse!(cx, at, retry_policy);
    let envoy = match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => envoy,
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            cx.unsupported_allowed(&at.field("google_grpc"), "google_grpc", "envoy_grpc");
            return None;
        }
        None => {
            cx.invalid_allowed(at, "a gRPC target is required", "envoy_grpc");
            return None;
        }
    };
    let metadata = metadata(cx, &at.field("initial_metadata"), initial_metadata);
    let timeout = optional_duration(cx, &at.field("timeout"), *timeout);
    let at = at.field("envoy_grpc");
    let EnvoyGrpc {
        cluster_name,
        authority,
        retry_policy,
        max_receive_message_length,
        // There are none.
        skip_envoy_headers: _,
    } = envoy;
    let policy_at = at.field("retry_policy");
    Some(GrpcService {
        cluster: Arc::from(cluster_name.as_str()),
        authority: cx.text(authority),
        metadata,
        timeout: timeout.unwrap_or_default(),
        backoff: backoff(cx, &policy_at, retry_policy.as_ref()),
        receive_bytes_max: max_receive_message_length.unwrap_or_default(),
    })
}

/// Configuration cannot come from a cluster that itself waits for configuration.
fn backed(cx: &mut Cx<'_>, at: &At<'_>, cluster: &str) {
    if !cx.kept.primary.contains(cluster) {
        let message = format!(
            "envoy.config.core.v3.ApiConfigSource must have a statically defined non-EDS cluster: \
             '{cluster}' does not exist, was added via api, or is an EDS cluster"
        );
        cx.invalid(at, message);
    }
}

/// `retry_back_off` says when a stream is opened again; the rest of the policy is about requests.
fn backoff(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    policy: Option<&api::RetryPolicy>,
) -> (Duration, Duration) {
    let Some(policy) = policy else { return BACKOFF };
    let api::RetryPolicy {
        retry_back_off,
        num_retries,
        retry_on,
        retry_priority,
        retry_host_predicate,
        host_selection_retry_max_attempts,
    } = policy;
    refuse!(cx, at, num_retries, retry_on, retry_priority, retry_host_predicate);
    refuse!(cx, at, host_selection_retry_max_attempts);
    let Some(api::BackoffStrategy { base_interval, max_interval }) = retry_back_off else {
        return BACKOFF;
    };
    let at = at.field("retry_back_off");
    let base = duration(cx, &at.field("base_interval"), *base_interval, BACKOFF.0);
    let max_at = at.field("max_interval");
    let max = duration(cx, &max_at, *max_interval, base.saturating_mul(10));
    if max < base {
        cx.invalid(&max_at, "max_interval must be greater than or equal to the base_interval");
    }
    (base, max)
}

/// `initial_metadata`; names go out in lower case, values as they are.
fn metadata(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::HeaderValue]) -> Vec<(Arc<str>, Arc<str>)> {
    let mut out = Vec::with_capacity(list.len());
    for (index, header) in list.iter().enumerate() {
        let at = at.index(index);
        let api::HeaderValue { key, value, raw_value } = header;
        refuse!(cx, &at, raw_value);
        // A doubled sign is the sign itself.
        if value.replace("%%", "").contains('%') {
            let at = at.field("value");
            cx.unsupported_value(&at, "a value that depends on the stream");
        }
        out.push((Arc::from(key.to_ascii_lowercase()), Arc::from(value.replace("%%", "%"))));
    }
    out
}
