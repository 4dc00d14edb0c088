//! `Http2ProtocolOptions`, compiled, with what the HTTP/2 codec needs of the message around it.

use std::time::Duration;

use super::http::Underscores;

/// Options of one side's HTTP/2 connections. Windows and frame limits are Envoy 1.40's where
/// nothing is said.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2Options {
    /// `hpack_table_size`, default 4096: what the peer may use, and what we use at the most.
    pub hpack_table_size: u32,
    /// `max_concurrent_streams`, default 1024: streams a client may have open with us, or streams
    /// opened on one connection to an upstream.
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`, default 16 MiB.
    pub initial_stream_window: u32,
    /// `initial_connection_window_size`, default 24 MiB.
    pub initial_connection_window: u32,
    /// `allow_connect`: extended CONNECT (RFC 8441) is offered.
    pub allow_connect: bool,
    /// `max_outbound_frames`, default 10000: frames of all kinds that may wait to be sent.
    pub max_outbound_frames: u32,
    /// `max_outbound_control_frames`, default 1000: PING, SETTINGS and RST_STREAM among them.
    pub max_outbound_control_frames: u32,
    /// `max_consecutive_inbound_frames_with_empty_payload`, default 1.
    pub max_consecutive_empty_frames: u32,
    /// `max_inbound_priority_frames_per_stream`, default 100.
    pub max_priority_frames_per_stream: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`, default 10.
    pub max_window_updates_per_data_frame: u32,
    /// What a message that breaks the rules of HTTP ends: its stream. The whole connection where
    /// `override_stream_error_on_invalid_http_message` is set to false, which is also what Envoy
    /// does where nothing is said; ending one stream harms nobody else.
    pub close_on_invalid_message: bool,
    /// `custom_settings_parameters` that no named field stands for: sent as they are.
    pub custom_settings: Vec<(u16, u32)>,
    /// `connection_keepalive`.
    pub keepalive: Option<Keepalive>,
    /// `enable_huffman_encoding`, default true.
    pub huffman: bool,
    /// `max_header_field_size_kb` in bytes, default 64 KiB: name and value of one field.
    pub max_header_field_bytes: u32,
    /// `disallow_obs_text`: bytes above 0x7f in a field value make a message invalid.
    pub disallow_obs_text: bool,
    /// `stream_reset_burst` and `stream_reset_rate`.
    pub reset_rate: ResetRate,
    /// Early resets by clients; downstream only.
    pub premature_resets: Option<PrematureResets>,
    /// `max_request_headers_kb` or `max_response_headers_kb` in bytes, default 60 KiB.
    pub max_headers_bytes: u32,
    /// `max_headers_count`, default 100.
    pub max_headers_count: u32,
    /// `headers_with_underscores_action`; of requests only.
    pub underscores: Underscores,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            hpack_table_size: 4096,
            max_concurrent_streams: 1024,
            initial_stream_window: 16 << 20,
            initial_connection_window: 24 << 20,
            allow_connect: false,
            max_outbound_frames: 10_000,
            max_outbound_control_frames: 1000,
            max_consecutive_empty_frames: 1,
            max_priority_frames_per_stream: 100,
            max_window_updates_per_data_frame: 10,
            close_on_invalid_message: false,
            custom_settings: Vec::new(),
            keepalive: None,
            huffman: true,
            max_header_field_bytes: 64 << 10,
            disallow_obs_text: false,
            reset_rate: ResetRate::default(),
            premature_resets: None,
            max_headers_bytes: 60 << 10,
            max_headers_count: 100,
            underscores: Underscores::Allow,
        }
    }
}

/// `connection_keepalive`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keepalive {
    /// `interval` between pings; zero: none are sent by the clock.
    pub interval: Duration,
    /// `timeout` for the answer.
    pub timeout: Duration,
    /// `interval_jitter`, percent of the interval added at random; default 15.
    pub jitter_percent: f64,
    /// `connection_idle_interval`: a connection that was quiet for this long is pinged when a new
    /// stream is opened on it; zero: it is not.
    pub idle_interval: Duration,
}

/// RST_STREAM frames a peer may send: a bucket of `burst`, refilled with `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetRate {
    /// `stream_reset_burst`, default 1000.
    pub burst: u64,
    /// `stream_reset_rate`, default 33.
    pub per_second: u64,
}

impl Default for ResetRate {
    fn default() -> Self {
        Self { burst: 1000, per_second: 33 }
    }
}

/// A connection ends when half of its streams were reset early and unanswered: of those it has
/// had, or of `total` if it has had fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrematureResets {
    /// Runtime key `overload.premature_reset_total_stream_count`, default 500.
    pub total: u64,
    /// Runtime key `overload.premature_reset_min_stream_lifetime_seconds`, default 1: a reset of
    /// an older stream is not early.
    pub lifetime: Duration,
}

impl Default for PrematureResets {
    fn default() -> Self {
        Self { total: 500, lifetime: Duration::from_secs(1) }
    }
}
