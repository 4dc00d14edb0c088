use super::http_inspector::{Seen, inspect};

/// Envoy 1.40's verdicts.
const LINES: [(&[u8], Seen); 17] = [
    (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Seen::Http11),
    (b"GET / HTTP/1.1\n\n", Seen::Http11),
    (b"FOOBAR / HTTP/1.1\r\n", Seen::Http11),
    (b"get / HTTP/1.1\r\n", Seen::Http11),
    (b"GET / HTTP/1.0\r\n", Seen::Http10),
    (b"GET / HTTP/2.0\r\n", Seen::Http10),
    (b"GET / HTTP/1.2\r\n", Seen::Http10),
    (b"GET /\r\n", Seen::Http10),
    (b"GET / FOO/1.1\r\n", Seen::Other),
    (b"G@T / HTTP/1.1\r\n", Seen::Other),
    (b"\r\nGET / HTTP/1.1\r\n", Seen::Other),
    (b"\0\x01\x02\x03\r\n", Seen::Other),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Seen::Http2),
    (b"PRI * HTTP/2.0\r\n", Seen::Unclear),
    (b"GET / HT", Seen::Unclear),
    (b"GE", Seen::Unclear),
    (b"", Seen::Unclear),
];

#[test]
fn http_is_known_by_its_first_line() {
    for (bytes, seen) in LINES {
        assert_eq!(inspect(bytes), seen, "{}", bytes.escape_ascii());
    }
    let mut line = b"GET /".to_vec();
    line.resize(9000, b'a');
    assert_eq!(inspect(&line), Seen::Unclear);
    line.extend_from_slice(b" HTTP/1.1\r\n");
    assert_eq!(inspect(&line), Seen::Http11);
    assert_eq!(inspect(&[b'a'; 64 * 1024]), Seen::Other);
}

#[test]
fn whatever_the_pieces_the_verdict_is_the_same() {
    for (bytes, seen) in LINES {
        let first = (0..=bytes.len()).map(|end| inspect(&bytes[..end]));
        let told = first.into_iter().find(|seen| *seen != Seen::Unclear);
        assert_eq!(told.unwrap_or(Seen::Unclear), seen, "{}", bytes.escape_ascii());
    }
}
