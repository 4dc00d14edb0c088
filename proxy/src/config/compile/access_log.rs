//! `AccessLog`: sinks, formats, filters.

use std::path::PathBuf;
use std::sync::Arc;

use prost_types::Any;
use ringway_xds::api::envoy::config::accesslog::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::access_loggers::{file, stream};

use super::at::At;
use super::cx::Cx;
use super::listener::missing_type;
use super::scalar::{data_source, json, type_name};
use super::{grpc_log, log_filter, otlp_log};
use crate::observe::accesslog::{AccessLog, LogFormat, Sink};
use crate::observe::format::{Extensions, Format, JsonFormat};
use crate::plan::reply::BodyFormat;

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const STDERR: &str = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";
const HTTP_GRPC: &str = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
const TCP_GRPC: &str = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";
const OTLP: &str = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig";
const REQ_WITHOUT_QUERY: &str = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery";

/// Compiles a list of access logs.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::AccessLog],
) -> Vec<Arc<AccessLog>> {
    let each = list.iter().enumerate();
    each.filter_map(|(index, log)| access_log(cx, &at.index(index), log)).map(Arc::new).collect()
}

/// The log a bare path stands for: the default format.
pub(crate) fn default_file(cx: &mut Cx<'_>, at: &At<'_>, path: &str) -> Option<AccessLog> {
    let format = default_format(cx, at)?;
    Some(AccessLog { sink: Sink::File(PathBuf::from(path)), format, filter: None })
}

fn access_log(cx: &mut Cx<'_>, at: &At<'_>, log: &api::AccessLog) -> Option<AccessLog> {
    let api::AccessLog { name, filter, config_type } = log;
    let filter = filter.as_ref().map(|f| log_filter::compile(cx, &at.field("filter"), f));
    let Some(api::access_log::ConfigType::TypedConfig(any)) = config_type else {
        missing_type(cx, at, name);
        return None;
    };
    let (sink, format) = sink(cx, &at.field("typed_config"), any)?;
    // A filter that could not be compiled left an error behind.
    let filter = match filter {
        Some(None) => return None,
        Some(Some(filter)) => Some(filter),
        None => None,
    };
    Some(AccessLog { sink, format, filter })
}

fn sink(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<(Sink, LogFormat)> {
    let any = &*cx.typed(at, any)?;
    match type_name(&any.type_url) {
        FILE => {
            use file::v3::file_access_log::AccessLogFormat as Choice;
            let config = cx.unpack::<file::v3::FileAccessLog>(at, any)?;
            let file::v3::FileAccessLog { path, access_log_format } = config;
            let format = match access_log_format {
                None => default_format(cx, at),
                Some(Choice::Format(text)) if text.is_empty() => default_format(cx, at),
                Some(Choice::Format(text)) => text_format(cx, &at.field("format"), &text),
                Some(Choice::JsonFormat(value)) => {
                    json_format(cx, &at.field("json_format"), value, false, Extensions::default())
                }
                Some(Choice::TypedJsonFormat(value)) => {
                    let at = at.field("typed_json_format");
                    json_format(cx, &at, value, false, Extensions::default())
                }
                Some(Choice::LogFormat(value)) => log_format(cx, &at.field("log_format"), value),
            };
            Some((Sink::File(PathBuf::from(path)), format?))
        }
        STDOUT => {
            use stream::v3::stdout_access_log::AccessLogFormat::LogFormat as Choice;
            let config = cx.unpack::<stream::v3::StdoutAccessLog>(at, any)?;
            let stream::v3::StdoutAccessLog { access_log_format } = config;
            let value = access_log_format.map(|Choice(value)| value);
            Some((Sink::Stdout, stream_format(cx, at, value)?))
        }
        STDERR => {
            use stream::v3::stderr_access_log::AccessLogFormat::LogFormat as Choice;
            let config = cx.unpack::<stream::v3::StderrAccessLog>(at, any)?;
            let stream::v3::StderrAccessLog { access_log_format } = config;
            let value = access_log_format.map(|Choice(value)| value);
            Some((Sink::Stderr, stream_format(cx, at, value)?))
        }
        HTTP_GRPC => grpc_log::http(cx, at, any),
        TCP_GRPC => grpc_log::tcp(cx, at, any),
        OTLP => otlp_log::compile(cx, at, any),
        other => {
            let allowed = [FILE, STDOUT, STDERR, HTTP_GRPC, TCP_GRPC, OTLP].join(", ");
            cx.unsupported_allowed(at, other, &allowed);
            None
        }
    }
}

fn stream_format(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<core::SubstitutionFormatString>,
) -> Option<LogFormat> {
    match value {
        Some(value) => log_format(cx, &at.field("log_format"), value),
        None => default_format(cx, at),
    }
}

fn default_format(cx: &mut Cx<'_>, at: &At<'_>) -> Option<LogFormat> {
    cx.ok(at, LogFormat::default_format())
}

/// A format that is nothing but text with operators.
pub(crate) fn text_format(cx: &mut Cx<'_>, at: &At<'_>, text: &str) -> Option<LogFormat> {
    cx.ok(at, Format::parse(text)).map(LogFormat::Text)
}

/// `SubstitutionFormatString` of a body.
pub(crate) fn body_format(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: core::SubstitutionFormatString,
) -> Option<BodyFormat> {
    let named = value.content_type.clone();
    let format = log_format(cx, at, value)?;
    let content_type = match (&format, named.as_str()) {
        (LogFormat::Json(_), "") => "application/json",
        (LogFormat::Text(_) | LogFormat::Entry(_) | LogFormat::Record(_), "") => "text/plain",
        (_, named) => named,
    };
    Some(BodyFormat { content_type: Arc::from(content_type), format })
}

/// `SubstitutionFormatString` of an access log.
fn log_format(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: core::SubstitutionFormatString,
) -> Option<LogFormat> {
    use core::substitution_format_string::Format as Choice;
    let core::SubstitutionFormatString {
        omit_empty_values,
        // Of bodies only.
        content_type: _,
        formatters,
        // Keys are always in order here, so asking for it changes nothing.
        json_format_options: _,
        format,
    } = value;
    let extensions = formatters_of(cx, &at.field("formatters"), &formatters);
    let text = |cx: &mut Cx<'_>, at: &At<'_>, text: &str| {
        let format = Format::parse_with(text, omit_empty_values, extensions);
        cx.ok(at, format).map(LogFormat::Text)
    };
    match format {
        Some(Choice::TextFormat(format)) => text(cx, &at.field("text_format"), &format),
        Some(Choice::JsonFormat(value)) => {
            json_format(cx, &at.field("json_format"), value, omit_empty_values, extensions)
        }
        Some(Choice::TextFormatSource(source)) => {
            let at = at.field("text_format_source");
            let bytes = data_source(cx, &at, &source)?;
            text(cx, &at, &String::from_utf8_lossy(&bytes))
        }
        None => {
            let allowed = "text_format, json_format, text_format_source";
            cx.invalid_allowed(at, "a format is required", allowed);
            None
        }
    }
}

fn json_format(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: prost_types::Struct,
    omit_empty_values: bool,
    extensions: Extensions,
) -> Option<LogFormat> {
    let value =
        json(prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(value)) });
    cx.ok(at, JsonFormat::parse(&value, omit_empty_values, extensions)).map(LogFormat::Json)
}

/// `formatters`
pub(super) fn formatters_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[core::TypedExtensionConfig],
) -> Extensions {
    let mut extensions = Extensions::default();
    for (index, formatter) in list.iter().enumerate() {
        let at = at.index(index);
        let core::TypedExtensionConfig { name, typed_config } = formatter;
        match typed_config.as_ref().map(|any| type_name(&any.type_url)) {
            Some(REQ_WITHOUT_QUERY) => extensions.req_without_query = true,
            Some(other) => {
                cx.unsupported_allowed(&at.field("typed_config"), other, REQ_WITHOUT_QUERY);
            }
            None => missing_type(cx, &at, name),
        }
    }
    extensions
}
