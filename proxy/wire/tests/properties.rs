//! What must hold for every input.

use proptest::collection::vec;
use proptest::prelude::*;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, ChunkHeader, Framing, H1Error, HeadLimits, HeaderKeyFormat, LAST_CHUNK,
    ParseOptions, ParsedHead, encode_request_head, encode_response_head, encode_trailers,
    parse_request, parse_response,
};
use ringway_wire::{HeaderMap, Method, RequestHead, ResponseHead, Version};

fn parse(input: &[u8]) -> (Result<Option<ParsedHead>, H1Error>, RequestHead) {
    parse_with(input, &ParseOptions::default())
}

fn parse_with(
    input: &[u8],
    options: &ParseOptions,
) -> (Result<Option<ParsedHead>, H1Error>, RequestHead) {
    let mut head = RequestHead::default();
    (parse_request(input, &HeadLimits::default(), options, &mut head), head)
}

/// Bytes that are likely to mean something to a parser.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b": ".to_vec()),
        Just(b" ".to_vec()),
        Just(b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: x, close\r\n".to_vec()),
        Just(b"X: y\r\n".to_vec()),
        Just(b"\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(word, 0..12).prop_map(|words| words.concat())
}

fn header() -> impl Strategy<Value = (String, String)> {
    ("x-[a-z0-9!#$%&'*+.^_`|~-]{1,20}", "([!-~]([ -~\t]{0,30}[!-~])?)?")
}

fn request() -> impl Strategy<Value = RequestHead> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("PROPFIND")];
    let path = "/[!-\"$-~]{0,60}";
    (method, path, "[a-z0-9.-]{1,30}(:[0-9]{1,5})?", vec(header(), 0..20)).prop_map(
        |(method, path, authority, headers)| {
            let mut head = RequestHead {
                method: Method::from_bytes(method.as_bytes()).expect("a method"),
                path: path.into_bytes(),
                authority: authority.into_bytes(),
                ..RequestHead::default()
            };
            for (name, value) in headers {
                assert!(head.headers.append(name.as_str(), value.as_bytes()));
            }
            head
        },
    )
}

/// Decodes the body in pieces cut at `cuts`: data, bytes used, whether it ended; or the rule.
fn decode(kind: BodyKind, input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), String> {
    let options = ParseOptions { enable_trailers: true, ..ParseOptions::default() };
    let mut decoder = BodyDecoder::request(kind, &HeadLimits::default(), &options);
    let (mut body, mut used) = (Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        while used < end && !decoder.is_done() {
            let out = decoder.decode(&input[used..end]).map_err(|e| format!("{:?}", e.rule))?;
            assert!(out.consumed > 0, "no progress");
            assert!(out.data.end <= out.consumed);
            body.extend_from_slice(&input[used..end][out.data]);
            used += out.consumed;
        }
    }
    let trailers = decoder.take_trailers();
    body.extend_from_slice(format!("{trailers:?}").split("arena").next().unwrap_or("").as_bytes());
    Ok((body, used, decoder.is_done()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A head that comes in pieces ends as the whole would have.
    #[test]
    fn cutting_a_head_changes_nothing(input in soup()) {
        let (whole, head) = parse(&input);
        let mut settled = None;
        for end in 0..=input.len() {
            match parse(&input[..end]).0 {
                Ok(None) => prop_assert!(settled.is_none(), "went back to incomplete at {end}"),
                outcome => {
                    let rule = outcome.map_err(|e| e.rule);
                    let first = *settled.get_or_insert(rule);
                    prop_assert_eq!(first, rule, "at {}", end);
                }
            }
        }
        match whole {
            Ok(None) => prop_assert!(settled.is_none()),
            outcome => prop_assert_eq!(settled, Some(outcome.map_err(|e| e.rule))),
        }
        if let Ok(Some(parsed)) = whole {
            let (again, same) = parse(&input[..parsed.head_len]);
            prop_assert_eq!(again, Ok(Some(parsed)));
            prop_assert_eq!(same, head);
        }
    }

    /// The same of responses.
    #[test]
    fn cutting_a_response_changes_nothing(input in soup()) {
        let options = ParseOptions::default();
        let run = |bytes: &[u8]| {
            let mut head = ResponseHead::default();
            let limits = HeadLimits::RESPONSE;
            parse_response(bytes, &limits, &options, &Method::Get, &mut head).map_err(|e| e.rule)
        };
        let whole = run(&input);
        let settled = (0..=input.len()).map(|end| run(&input[..end])).find(|o| *o != Ok(None));
        prop_assert_eq!(settled.unwrap_or(Ok(None)), whole);
    }

    /// What is accepted means the same to another parser.
    #[test]
    fn accepted_heads_are_read_alike_by_httparse(input in soup()) {
        if let (Ok(Some(parsed)), head) = parse(&input) {
            let mut slots = [httparse::EMPTY_HEADER; 110];
            let mut other = httparse::Request::new(&mut slots);
            let status = other.parse(&input);
            prop_assert_eq!(status, Ok(httparse::Status::Complete(parsed.head_len)));
            let names = other.headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("host"));
            let connection = names.clone().any(|h| h.name.eq_ignore_ascii_case("connection"));
            prop_assert_eq!(other.path.map(str::as_bytes), Some(head.path.as_slice()));
            // `Connection` may remove and join lines.
            if !connection {
                prop_assert_eq!(names.count(), head.headers.len());
            }
        }
    }

    /// Random bytes are refused or not, but never panic; nor do random settings.
    #[test]
    fn nothing_panics(input in vec(any::<u8>(), 0..300), lax in any::<bool>()) {
        let options = ParseOptions {
            accept_http_10: lax,
            allow_chunked_length: lax,
            allow_custom_methods: lax,
            header_key_format: if lax {
                HeaderKeyFormat::PreserveCase
            } else {
                HeaderKeyFormat::LowerCase
            },
            ..ParseOptions::default()
        };
        let _ = parse_with(&input, &options);
        let mut line = b"GET / HTTP/1.0\r\n".to_vec();
        line.extend_from_slice(&input);
        let _ = parse_with(&line, &options);
        for kind in [BodyKind::Chunked, BodyKind::Length(7), BodyKind::UntilClose] {
            let _ = decode(kind, &input, &[]);
        }
    }

    /// Writing a head and reading it gives the head back, in any spelling.
    #[test]
    fn requests_survive_a_round_trip(head in request(), framed in any::<bool>()) {
        for format in [
            HeaderKeyFormat::LowerCase,
            HeaderKeyFormat::ProperCase,
            HeaderKeyFormat::PreserveCase,
        ] {
            let framing = if framed { Framing::Chunked } else { Framing::AsIs };
            let mut out = Vec::new();
            encode_request_head(&head, framing, format, &mut out);
            let (parsed, mut back) = parse(&out);
            let parsed = parsed.expect("accepted").expect("complete");
            prop_assert_eq!(parsed.head_len, out.len());
            let kind = if framed { BodyKind::Chunked } else { BodyKind::None };
            prop_assert_eq!(parsed.body, kind);
            back.headers.remove("transfer-encoding");
            prop_assert_eq!(&back, &head);
        }
    }

    /// Spelling kept on parsing is written back byte for byte.
    #[test]
    fn preserved_spelling_is_the_identity(names in vec("X-[A-Za-z]{1,12}", 0..10)) {
        // Lines of one name share a spelling.
        let mut names: Vec<String> = names;
        names.sort_by_key(|name| name.to_ascii_lowercase());
        names.dedup_by_key(|name| name.to_ascii_lowercase());
        let mut text = String::from("GET / HTTP/1.1\r\nHoSt: h\r\n");
        for name in &names {
            text.push_str(&format!("{name}: v\r\n"));
        }
        text.push_str("\r\n");
        let format = HeaderKeyFormat::PreserveCase;
        let options = ParseOptions { header_key_format: format, ..ParseOptions::default() };
        let (_, head) = parse_with(text.as_bytes(), &options);
        let mut out = Vec::new();
        encode_request_head(&head, Framing::AsIs, format, &mut out);
        prop_assert_eq!(String::from_utf8_lossy(&out), text);
    }

    /// Responses too.
    #[test]
    fn responses_survive_a_round_trip(
        status in 200u16..600,
        headers in vec(header(), 0..20),
        http10 in any::<bool>(),
    ) {
        let mut head = ResponseHead::new(status);
        head.version = if http10 { Version::Http10 } else { Version::Http11 };
        for (name, value) in headers {
            head.headers.append(name.as_str(), value.as_bytes());
        }
        let mut out = Vec::new();
        let format = HeaderKeyFormat::LowerCase;
        encode_response_head(&head, head.version, Framing::AsIs, format, false, &mut out);
        let mut back = ResponseHead::default();
        let options = ParseOptions::default();
        let limits = HeadLimits::RESPONSE;
        let parsed = parse_response(&out, &limits, &options, &Method::Get, &mut back);
        prop_assert_eq!(parsed.expect("accepted").expect("complete").head_len, out.len());
        back.reason.clear();
        prop_assert_eq!(back, head);
    }

    /// Chunks written are the data read, however they arrive; what follows is left alone.
    #[test]
    fn chunks_survive_a_round_trip(
        pieces in vec(vec(any::<u8>(), 1..50), 0..8),
        trailers in vec(header(), 0..4),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let mut wire = Vec::new();
        for piece in &pieces {
            wire.extend_from_slice(ChunkHeader::new(piece.len() as u64).as_bytes());
            wire.extend_from_slice(piece);
            wire.extend_from_slice(ChunkHeader::END);
        }
        if trailers.is_empty() {
            wire.extend_from_slice(LAST_CHUNK);
        } else {
            let mut map = HeaderMap::new();
            for (name, value) in &trailers {
                map.append(name.as_str(), value.as_bytes());
            }
            encode_trailers(&map, HeaderKeyFormat::LowerCase, &mut wire);
        }
        let len = wire.len();
        wire.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let (body, used, done) = decode(BodyKind::Chunked, &wire, &cuts).expect("valid");
        prop_assert!(done && used == len);
        prop_assert!(body.starts_with(&pieces.concat()));
    }

    /// A body that comes in pieces is the same body, or refused by the same rule.
    #[test]
    fn cutting_a_body_changes_nothing(
        junk in "[0-9a-f]{0,3}[;\r\n x]{0,4}[a-z\r\n0;:]{0,20}",
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let whole = decode(BodyKind::Chunked, junk.as_bytes(), &[]);
        prop_assert_eq!(decode(BodyKind::Chunked, junk.as_bytes(), &cuts), whole);
    }

    /// The map behaves like a list of pairs.
    #[test]
    fn the_map_is_a_list_of_pairs(ops in vec((0..5u8, 0..6usize, "[a-z]{0,4}"), 0..40)) {
        let names = ["via", "x-a", "x-b", "te", "x-envoy-internal", "cookie"];
        let mut map = HeaderMap::new();
        let mut list: Vec<(&str, String)> = Vec::new();
        for (op, name, value) in ops {
            let name = names[name];
            let at = list.iter().position(|(n, _)| *n == name);
            match (op, at) {
                (0, _) => {
                    map.append(name, value.as_bytes());
                    list.push((name, value));
                }
                (1, None) => {
                    map.set(name, value.as_bytes());
                    list.push((name, value));
                }
                (1, Some(at)) => {
                    map.set(name, value.as_bytes());
                    let mut index = 0;
                    list.retain(|(n, _)| (*n != name || index == at, index += 1).0);
                    list[at].1 = value;
                }
                (2, _) => {
                    map.remove(name);
                    list.retain(|(n, _)| *n != name);
                }
                (3, Some(at)) => {
                    map.append_joined(name, value.as_bytes());
                    let old = &mut list[at].1;
                    *old = if old.is_empty() { value } else { format!("{old}, {value}") };
                }
                (3, None) => {
                    map.append_joined(name, value.as_bytes());
                    list.push((name, value));
                }
                _ => {
                    map.retain(|n, _| n.as_bytes() != name.as_bytes());
                    list.retain(|(n, _)| *n != name);
                }
            }
            let pairs: Vec<_> = list.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), pairs);
            let size: usize = list.iter().map(|(n, v)| n.len() + v.len()).sum();
            prop_assert_eq!(map.byte_size(), size);
            for name in names {
                let first = list.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_bytes());
                prop_assert_eq!(map.get(name), first);
                prop_assert_eq!(map.contains(name), first.is_some());
            }
        }
        let mut out = Vec::new();
        encode_trailers(&map, HeaderKeyFormat::LowerCase, &mut out);
        let want: String = list.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        prop_assert_eq!(String::from_utf8_lossy(&out), format!("0\r\n{want}\r\n"));
    }
}
