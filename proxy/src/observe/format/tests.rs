mod grammar;
mod operators;

use super::*;

fn text(format: &str, ctx: &LogContext<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format).expect(format).eval(ctx, &mut out);
    String::from_utf8(out).expect("text")
}

fn json(format: &str, omit: bool, ctx: &LogContext<'_>) -> String {
    let structure: serde_json::Value = serde_json::from_str(format).expect(format);
    let compiled = JsonFormat::parse(&structure, omit, Extensions::default()).expect(format);
    let mut out = Vec::new();
    compiled.eval(ctx, &mut out);
    String::from_utf8(out).expect("text")
}

fn ip(address: &str) -> Address<'_> {
    Address::Ip(address.parse().expect("address"))
}

const REQUEST: [(&str, &str); 7] = [
    (":method", "GET"),
    (":path", "/a/200?a=1&b=2%20x&b=3"),
    (":authority", "127.0.0.1:29101"),
    ("user-agent", "curl/7.88.1"),
    ("x-request-id", "18985d76-760f-451a-93a3-86aa4ab3c450"),
    ("x-dup", "a"),
    ("x-dup", "b"),
];
const RESPONSE: [(&str, &str); 1] = [("x-envoy-upstream-service-time", "0")];

fn recorded_timings() -> Timings {
    Timings {
        downstream_rx_end: Some(25_000),
        upstream_connect_start: Some(200_000),
        upstream_connect_end: Some(215_000),
        upstream_tx_begin: Some(400_000),
        upstream_tx_end: Some(414_000),
        upstream_rx_begin: Some(1_127_928),
        upstream_rx_end: Some(1_310_000),
        downstream_tx_begin: Some(1_314_000),
        downstream_tx_end: Some(1_370_000),
        complete: Some(1_380_000),
        pool_ready: Some(300_000),
        ..Timings::default()
    }
}

/// The request that the table in `operators` was recorded with.
fn recorded<'a>(attempts: &'a [Attempt<'a>]) -> LogContext<'a> {
    let downstream = Downstream {
        local: ip("127.0.0.1:29101"),
        remote: ip("127.0.0.1:43128"),
        direct_local: ip("127.0.0.1:29101"),
        direct_remote: ip("127.0.0.1:43128"),
        connection_id: Some(1),
        bytes: ByteMeter {
            wire_received: 120,
            wire_sent: 138,
            header_received: 76,
            header_sent: 114,
            decompressed_header_received: 76,
            decompressed_header_sent: 114,
        },
        close_type: Some("Normal"),
        ..Downstream::default()
    };
    let upstream = Upstream {
        cluster: Some("up"),
        cluster_raw: Some("up"),
        host: ip("127.0.0.1:29001"),
        host_name: Some("127.0.0.1"),
        remote: ip("127.0.0.1:29001"),
        local: ip("127.0.0.1:44024"),
        protocol: Some(Protocol::Http11),
        connection_id: 2,
        attempt_count: 1,
        attempts,
        bytes: ByteMeter {
            wire_received: 125,
            wire_sent: 236,
            header_received: 97,
            header_sent: 197,
            decompressed_header_received: 97,
            decompressed_header_sent: 197,
        },
        close_type: Some("Normal"),
        ..Upstream::default()
    };
    LogContext {
        request_headers: Some(&REQUEST),
        response_headers: Some(&RESPONSE),
        start_unix_ns: 1_795_499_424_768_830_000,
        emit_unix_ns: 1_795_499_424_770_300_000,
        timings: recorded_timings(),
        protocol: Some(Protocol::Http11),
        response_code: 200,
        response_code_details: Some("via_upstream"),
        bytes_sent: 5,
        request_header_bytes: 219,
        response_header_bytes: 104,
        downstream,
        upstream,
        stream_id: Some("18985d76-760f-451a-93a3-86aa4ab3c450"),
        log_type: AccessLogType::DownstreamEnd,
        random: 0x1234,
        ..LogContext::default()
    }
}

#[test]
fn every_operator() {
    let attempts = [Attempt {
        address: ip("127.0.0.1:29001"),
        host_name: Some("127.0.0.1"),
        connection_id: Some(2),
    }];
    let ctx = recorded(&attempts);
    for (format, wanted_text, wanted_json) in operators::ROW {
        assert_eq!(text(format, &ctx), *wanted_text, "{format}");
        let structure = serde_json::json!({ "k": format }).to_string();
        assert_eq!(json(&structure, false, &ctx), format!("{{\"k\":{wanted_json}}}\n"), "{format}");
    }
    assert_eq!(text("%STREAM_ID%", &ctx), "18985d76-760f-451a-93a3-86aa4ab3c450");
    assert_eq!(text("%UNIQUE_ID%", &ctx), "00000000-0000-4000-8000-000000001234");
    assert_eq!(text("%HOSTNAME%", &ctx).len(), text("%HOSTNAME%", &ctx).trim().len());
}

#[test]
fn nothing_known_prints_as_absent() {
    let ctx = LogContext::default();
    for (format, _, _) in operators::ROW {
        text(format, &ctx);
    }
    assert_eq!(text("%REQ(a)%|%UPSTREAM_HOST%|%DURATION%|%PATH%", &ctx), "-|-|-|-");
    let omit = Format::parse_with("%REQ(a)%|%RESPONSE_FLAGS%|", true, Extensions::default());
    let mut out = Vec::new();
    assert!(omit.expect("format").eval_present(&ctx, &mut out));
    assert_eq!(out, b"|-|");
}

#[test]
fn the_default_format() {
    let ctx = recorded(&[]);
    let line = "[2026-11-24T05:50:24.768Z] \"GET /a/200?a=1&b=2%20x&b=3 HTTP/1.1\" 200 - 0 5 1 0 \
                \"-\" \"curl/7.88.1\" \"18985d76-760f-451a-93a3-86aa4ab3c450\" \
                \"127.0.0.1:29101\" \"127.0.0.1:29001\"\n";
    assert_eq!(text(DEFAULT_FORMAT, &ctx), line);
}

/// Structures, with what Envoy printed for them.
#[test]
fn json_structures() {
    let ctx = recorded(&[]);
    let structure = r#"{"n": {"x": "%TRACE_ID%", "z": "%RESPONSE_CODE%"}, "e": {"a": "%TRACE_ID%"},
        "l": ["%TRACE_ID%", "%BYTES_SENT%", {"q": "%TRACE_ID%"}], "m": "a%TRACE_ID%b", "num": 3,
        "bo": true, "nul": null, "k\"y": "v\"q\u00e9 %REQ(user-agent)%", "em": {}, "el": []}"#;
    assert_eq!(
        json(structure, true, &ctx),
        "{\"bo\":true,\"k\\\"y\":\"v\\\"qé curl/7.88.1\",\"l\":[5],\"m\":\"ab\",\"n\":{\"z\":200},\
         \"num\":3}\n"
    );
    assert_eq!(
        json(structure, false, &ctx),
        "{\"bo\":true,\"e\":{\"a\":null},\"el\":[],\"em\":{},\"k\\\"y\":\"v\\\"qé curl/7.88.1\",\
         \"l\":[null,5,{\"q\":null}],\"m\":\"a-b\",\"n\":{\"x\":null,\"z\":200},\"nul\":null,\
         \"num\":3}\n"
    );
    assert!(
        JsonFormat::parse(&serde_json::json!({ "a": ["%X%"] }), false, Extensions::default())
            .is_err()
    );
}

struct Raw(&'static [u8]);

impl HeaderSource for Raw {
    fn get(&self, name: &str) -> Option<&[u8]> {
        (name == "x").then_some(self.0)
    }
}

#[test]
fn json_escapes() {
    let table: [(&[u8], &str); 4] = [
        (b"a\xff\xc3\xa9\"\\", "\"a\\u00ff\\u00c3\\u00a9\\u0022\\u005c\""),
        (b"a\tb\x80", "\"a\\u0009b\\u0080\""),
        (b"a\tb\"", "\"a\\tb\\\"\""),
        (b"", "\"\""),
    ];
    for (value, wanted) in table {
        let raw = Raw(value);
        let ctx = LogContext { request_headers: Some(&raw), ..LogContext::default() };
        let line = json(r#"{"k": "%REQ(x)%"}"#, false, &ctx);
        assert_eq!(line, format!("{{\"k\":{wanted}}}\n"));
    }
}

/// 2026-11-24 06:19:10.938237 UTC, with what Envoy printed.
#[test]
fn times() {
    let ctx = LogContext { start_unix_ns: 1_795_501_150_938_237_000, ..LogContext::default() };
    let table = [
        ("%%Q %Q %E9Y", "%Q %Q %E9Y"),
        ("%U %W %V %G %g %u %w %C %e %k %l %P %p", "47 47 48 2026 26 2 2 20 24  6  6 am AM"),
        ("%c", "Tue Nov 24 06:19:10 2026"),
        (
            "%x %X %D %F %R %T %r",
            "11/24/26 06:19:10 11/24/26 2026-11-24 06:19 06:19:10 06:19:10 AM",
        ),
        ("%Z %z %Ez %h %y", "UTC +0000 +00:00 Nov 26"),
        ("%E3f %E*f %E6S", "938 938237 10.938237"),
        ("%1f%2f%3f%4f%5f%6f%7f%8f%9f", "993938938293823938237938237093823700938237000"),
        ("a%", "a%"),
        ("%s.%3f", "1795501150.938"),
    ];
    for (format, wanted) in table {
        assert_eq!(text(&format!("%START_TIME({format})%"), &ctx), wanted, "{format}");
    }
    let leap = |unix: u64, wanted: &str| {
        let ctx = LogContext { start_unix_ns: unix * 1_000_000_000, ..LogContext::default() };
        assert_eq!(text("%START_TIME(%F %j %A %B)%", &ctx), wanted);
    };
    leap(951_782_400, "2000-02-29 060 Tuesday February");
    leap(1_709_251_199, "2024-02-29 060 Thursday February");
    leap(1_735_603_200, "2024-12-31 366 Tuesday December");
    leap(0, "1970-01-01 001 Thursday January");
}

#[test]
fn arguments() {
    let request = [
        (":path", "/a/200?a=1&b=2%20x+y&p%2Bq=7&c&b=3"),
        (":authority", "ex.com:8080"),
        ("x-envoy-original-path", "/orig?z"),
        ("content-type", "application/grpc"),
        (
            "x-forwarded-client-cert",
            "By=x;Hash=1;Subject=\"CN=a,O=\\\"q\\\"\";URI=spiffe://a,By=y;URI=spiffe://b;\
             DNS=d1;DNS=d2",
        ),
    ];
    let ctx = LogContext {
        request_headers: Some(&request),
        response_code: 200,
        response_code_details: Some("a b"),
        downstream: Downstream { remote: ip("127.0.0.1:1"), ..Downstream::default() },
        ..LogContext::default()
    };
    let table = [
        ("%QUERY_PARAMS(DECODED)%", "a=1&b=2%20x+y&p+q=7&c&b=3"),
        ("%QUERY_PARAM(b)%", "2 x+y"),
        ("%QUERY_PARAM(p+q)%", "7"),
        ("%QUERY_PARAM(c)%", ""),
        ("%PATH%", "/orig?z"),
        ("%PATH(NQ:PATH)%", "/a/200"),
        ("%PATH(WQ:ORIG):3%", "/or"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(200)%", "127.0.0.1/32"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%", "127.0.0.1"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)%", "0.0.0.0/0"),
        ("%REQUESTED_SERVER_NAME(HOST_FIRST)%", "ex.com:8080"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%", "-"),
        ("%REQUESTED_SERVER_NAME%", "-"),
        ("%XFCC_VALUE(uri)%", "spiffe://a"),
        ("%XFCC_VALUE(subject)%", "CN=a,O=\"q\""),
        ("%XFCC_VALUE(dns)%", "d1"),
        ("%GRPC_STATUS%", "Unknown"),
        ("%GRPC_STATUS(SNAKE_STRING)%", "UNKNOWN"),
        ("%GRPC_STATUS_NUMBER%", "2"),
        ("%RESPONSE_CODE_DETAILS%", "a_b"),
        ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "a b"),
        ("%REQ(x-none?:authority):2%", "ex"),
    ];
    for (format, wanted) in table {
        assert_eq!(text(format, &ctx), wanted, "{format}");
    }
    let extensions = Extensions { req_without_query: true };
    let format = Format::parse_with("%REQ_WITHOUT_QUERY(x?:PATH):5%", false, extensions);
    let mut out = Vec::new();
    format.expect("format").eval(&ctx, &mut out);
    assert_eq!(out, b"/a/20");
}

#[test]
fn flags() {
    let mut flags = ResponseFlags::NONE;
    flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
    flags.insert(ResponseFlag::UpstreamConnectionFailure);
    let ctx = LogContext { flags, ..LogContext::default() };
    assert_eq!(text("%RESPONSE_FLAGS%", &ctx), "URX,UF", "as they were raised");
    let long = "UpstreamRetryLimitExceeded,UpstreamConnectionFailure";
    assert_eq!(text("%RESPONSE_FLAGS_LONG%", &ctx), long);
    let all: ResponseFlags = ResponseFlag::ALL.iter().copied().collect();
    for flag in ResponseFlag::ALL {
        assert!(all.contains(*flag), "a filter may name every flag");
        assert_eq!(ResponseFlag::from_short(flag.short()), Some(*flag));
    }
    let named = "DC LH UH UT LR UR UF UC UO URX NR DI FI RL UAEX RLSE SI IH DPE RFCF NFCF DT UPE \
                 NC OM DF DO DR UDO";
    for name in named.split_whitespace() {
        assert!(ResponseFlag::from_short(name).is_some(), "{name}");
    }
}

proptest::proptest! {
    /// No text makes the parser or the evaluation panic, and `%%` is all that a text without
    /// commands loses.
    #[test]
    fn any_text(format in "[a-zA-Z%():_\n?é0-9-]{0,40}") {
        if let Ok(format) = Format::parse(&format) {
            format.eval(&recorded(&[]), &mut Vec::new());
        }
        let escaped = format.replace('%', "%%");
        proptest::prop_assert_eq!(text(&escaped, &LogContext::default()), format);
    }
}
