//! `OpenTelemetryAccessLogConfig`: access logs that go to a service of OpenTelemetry.

use std::sync::Arc;

use prost_types::Any;
use ringway_xds::api::envoy::extensions::access_loggers::open_telemetry::v3 as api;
use ringway_xds::api::opentelemetry::proto::common::v1 as otel;

use super::access_log::formatters_of;
use super::at::At;
use super::cx::Cx;
use super::grpc_log::{BUFFER_BYTES, flush_interval, service, tags};
use super::set::refuse;
use crate::observe::accesslog::{GrpcLog, GrpcProtocol, LogFormat, Record, RecordValue, Sink};
use crate::observe::format::{Extensions, Format};
use crate::observe::stats::GrpcAccessLogStats;

/// Compiles it. What `common_config` says counts where the message itself does not say it.
pub(super) fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<(Sink, LogFormat)> {
    let config = cx.unpack::<api::OpenTelemetryAccessLogConfig>(at, any)?;
    let api::OpenTelemetryAccessLogConfig {
        common_config,
        http_service,
        grpc_service,
        disable_builtin_labels,
        resource_attributes,
        resource_detectors,
        body,
        attributes,
        stat_prefix,
        formatters,
        log_name,
        buffer_flush_interval,
        buffer_size_bytes,
        filter_state_objects_to_log,
        custom_tags,
    } = config;
    refuse!(cx, at, http_service, resource_detectors);
    let common = common_config.unwrap_or_default();
    let common_at = at.field("common_config");
    let grpc_stream_retry_policy = &common.grpc_stream_retry_policy;
    refuse!(cx, &common_at, grpc_stream_retry_policy);
    let found = match (&grpc_service, &common.grpc_service) {
        (Some(own), None) => service(cx, at, Some(own)),
        (None, Some(other)) => service(cx, &common_at, Some(other)),
        (None, None) if http_service.is_some() => return None,
        _ => {
            let message = "exactly one service is required";
            cx.invalid_allowed(at, message, "grpc_service, common_config.grpc_service");
            return None;
        }
    };
    let extensions = formatters_of(cx, &at.field("formatters"), &formatters);
    let body = body.and_then(|body| value(cx, &at.field("body"), &body, extensions));
    let attributes = pairs(cx, &at.field("attributes"), attributes.as_ref(), extensions);
    let resource = resource(cx, &at.field("resource_attributes"), resource_attributes.as_ref());
    let pick = |own: Vec<String>, other| if own.is_empty() { other } else { own };
    let keys = pick(filter_state_objects_to_log, common.filter_state_objects_to_log);
    let (list, list_at) = match custom_tags.is_empty() {
        true => (&common.custom_tags, &common_at),
        false => (&custom_tags, at),
    };
    let record = Record {
        body,
        attributes,
        filter_state: keys
            .iter()
            .map(|key| (Arc::from(&**key), Format::filter_state(key)))
            .collect(),
        tags: tags(cx, &list_at.field("custom_tags"), list),
    };
    let kind = match stat_prefix.trim_end_matches('.') {
        "" => "open_telemetry_access_log".to_owned(),
        prefix => format!("open_telemetry_access_log.{prefix}"),
    };
    let interval = buffer_flush_interval.or(common.buffer_flush_interval);
    let bytes = buffer_size_bytes.or(common.buffer_size_bytes);
    let log = GrpcLog {
        log_name: Arc::from(if log_name.is_empty() { common.log_name } else { log_name }),
        protocol: GrpcProtocol::Export { labels: !disable_builtin_labels, attributes: resource },
        flush_interval: flush_interval(cx, at, interval),
        buffer_bytes: bytes.unwrap_or(BUFFER_BYTES),
        stats: GrpcAccessLogStats::new(cx.registry, &kind),
        service: found?,
    };
    Some((Sink::Grpc(Arc::new(log)), LogFormat::Record(record)))
}

fn pairs(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: Option<&otel::KeyValueList>,
    extensions: Extensions,
) -> Vec<(Arc<str>, RecordValue)> {
    let at = at.field("values");
    let values = list.map_or(&[][..], |list| &list.values);
    let each = values.iter().enumerate().filter_map(|(index, pair)| {
        let at = at.index(index);
        let otel::KeyValue { key, value: found, key_strindex } = pair;
        refuse!(cx, &at, key_strindex);
        let found = found.clone().unwrap_or_default();
        Some((Arc::from(&**key), value(cx, &at.field("value"), &found, extensions)?))
    });
    each.collect()
}

fn value(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value_of: &otel::AnyValue,
    extensions: Extensions,
) -> Option<RecordValue> {
    use otel::any_value::Value;
    let otel::AnyValue { value: found } = value_of;
    match found {
        Some(Value::StringValue(text)) => {
            let format = Format::parse_with(text, false, extensions);
            cx.ok(&at.field("string_value"), format).map(RecordValue::Text)
        }
        Some(Value::ArrayValue(otel::ArrayValue { values })) => {
            let at = at.field("array_value");
            let at = at.field("values");
            let each = values.iter().enumerate();
            let list = each.filter_map(|(i, item)| value(cx, &at.index(i), item, extensions));
            Some(RecordValue::List(list.collect()))
        }
        Some(Value::KvlistValue(list)) => {
            let at = at.field("kvlist_value");
            Some(RecordValue::Map(pairs(cx, &at, Some(list), extensions)))
        }
        _ => {
            let message = "Only string values, nested key value lists and array values are \
                           supported in OpenTelemetry access log format.";
            cx.invalid_allowed(at, message, "string_value, kvlist_value, array_value");
            None
        }
    }
}

/// Attributes of the resource, which are no formats.
fn resource(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: Option<&otel::KeyValueList>,
) -> Vec<(Arc<str>, Arc<str>)> {
    use otel::any_value::Value;
    let at = at.field("values");
    let mut out: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for (index, pair) in list.map_or(&[][..], |list| &list.values).iter().enumerate() {
        let at = at.index(index);
        let otel::KeyValue { key, value, key_strindex } = pair;
        refuse!(cx, &at, key_strindex);
        match value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => out.push((Arc::from(&**key), Arc::from(&**text))),
            _ => cx.unsupported_allowed(&at.field("value"), "not a string", "string_value"),
        }
    }
    out
}
