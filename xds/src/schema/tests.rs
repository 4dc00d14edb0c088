use super::*;

#[test]
fn every_record_can_be_read() {
    let (mut fields, mut rules) = (0, 0);
    for message in messages() {
        assert_eq!(super::message(message.full_name()), Some(message));
        let mut last = 0;
        for field in message.fields() {
            assert!(!field.name().is_empty());
            assert!(field.number() > last, "{}.{}", message.full_name(), field.name());
            last = field.number();
            assert_eq!(message.field_numbered(field.number()), Some(field));
            assert_eq!(message.field_named(field.name()), Some(field));
            if let Some(index) = field.oneof_index() {
                assert!(message.oneofs().nth(index).is_some());
            }
            if let Some(child) = field.message() {
                assert!(!child.full_name().is_empty());
                assert_eq!(field.is_map(), child.is_map_entry());
            }
            if let Some(kind) = field.enumeration() {
                assert!(kind.values().all(|value| !value.name().is_empty()));
            }
            rules += usize::from(field.rules().is_some_and(|bytes| !bytes.is_empty()));
            fields += 1;
        }
    }
    assert!(fields > 5000 && rules > 1000, "{fields} fields, {rules} with rules");
}

#[test]
fn a_known_message() {
    let cluster = message_of_url("type.googleapis.com/envoy.config.cluster.v3.Cluster").unwrap();
    assert_eq!(cluster.name(), "Cluster");
    let timeout = cluster.field_named("connect_timeout").unwrap();
    assert_eq!(cluster.field_named("connectTimeout"), Some(timeout));
    assert_eq!(cluster.field_named("connectTimeouts"), None);
    assert_eq!(timeout.number(), 4);
    assert_eq!(timeout.message().unwrap().full_name(), "google.protobuf.Duration");
    assert!(timeout.has_presence() && !timeout.is_repeated());
    let policy = cluster.field_named("lb_policy").unwrap().enumeration().unwrap();
    assert_eq!(policy.named("maglev").map(EnumValue::number), Some(5));
    assert_eq!(policy.numbered(0).map(EnumValue::name), Some("ROUND_ROBIN"));
    let oneof = cluster.field_named("type").unwrap().oneof_index().unwrap();
    assert_eq!(cluster.oneofs().nth(oneof).map(Oneof::name), Some("cluster_discovery_type"));
}

#[test]
fn secrets_are_marked() {
    let secret = message("envoy.extensions.transport_sockets.tls.v3.TlsCertificate").unwrap();
    assert!(secret.field_named("private_key").unwrap().is_sensitive());
    assert!(!secret.field_named("certificate_chain").unwrap().is_sensitive());
}

#[test]
fn messages_the_descriptors_lack() {
    for name in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"] {
        let message = message(name).unwrap();
        assert_eq!(message.fields().map(Field::name).collect::<Vec<_>>(), ["type_url", "value"]);
    }
}

#[test]
fn the_table_stays_small() {
    assert!(size_bytes() < 320 * 1024, "{} bytes", size_bytes());
}
