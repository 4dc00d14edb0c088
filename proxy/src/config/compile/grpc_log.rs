//! `HttpGrpcAccessLogConfig`, `TcpGrpcAccessLogConfig`: access logs that go to a gRPC service.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::access_loggers::grpc::v3 as api;
use ringway_xds::api::envoy::r#type::tracing::v3 as tracing;

use super::at::At;
use super::cx::Cx;
use super::scalar::duration;
use super::set::refuse;
use super::source;
use crate::observe::accesslog::{
    Entry, EntryKind, GrpcLog, GrpcProtocol, LogFormat, Sink, Tag, TagValue,
};
use crate::observe::stats::GrpcAccessLogStats;
use crate::plan::source::GrpcService;

/// `buffer_size_bytes` where nothing is said.
pub(super) const BUFFER_BYTES: u32 = 16 * 1024;

/// Of requests.
pub(super) fn http(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<(Sink, LogFormat)> {
    let config = cx.unpack::<api::HttpGrpcAccessLogConfig>(at, any)?;
    let api::HttpGrpcAccessLogConfig {
        common_config,
        additional_request_headers_to_log,
        additional_response_headers_to_log,
        additional_response_trailers_to_log,
    } = config;
    let kind = EntryKind::Http {
        request_headers: names(&additional_request_headers_to_log),
        response_headers: names(&additional_response_headers_to_log),
        response_trailers: names(&additional_response_trailers_to_log),
    };
    common(cx, &at.field("common_config"), common_config, kind)
}

/// Of connections.
pub(super) fn tcp(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<(Sink, LogFormat)> {
    let config = cx.unpack::<api::TcpGrpcAccessLogConfig>(at, any)?;
    let api::TcpGrpcAccessLogConfig { common_config } = config;
    common(cx, &at.field("common_config"), common_config, EntryKind::Tcp)
}

fn names(list: &[String]) -> Vec<Arc<str>> {
    list.iter().map(|name| Arc::from(name.to_ascii_lowercase())).collect()
}

fn common(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<api::CommonGrpcAccessLogConfig>,
    kind: EntryKind,
) -> Option<(Sink, LogFormat)> {
    let api::CommonGrpcAccessLogConfig {
        log_name,
        grpc_service,
        // Version 3 of the API is the only one.
        transport_api_version: _,
        buffer_flush_interval,
        buffer_size_bytes,
        filter_state_objects_to_log,
        grpc_stream_retry_policy,
        custom_tags,
    } = config?;
    refuse!(cx, at, grpc_stream_retry_policy);
    let flush_interval = flush_interval(cx, at, buffer_flush_interval);
    let service = service(cx, at, grpc_service.as_ref());
    let entry = Entry {
        kind,
        tags: tags(cx, &at.field("custom_tags"), &custom_tags),
        filter_state: filter_state_objects_to_log.iter().map(|key| Arc::from(&**key)).collect(),
    };
    let log = GrpcLog {
        log_name: Arc::from(log_name),
        service: service?,
        protocol: GrpcProtocol::Stream(entry.batch_field()),
        flush_interval,
        buffer_bytes: buffer_size_bytes.unwrap_or(BUFFER_BYTES),
        stats: GrpcAccessLogStats::new(cx.registry, "grpc_access_log"),
    };
    Some((Sink::Grpc(Arc::new(log)), LogFormat::Entry(entry)))
}

/// `buffer_flush_interval`
pub(super) fn flush_interval(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<prost_types::Duration>,
) -> Duration {
    duration(cx, &at.field("buffer_flush_interval"), value, Duration::from_secs(1))
}

/// `grpc_service`
pub(super) fn service(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&core::GrpcService>,
) -> Option<GrpcService> {
    let at = at.field("grpc_service");
    let service = source::grpc_service(cx, &at, value)?;
    // It may come later, or never: then what is logged is lost, as in Envoy.
    cx.any_cluster(&service.cluster);
    Some(service)
}

/// `custom_tags`
pub(super) fn tags(cx: &mut Cx<'_>, at: &At<'_>, list: &[tracing::CustomTag]) -> Vec<Tag> {
    use tracing::custom_tag::{Environment, Header, Literal, Type};
    let mut out = Vec::with_capacity(list.len());
    for (index, tag) in list.iter().enumerate() {
        let at = at.index(index);
        let tracing::CustomTag { tag, r#type, value_type } = tag;
        refuse!(cx, &at, value_type);
        let value = match r#type {
            Some(Type::Literal(Literal { value })) => TagValue::Literal(Arc::from(&**value)),
            Some(Type::Environment(Environment { name, default_value })) => {
                let value = std::env::var(name).unwrap_or_else(|_| default_value.clone());
                // An empty tag is none.
                if value.is_empty() {
                    continue;
                }
                TagValue::Literal(Arc::from(value))
            }
            Some(Type::RequestHeader(Header { name, default_value })) => TagValue::RequestHeader {
                name: Arc::from(name.to_ascii_lowercase()),
                default: Arc::from(&**default_value),
            },
            Some(Type::Metadata(_)) => {
                cx.unsupported_allowed(&at, "metadata", "literal, environment, request_header");
                continue;
            }
            Some(Type::Value(_)) => {
                cx.unsupported_allowed(&at, "value", "literal, environment, request_header");
                continue;
            }
            // The rule of the field has complained.
            None => continue,
        };
        out.push(Tag { name: Arc::from(&**tag), value });
    }
    out
}
