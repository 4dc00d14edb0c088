use super::*;

#[test]
fn methods_survive_a_round_trip() {
    for name in [&b"GET"[..], b"HEAD", b"PATCH", b"QUERY", b"BREW"] {
        let method = Method::from_bytes(name).expect("a token");
        assert_eq!(method.as_bytes(), name);
    }
    assert_eq!(Method::from_bytes(b"G T"), None);
    assert_eq!(Method::from_bytes(&[b'A'; METHOD_BYTES_MAX + 1]), None);
    assert!(Method::from_bytes(&[b'A'; METHOD_BYTES_MAX]).is_some());
    assert!(Method::from_bytes(b"QUERY").is_some_and(|m| m.is_registered()));
    assert!(Method::from_bytes(b"get").is_some_and(|m| !m.is_registered()));
}

#[test]
fn pseudo_headers_answer_by_name() {
    let mut head = RequestHead { path: b"/a?b".to_vec(), ..RequestHead::default() };
    head.authority.extend_from_slice(b"x.example");
    head.headers.append("accept", b"*/*");
    assert_eq!(head.get(":path"), Some(&b"/a?b"[..]));
    assert_eq!(head.get("host"), Some(&b"x.example"[..]));
    assert_eq!(head.get(KnownName::Authority), Some(&b"x.example"[..]));
    assert_eq!(head.get(":scheme"), None);
    assert_eq!(head.get("accept"), Some(&b"*/*"[..]));
    // :method GET, :path /a?b, :authority x.example, accept */*
    assert_eq!(head.byte_size(), 7 + 3 + 5 + 4 + 10 + 9 + 6 + 3);
}
