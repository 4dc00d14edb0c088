//! `Http1ProtocolOptions` and `HttpProtocolOptions`, on either side.

use std::sync::Arc;

use ringway_xds::api::envoy::config::core::v3 as api;
use ringway_xds::api::envoy::extensions::http::header_formatters::preserve_case;

use super::at::At;
use super::cx::Cx;
use super::scalar::{string_match, type_name};
use super::set::refuse;
use crate::plan::http::{HeaderCase, Http1Options, Underscores};

/// What both sides read of `Http1ProtocolOptions`.
pub(crate) struct Shared {
    /// `header_key_format`.
    pub(crate) header_case: HeaderCase,
    /// `enable_trailers`.
    pub(crate) enable_trailers: bool,
    /// `allow_chunked_length`.
    pub(crate) allow_chunked_length: bool,
    /// `send_fully_qualified_url`.
    pub(crate) full_urls: bool,
}

/// `max_headers_count` where nothing is said.
pub(crate) const HEADERS_COUNT_DEFAULT: u32 = 100;

/// Options of the downstream codec. `at` is the connection manager.
pub(crate) fn downstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    http1: &api::Http1ProtocolOptions,
    common: &api::HttpProtocolOptions,
    max_headers_bytes: u32,
) -> Http1Options {
    let api::Http1ProtocolOptions {
        allow_absolute_url,
        accept_http_10,
        default_host_for_http_10,
        header_key_format,
        enable_trailers,
        allow_chunked_length,
        override_stream_error_on_invalid_http_message,
        // Of upstream connections only.
        send_fully_qualified_url: _,
        // Which parser reads the bytes is nobody's business.
        use_balsa_parser: _,
        allow_custom_methods,
        ignore_http_11_upgrade,
    } = http1;
    let api::HttpProtocolOptions {
        // The caller's.
        idle_timeout: _,
        max_connection_duration: _,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        // The caller's.
        max_stream_duration: _,
        headers_with_underscores_action,
        // The caller's.
        max_requests_per_connection: _,
    } = common;
    if max_response_headers_kb.is_some() {
        let at = at.field("common_http_protocol_options");
        let message = "max_response_headers_kb cannot be set on http_connection_manager";
        cx.invalid(&at.field("max_response_headers_kb"), message);
    }
    let http1_at = at.field("http_protocol_options");
    let ignored_at = http1_at.field("ignore_http_11_upgrade");
    let each = ignore_http_11_upgrade.iter().enumerate();
    let ignored_upgrades = each
        .filter_map(|(index, matcher)| string_match(cx, &ignored_at.index(index), matcher))
        .collect();
    refuse!(cx, &at.field("common_http_protocol_options"), max_connection_duration_jitter);
    use api::http_protocol_options::HeadersWithUnderscoresAction as Action;
    Http1Options {
        accept_http_10: *accept_http_10,
        default_host_for_http_10: (!default_host_for_http_10.is_empty())
            .then(|| Arc::from(default_host_for_http_10.as_str())),
        allow_absolute_url: allow_absolute_url.unwrap_or(true),
        enable_trailers: *enable_trailers,
        ignored_upgrades,
        allow_chunked_length: *allow_chunked_length,
        header_case: header_case(cx, &http1_at, header_key_format.as_ref()),
        max_headers_bytes,
        max_headers_count: max_headers_count.unwrap_or(HEADERS_COUNT_DEFAULT),
        underscores: match Action::try_from(*headers_with_underscores_action) {
            Ok(Action::RejectRequest) => Underscores::RejectRequest,
            Ok(Action::DropHeader) => Underscores::DropHeader,
            Ok(Action::Allow) | Err(_) => Underscores::Allow,
        },
        override_stream_error: *override_stream_error_on_invalid_http_message,
        allow_custom_methods: *allow_custom_methods,
    }
}

/// Options of an upstream codec. `at` is the `Http1ProtocolOptions`.
pub(crate) fn upstream(cx: &mut Cx<'_>, at: &At<'_>, http1: &api::Http1ProtocolOptions) -> Shared {
    let api::Http1ProtocolOptions {
        // Of downstream connections only.
        allow_absolute_url: _,
        accept_http_10: _,
        default_host_for_http_10: _,
        header_key_format,
        enable_trailers,
        allow_chunked_length,
        // Of downstream connections only.
        override_stream_error_on_invalid_http_message: _,
        send_fully_qualified_url,
        // Which parser reads the bytes is nobody's business.
        use_balsa_parser: _,
        // A method we send came in already.
        allow_custom_methods: _,
        // Of downstream connections only.
        ignore_http_11_upgrade: _,
    } = http1;
    Shared {
        header_case: header_case(cx, at, header_key_format.as_ref()),
        enable_trailers: *enable_trailers,
        allow_chunked_length: *allow_chunked_length,
        full_urls: *send_fully_qualified_url,
    }
}

fn header_case(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    format: Option<&api::http1_protocol_options::HeaderKeyFormat>,
) -> HeaderCase {
    use api::http1_protocol_options::header_key_format::HeaderFormat;
    const PRESERVE: &str =
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";
    let at = at.field("header_key_format");
    match format.and_then(|format| format.header_format.as_ref()) {
        None => HeaderCase::Lower,
        Some(HeaderFormat::ProperCaseWords(_)) => HeaderCase::Proper,
        Some(HeaderFormat::StatefulFormatter(extension)) => {
            let at = at.field("stateful_formatter");
            let at = at.field("typed_config");
            let any = extension.typed_config.clone().unwrap_or_default();
            if type_name(&any.type_url) != PRESERVE {
                cx.unsupported_allowed(&at, type_name(&any.type_url), PRESERVE);
                return HeaderCase::Lower;
            }
            let config = cx
                .unpack::<preserve_case::v3::PreserveCaseFormatterConfig>(&at, &any)
                .unwrap_or_default();
            let preserve_case::v3::PreserveCaseFormatterConfig {
                forward_reason_phrase,
                formatter_type_on_envoy_headers,
            } = config;
            use preserve_case::v3::preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders;
            let proper = FormatterTypeOnEnvoyHeaders::ProperCase as i32;
            HeaderCase::Preserve {
                reason: forward_reason_phrase,
                proper_added: formatter_type_on_envoy_headers == proper,
            }
        }
    }
}
