//! What one head costs: parse and index it, look names up, strip it, write it. Prints the best of
//! many rounds, in nanoseconds.
//!
//! `cargo run -p ringway-wire --profile quick --example head_cost`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::hint::black_box;
use std::time::Instant;

use ringway_wire::http1::{
    BodyDecoder, BodyKind, Framing, HeadLimits, HeaderKeyFormat, ParseOptions, RequestLimits,
    encode_request_head, encode_response_head, parse_request, parse_response,
    strip_request_hop_by_hop,
};
use ringway_wire::{KnownName, Method, RequestHead, ResponseHead, Version};

const REQUEST: &[u8] = b"GET /api/v1/items/42?fields=name,price&lang=en HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Cache-Control: no-cache\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\
    Referer: https://shop.example.com/\r\n\
    X-Request-Id: 7b1f9a2e-3d4c-4f5a-8b6c-9d0e1f2a3b4c\r\n\
    X-Tenant: acme\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1024\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Server: origin\r\n\
    Cache-Control: max-age=60\r\n\
    Etag: \"0123456789\"\r\n\r\n";

/// Best of 2000 rounds of 300 calls, in nanoseconds a call: short rounds, so that some of them
/// escape whatever else runs on the machine.
///
/// With words on the command line, only what contains one of them.
fn measure(name: &str, mut work: impl FnMut()) {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some() && !words.any(|word| name.contains(&word)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..2000 {
        let start = Instant::now();
        for _ in 0..300 {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 300.0);
    }
    println!("{name:<44} {best:8.1} ns");
}

fn main() {
    requests();
    responses();
}

fn requests() {
    let (limits, options) = (RequestLimits::default(), ParseOptions::default());
    let mut head = RequestHead::default();
    let parsed = parse_request(REQUEST, &limits, &options, &mut head);
    println!("request of {} bytes, {} lines: {parsed:?}", REQUEST.len(), head.headers.len() + 1);

    measure("parse request", || {
        let parsed = parse_request(black_box(REQUEST), &limits, &options, &mut head);
        let _ = black_box(parsed);
    });
    measure("httparse, for comparison: parse only", || {
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut other = httparse::Request::new(&mut slots);
        let _ = black_box(other.parse(black_box(REQUEST)));
    });
    let partial = &REQUEST[..REQUEST.len() - 2];
    let mut scratch = RequestHead::default();
    measure("parse incomplete request", || {
        let _ = black_box(parse_request(black_box(partial), &limits, &options, &mut scratch));
    });
    measure("look up 12 known names, 2 present", || {
        for name in [
            KnownName::XForwardedFor,
            KnownName::XForwardedProto,
            KnownName::XEnvoyInternal,
            KnownName::XEnvoyRetryOn,
            KnownName::XEnvoyMaxRetries,
            KnownName::XEnvoyUpstreamRqTimeoutMs,
            KnownName::GrpcTimeout,
            KnownName::Expect,
            KnownName::Te,
            KnownName::Via,
            KnownName::UserAgent,
            KnownName::XRequestId,
        ] {
            black_box(black_box(&head).headers.get(name));
        }
    });
    let mut out = Vec::with_capacity(4096);
    measure("parse, strip, add 3, write request", || {
        let _ = black_box(parse_request(black_box(REQUEST), &limits, &options, &mut head));
        strip_request_hop_by_hop(&mut head.headers, false);
        head.headers.append(KnownName::XForwardedFor, b"10.1.2.3");
        head.headers.append(KnownName::XForwardedProto, b"http");
        head.headers.append(KnownName::XEnvoyExpectedRqTimeoutMs, b"15000");
        out.clear();
        encode_request_head(&head, Framing::AsIs, HeaderKeyFormat::LowerCase, &mut out);
        black_box(&out);
    });
    measure("write request", || {
        out.clear();
        let format = HeaderKeyFormat::LowerCase;
        encode_request_head(black_box(&head), Framing::AsIs, format, &mut out);
        black_box(&out);
    });
}

fn responses() {
    let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
    let mut out = Vec::with_capacity(4096);
    let mut answer = ResponseHead::default();
    measure("parse response (6 lines)", || {
        let input = black_box(RESPONSE);
        let _ = black_box(parse_response(input, &limits, &options, &Method::Get, &mut answer));
    });
    measure("write response", || {
        out.clear();
        let (version, framing) = (Version::Http11, Framing::AsIs);
        let format = HeaderKeyFormat::LowerCase;
        encode_response_head(black_box(&answer), version, framing, format, false, &mut out);
        black_box(&out);
    });
    let chunks = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n0\r\n\r\n"].concat();
    measure("decode one chunk of 1 KiB and the end", || {
        let mut decoder = BodyDecoder::request(BodyKind::Chunked, &limits, &options);
        let _ = black_box(decoder.decode(black_box(&chunks)));
    });
}
