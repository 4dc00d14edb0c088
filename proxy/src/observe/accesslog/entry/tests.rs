//! What is written is read back with the types made from Envoy's own descriptors.

use prost::Message;
use ringway_xds::api::envoy::data::accesslog::v3 as api;
use ringway_xds::api::envoy::service::accesslog::v3::stream_access_logs_message as batch;

use super::*;
use crate::observe::format::{ByteMeter, ResponseFlags, Timings};

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn ip(text: &str) -> Address<'static> {
    Address::Ip(text.parse().expect("an address"))
}

fn http() -> Entry {
    let tag = |name: &str, value| Tag { name: Arc::from(name), value };
    let header = |name: &str, default: &str| TagValue::RequestHeader {
        name: Arc::from(name),
        default: Arc::from(default),
    };
    Entry {
        kind: EntryKind::Http {
            request_headers: names(&["x-a", "x-none", ":path"]),
            response_headers: names(&["server"]),
            response_trailers: names(&["x-t"]),
        },
        tags: vec![
            tag("literal", TagValue::Literal(Arc::from("v"))),
            tag("header", header("x-a", "d")),
            tag("default", header("x-none", "d")),
            tag("absent", header("x-none", "")),
        ],
        filter_state: names(&["key", "stats", "none"]),
    }
}

struct State;

impl crate::observe::format::StateSource for State {
    fn state(&self, key: &str) -> Option<StateValue<'_>> {
        match key {
            "key" => Some(StateValue::Text(b"text")),
            "stats" => Some(StateValue::GrpcStats { requests: 3, responses: 400 }),
            _ => None,
        }
    }
}

fn write_http(entry: &Entry, cx: &LogContext<'_>) -> api::HttpAccessLogEntry {
    let mut out = Vec::new();
    entry.write(cx, &mut out);
    entry.write(cx, &mut out);
    let mut entries = batch::HttpAccessLogEntries::decode(&*out).expect("a batch").log_entry;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries.first(), entries.last());
    entries.remove(0)
}

fn bytes(n: u64) -> ByteMeter {
    ByteMeter {
        wire_received: n,
        wire_sent: n + 1,
        header_received: n + 2,
        header_sent: n + 3,
        ..ByteMeter::default()
    }
}

/// A request with all there is to tell, as `check` is shown it.
fn with_request(check: impl FnOnce(&LogContext<'_>)) {
    let request = [
        (":method", "POST"),
        (":path", "/new"),
        (":authority", "here"),
        ("user-agent", "ua"),
        ("referer", "rf"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-request-id", "id"),
        ("x-envoy-original-path", "/old"),
        ("x-a", "1"),
    ];
    let response = [("server", "s")];
    let trailers = [("x-t", "t")];
    let mut flags = ResponseFlags::from(ResponseFlag::NoRouteFound);
    flags.insert(ResponseFlag::UnauthorizedExternalService);
    flags.insert(ResponseFlag::DownstreamRemoteReset);
    flags.insert(ResponseFlag::DropOverload);
    let cx = LogContext {
        request_headers: Some(&request),
        response_headers: Some(&response),
        response_trailers: Some(&trailers),
        start_unix_ns: 1_700_000_000_123_456_789,
        timings: Timings {
            downstream_rx_end: Some(1),
            upstream_tx_begin: Some(2),
            upstream_tx_end: Some(3),
            upstream_rx_begin: Some(4),
            upstream_rx_end: Some(5),
            downstream_tx_begin: Some(6),
            downstream_tx_end: Some(7),
            complete: Some(8_000_000_009),
            ..Timings::default()
        },
        protocol: Some(Protocol::Http2),
        response_code: 404,
        response_code_details: Some("details"),
        connection_termination_details: Some("why"),
        flags,
        bytes_received: 11,
        bytes_sent: 12,
        request_header_bytes: 13,
        response_header_bytes: 14,
        downstream: Downstream {
            remote: ip("9.9.9.9:0"),
            local: ip("[::1]:80"),
            direct_remote: Address::Pipe("/s"),
            bytes: bytes(100),
            ..Downstream::default()
        },
        upstream: Upstream {
            cluster: Some("up"),
            host: ip("10.0.0.1:9001"),
            local: ip("10.0.0.9:4"),
            attempt_count: 2,
            bytes: bytes(200),
            transport_failure_reason: Some("tls"),
            ..Upstream::default()
        },
        route_name: Some("route"),
        stream_id: Some("stream"),
        log_type: AccessLogType::DownstreamEnd,
        filter_state: Some(&State),
        ..LogContext::default()
    };
    check(&cx);
}

#[test]
fn what_all_entries_tell() {
    with_request(|cx| {
        let entry = write_http(&http(), cx);
        let shown = format!("{entry:#?}");
        assert_eq!(entry.protocol_version, 3);
        let common = entry.common_properties.as_ref().expect("common");
        let time = |ns| Some(prost_types::Duration { seconds: 0, nanos: ns });
        assert_eq!(common.time_to_last_rx_byte, time(1), "{shown}");
        assert_eq!(common.time_to_first_upstream_tx_byte, time(2));
        assert_eq!(common.time_to_last_upstream_tx_byte, time(3));
        assert_eq!(common.time_to_first_upstream_rx_byte, time(4));
        assert_eq!(common.time_to_last_upstream_rx_byte, time(5));
        assert_eq!(common.time_to_first_downstream_tx_byte, time(6));
        assert_eq!(common.time_to_last_downstream_tx_byte, time(7));
        assert_eq!(common.duration, Some(prost_types::Duration { seconds: 8, nanos: 9 }));
        let start = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 };
        assert_eq!(common.start_time, Some(start));
        for address in ["9.9.9.9", "::1", "10.0.0.1", "10.0.0.9", "/s"] {
            assert!(shown.contains(address), "{address} is not in {shown}");
        }
        assert!(shown.contains("PortValue(\n"), "port 0 is told: {shown}");
        assert_eq!(common.upstream_cluster, "up");
        assert_eq!(common.upstream_request_attempt_count, 2);
        assert_eq!((&*common.route_name, &*common.stream_id), ("route", "stream"));
        assert_eq!(common.upstream_transport_failure_reason, "tls");
        assert_eq!(common.connection_termination_details, "why");
        assert_eq!(
            (common.downstream_wire_bytes_sent, common.upstream_wire_bytes_received),
            (101, 200)
        );
        assert_eq!((common.access_log_type, common.intermediate_log_entry), (6, false));
    });
}

#[test]
fn what_entries_of_requests_tell() {
    with_request(|cx| {
        let entry = write_http(&http(), cx);
        let common = entry.common_properties.as_ref().expect("common");
        let tags: Vec<_> = common.custom_tags.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(tags, [("default", "d"), ("header", "1"), ("literal", "v")]);
        let told = common.response_flags.as_ref().expect("flags");
        assert!(told.no_route_found && told.downstream_remote_reset && !told.overload_manager);
        assert_eq!(told.unauthorized_details.as_ref().map(|details| details.reason), Some(1));
        assert_eq!(common.filter_state_objects.len(), 2);
        let request = entry.request.as_ref().expect("request");
        assert_eq!((request.request_method, &*request.scheme, &*request.path), (3, "http", "/new"));
        assert_eq!((&*request.original_path, request.request_headers_bytes), ("/old", 13));
        assert_eq!(request.request_headers.get("x-a").map(String::as_str), Some("1"));
        assert!(!request.request_headers.contains_key("x-none"));
        let response = entry.response.as_ref().expect("response");
        assert_eq!((response.response_code, response.response_body_bytes), (Some(404), 12));
        assert_eq!(response.response_code_details, "details");
        assert_eq!(response.response_trailers.get("x-t").map(String::as_str), Some("t"));
    });
}

#[test]
fn every_flag_has_its_field() {
    for flag in ResponseFlag::ALL {
        let cx = LogContext { flags: (*flag).into(), ..LogContext::default() };
        let entry = write_http(&http(), &cx);
        let flags = entry.common_properties.and_then(|common| common.response_flags);
        let set = format!("{:?}", flags.expect("flags")).matches("true").count();
        let newer =
            matches!(flag, ResponseFlag::DropOverload | ResponseFlag::UnconditionalDropOverload);
        let details = *flag == ResponseFlag::UnauthorizedExternalService;
        assert_eq!(set, usize::from(!newer && !details), "{flag:?}");
    }
}

#[test]
fn a_connection_that_goes_on() {
    let entry = Entry::default();
    assert_eq!(entry.batch_field(), 3);
    let cx = LogContext {
        bytes_received: 1,
        bytes_sent: 300,
        timings: Timings { complete: Some(5), ..Timings::default() },
        log_type: AccessLogType::TcpPeriodic,
        ..LogContext::default()
    };
    let mut out = Vec::new();
    entry.write(&cx, &mut out);
    let entries = batch::TcpAccessLogEntries::decode(&*out).expect("a batch").log_entry;
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    let bytes = entry.connection_properties.as_ref().expect("bytes");
    assert_eq!((bytes.received_bytes, bytes.sent_bytes), (1, 300));
    let common = entry.common_properties.as_ref().expect("common");
    assert!(common.intermediate_log_entry && common.duration.is_none());
}

#[test]
fn bytes_that_are_no_text_do_not_spoil_a_batch() {
    struct Bad;
    impl HeaderSource for Bad {
        fn get(&self, name: &str) -> Option<&[u8]> {
            (name != ":method").then_some(b"\xff\xfe")
        }
    }
    let cx = LogContext { request_headers: Some(&Bad), ..LogContext::default() };
    let entry = write_http(&http(), &cx);
    assert_eq!(entry.request.map(|request| request.path), Some("\u{fffd}\u{fffd}".to_owned()));
}
