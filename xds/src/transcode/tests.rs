use prost::Message;
use prost_types::{Any, FieldMask, Struct, Value, value};

use crate::api::envoy::config::bootstrap::v3::Bootstrap;
use crate::api::envoy::config::cluster::v3::{Cluster, cluster};
use crate::api::envoy::config::core::v3::{Metadata, Node, node};
use crate::document::{Document, Format};
use crate::{Diagnostic, schema};

fn cluster_yaml(line: &str) -> Result<Cluster, Vec<Diagnostic>> {
    let text = format!("name: a\nconnect_timeout: 1s\n{line}\n");
    let document = Document::parse(&text, "c.yaml", Format::Yaml)?;
    document.decode::<Cluster>().map(|decoded| decoded.message)
}

fn node_json(text: &str) -> Result<Node, Vec<Diagnostic>> {
    Document::parse(text, "n.json", Format::Json)?.decode::<Node>().map(|d| d.message)
}

#[test]
fn numbers() {
    for (text, value) in [
        ("6", Some(6)),
        ("'6'", Some(6)),
        ("1.0", Some(1)),
        ("1e3", Some(1000)),
        ("0x10", Some(16)),
        ("'0x10'", Some(16)),
        ("{value: 7}", Some(7)),
        ("null", None),
    ] {
        let cluster = cluster_yaml(&format!("per_connection_buffer_limit_bytes: {text}")).unwrap();
        assert_eq!(cluster.per_connection_buffer_limit_bytes, value, "{text}");
    }
    for text in ["5.5", "-1", "' 5'", "5000000000", "yes", "[6]", "x", "1_000", "''"] {
        let line = format!("per_connection_buffer_limit_bytes: {text}");
        let errors = cluster_yaml(&line).unwrap_err();
        assert_eq!(errors[0].line, 3, "{text}");
        assert!(errors[0].message.contains("0 to 4294967295"), "{}", errors[0]);
    }
}

#[test]
fn booleans() {
    for text in ["true", "yes", "'1'", "'T'", "on", "'True'"] {
        let cluster = cluster_yaml(&format!("ignore_health_on_host_removal: {text}")).unwrap();
        assert!(cluster.ignore_health_on_host_removal, "{text}");
    }
    for text in ["1", "0", "''", "maybe", "[true]"] {
        assert!(cluster_yaml(&format!("ignore_health_on_host_removal: {text}")).is_err(), "{text}");
    }
}

#[test]
fn strings_are_never_numbers() {
    for text in ["12345", "yes", "0x10", "+5"] {
        let text = format!("id: {text}");
        let document = Document::parse(&text, "n.yaml", Format::Yaml).unwrap();
        assert!(document.decode::<Node>().is_err(), "{text}");
    }
    for (text, id) in [("1.5", "1.5"), ("08", "08"), ("3000000000", "3000000000"), ("~", "")] {
        let text = format!("id: {text}");
        let document = Document::parse(&text, "n.yaml", Format::Yaml).unwrap();
        assert_eq!(document.decode::<Node>().unwrap().message.id, id);
    }
}

#[test]
fn enums() {
    use cluster::LbPolicy;
    for (text, policy) in [
        ("round_robin", LbPolicy::RoundRobin),
        ("RANDOM", LbPolicy::Random),
        ("2", LbPolicy::RingHash),
        ("'2'", LbPolicy::RingHash),
        ("' 2'", LbPolicy::RingHash),
        ("null", LbPolicy::RoundRobin),
    ] {
        let cluster = cluster_yaml(&format!("lb_policy: {text}")).unwrap();
        assert_eq!(cluster.lb_policy(), policy, "{text}");
    }
    let errors = cluster_yaml("lb_policy: round-robin").unwrap_err();
    assert_eq!(errors[0].suggestion.as_deref(), Some("ROUND_ROBIN"));
    assert!(errors[0].allowed.as_ref().unwrap().contains("MAGLEV"));
    for text in ["2.0", "true", "[2]", "3000000000", "'0x2'"] {
        assert!(cluster_yaml(&format!("lb_policy: {text}")).is_err(), "{text}");
    }
    let errors = cluster_yaml("lb_policy: 77").unwrap_err();
    assert_eq!(errors[0].message, "value must be one of the defined enum values");
}

#[test]
fn durations() {
    for (text, seconds, nanos) in [
        ("5s", 5, 0),
        ("1.5s", 1, 500_000_000),
        ("0.000000001s", 0, 1),
        ("{seconds: '7', nanos: 1}", 7, 1),
    ] {
        let text = format!("name: a\nconnect_timeout: {text}\n");
        let document = Document::parse(&text, "c.yaml", Format::Yaml).unwrap();
        let found = document.decode::<Cluster>().unwrap().message.connect_timeout.unwrap();
        assert_eq!((found.seconds, found.nanos), (seconds, nanos), "{text}");
    }
    for text in
        ["5", "1.0000000001s", ".5s", "5.s", "+1s", "1S", "315576000001s", "5m", "' 5s'", "[5s]"]
    {
        let errors = cluster_yaml(&format!("dns_refresh_rate: {text}")).unwrap_err();
        assert!(errors[0].message.contains("1.5s"), "{text}: {}", errors[0]);
    }
}

#[test]
fn timestamps_and_masks() {
    let parse = super::time::parse_timestamp;
    assert_eq!(parse("1970-01-01T00:00:00Z"), Some((0, 0)));
    assert_eq!(parse("2024-02-29T12:30:05.25+01:00"), Some((1_709_206_205, 250_000_000)));
    assert_eq!(parse("0001-01-01T00:00:00Z"), Some((-62_135_596_800, 0)));
    for text in
        ["2023-02-29T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T24:00:00Z"]
    {
        assert_eq!(parse(text), None, "{text}");
    }
    let document = Document::parse(
        "{\"@type\": x/google.protobuf.FieldMask, value: 'aB.c,d'}",
        "",
        Format::Yaml,
    );
    let any: Any = document.unwrap().decode::<Any>().unwrap().message;
    let mask = FieldMask::decode(any.value.as_slice()).unwrap();
    assert_eq!(mask.paths, ["a_b.c", "d"]);
}

#[test]
fn structs_keep_json_types() {
    let text = "filter_metadata: {x: {a: 1, b: 1.5, c: yes, d: null, e: [1, {f: g}]}}";
    let document = Document::parse(text, "", Format::Yaml).unwrap();
    let metadata = document.decode::<Metadata>().unwrap().message;
    let Struct { fields } = &metadata.filter_metadata["x"];
    let kind = |name: &str| fields[name].kind.clone().unwrap();
    assert_eq!(kind("a"), value::Kind::NumberValue(1.0));
    // Envoy's YAML has no floating point: the schema turns strings into it where it is wanted.
    assert_eq!(kind("b"), value::Kind::StringValue("1.5".into()));
    assert_eq!(kind("c"), value::Kind::BoolValue(true));
    assert_eq!(kind("d"), value::Kind::NullValue(0));
    let value::Kind::ListValue(list) = kind("e") else { panic!() };
    assert_eq!(list.values.len(), 2);
    let json = Document::parse("{\"metadata\": {\"b\": 1.5}}", "", Format::Json).unwrap();
    let found = json.decode::<Node>().unwrap().message.metadata.unwrap();
    let expected = Value { kind: Some(value::Kind::NumberValue(1.5)) };
    assert_eq!(found.fields["b"], expected);
}

#[test]
fn lists_and_nulls() {
    let one = cluster_yaml("load_assignment: {cluster_name: a, endpoints: {priority: 3}}").unwrap();
    assert_eq!(one.load_assignment.unwrap().endpoints[0].priority, 3);
    let null = cluster_yaml("load_assignment: {cluster_name: a, endpoints: [null]}").unwrap();
    assert_eq!(null.load_assignment.unwrap().endpoints.len(), 1);
    assert!(cluster_yaml("health_checks: null").unwrap().health_checks.is_empty());
    assert!(cluster_yaml("metadata: []").is_err());
}

#[test]
fn a_oneof_is_set_once() {
    let errors = cluster_yaml("type: STATIC\ncluster_type: {name: x}").unwrap_err();
    assert_eq!(errors[0].line, 4);
    assert!(errors[0].message.contains("`type` excludes `cluster_type`"));
    assert!(cluster_yaml("type: STATIC\ncluster_type: null").is_ok());
    let text = r#"{"user_agent_version": "1", "userAgentVersion": "2"}"#;
    assert!(node_json(text).is_err());
}

#[test]
fn json_merges_what_is_written_twice() {
    let node = node_json(
        r#"{"id": "a", "id": "b", "locality": {"zone": "z"},
        "locality": {"region": "r"}, "clientFeatures": ["x"], "clientFeatures": ["y"]}"#,
    );
    let node = node.unwrap();
    let locality = node.locality.unwrap();
    assert_eq!(
        (node.id.as_str(), locality.zone.as_str(), locality.region.as_str()),
        ("b", "z", "r")
    );
    assert_eq!(node.client_features, ["x", "y"]);
    let build = node_json(r#"{"userAgentBuildVersion": {"version": {"majorNumber": 1}}}"#).unwrap();
    assert!(matches!(
        build.user_agent_version_type,
        Some(node::UserAgentVersionType::UserAgentBuildVersion(_))
    ));
}

#[test]
fn any_by_type_at_any_place() {
    let socket = |config: &str| {
        cluster_yaml(&format!("transport_socket: {{name: t, typed_config: {config}}}"))
    };
    let tls = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let cluster = socket(&format!("{{sni: a, '@type': foo.com/b/{tls}}}")).unwrap();
    let config = cluster.transport_socket.unwrap().config_type;
    assert!(format!("{config:?}").contains("foo.com/b/"));

    let errors = socket(&format!("{{sny: a, '@type': x/{tls}}}")).unwrap_err();
    assert_eq!(errors[0].path, "transport_socket.typed_config.sny");
    assert_eq!(errors[0].suggestion.as_deref(), Some("sni"));
    let errors = socket("{'@type': x/foo.Bar}").unwrap_err();
    assert_eq!(errors[0].path, "transport_socket.typed_config.@type");
    assert!(errors[0].message.contains("no type is called foo.Bar"));
    let errors = socket("{'@type': x/envoy.api.v2.auth.UpstreamTlsContext}").unwrap_err();
    assert!(errors[0].message.contains("v2 API"));
    assert_eq!(errors[0].suggestion.as_deref(), Some(tls));
    for wrong in ["{type_url: x/a}", "{value: a}", "[]", "x", "{'@type': 5}", "{'@type': ''}"] {
        assert!(socket(wrong).is_err(), "{wrong}");
    }
    assert!(socket("{}").is_ok());
    assert!(socket("{'@type': x/google.protobuf.StringValue, value: a}").is_ok());
    assert!(socket("{'@type': x/google.protobuf.StringValue, value: a, b: c}").is_err());
}

#[test]
fn typed_struct_is_checked_by_the_type_it_names() {
    let socket = |url: &str, value: &str| {
        cluster_yaml(&format!(
            "transport_socket: {{name: t, typed_config: {{'@type': x/udpa.type.v1.TypedStruct, \
             type_url: {url}, value: {value}}}}}"
        ))
    };
    let tls = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    assert!(socket(tls, "{sni: a}").is_ok());
    assert!(socket("nobody.knows.This", "{sni: a}").is_ok());
    let errors = socket(&format!("x/{tls}"), "{sn: a}").unwrap_err();
    assert_eq!(errors[0].path, "transport_socket.typed_config.value.sn");
    assert_eq!(errors.len(), 1);

    let cluster = socket(tls, "{sni: a, max_session_keys: 3}").unwrap();
    let Some(crate::api::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(any)) =
        cluster.transport_socket.unwrap().config_type
    else {
        panic!()
    };
    let inner = super::unpack_typed_struct(&any).unwrap();
    assert_eq!(inner.type_url, format!("type.googleapis.com/{tls}"));
    assert_eq!(inner.value, [0x12, 1, b'a', 0x22, 2, 0x08, 3]);
}

#[test]
fn every_error_at_once() {
    let text = "node: {id: 5}\nstatic_resources:\n  clusters:\n  - connect_timeout: 5\n    \
                lb_policy: foo\n    nme: x\n  listenrs: []\nadmin: 3\n";
    let document = Document::parse(text, "b.yaml", Format::Yaml).unwrap();
    let errors = document.decode::<Bootstrap>().unwrap_err();
    let places: Vec<(u32, &str)> = errors.iter().map(|e| (e.line, e.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (1, "node.id"),
            (4, "static_resources.clusters[0].connect_timeout"),
            (5, "static_resources.clusters[0].lb_policy"),
            (6, "static_resources.clusters[0].nme"),
            (7, "static_resources.listenrs"),
            (8, "admin"),
        ]
    );
    let shown = errors[3].to_string();
    assert!(shown.starts_with("b.yaml:6:5: error: static_resources.clusters[0].nme: "), "{shown}");
    assert!(shown.contains("\n 6 |     nme: x\n   |     ^\n"), "{shown}");
    assert!(shown.contains("did you mean `name`?"), "{shown}");
}

#[test]
fn messages_too_deep() {
    let mut text = String::new();
    for _ in 0..120 {
        text += "{'@type': x/google.protobuf.Any, value: ";
    }
    text += "{}";
    text += &"}".repeat(120);
    let document = Document::parse(&text, "", Format::Yaml).unwrap();
    assert!(document.decode::<Any>().unwrap_err()[0].message.contains("inside one another"));
    assert!(schema::message("google.protobuf.Any").is_some());
}

#[test]
fn base64_both_ways() {
    use super::base64::{decode, encode};
    for bytes in [&b""[..], b"a", b"ab", b"abc", b"abcd", &[0xff, 0xfe, 0xfb]] {
        assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
    }
    assert_eq!(decode("-_8"), Some(vec![0xfb, 0xff]));
    for wrong in ["*", "a", "YW Jj", "YQ==="] {
        assert_eq!(decode(wrong), None, "{wrong}");
    }
}
