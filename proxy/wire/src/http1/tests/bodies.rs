//! The body decoder.

use super::*;

/// Decodes `input` in pieces of `step` bytes: body, bytes left over, whether it ended.
fn decode(kind: BodyKind, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), H1Rule> {
    let options = ParseOptions { enable_trailers: true, ..ParseOptions::default() };
    let mut decoder = BodyDecoder::request(kind, &HeadLimits::default(), &options);
    let mut body = Vec::new();
    let (mut at, mut end) = (0, step.min(input.len()));
    loop {
        let piece = &input[at..end];
        let out = decoder.decode(piece).map_err(|e| e.rule)?;
        body.extend_from_slice(&piece[out.data]);
        at += out.consumed;
        if out.done || at == input.len() {
            return Ok((body, input.len() - at, out.done));
        }
        if at == end {
            end = (end + step).min(input.len());
        }
    }
}

fn chunked(input: &str) -> Result<(Vec<u8>, usize, bool), H1Rule> {
    let whole = decode(BodyKind::Chunked, input.as_bytes(), input.len());
    for step in [1, 2, 3, 5] {
        assert_eq!(decode(BodyKind::Chunked, input.as_bytes(), step), whole, "steps of {step}");
    }
    whole
}

#[test]
fn by_length() {
    assert_eq!(decode(BodyKind::Length(3), b"abcGET", 64), Ok((b"abc".to_vec(), 3, true)));
    assert_eq!(decode(BodyKind::Length(9), b"abc", 1), Ok((b"abc".to_vec(), 0, false)));
    assert_eq!(decode(BodyKind::None, b"abc", 64), Ok((Vec::new(), 3, true)));
    assert_eq!(decode(BodyKind::UntilClose, b"abc", 64), Ok((b"abc".to_vec(), 0, false)));
}

#[test]
fn by_chunks() {
    assert_eq!(
        chunked("5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nGET"),
        Ok((b"hello world".to_vec(), 3, true))
    );
    assert_eq!(chunked("a \t\r\n0123456789\r\n00\r\n\r\n"), Ok((b"0123456789".to_vec(), 0, true)));
    assert_eq!(chunked("5\r\nhel"), Ok((b"hel".to_vec(), 0, false)));
    assert_eq!(chunked("3 ; \"a\"\r\nabc\r\n0;z\r\nX: y\r\n\r\n").map(|r| r.2), Ok(true));
}

#[test]
fn malformed_chunks() {
    for (input, rule) in [
        ("x\r\n", H1Rule::ChunkSize),
        ("\r\n", H1Rule::ChunkSize),
        ("-1\r\n", H1Rule::ChunkSize),
        ("0x5\r\n", H1Rule::ChunkSize),
        (" 5\r\nhello", H1Rule::ChunkSize),
        ("5 5\r\nhello", H1Rule::ChunkSize),
        ("5\nhello", H1Rule::ChunkSize),
        ("5\r5", H1Rule::ChunkSize),
        ("ffffffffffffffff\r\n", H1Rule::ChunkSize),
        ("5;a\nb\r\nhello", H1Rule::ChunkExtension),
        ("5\r\nhello0\r\n", H1Rule::ChunkEnd),
        ("5\r\nhello\n0\r\n", H1Rule::ChunkEnd),
        ("0\r\nbad\r\n\r\n", H1Rule::Trailer),
        ("0\r\nX: y\n\r\n", H1Rule::Trailer),
        ("0\r\n folded: y\r\n\r\n", H1Rule::Trailer),
    ] {
        assert_eq!(chunked(input).err(), Some(rule), "{input:?}");
    }
    let long = format!("5;{}\r\n", "a".repeat(5000));
    assert_eq!(chunked(&long).err(), Some(H1Rule::ChunkExtension));
    let long = format!("0\r\nX: {}\r\n\r\n", "a".repeat(61 * 1024));
    assert_eq!(
        decode(BodyKind::Chunked, long.as_bytes(), 7000).err(),
        Some(H1Rule::TrailersTooLarge)
    );
    let many = format!("0\r\n{}\r\n", "X: a\r\n".repeat(101));
    assert_eq!(
        decode(BodyKind::Chunked, many.as_bytes(), 7000).err(),
        Some(H1Rule::TrailersTooLarge)
    );
}

#[test]
fn trailers_lose_what_frames_or_routes() {
    let input = b"0\r\nX-T: 1\r\nHost: evil\r\nContent-Length: 7\r\nx-envoy-force-trace: 1\r\n\
        Grpc-Status: 0\r\n\r\n";
    let take = |enable_trailers| {
        let options = ParseOptions { enable_trailers, ..ParseOptions::default() };
        let mut decoder = BodyDecoder::response(BodyKind::Chunked, &HeadLimits::RESPONSE, &options);
        let out = decoder.decode(input).expect("valid");
        assert!(out.done && out.consumed == input.len());
        decoder.take_trailers()
    };
    let trailers = take(true).expect("kept");
    let lines: Vec<_> = trailers.iter().collect();
    assert_eq!(lines, [(&b"x-t"[..], &b"1"[..]), (b"grpc-status", b"0")]);
    assert_eq!(take(false), None);
}

#[test]
fn the_end_of_the_connection() {
    let finish = |kind| {
        let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
        let mut decoder = BodyDecoder::response(kind, &limits, &options);
        decoder.finish().map_err(|e| (e.rule, e.blame))
    };
    assert_eq!(finish(BodyKind::UntilClose), Ok(()));
    assert_eq!(finish(BodyKind::None), Ok(()));
    assert_eq!(finish(BodyKind::Length(1)), Err((H1Rule::Truncated, Blame::Upstream)));
    assert_eq!(finish(BodyKind::Chunked), Err((H1Rule::Truncated, Blame::Upstream)));
}

#[test]
fn what_is_moved_elsewhere_is_counted() {
    let (limits, options) = (HeadLimits::default(), ParseOptions::default());
    let mut decoder = BodyDecoder::request(BodyKind::Length(10), &limits, &options);
    assert_eq!(decoder.known_left(), Some(10));
    assert_eq!((decoder.skip(4), decoder.skip(9)), (4, 6));
    assert!(decoder.is_done());
    let mut decoder = BodyDecoder::request(BodyKind::Chunked, &limits, &options);
    let out = decoder.decode(b"8\r\nab").expect("valid");
    assert_eq!((out.data, decoder.known_left()), (3..5, Some(6)));
    assert_eq!(decoder.skip(100), 6);
    assert!(decoder.decode(b"\r\n0\r\n\r\n").expect("valid").done);
}
