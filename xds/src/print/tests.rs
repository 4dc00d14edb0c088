use super::*;
use crate::api::envoy::config::cluster::v3::Cluster;
use crate::api::envoy::extensions::transport_sockets::tls::v3::Secret;
use crate::{Document, Format};

fn bytes_of(text: &str, name: &str) -> Vec<u8> {
    Document::parse(text, "t.yaml", Format::Yaml).unwrap().encode(name).unwrap().0
}

fn compact(text: &str, name: &str, redact: bool) -> String {
    let options = JsonOptions { pretty: false, redact, ..JsonOptions::default() };
    let mut out = String::new();
    write_json(&mut out, schema::message(name).unwrap(), &bytes_of(text, name), options);
    out
}

#[test]
fn pretty_as_on_the_admin_page() {
    let text = "name: a\nconnect_timeout: 1.5s\nlb_policy: MAGLEV\nhealth_checks: []\n\
                load_assignment: {cluster_name: a, endpoints: [{}]}\n";
    let decoded = Document::parse(text, "", Format::Yaml).unwrap().decode::<Cluster>().unwrap();
    let expected = "{\n \"name\": \"a\",\n \"connect_timeout\": \"1.500s\",\n \"lb_policy\": \
                    \"MAGLEV\",\n \"load_assignment\": {\n  \"cluster_name\": \"a\",\n  \
                    \"endpoints\": [\n   {}\n  ]\n }\n}";
    assert_eq!(json(&decoded.message, JsonOptions::default()), expected);
}

#[test]
fn every_kind_of_value() {
    let text = "filter_metadata: {x: {n: 5, s: \"<a>\\\"\\x7f\", l: [null, yes, {}], \
                big: 3000000000}}\n\
                typed_filter_metadata:\n  \
                 y: {'@type': t/google.protobuf.UInt64Value, value: 7}\n  \
                 z: {'@type': t/envoy.config.core.v3.DataSource, inline_bytes: YWI=}\n";
    assert_eq!(
        compact(text, "envoy.config.core.v3.Metadata", false),
        "{\"filter_metadata\":{\"x\":{\"n\":5,\"s\":\"\\u003ca\\u003e\\\"\\u007f\",\
         \"l\":[null,true,{}],\"big\":\"3000000000\"}},\"typed_filter_metadata\":{\
         \"y\":{\"@type\":\"t/google.protobuf.UInt64Value\",\"value\":\"7\"},\
         \"z\":{\"@type\":\"t/envoy.config.core.v3.DataSource\",\"inline_bytes\":\"YWI=\"}}}"
    );
}

#[test]
fn floats_are_short() {
    for (number, text) in [
        (1.0, "1"),
        (0.1, "0.1"),
        (-2.5e-7, "-2.5e-07"),
        (1e20, "1e+20"),
        (123456789.0, "123456789"),
        (f64::NAN, "\"NaN\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        let mut out = String::new();
        let options = JsonOptions::default();
        Printer { out: &mut out, options, indent: 0, depth: 0 }.float(number, false);
        assert_eq!(out, text);
    }
}

#[test]
fn secrets_are_struck_out() {
    let text = "name: s\ntls_certificate:\n  certificate_chain: {inline_string: c}\n  \
                private_key: {inline_string: k}\n  password: {inline_bytes: YWI=}\n";
    let name = Secret::full_name();
    let shown = compact(text, &name, true);
    assert_eq!(
        shown,
        "{\"name\":\"s\",\"tls_certificate\":{\"certificate_chain\":{\"inline_string\":\"c\"},\
         \"private_key\":{\"inline_string\":\"[redacted]\"},\
         \"password\":{\"inline_bytes\":\"W3JlZGFjdGVkXQ==\"}}}"
    );
    assert!(compact(text, &name, false).contains("\"inline_string\":\"k\""));
}

#[test]
fn defaults_on_demand() {
    let message = schema::message("envoy.admin.v3.Certificates").unwrap();
    let mut out = String::new();
    let options = JsonOptions { defaults: true, ..JsonOptions::default() };
    write_json(&mut out, message, &[], options);
    assert_eq!(out, "{\n \"certificates\": []\n}");
}

#[test]
fn times_both_ways() {
    use crate::transcode::time::{format_duration, format_timestamp, parse_timestamp};
    for text in [
        "1970-01-01T00:00:00Z",
        "2024-02-29T12:30:05.250Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.000000001Z",
        "1969-12-31T23:59:59.000001Z",
    ] {
        let (seconds, nanos) = parse_timestamp(text).unwrap();
        assert_eq!(format_timestamp(seconds, nanos), text);
    }
    assert_eq!(format_duration(-1, -500_000_000), "-1.500s");
    assert_eq!(format_duration(3, 0), "3s");
}

#[test]
fn what_is_printed_reads_back() {
    let text = "name: a\nconnect_timeout: 0.25s\ntransport_socket:\n\
                \x20\x20name: t\n  typed_config:\n    \
                '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\
                UpstreamTlsContext\n    common_tls_context: {alpn_protocols: [h2]}\n    sni: x\n\
                metadata: {filter_metadata: {m: {a: [1, b, {c: yes}]}}}\n";
    let before = bytes_of(text, "envoy.config.cluster.v3.Cluster");
    let mut shown = String::new();
    let message = schema::message("envoy.config.cluster.v3.Cluster").unwrap();
    write_json(&mut shown, message, &before, JsonOptions::default());
    let again = Document::parse(&shown, "t.json", Format::Json).unwrap();
    let again = again.decode::<Cluster>().unwrap().message;
    assert_eq!(again, Cluster::decode(before.as_slice()).unwrap());
}

#[test]
fn any_bytes_print() {
    let message = schema::message("envoy.config.cluster.v3.Cluster").unwrap();
    let mut out = String::new();
    write_json(&mut out, message, &[0x0a, 3, b'a', 0xff, 0x22, 0xff], JsonOptions::default());
    assert!(out.starts_with('{') && out.ends_with('}'));
}
