use prost::Message;
use prost_types::{Any, Duration};

use super::*;
use crate::api::envoy::config::cluster::v3::{Cluster, cluster};
use crate::api::envoy::config::core::v3::{Node, SocketOption, TransportSocket, transport_socket};
use crate::api::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, UpstreamTlsContext,
};
use crate::schema;

fn findings<M: Message + prost::Name>(message: &M) -> Vec<(String, String)> {
    let kind = schema::message(&M::full_name()).unwrap();
    let all = check(kind, &message.encode_to_vec());
    let rules = all.into_iter().filter(|finding| finding.kind != FindingKind::Deprecated);
    rules.map(|finding| (finding.path, finding.message)).collect()
}

fn pair(path: &str, message: &str) -> (String, String) {
    (path.into(), message.into())
}

fn cluster() -> Cluster {
    Cluster {
        name: "a".into(),
        connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..Cluster::default()
    }
}

#[test]
fn rules_in_envoys_words() {
    assert_eq!(findings(&cluster()), []);
    let broken = Cluster {
        name: String::new(),
        connect_timeout: Some(Duration::default()),
        lb_policy: 77,
        dns_refresh_rate: Some(Duration { seconds: 0, nanos: 1_000_000 }),
        common_lb_config: Some(cluster::CommonLbConfig {
            healthy_panic_threshold: Some(crate::api::envoy::r#type::v3::Percent { value: 101.0 }),
            ..Default::default()
        }),
        ..cluster()
    };
    let found = findings(&broken);
    for expected in [
        pair("name", "value length must be at least 1 characters"),
        pair("connect_timeout", "value must be greater than 0s"),
        pair("lb_policy", "value must be one of the defined enum values"),
        pair("dns_refresh_rate", "value must be greater than 1ms"),
        pair(
            "common_lb_config.healthy_panic_threshold.value",
            "value must be inside range [0, 100]",
        ),
    ] {
        assert!(found.contains(&expected), "{expected:?} not in {found:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn rules_reach_into_any() {
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext::default()),
        sni: "x".repeat(300),
        ..UpstreamTlsContext::default()
    };
    let url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let any = Any { type_url: url.into(), value: context.encode_to_vec() };
    let socket = |any| TransportSocket {
        name: "t".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
    };
    let cluster = Cluster { transport_socket: Some(socket(any.clone())), ..cluster() };
    let expected =
        pair("transport_socket.typed_config.sni", "value length must be at most 255 bytes");
    assert_eq!(findings(&cluster), [expected]);
    let unknown = Any { type_url: "x/no.Such".into(), ..any };
    let cluster = Cluster { transport_socket: Some(socket(unknown)), ..cluster };
    let found = findings(&cluster);
    assert_eq!(found[0].1, "no type is called no.Such");
}

#[test]
fn oneofs_and_unknown_fields() {
    let found = findings(&SocketOption::default());
    assert_eq!(found, [pair("", "one of int_value, buf_value is required")]);
    let mut bytes = cluster().encode_to_vec();
    bytes.extend([0xfa, 0xff, 0x0f, 1, b'x']);
    let kind = schema::message("envoy.config.cluster.v3.Cluster").unwrap();
    let found = check(kind, &bytes);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, FindingKind::UnknownField);
    assert!(found[0].message.contains("no field number 32767"));
    assert_eq!(check(kind, &[0xff; 20])[0].kind, FindingKind::Malformed);
}

#[test]
fn deprecated_fields_are_told() {
    let node = Node { listening_addresses: vec![Default::default()], ..Node::default() };
    let kind = schema::message("envoy.config.core.v3.Node").unwrap();
    let found = check(kind, &node.encode_to_vec());
    assert!(found.iter().any(|finding| {
        finding.kind == FindingKind::Deprecated && finding.path == "listening_addresses"
    }));
}

#[test]
fn a_message_in_two_records_is_one() {
    // connect_timeout twice: seconds in the first, nanoseconds in the second.
    let bytes = [0x0a, 1, b'a', 0x22, 2, 0x08, 1, 0x22, 2, 0x10, 5];
    let kind = schema::message("envoy.config.cluster.v3.Cluster").unwrap();
    assert_eq!(check(kind, &bytes), []);
}
