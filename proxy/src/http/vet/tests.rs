use std::net::IpAddr;

use ringway_wire::{KnownName as K, RequestHead};

use super::*;

fn head(headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead { path: b"/".to_vec(), ..RequestHead::default() };
    for (name, value) in headers {
        assert!(head.headers.append(*name, value.as_bytes()));
    }
    head
}

fn rules(use_remote_address: bool, xff_trusted_hops: u32) -> Forwarding {
    Forwarding {
        use_remote_address,
        xff_trusted_hops,
        skip_xff_append: false,
        represent_v4_as_v6: false,
        detection: Vec::new(),
        internal: InternalAddresses::default(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address, and whether it may be internal.
fn found(client: Result<Client, Unidentified>) -> (Option<IpAddr>, bool) {
    let client = client.unwrap();
    (client.address, client.may_be_internal)
}

fn detecting(detection: Vec<IpDetection>) -> Forwarding {
    Forwarding { detection, ..rules(false, 0) }
}

#[test]
fn a_header_may_tell_who_the_client_is() {
    let told = head(&[("x-real-ip", " 1.2.3.4 "), ("x-forwarded-for", "5.6.7.8")]);
    let untold = head(&[("x-real-ip", "me"), ("x-forwarded-for", "5.6.7.8")]);
    let header =
        |trusted, reject| IpDetection::Header { name: "x-real-ip".into(), trusted, reject };
    let xff = IpDetection::Xff { hops: 0, trusted: None, append: true };
    let peer = Some(ip("9.9.9.9"));
    let rules = detecting(vec![header(true, None), xff]);
    assert_eq!(found(identify(&told, &rules, peer)), (Some(ip("1.2.3.4")), true));
    assert_eq!(found(identify(&untold, &rules, peer)), (Some(ip("5.6.7.8")), true));
    assert!(identify(&untold, &rules, peer).unwrap().append);
    let strict = detecting(vec![header(false, Some(401))]);
    assert_eq!(found(identify(&told, &strict, peer)), (Some(ip("1.2.3.4")), false));
    assert_eq!(identify(&untold, &strict, peer), Err(Unidentified { status: 401 }));
    let lenient = detecting(vec![header(false, None)]);
    assert_eq!(found(identify(&untold, &lenient, peer)), (peer, false));
}

#[test]
fn trusted_proxies_are_skipped() {
    let trusted = Some(vec![(ip("10.0.0.0"), 8)]);
    let rules = detecting(vec![IpDetection::Xff { hops: 0, trusted, append: false }]);
    let head = |xff| head(&[("x-forwarded-for", xff)]);
    let client = |xff, peer| found(identify(&head(xff), &rules, Some(ip(peer)))).0;
    assert_eq!(client("1.1.1.1,2.2.2.2,10.1.1.1", "10.0.0.1"), Some(ip("2.2.2.2")));
    assert_eq!(client("10.2.2.2,10.1.1.1", "10.0.0.1"), Some(ip("10.2.2.2")));
    assert_eq!(client("x,10.1.1.1", "10.0.0.1"), Some(ip("10.0.0.1")));
    assert_eq!(client("1.1.1.1", "8.8.8.8"), Some(ip("8.8.8.8")));
}

#[test]
fn the_trusted_client_is_found_from_the_right() {
    let head = head(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2,3.3.3.3")]);
    let peer = Some(ip("9.9.9.9"));
    let client = |use_remote, hops| found(identify(&head, &rules(use_remote, hops), peer));
    assert_eq!(client(false, 0), (Some(ip("3.3.3.3")), false));
    assert_eq!(client(false, 1), (Some(ip("2.2.2.2")), false));
    assert_eq!(client(true, 0), (peer, false));
    assert_eq!(client(true, 1), (Some(ip("3.3.3.3")), false));
    assert_eq!(client(true, 2), (Some(ip("2.2.2.2")), false));
    assert_eq!(client(true, 9), (peer, false));
}

#[test]
fn one_address_alone_may_be_internal() {
    let single = head(&[("x-forwarded-for", "10.0.0.1")]);
    let client = found(identify(&single, &rules(false, 0), Some(ip("9.9.9.9"))));
    assert_eq!(client, (Some(ip("10.0.0.1")), true));
    let nonsense = head(&[("x-forwarded-for", "me")]);
    let client = found(identify(&nonsense, &rules(false, 0), Some(ip("9.9.9.9"))));
    assert_eq!(client, (Some(ip("9.9.9.9")), false));
}

#[test]
fn loopback_clients_are_shown_with_our_own_address() {
    let local = LocalInfo {
        address: ip("192.0.2.2"),
        cluster: String::new(),
        node: String::new(),
        node_message: Arc::default(),
        zone: String::new(),
    };
    let mut first = head(&[]);
    append_forwarded_for(&mut first, &rules(true, 0), Some(ip("127.0.0.1")), &local);
    assert_eq!(first.headers.get(K::XForwardedFor), Some(&b"192.0.2.2"[..]));
    let mut second = head(&[("x-forwarded-for", "a")]);
    append_forwarded_for(&mut second, &rules(true, 0), Some(ip("8.8.8.8")), &local);
    assert_eq!(second.headers.get(K::XForwardedFor), Some(&b"a,8.8.8.8"[..]));
}

#[test]
fn internal_only_headers_go_from_external_requests() {
    let mut external = head(&[
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-internal", "true"),
        ("x-envoy-decorator-operation", "op"),
        ("x-mine", "1"),
    ]);
    mark_origin(&mut external, false, false, Some(ip("1.2.3.4")), &rules(false, 0));
    assert!(!external.headers.contains(K::XEnvoyRetryOn));
    assert!(!external.headers.contains(K::XEnvoyInternal));
    assert!(external.headers.contains(K::XEnvoyDecoratorOperation));
    assert!(external.headers.contains("x-mine"));
    let mut edge = head(&[("x-envoy-decorator-operation", "op")]);
    mark_origin(&mut edge, false, true, Some(ip("1.2.3.4")), &rules(true, 0));
    assert!(!edge.headers.contains(K::XEnvoyDecoratorOperation));
    assert_eq!(edge.headers.get(K::XEnvoyExternalAddress), Some(&b"1.2.3.4"[..]));
    let mut internal = head(&[("x-envoy-retry-on", "5xx")]);
    mark_origin(&mut internal, true, false, None, &rules(false, 0));
    assert!(internal.headers.contains(K::XEnvoyRetryOn));
    assert_eq!(internal.headers.get(K::XEnvoyInternal), Some(&b"true"[..]));
}

#[test]
fn networks_are_compared_by_prefix() {
    let rules = InternalAddresses {
        unix_sockets: false,
        cidrs: vec![(ip("10.0.0.0"), 8), (ip("fd00::"), 8), (ip("1.2.3.4"), 32)],
    };
    let is_internal = |address, rules: &_| is_internal_client(Some(address), rules);
    for (address, internal) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("1.2.3.4", true),
        ("1.2.3.5", false),
        ("fd12::1", true),
        ("fe80::1", false),
    ] {
        assert_eq!(is_internal(ip(address), &rules), internal, "{address}");
    }
    assert!(!is_internal(ip("10.0.0.1"), &InternalAddresses::default()));
    let all = InternalAddresses { unix_sockets: true, cidrs: vec![(ip("0.0.0.0"), 0)] };
    assert!(is_internal(ip("8.8.8.8"), &all));
    assert!(is_internal_client(None, &all));
    assert!(!is_internal_client(None, &rules));
}
