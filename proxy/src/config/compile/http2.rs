//! `Http2ProtocolOptions`, on either side.

use std::time::Duration;

use ringway_xds::api::envoy::config::core::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::http1::HEADERS_COUNT_DEFAULT;
use super::scalar::duration;
use super::set::refuse;
use crate::plan::http::Underscores;
use crate::plan::http2::{Http2Options, Keepalive, PrematureResets, ResetRate};

/// What the message around the options says of heads.
pub(crate) struct Heads {
    /// `max_request_headers_kb` or `max_response_headers_kb`, in bytes.
    pub(crate) bytes_max: u32,
    /// `max_headers_count`.
    pub(crate) count_max: Option<u32>,
    /// `headers_with_underscores_action`, of requests.
    pub(crate) underscores: Underscores,
}

/// Options of a connection manager's connections. `at` is the `Http2ProtocolOptions`;
/// `stream_error` is the manager's own `stream_error_on_invalid_http_message`.
pub(crate) fn downstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    http2: &api::Http2ProtocolOptions,
    heads: &Heads,
    stream_error: Option<bool>,
) -> Http2Options {
    let mut options = upstream(cx, at, http2, heads);
    // The codec's word goes before the manager's.
    if override_of(http2).is_none() {
        options.close_on_invalid_message = stream_error == Some(false);
    }
    let default = PrematureResets::default();
    let seconds = "overload.premature_reset_min_stream_lifetime_seconds";
    options.premature_resets = Some(PrematureResets {
        total: cx.runtime.integer("overload.premature_reset_total_stream_count", default.total),
        lifetime: Duration::from_secs(cx.runtime.integer(seconds, default.lifetime.as_secs())),
    });
    options
}

/// Options of connections to an upstream. `at` is the `Http2ProtocolOptions`.
pub(crate) fn upstream(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    http2: &api::Http2ProtocolOptions,
    heads: &Heads,
) -> Http2Options {
    #[rustfmt::skip]
    let api::Http2ProtocolOptions {
        hpack_table_size, max_concurrent_streams, initial_stream_window_size,
        initial_connection_window_size, allow_connect, allow_metadata, max_outbound_frames,
        max_outbound_control_frames, max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent,
        custom_settings_parameters, connection_keepalive, enable_huffman_encoding,
        max_header_field_size_kb, disallow_obs_text, stream_reset_burst, stream_reset_rate,
        // Read by `override_of`.
        stream_error_on_invalid_http_messaging: _,
        override_stream_error_on_invalid_http_message: _,
        // Which codec reads the frames is nobody's business.
        use_oghttp2_codec: _,
        // Of metadata, which is refused.
        max_metadata_size: _,
    } = http2;
    refuse!(cx, at, allow_metadata);
    let named = [
        ("hpack_table_size", 1, *hpack_table_size),
        ("max_concurrent_streams", 3, *max_concurrent_streams),
        ("initial_stream_window_size", 4, *initial_stream_window_size),
    ];
    let custom = custom_settings(cx, at, custom_settings_parameters, &named);
    let [hpack_table_size, max_concurrent_streams, stream_window] =
        named.map(|(_, id, value)| value.or_else(|| value_of(&custom, id)));
    let usual = Http2Options::default();
    let rate = ResetRate::default();
    Http2Options {
        hpack_table_size: hpack_table_size.unwrap_or(usual.hpack_table_size),
        max_concurrent_streams: max_concurrent_streams.unwrap_or(usual.max_concurrent_streams),
        initial_stream_window: stream_window.unwrap_or(usual.initial_stream_window),
        initial_connection_window: initial_connection_window_size
            .unwrap_or(usual.initial_connection_window),
        allow_connect: *allow_connect,
        max_outbound_frames: max_outbound_frames.unwrap_or(usual.max_outbound_frames),
        max_outbound_control_frames: max_outbound_control_frames
            .unwrap_or(usual.max_outbound_control_frames),
        max_consecutive_empty_frames: max_consecutive_inbound_frames_with_empty_payload
            .unwrap_or(usual.max_consecutive_empty_frames),
        max_priority_frames_per_stream: max_inbound_priority_frames_per_stream
            .unwrap_or(usual.max_priority_frames_per_stream),
        max_window_updates_per_data_frame: max_inbound_window_update_frames_per_data_frame_sent
            .unwrap_or(usual.max_window_updates_per_data_frame),
        close_on_invalid_message: override_of(http2) == Some(false),
        custom_settings: custom.into_iter().filter(|(id, _)| !matches!(id, 1..=4)).collect(),
        keepalive: connection_keepalive
            .as_ref()
            .map(|it| keepalive(cx, &at.field("connection_keepalive"), it)),
        huffman: enable_huffman_encoding.unwrap_or(usual.huffman),
        max_header_field_bytes: max_header_field_size_kb
            .map_or(usual.max_header_field_bytes, |kb| kb.saturating_mul(1024)),
        disallow_obs_text: disallow_obs_text.unwrap_or(usual.disallow_obs_text),
        reset_rate: ResetRate {
            burst: stream_reset_burst.unwrap_or(rate.burst),
            per_second: stream_reset_rate.unwrap_or(rate.per_second),
        },
        premature_resets: None,
        max_headers_bytes: heads.bytes_max,
        max_headers_count: heads.count_max.unwrap_or(HEADERS_COUNT_DEFAULT),
        underscores: heads.underscores,
    }
}

/// Whether an invalid message ends its stream only, where that is said. The deprecated field, which
/// cannot be told from an absent one when false, is overridden by the other.
fn override_of(http2: &api::Http2ProtocolOptions) -> Option<bool> {
    http2
        .override_stream_error_on_invalid_http_message
        .or_else(|| http2.stream_error_on_invalid_http_messaging.then_some(true))
}

/// Settings frames may carry, as Envoy takes them: no push, nothing said twice with two meanings,
/// nothing that a named field says too.
fn custom_settings(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    parameters: &[api::http2_protocol_options::SettingsParameter],
    named: &[(&str, u16, Option<u32>)],
) -> Vec<(u16, u32)> {
    let at = at.field("custom_settings_parameters");
    let mut settings: Vec<(u16, u32)> = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let api::http2_protocol_options::SettingsParameter { identifier, value } = parameter;
        // Both are required, and the identifier has 16 bits: a rule of the field.
        let id = identifier.and_then(|id| u16::try_from(id).ok()).unwrap_or_default();
        let value = value.unwrap_or_default();
        let here = at.index(index);
        let both = named.iter().find(|(_, number, said)| *number == id && said.is_some());
        if id == 2 && value != 0 {
            let message = "server push is not supported by Envoy and can not be enabled via a \
                           SETTINGS parameter.";
            cx.invalid(&here, message);
        } else if id == 8 {
            let message = "the \"allow_connect\" SETTINGS parameter must only be configured \
                           through the named field";
            cx.invalid_allowed(&here, message, "allow_connect");
        } else if let Some((name, ..)) = both {
            let message = format!(
                "the {{{name}}} HTTP/2 SETTINGS parameter(s) can not be configured through both \
                 named and custom parameters"
            );
            cx.invalid(&here, message);
        }
        match value_of(&settings, id) {
            None => settings.push((id, value)),
            Some(before) if before != value => {
                let message = format!(
                    "inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = \
                     {{{id:#04x}}}"
                );
                cx.invalid(&here, message);
            }
            Some(_) => {}
        }
    }
    settings
}

fn value_of(settings: &[(u16, u32)], id: u16) -> Option<u32> {
    settings.iter().find(|(other, _)| *other == id).map(|(_, value)| *value)
}

fn keepalive(cx: &mut Cx<'_>, at: &At<'_>, settings: &api::KeepaliveSettings) -> Keepalive {
    /// Envoy's, of `interval_jitter`.
    const JITTER_DEFAULT: f64 = 15.0;
    let api::KeepaliveSettings { interval, timeout, interval_jitter, connection_idle_interval } =
        settings;
    let zero = Duration::ZERO;
    Keepalive {
        interval: duration(cx, &at.field("interval"), *interval, zero),
        timeout: duration(cx, &at.field("timeout"), *timeout, zero),
        jitter_percent: interval_jitter.as_ref().map_or(JITTER_DEFAULT, |percent| percent.value),
        idle_interval: duration(
            cx,
            &at.field("connection_idle_interval"),
            *connection_idle_interval,
            zero,
        ),
    }
}
