//! The encoders and the choice of framing.

use super::*;
use crate::headers::HeaderMap;

fn answered(head: &ResponseHead, version: Version, framing: Framing, reason: bool) -> String {
    let mut out = Vec::new();
    encode_response_head(head, version, framing, HeaderKeyFormat::LowerCase, reason, &mut out);
    String::from_utf8(out).expect("ASCII in these tests")
}

#[test]
fn responses_get_the_reason_of_their_status() {
    let mut head = ResponseHead::new(200);
    head.headers.append("x", b"1");
    let plain = answered(&head, Version::Http11, Framing::Chunked, false);
    assert_eq!(plain, "HTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n");
    head.reason.extend_from_slice(b"Fine By Me");
    assert!(
        answered(&head, Version::Http11, Framing::AsIs, false).starts_with("HTTP/1.1 200 OK\r")
    );
    assert!(
        answered(&head, Version::Http10, Framing::AsIs, true)
            .starts_with("HTTP/1.0 200 Fine By Me\r")
    );
    head.reason.clear();
    head.status = 404;
    let empty = answered(&head, Version::Http11, Framing::Empty, true);
    assert_eq!(empty, "HTTP/1.1 404 Not Found\r\nx: 1\r\ncontent-length: 0\r\n\r\n");
    head.status = 299;
    assert!(answered(&head, Version::Http11, Framing::AsIs, false).contains(" 299 Unknown\r\n"));
}

#[test]
fn framing_of_requests() {
    let framing = |method: &[u8], length: bool, end: bool, upgrade: bool| {
        let method = Method::from_bytes(method).expect("a method");
        let mut head = RequestHead { method, ..RequestHead::default() };
        if length {
            head.headers.append(KnownName::ContentLength, b"5");
        }
        request_framing(&head, end, upgrade)
    };
    for bodiless in [&b"GET"[..], b"HEAD", b"DELETE", b"TRACE", b"CONNECT"] {
        assert_eq!(framing(bodiless, false, true, false), Framing::AsIs);
    }
    for other in [&b"POST"[..], b"PUT", b"PATCH", b"OPTIONS", b"QUERY"] {
        assert_eq!(framing(other, false, true, false), Framing::Empty);
    }
    assert_eq!(framing(b"GET", false, false, false), Framing::Chunked);
    assert_eq!(framing(b"POST", true, false, false), Framing::AsIs);
    assert_eq!(framing(b"GET", false, false, true), Framing::AsIs);
    assert_eq!(framing(b"CONNECT", false, false, false), Framing::AsIs);
}

#[test]
fn framing_of_responses() {
    let framing = |status, method: Method, version, end| {
        response_framing(&ResponseHead::new(status), &method, version, end, false)
    };
    let (h10, h11) = (Version::Http10, Version::Http11);
    assert_eq!(framing(200, Method::Get, h11, false), Framing::Chunked);
    assert_eq!(framing(200, Method::Get, h11, true), Framing::Empty);
    assert_eq!(framing(200, Method::Get, h10, false), Framing::AsIs);
    assert_eq!(framing(200, Method::Head, h11, true), Framing::ChunkedNoBody);
    assert_eq!(framing(304, Method::Get, h11, true), Framing::AsIs);
    assert_eq!(framing(204, Method::Get, h11, true), Framing::AsIs);
    assert_eq!(framing(100, Method::Get, h11, false), Framing::AsIs);
    assert_eq!(framing(200, Method::Connect, h11, false), Framing::AsIs);
    assert_eq!(framing(404, Method::Connect, h11, false), Framing::Chunked);
    assert!(!Framing::ChunkedNoBody.is_chunked());
    let mut head = ResponseHead::new(200);
    head.headers.append(KnownName::ContentLength, b"5");
    assert_eq!(response_framing(&head, &Method::Get, h11, false, false), Framing::AsIs);
}

#[test]
fn chunks_and_trailers() {
    for (len, text) in
        [(0, "0\r\n"), (10, "a\r\n"), (0x1f00, "1f00\r\n"), (u64::MAX, "ffffffffffffffff\r\n")]
    {
        assert_eq!(ChunkHeader::new(len).as_bytes(), text.as_bytes());
    }
    let mut trailers = HeaderMap::new();
    trailers.append(KnownName::GrpcStatus, b"0");
    let mut out = Vec::new();
    encode_trailers(&trailers, HeaderKeyFormat::ProperCase, &mut out);
    assert_eq!(out, b"0\r\nGrpc-Status: 0\r\n\r\n");
}

#[test]
fn responses_lose_what_belongs_to_the_hop() {
    let text = "HTTP/1.1 200 OK\r\nConnection: x-a, keep-alive\r\nX-A: 1\r\nKeep-Alive: 4\r\n\
        Proxy-Connection: x\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_, mut head) = response(text).expect("valid");
    strip_response_hop_by_hop(&mut head.headers, false);
    assert_eq!(head.headers.iter().collect::<Vec<_>>(), [(&b"x-a"[..], &b"1"[..])]);
    let text =
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    let (_, mut head) = response(text).expect("valid");
    strip_response_hop_by_hop(&mut head.headers, true);
    assert!(is_upgrade(&head.headers) && head.headers.len() == 2);
}
