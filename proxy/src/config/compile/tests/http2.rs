//! HTTP/2 options on either side.

use super::*;
use crate::plan::cluster::UpstreamProtocol;
use crate::plan::http2::{Http2Options, Keepalive, PrematureResets};

const OPTIONS: &str = "typed_extension_protocol_options";
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster whose `HttpProtocolOptions` hold `fields`.
fn typed(fields: &str) -> String {
    let url = format!("type.googleapis.com/{KEY}");
    cluster(&format!("{OPTIONS}: {{{KEY}: {{'@type': {url}, {fields}}}}}"))
}

fn explicit(http2: &str) -> String {
    typed(&format!("explicit_http_config: {{http2_protocol_options: {http2}}}"))
}

fn upstream(text: &str) -> (UpstreamProtocol, Option<Http2Options>) {
    let loaded = load(text).unwrap_or_else(|found| panic!("{text}: {found}"));
    let http = &only_cluster(&loaded).http;
    (http.protocol, http.http2.as_ref().map(|http2| Http2Options::clone(&http2.options)))
}

#[test]
fn a_cluster_says_what_it_speaks() {
    let protocol = |text: &str| upstream(text).0;
    assert_eq!(upstream(&cluster("")), (UpstreamProtocol::Http1, None));
    let usual = (UpstreamProtocol::Http2, Some(Http2Options::default()));
    assert_eq!(upstream(&explicit("{}")), usual);
    assert_eq!(upstream(&cluster("http2_protocol_options: {}")), usual);
    let downstream = "use_downstream_protocol_config: {http2_protocol_options: {}}";
    assert_eq!(protocol(&typed(downstream)), UpstreamProtocol::Downstream);
    let deprecated = "protocol_selection: USE_DOWNSTREAM_PROTOCOL, http2_protocol_options: {}";
    assert_eq!(protocol(&cluster(deprecated)), UpstreamProtocol::Downstream);
    let alpn = errors(&typed("auto_config: {}"));
    assert!(alpn[0].1.starts_with("ALPN configured for cluster c which has"), "{alpn:?}");
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let socket = format!("transport_socket: {{name: t, typed_config: {{'@type': {tls}}}}}");
    let auto = typed("auto_config: {}").replace("name: c,", &format!("name: c, {socket},"));
    assert_eq!(protocol(&auto), UpstreamProtocol::Auto);
}

#[test]
fn every_option_has_its_place() {
    let (_, options) = upstream(&explicit(
        "{hpack_table_size: 0, max_concurrent_streams: 7, initial_stream_window_size: 65535, \
         initial_connection_window_size: 70000, allow_connect: true, max_outbound_frames: 1, \
         max_outbound_control_frames: 2, max_consecutive_inbound_frames_with_empty_payload: 3, \
         max_inbound_priority_frames_per_stream: 4, \
         max_inbound_window_update_frames_per_data_frame_sent: 5, \
         override_stream_error_on_invalid_http_message: false, \
         custom_settings_parameters: [{identifier: 99, value: 5}, {identifier: 2, value: 0}], \
         connection_keepalive: {interval: 1s, timeout: 2s, connection_idle_interval: 3s}, \
         enable_huffman_encoding: false, max_header_field_size_kb: 65, disallow_obs_text: true, \
         stream_reset_burst: 8, stream_reset_rate: 9}",
    ));
    let options = options.expect("HTTP/2");
    let keepalive = Keepalive {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        jitter_percent: 15.0,
        idle_interval: Duration::from_secs(3),
    };
    let wanted = Http2Options {
        hpack_table_size: 0,
        max_concurrent_streams: 7,
        initial_stream_window: 65_535,
        initial_connection_window: 70_000,
        allow_connect: true,
        max_outbound_frames: 1,
        max_outbound_control_frames: 2,
        max_consecutive_empty_frames: 3,
        max_priority_frames_per_stream: 4,
        max_window_updates_per_data_frame: 5,
        close_on_invalid_message: true,
        custom_settings: vec![(99, 5)],
        keepalive: Some(keepalive),
        huffman: false,
        max_header_field_bytes: 65 << 10,
        disallow_obs_text: true,
        reset_rate: crate::plan::http2::ResetRate { burst: 8, per_second: 9 },
        ..Http2Options::default()
    };
    assert_eq!(options, wanted);
}

#[test]
fn custom_settings_stand_for_named_ones_but_not_beside_them() {
    let with = |list: &str| explicit(&format!("{{custom_settings_parameters: [{list}]}}"));
    let (_, options) = upstream(&with("{identifier: 3, value: 7}, {identifier: 4, value: 10}"));
    let options = options.expect("HTTP/2");
    assert_eq!((options.max_concurrent_streams, options.initial_stream_window), (7, 10));
    assert!(options.custom_settings.is_empty());
    for (list, message) in [
        ("{identifier: 2, value: 1}", "server push is not supported by Envoy"),
        ("{identifier: 8, value: 1}", "the \"allow_connect\" SETTINGS parameter must only"),
        ("{identifier: 9, value: 1}, {identifier: 9, value: 2}", "inconsistent HTTP/2 custom"),
    ] {
        let errors = errors(&with(list));
        assert!(errors[0].1.starts_with(message), "{list}: {errors:?}");
    }
    let both = "{max_concurrent_streams: 5, custom_settings_parameters: \
                [{identifier: 3, value: 5}]}";
    let both = errors(&explicit(both));
    assert!(both[0].1.starts_with("the {max_concurrent_streams} HTTP/2"), "{both:?}");
    let metadata = errors(&explicit("{allow_metadata: true}"));
    assert!(metadata[0].1.ends_with("not supported yet"), "{metadata:?}");
}

#[test]
fn managers_guard_against_resets_and_decide_about_invalid_messages() {
    let options = |fields: &str| {
        let loaded = load(&manager(fields, ROUTE)).expect("a good file");
        Http2Options::clone(&http(&loaded).http2)
    };
    let usual = options("");
    assert_eq!(usual.premature_resets, Some(PrematureResets::default()));
    assert!(!usual.close_on_invalid_message);
    let refusing = "http2_protocol_options: {override_stream_error_on_invalid_http_message: false}";
    assert!(options(refusing).close_on_invalid_message);
}
