use super::*;

#[test]
fn masks_what_may_differ_and_nothing_else() {
    let names = Names {
        ports: BTreeMap::from([(20_001, "upstream_0".to_owned())]),
        dir: "/tmp/d".to_owned(),
    };
    let check = |from: &str, to: &str| assert_eq!(names.normal(from), to);
    check("date: Tue, 24 Nov 2026 05:41:25 GMT", "date: <date>");
    check("date: yesterday", "date: yesterday");
    check("x-request-id: 0f8fad5b-d9cb-469f-a165-70867728950e", "x-request-id: <uuid>");
    check("127.0.0.1:20001 127.0.0.1:40000", "127.0.0.1:{{upstream_0}} 127.0.0.1:{{port}}");
    check(
        "\"port\": 20001, a_20001.b a20001 120001",
        "\"port\": {{upstream_0}}, a_{{upstream_0}}.b a20001 120001",
    );
    check("host: a.example:40000", "host: a.example:40000");
    check("~12~ ~-~ ~3", "~<n>~ ~-~ ~3");
    check("{\"d_ms\":7,\"n\":7}", "{\"d_ms\":<n>,\"n\":7}");
    check("[2026-11-24T05:41:25.616Z] /tmp/d/x", "[<time>] {{dir}}/x");
    check("x-envoy-expected-rq-timeout-ms: 14997", "x-envoy-expected-rq-timeout-ms: 15000");
    check(
        "[2026-11-24T05:41:25.616Z] \"GET / HTTP/1.1\" 200 - 1 2 3 - \"-\"",
        "[<time>] \"GET / HTTP/1.1\" 200 - 1 2 <n> - \"-\"",
    );
    check("x-envoy-upstream-service-time: 4", "x-envoy-upstream-service-time: <n>");
}
