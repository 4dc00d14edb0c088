use proptest::prelude::*;

use super::frame::{self, FrameHeader, Kind};
use super::*;
use crate::{KnownName, Method, RequestHead, ResponseHead, Scheme};

/// Reads all events of `input`, which comes in pieces of `piece` bytes; what is read but not yet
/// consumed is kept, as a session does. DATA bytes of neighbouring pieces are joined.
pub(super) fn events(
    decoder: &mut Decoder,
    input: &[u8],
    piece: usize,
) -> Result<Vec<Seen>, ConnectionError> {
    let (mut seen, mut held, mut block) = (Vec::new(), Vec::new(), HeaderBlock::new());
    for bytes in input.chunks(piece.max(1)) {
        held.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(step) = decoder.decode(&held[from..], &mut block)? {
            note(&mut seen, step.event, &held[from..], &mut block);
            from += step.consumed;
        }
        held.drain(..from);
    }
    Ok(seen)
}

/// An event that does not depend on how the bytes came.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) enum Seen {
    Data { stream: u32, data: Vec<u8>, flow: u32, end: bool },
    Request { stream: u32, end: bool, result: Result<RequestHead, H2Rule> },
    Debug(Vec<u8>),
    Other(Event),
}

fn note(seen: &mut Vec<Seen>, event: Event, input: &[u8], block: &mut HeaderBlock) {
    match event {
        Event::Nothing => {}
        Event::Data { stream, data, flow, frame, first, end } => {
            let bytes = &input[data];
            assert_eq!(first, frame > 0 || flow == 0);
            match seen.last_mut() {
                Some(Seen::Data { data, flow: before, end: ended, .. }) if !first => {
                    data.extend_from_slice(bytes);
                    *before += flow;
                    *ended = end;
                }
                _ => seen.push(Seen::Data { stream, data: bytes.to_vec(), flow, end }),
            }
        }
        Event::Headers { stream, end, verdict, .. } => {
            let mut head = RequestHead::default();
            let result = verdict.and_then(|()| block.into_request(&mut head));
            let result = result.map(|()| head).map_err(|e| e.rule);
            seen.push(Seen::Request { stream, end, result });
        }
        Event::GoAway { debug, .. } => seen.push(Seen::Debug(input[debug].to_vec())),
        other => seen.push(Seen::Other(other)),
    }
}

fn opened() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame::settings(std::iter::empty(), &mut out);
    out
}

fn raw(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    [FrameHeader { len, kind, flags, stream }.bytes().as_slice(), payload].concat()
}

fn request() -> RequestHead {
    let mut head = RequestHead {
        method: Method::Get,
        path: b"/a?b=c".to_vec(),
        authority: b"example.com".to_vec(),
        scheme: Some(Scheme::Https),
        version: crate::Version::Http2,
        ..RequestHead::default()
    };
    head.headers.append("user-agent", b"test");
    head.headers.append("x-empty", b"");
    head
}

/// The error of a connection that opens and then sends these frames to a server.
fn connection_error(frames: &[u8]) -> Option<ErrorCode> {
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    events(&mut decoder, &[&opened(), frames].concat(), 1 << 20).err().map(|e| e.code)
}

/// The rule broken by the last stream-level event of frames that are fine for the connection.
fn stream_error(frames: &[u8]) -> Option<H2Rule> {
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let seen = events(&mut decoder, &[&opened(), frames].concat(), 1 << 20).unwrap();
    match seen.last() {
        Some(Seen::Other(Event::Malformed { error, .. })) => Some(error.rule),
        Some(Seen::Request { result: Err(rule), .. }) => Some(*rule),
        _ => None,
    }
}

/// HEADERS with END_STREAM and END_HEADERS, all lines as literals.
fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    raw(Kind::HEADERS, 0x5, 1, &literals(lines))
}

fn literals(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in lines {
        for text in [name, value] {
            if text == name {
                out.push(0);
            }
            assert!(text.len() < 127);
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[GET, more].concat())
}

#[test]
fn a_request_comes_back_as_it_was_sent() {
    let (mut encoder, mut input) = (Encoder::new(), opened());
    let head = request();
    for stream in [1, 3, 5, 7] {
        encoder.request_head(stream, &head, None, stream == 5, FRAME_SIZE_MIN, &mut input);
    }
    input.extend_from_slice(&frame::data_header(5, 7, true));
    input.extend_from_slice(b"hello");
    for piece in [1, 2, 7, 1 << 20] {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let seen = events(&mut decoder, &input, piece).unwrap();
        assert_eq!(seen[0], Seen::Other(Event::Settings(SettingsChange::default())));
        for (at, stream) in [1, 3, 5, 7].into_iter().enumerate() {
            let result = Ok(head.clone());
            assert_eq!(seen[at + 1], Seen::Request { stream, end: stream == 5, result });
        }
        let data = b"hello".to_vec();
        assert_eq!(seen[5], Seen::Data { stream: 7, data, flow: 5, end: true });
        assert_eq!(seen.len(), 6);
        assert!(!decoder.is_inside());
    }
}

#[test]
fn without_huffman_code_names_and_values_are_as_they_are() {
    let mut head = request();
    head.headers.append("x-plain", b"as it is");
    for on in [true, false] {
        let mut encoder = Encoder::new();
        encoder.set_huffman(on);
        let mut out = Vec::new();
        encoder.request_head(1, &head, None, true, 16_384, &mut out);
        let plain = out.windows(8).any(|bytes| bytes == b"as it is");
        assert_eq!(plain, !on);
    }
}

#[test]
fn a_response_and_trailers_come_back() {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    frame::settings(std::iter::empty(), &mut out);
    let mut head = ResponseHead::new(418);
    head.version = crate::Version::Http2;
    head.headers.append("content-length", b"0");
    encoder.response_head(1, &head, false, FRAME_SIZE_MIN, &mut out);
    let mut trailers = crate::HeaderMap::new();
    trailers.append("grpc-status", b"0");
    trailers.append("connection", b"close");
    encoder.trailers(1, &trailers, FRAME_SIZE_MIN, &mut out);
    let mut decoder = Decoder::new(Role::Client, Limits::default());
    let mut block = HeaderBlock::new();
    let mut next = |out: &mut Vec<u8>| {
        let step = decoder.decode(out, &mut block).unwrap().unwrap();
        out.drain(..step.consumed);
        (step.event, std::mem::take(&mut block))
    };
    next(&mut out);
    let (event, mut block) = next(&mut out);
    assert!(matches!(event, Event::Headers { stream: 1, end: false, verdict: Ok(()), .. }));
    let mut got = ResponseHead::default();
    assert_eq!(block.content_length(), Some(0));
    assert_eq!(block.into_response(&mut got, false), Ok(()));
    assert_eq!(got, head);
    let (event, mut block) = next(&mut out);
    assert!(matches!(event, Event::Headers { end: true, verdict: Ok(()), .. }));
    let mut got = crate::HeaderMap::new();
    assert_eq!(block.into_trailers(&mut got), Ok(()));
    trailers.remove(KnownName::Connection);
    assert_eq!(got, trailers);
}

#[test]
fn a_large_head_is_split_and_joined() {
    let mut head = request();
    for i in 0..60 {
        head.headers.append(format!("x-{i}").as_str(), &[b'v'; 300]);
    }
    let mut input = opened();
    Encoder::new().request_head(1, &head, None, true, 1000, &mut input);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let seen = events(&mut decoder, &input, 100).unwrap();
    assert!(matches!(seen[1], Seen::Other(Event::Fragment { stream: 1, len: 1000 })));
    assert_eq!(seen.last(), Some(&Seen::Request { stream: 1, end: true, result: Ok(head) }));
}

#[test]
fn padding_takes_from_the_window() {
    let padded = raw(Kind::DATA, 0x9, 1, b"\x03hello\0\0\0");
    for piece in [1, 4, 100] {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let seen = events(&mut decoder, &[opened(), padded.clone()].concat(), piece).unwrap();
        let data = b"hello".to_vec();
        assert_eq!(seen[1], Seen::Data { stream: 1, data, flow: 9, end: true });
    }
}

#[test]
fn frames_that_end_the_connection() {
    use ErrorCode as E;
    let calls: &[(Vec<u8>, E)] = &[
        (raw(Kind::DATA, 0, 0, b"x"), E::PROTOCOL_ERROR),
        (raw(Kind::DATA, 8, 1, b"\x05hell"), E::PROTOCOL_ERROR),
        (raw(Kind::DATA, 8, 1, b""), E::FRAME_SIZE_ERROR),
        (raw(Kind::HEADERS, 5, 0, b"\x82"), E::PROTOCOL_ERROR),
        (raw(Kind::HEADERS, 0xd, 1, b"\x05\x82"), E::PROTOCOL_ERROR),
        (raw(Kind::HEADERS, 0x25, 1, b"\0\0\0\0"), E::FRAME_SIZE_ERROR),
        (raw(Kind::HEADERS, 5, 1, b"\xff"), E::COMPRESSION_ERROR),
        (raw(Kind::PRIORITY, 0, 0, b"\0\0\0\0\0"), E::PROTOCOL_ERROR),
        (raw(Kind::RST_STREAM, 0, 0, b"\0\0\0\0"), E::PROTOCOL_ERROR),
        (raw(Kind::RST_STREAM, 0, 1, b"\0\0\0"), E::FRAME_SIZE_ERROR),
        (raw(Kind::SETTINGS, 0, 1, b""), E::PROTOCOL_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\0\0"), E::FRAME_SIZE_ERROR),
        (raw(Kind::SETTINGS, 1, 0, b"\0\x01\0\0\0\0"), E::FRAME_SIZE_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x02"), E::PROTOCOL_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\x04\x80\0\0\0"), E::FLOW_CONTROL_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\x05\0\0\x3f\xff"), E::PROTOCOL_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\x05\x01\0\0\0"), E::PROTOCOL_ERROR),
        (raw(Kind::SETTINGS, 0, 0, b"\0\x08\0\0\0\x02"), E::PROTOCOL_ERROR),
        (raw(Kind::PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82"), E::PROTOCOL_ERROR),
        (raw(Kind::PING, 0, 1, b"12345678"), E::PROTOCOL_ERROR),
        (raw(Kind::PING, 0, 0, b"1234567"), E::FRAME_SIZE_ERROR),
        (raw(Kind::GOAWAY, 0, 1, b"12345678"), E::PROTOCOL_ERROR),
        (raw(Kind::GOAWAY, 0, 0, b"1234567"), E::FRAME_SIZE_ERROR),
        (raw(Kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), E::PROTOCOL_ERROR),
        (raw(Kind::WINDOW_UPDATE, 0, 1, b"\0\0\x01"), E::FRAME_SIZE_ERROR),
        (raw(Kind::CONTINUATION, 4, 1, b"\x82"), E::PROTOCOL_ERROR),
        (
            [raw(Kind::HEADERS, 1, 1, b"\x82"), raw(Kind::PING, 0, 0, b"12345678")].concat(),
            E::PROTOCOL_ERROR,
        ),
        (
            [raw(Kind::HEADERS, 1, 1, b"\x82"), raw(Kind::CONTINUATION, 4, 3, b"\x82")].concat(),
            E::PROTOCOL_ERROR,
        ),
        (raw(Kind::PING, 0, 0, &[0; 16_385]), E::FRAME_SIZE_ERROR),
    ];
    for (bytes, code) in calls {
        assert_eq!(connection_error(bytes), Some(*code), "{:?}", &bytes[..bytes.len().min(32)]);
    }
}

#[test]
fn the_connection_has_to_be_opened() {
    let error = |input: &[u8], role| {
        events(&mut Decoder::new(role, Limits::default()), input, 1 << 20).err().map(|e| e.code)
    };
    let ping = raw(Kind::PING, 0, 0, b"12345678");
    assert_eq!(error(b"GET / HTTP/1.1\r\n\r\n", Role::Server), Some(ErrorCode::PROTOCOL_ERROR));
    assert_eq!(error(b"PRJ", Role::Server), Some(ErrorCode::PROTOCOL_ERROR));
    assert_eq!(error(b"PRI", Role::Server), None);
    let early = [PREFACE.as_slice(), &ping].concat();
    assert_eq!(error(&early, Role::Server), Some(ErrorCode::PROTOCOL_ERROR));
    assert_eq!(error(&ping, Role::Client), Some(ErrorCode::PROTOCOL_ERROR));
    let push = raw(Kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x01");
    assert_eq!(error(&push, Role::Client), Some(ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn frames_that_end_a_stream() {
    let own = b"\0\0\0\x01\0";
    for (bytes, rule) in [
        (raw(Kind::PRIORITY, 0, 1, own), H2Rule::SelfDependency),
        (raw(Kind::PRIORITY, 0, 1, b"\0\0\0\0"), H2Rule::PrioritySize),
        (raw(Kind::WINDOW_UPDATE, 0, 1, b"\0\0\0\0"), H2Rule::ZeroIncrement),
        (
            raw(Kind::HEADERS, 0x25, 1, &[own.as_slice(), &literals(GET)].concat()),
            H2Rule::SelfDependency,
        ),
    ] {
        assert_eq!(stream_error(&bytes), Some(rule));
    }
    assert_eq!(stream_error(&raw(Kind(0x4d), 0xff, 77, b"whatever")), None);
}

#[test]
fn requests_that_are_malformed() {
    let long = "x".repeat(31);
    let cases: &[(Vec<u8>, H2Rule)] = &[
        (with(&[("X-Upper", "a")]), H2Rule::HeaderName),
        (with(&[("", "a")]), H2Rule::HeaderName),
        (with(&[("a b", "a")]), H2Rule::HeaderName),
        (with(&[("a", "b\r\nc: d")]), H2Rule::HeaderValue),
        (with(&[("a", "b\0")]), H2Rule::HeaderValue),
        (with(&[(":other", "a")]), H2Rule::UnknownPseudo),
        (with(&[(":status", "200")]), H2Rule::UnknownPseudo),
        (with(&[(":path", "/")]), H2Rule::RepeatedPseudo),
        (headers(&[("a", "b"), (":method", "GET")]), H2Rule::LatePseudo),
        (headers(&GET[1..]), H2Rule::MissingPseudo),
        (headers(&GET[..3]), H2Rule::MissingPseudo),
        (headers(&[GET[0], GET[1], GET[3]]), H2Rule::MissingPseudo),
        (headers(&[GET[0], GET[2], GET[3]]), H2Rule::MissingPseudo),
        (headers(&[(":method", "G T"), GET[1], GET[2], GET[3]]), H2Rule::Method),
        (headers(&[(":method", &long), GET[1], GET[2], GET[3]]), H2Rule::Method),
        (headers(&[GET[0], (":scheme", "a:/"), GET[2], GET[3]]), H2Rule::Scheme),
        (headers(&[GET[0], GET[1], (":path", ""), GET[3]]), H2Rule::Path),
        (headers(&[GET[0], GET[1], (":path", "a"), GET[3]]), H2Rule::Path),
        (headers(&[GET[0], GET[1], (":path", "*"), GET[3]]), H2Rule::Path),
        (headers(&[GET[0], GET[1], (":path", "/ "), GET[3]]), H2Rule::Path),
        (headers(&[GET[0], GET[1], (":path", "/#"), GET[3]]), H2Rule::Fragment),
        (headers(&[GET[0], GET[1], GET[2], (":authority", "a/b")]), H2Rule::Authority),
        (headers(&[GET[0], GET[1], GET[2], (":authority", "")]), H2Rule::Authority),
        (with(&[("host", "a b")]), H2Rule::Authority),
        (with(&[("connection", "close")]), H2Rule::ConnectionField),
        (with(&[("transfer-encoding", "chunked")]), H2Rule::ConnectionField),
        (with(&[("upgrade", "h2c")]), H2Rule::ConnectionField),
        (with(&[("te", "trailers, gzip")]), H2Rule::Te),
        (with(&[("content-length", "+5")]), H2Rule::ContentLength),
        (with(&[("content-length", "05")]), H2Rule::ContentLength),
        (with(&[("content-length", "5"), ("content-length", "5")]), H2Rule::ContentLength),
        (headers(&[(":method", "CONNECT"), GET[1], GET[2], GET[3]]), H2Rule::Connect),
        (with(&[]).replace_method(), H2Rule::Protocol),
    ];
    for (bytes, rule) in cases {
        assert_eq!(stream_error(bytes), Some(*rule), "{}", bytes.escape_ascii());
    }
    for fine in [
        with(&[("te", "trailers"), ("content-length", "0"), ("host", "other")]),
        headers(&[GET[0], GET[1], GET[2], ("host", "h")]),
        headers(&[(":method", "CONNECT"), GET[3]]),
        headers(&[(":method", "OPTIONS"), GET[1], (":path", "*"), GET[3]]),
    ] {
        assert_eq!(stream_error(&fine), None, "{}", fine.escape_ascii());
    }
}

trait ReplaceMethod {
    fn replace_method(self) -> Vec<u8>;
}

impl ReplaceMethod for Vec<u8> {
    /// An extended CONNECT, which was not allowed.
    fn replace_method(self) -> Vec<u8> {
        let connect = (":method", "CONNECT");
        headers(&[connect, GET[1], GET[2], GET[3], (":protocol", "websocket")])
    }
}

#[test]
fn limits_on_a_block() {
    let pairs: Vec<(String, String)> = (0..97).map(|i| (format!("x{i}"), "1".into())).collect();
    let more = |n: usize| -> Vec<(&str, &str)> {
        pairs.iter().take(n).map(|(n, v)| (n.as_str(), v.as_str())).collect()
    };
    assert_eq!(stream_error(&with(&more(96))), None);
    assert_eq!(stream_error(&with(&more(97))), Some(H2Rule::TooManyHeaders));
    let crumbs = [("cookie", "a=b"); 300];
    assert_eq!(stream_error(&with(&crumbs)), None, "crumbs are one header");
    // A line of 4,000 bytes in the table, named again and again.
    let mut block = literals(GET);
    block.extend_from_slice(b"\x40\x01a\x7f\xa1\x1e");
    block.extend_from_slice(&[b'v'; 4000]);
    assert_eq!(stream_error(&raw(Kind::HEADERS, 5, 1, &block)), None);
    block.extend_from_slice(&[0xbe; 10_000]);
    assert_eq!(stream_error(&raw(Kind::HEADERS, 5, 1, &block)), Some(H2Rule::HeadersTooLarge));
    let mut many = raw(Kind::HEADERS, 1, 1, b"");
    for _ in 0..33 {
        many.extend_from_slice(&raw(Kind::CONTINUATION, 0, 1, b""));
    }
    assert_eq!(connection_error(&many), Some(ErrorCode::ENHANCE_YOUR_CALM));
    let mut long = raw(Kind::HEADERS, 1, 1, &[0x82; 16_384]);
    for _ in 0..9 {
        long.extend_from_slice(&raw(Kind::CONTINUATION, 0, 1, &[0x82; 16_384]));
    }
    assert_eq!(connection_error(&long), Some(ErrorCode::ENHANCE_YOUR_CALM));
}

#[test]
fn cookies_and_repeated_headers_are_joined() {
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let frames = with(&[
        ("cookie", "a=1"),
        ("x-request-id", "1"),
        ("cookie", "b=2"),
        ("x-own", "1"),
        ("x-own", "2"),
        ("x-request-id", "2"),
    ]);
    let seen = events(&mut decoder, &[opened(), frames].concat(), 1 << 20).unwrap();
    let Some(Seen::Request { result: Ok(head), .. }) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(head.headers.get("cookie"), Some(b"a=1; b=2".as_slice()));
    assert_eq!(head.headers.count("cookie"), 1);
    assert_eq!(head.headers.get("x-request-id"), Some(b"1,2".as_slice()));
    assert_eq!(head.headers.count("x-own"), 2);
}

#[test]
fn underscores_as_told() {
    for (action, kept, dropped) in [
        (UnderscoreAction::Allow, Ok(1), 0),
        (UnderscoreAction::DropHeader, Ok(0), 1),
        (UnderscoreAction::RejectRequest, Err(H2Rule::Underscore), 0),
    ] {
        let limits = Limits { underscores: action, ..Limits::default() };
        let mut decoder = Decoder::new(Role::Server, limits);
        let (mut block, mut head) = (HeaderBlock::new(), RequestHead::default());
        let (opening, frames) = (opened(), with(&[("x_y", "1")]));
        for input in [&opening[..24], &opening[24..], &frames] {
            decoder.decode(input, &mut block).unwrap();
        }
        assert_eq!(block.dropped_underscores(), dropped);
        let result = block.into_request(&mut head).map(|()| head.headers.count("x_y"));
        assert_eq!(result.map_err(|e| e.rule), kept);
    }
}

#[test]
fn settings_are_written_and_read() {
    let ours = Settings {
        header_table_size: 0,
        enable_push: false,
        max_concurrent_streams: Some(100),
        initial_window_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_header_list_size: Some(61_440),
        enable_connect_protocol: true,
    };
    let mut out = Vec::new();
    frame::settings(ours.entries(), &mut out);
    let change = SettingsChange::parse(&out[9..], Role::Server).unwrap();
    assert_eq!(change.count, 7);
    let mut theirs = Settings::default();
    theirs.apply(&change);
    assert_eq!(theirs, ours);
    assert_eq!(Settings::default().entries().count(), 0);
    let twice = b"\0\x01\0\0\0\x10\0\x01\0\0\0\x20";
    let change = SettingsChange::parse(twice, Role::Server).unwrap();
    assert_eq!((change.header_table_size_min, change.header_table_size), (Some(16), Some(32)));
}

fn line() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        ("[a-z][a-z0-9-]{0,12}", "[ -~]{0,30}"),
        proptest::sample::select(vec![
            ("user-agent", "test"),
            ("content-type", "application/json"),
            ("authorization", "Bearer x"),
            ("x-request-id", "1"),
            ("grpc-timeout", "1S"),
        ])
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
    ]
    .prop_filter("a header of its own", |(name, _)| {
        // Names with rules of their own, or that are joined when they come twice.
        let known = KnownName::lookup(name.as_bytes());
        known.is_none() || !matches!(name.as_str(), "te" | "host" | "upgrade")
    })
}

proptest! {
    #[test]
    fn any_heads_in_any_pieces(
        heads in proptest::collection::vec(
            ("/[!-\"$-~]{0,40}", proptest::collection::vec(line(), 0..12)), 1..8),
        body in proptest::collection::vec(any::<u8>(), 0..50),
        max_frame in 20u32..400,
        piece in 1usize..60,
    ) {
        let (mut encoder, mut input, mut expected) = (Encoder::new(), opened(), Vec::new());
        for (i, (path, lines)) in heads.iter().enumerate() {
            let mut head = request();
            head.headers.clear();
            head.path = path.clone().into_bytes();
            for (name, value) in lines {
                // Once each, so that nothing is joined.
                if !head.headers.contains(name.as_str()) {
                    head.headers.append(name.as_str(), value.as_bytes());
                }
            }
            let stream = i as u32 * 2 + 1;
            encoder.request_head(stream, &head, None, false, max_frame, &mut input);
            input.extend_from_slice(&frame::data_header(body.len() as u32, stream, true));
            input.extend_from_slice(&body);
            expected.push(Seen::Request { stream, end: false, result: Ok(head) });
            let (data, flow) = (body.clone(), body.len() as u32);
            expected.push(Seen::Data { stream, data, flow, end: true });
        }
        let limits = Limits { continuations_max: 1000, ..Limits::default() };
        let mut seen = events(&mut Decoder::new(Role::Server, limits), &input, piece).unwrap();
        seen.retain(|seen| !matches!(seen, Seen::Other(_)));
        prop_assert_eq!(seen, expected);
    }
}
