//! What one HTTP/2 header block costs: encode and decode, indexed and not. Prints the best of many
//! rounds, in nanoseconds.
//!
//! `cargo run -p ringway-wire --profile quick --example block_cost`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::hint::black_box;
use std::time::Instant;

use ringway_wire::http2::{
    Decoder, Encoder, Event, FRAME_SIZE_MIN, HeaderBlock, Limits, PREFACE, Role, frame,
};
use ringway_wire::{Method, RequestHead, ResponseHead, Scheme};

/// Best of 2000 rounds of 100 calls, in nanoseconds a call.
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
        for _ in 0..100 {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 100.0);
    }
    println!("{name:<52} {best:8.1} ns");
}

fn request() -> RequestHead {
    let mut head = RequestHead {
        method: Method::Get,
        path: b"/api/v1/items/42?fields=name,price&lang=en".to_vec(),
        authority: b"shop.example.com".to_vec(),
        scheme: Some(Scheme::Https),
        ..RequestHead::default()
    };
    for (name, value) in [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-US,en;q=0.9"),
        ("cache-control", "no-cache"),
        ("referer", "https://shop.example.com/"),
        ("x-tenant", "acme"),
    ] {
        head.headers.append(name, value.as_bytes());
    }
    head
}

fn response() -> ResponseHead {
    let mut head = ResponseHead::new(200);
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("server", "origin"),
        ("cache-control", "max-age=60"),
        ("x-envoy-upstream-service-time", "3"),
    ] {
        head.headers.append(name, value.as_bytes());
    }
    head
}

fn opened(role: Role) -> (Decoder, HeaderBlock) {
    let (mut decoder, mut block) = (Decoder::new(role, Limits::default()), HeaderBlock::new());
    let mut settings = Vec::new();
    frame::settings(std::iter::empty(), &mut settings);
    if role == Role::Server {
        let _ = decoder.decode(PREFACE, &mut block);
    }
    let _ = decoder.decode(&settings, &mut block);
    (decoder, block)
}

/// Feeds whole frames; the last event's verdict is returned.
fn feed(decoder: &mut Decoder, mut input: &[u8], block: &mut HeaderBlock) -> bool {
    let mut valid = false;
    while let Ok(Some(step)) = decoder.decode(input, block) {
        valid = matches!(step.event, Event::Headers { verdict: Ok(()), .. });
        input = input.get(step.consumed..).unwrap_or_default();
    }
    valid
}

fn requests(name: &str, head: &RequestHead) {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.request_head(1, head, None, true, FRAME_SIZE_MIN, &mut out);
    let first = out.clone();
    out.clear();
    encoder.request_head(1, head, None, true, FRAME_SIZE_MIN, &mut out);
    let second = out.clone();
    out.clear();
    encoder.request_head(1, head, None, true, FRAME_SIZE_MIN, &mut out);
    let later = out.clone();
    println!("{name}: {} bytes, then {}, then {}", first.len(), second.len(), later.len());

    measure(&format!("{name}: encode, indexed"), || {
        out.clear();
        encoder.request_head(1, black_box(head), None, true, FRAME_SIZE_MIN, &mut out);
        black_box(&out);
    });
    measure(&format!("{name}: encode, first on a connection"), || {
        out.clear();
        let mut encoder = Encoder::new();
        encoder.request_head(1, black_box(head), None, true, FRAME_SIZE_MIN, &mut out);
        black_box(&out);
    });
    let mut taken = RequestHead::default();
    let (mut decoder, mut block) = opened(Role::Server);
    for bytes in [&first, &second] {
        assert!(feed(&mut decoder, bytes, &mut block));
    }
    measure(&format!("{name}: decode, indexed"), || {
        let _ = black_box(decoder.decode(black_box(&later), &mut block));
        let _ = black_box(block.into_request(&mut taken));
    });
    assert_eq!(taken.headers.len(), head.headers.len());
    measure(&format!("{name}: decode, literals"), || {
        let _ = black_box(decoder.decode(black_box(&first), &mut block));
        let _ = black_box(block.into_request(&mut taken));
    });
}

fn main() {
    let head = request();
    requests("GET, 11 lines", &head);
    let mut traced = request();
    traced.headers.append("x-request-id", b"7b1f9a2e-3d4c-4f5a-8b6c-9d0e1f2a3b4c");
    traced.headers.append("cookie", b"session=0123456789abcdef; theme=dark");
    requests("GET with request id and cookie", &traced);

    let head = response();
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    for _ in 0..3 {
        out.clear();
        encoder.response_head(1, &head, false, FRAME_SIZE_MIN, &mut out);
    }
    let mut changing = head.clone();
    let mut count = 0u64;
    measure("200, 7 lines: encode, indexed", || {
        out.clear();
        encoder.response_head(1, black_box(&head), false, FRAME_SIZE_MIN, &mut out);
    });
    measure("200, 7 lines: encode, a length that changes", || {
        count += 1;
        let digits = ringway_wire::chars::Decimal::new(count);
        changing.headers.set(ringway_wire::KnownName::ContentLength, digits.as_bytes());
        out.clear();
        encoder.response_head(1, black_box(&changing), false, FRAME_SIZE_MIN, &mut out);
        if count.is_multiple_of(1000) {
            changing = head.clone();
        }
    });
    let mut input = frame::data_header(1024, 1, false).to_vec();
    input.extend_from_slice(&[0; 1024]);
    let (mut decoder, mut block) = opened(Role::Client);
    measure("DATA of 1 KB: read", || {
        let _ = black_box(decoder.decode(black_box(&input), &mut block));
    });
    let request = request();
    let mut copy = RequestHead::default();
    measure("for comparison: copy the lines of the GET", || {
        copy.clear();
        for (name, value) in request.headers.iter_named() {
            copy.headers.append(name, value);
        }
        black_box(&copy);
    });
}
