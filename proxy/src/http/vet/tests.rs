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
        internal: InternalAddresses::default(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_trusted_client_is_found_from_the_right() {
    let head = head(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2,3.3.3.3")]);
    let peer = Some(ip("9.9.9.9"));
    let client = |use_remote, hops| trusted_client(&head, &rules(use_remote, hops), peer);
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
    let found = trusted_client(&single, &rules(false, 0), Some(ip("9.9.9.9")));
    assert_eq!(found, (Some(ip("10.0.0.1")), true));
    let nonsense = head(&[("x-forwarded-for", "me")]);
    let found = trusted_client(&nonsense, &rules(false, 0), Some(ip("9.9.9.9")));
    assert_eq!(found, (Some(ip("9.9.9.9")), false));
}

#[test]
fn loopback_clients_are_shown_with_our_own_address() {
    let local = LocalInfo { address: ip("192.0.2.2"), cluster: String::new(), node: String::new() };
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
        cidrs: vec![(ip("10.0.0.0"), 8), (ip("fd00::"), 8), (ip("1.2.3.4"), 32)],
    };
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
    let all = InternalAddresses { cidrs: vec![(ip("0.0.0.0"), 0)] };
    assert!(is_internal(ip("8.8.8.8"), &all));
}
