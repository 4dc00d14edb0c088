use super::*;

fn text(format: &str, ctx: &LogContext<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format).expect(format).eval(ctx, &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn the_default_format() {
    let request = [
        (":method", "GET"),
        (":path", "/a"),
        (":authority", "h"),
        ("user-agent", "curl/7.88.1"),
        ("x-request-id", "id"),
    ];
    let response = [("x-envoy-upstream-service-time", "3")];
    let ctx = LogContext {
        request_headers: Some(&request),
        response_headers: Some(&response),
        start_unix_ns: 1_795_499_424_768_830_000,
        protocol: Some(Protocol::Http11),
        response_code: 200,
        bytes_sent: 5,
        timings: Timings { complete: Some(3_900_000), ..Timings::default() },
        upstream: Upstream {
            host: Address::Ip("127.0.0.1:29001".parse().expect("address")),
            ..Upstream::default()
        },
        ..LogContext::default()
    };
    let line = "[2026-11-24T05:50:24.768Z] \"GET /a HTTP/1.1\" 200 - 0 5 3 3 \"-\" \"curl/7.88.1\" \
                \"id\" \"h\" \"127.0.0.1:29001\"\n";
    assert_eq!(text(DEFAULT_FORMAT, &ctx), line);
}
