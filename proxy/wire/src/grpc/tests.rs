use proptest::prelude::*;

use super::*;

#[test]
fn statuses_have_names_and_numbers() {
    for code in 0..17 {
        let status = Status(code);
        assert_eq!(Status::named(status.snake().unwrap()), Some(status));
        assert_eq!(Status::parse(status.digits().as_bytes()), Some(status));
    }
    assert_eq!(Status::UNAUTHENTICATED.camel(), Some("Unauthenticated"));
    assert_eq!(Status(17).snake(), None);
    assert_eq!(Status::parse(b"-1"), None);
    assert_eq!(Status::parse(b""), None);
    for (http, grpc) in [(200, 2), (400, 13), (404, 12), (429, 14), (503, 14), (500, 2)] {
        assert_eq!(Status::of_http(http), Status(grpc), "{http}");
    }
    assert_eq!(Status::NOT_FOUND.to_http(), 404);
}

#[test]
fn content_types() {
    for (kind, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/grpc;charset=utf-8", false),
        ("application/json", false),
    ] {
        assert_eq!(is_grpc(kind.as_bytes()), grpc, "{kind}");
    }
}

#[test]
fn timeouts() {
    for (text, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("3S", Some(Duration::from_secs(3))),
        ("99999999m", Some(Duration::from_millis(99_999_999))),
        ("5u", Some(Duration::from_micros(5))),
        ("6n", Some(Duration::from_nanos(6))),
        ("0m", Some(Duration::ZERO)),
        ("123456789m", None),
        ("m", None),
        ("1", None),
        ("1h", None),
        ("-1S", None),
        ("", None),
    ] {
        assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
    }
    let format = |timeout| {
        let mut out = Vec::new();
        format_timeout(timeout, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(format(Duration::ZERO), "0m");
    assert_eq!(format(Duration::from_millis(99_999_999)), "99999999m");
    assert_eq!(format(Duration::from_secs(100_000)), "100000S");
    assert_eq!(format(Duration::from_secs(100_000_000)), "1666666M");
    assert_eq!(format(Duration::MAX), "99999999H");
}

#[test]
fn messages_of_statuses() {
    let mut out = Vec::new();
    decode_message(b"a%20b%C3%a9%zz%2", &mut out);
    assert_eq!(out, "a bé%zz%2".as_bytes());
}

proptest! {
    #[test]
    fn text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        encode_message(&text, &mut coded);
        prop_assert!(coded.iter().all(|b| (0x20..0x7f).contains(b)));
        decode_message(&coded, &mut back);
        prop_assert_eq!(back, text);
    }

    #[test]
    fn messages_come_back_from_any_pieces(
        messages in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..30)), 0..8),
        piece in 1usize..20,
    ) {
        let mut body = Vec::new();
        for (flags, message) in &messages {
            prop_assert!(encode_frame(*flags, message, &mut body));
        }
        let (mut deframer, mut counter) = (Deframer::new(), Deframer::new());
        let mut read: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut count = 0;
        for mut input in body.chunks(piece) {
            count += counter.count(input);
            while !input.is_empty() {
                let (consumed, found) = deframer.next(input);
                match found {
                    Some(Piece::Start(prefix)) => read.push((prefix.flags, Vec::new())),
                    Some(Piece::Data { range, .. }) => {
                        read.last_mut().unwrap().1.extend_from_slice(&input[range]);
                    }
                    None => {}
                }
                input = &input[consumed..];
            }
        }
        prop_assert!(!deframer.is_inside());
        prop_assert_eq!(count, messages.len() as u64);
        prop_assert_eq!(read, messages);
    }
}

#[test]
fn paths_name_service_and_method() {
    assert_eq!(service_and_method(b"/a.B/C"), Some(("a.B", "C")));
    assert_eq!(service_and_method(b"/a.B/C?x=/"), Some(("a.B", "C")));
    for path in ["/", "/a", "/a/", "//b", "a/b", "/a/b/c"] {
        assert_eq!(service_and_method(path.as_bytes()), None, "{path}");
    }
}
