use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn whole(input: &[u8]) -> Header<'_> {
    match parse(input) {
        Ok(Parsed::Header(header)) => header,
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

fn inet(source: &str, destination: &str) -> Addresses<'static> {
    Addresses::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut out = V2_START.to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

const V4_BODY: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0x04, 0x57, 0x08, 0xae];

#[test]
fn version_1_lines() {
    for (line, addresses) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1111 0\r\n", inet("192.0.2.1:1111", "192.0.2.2:0")),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", inet("[2001:db8::1]:1", "[::1]:65535")),
        ("PROXY UNKNOWN\r\n", Addresses::Local),
        ("PROXY UNKNOWN ffff::1 whatever\r\n", Addresses::Local),
    ] {
        let input = format!("{line}GET");
        let header = whole(input.as_bytes());
        assert_eq!((header.version, header.len), (Version::V1, line.len()));
        assert_eq!(header.addresses, addresses, "{line}");
        assert_eq!(header.tlvs().count(), 0);
    }
}

#[test]
fn version_1_lines_that_are_malformed() {
    for (line, error) in [
        ("PROXY \r\n", ProxyError::Line),
        ("PROXY TCP4\r\n", ProxyError::Line),
        ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Line),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", ProxyError::Line),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", ProxyError::Line),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", ProxyError::Line),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", ProxyError::Line),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rG", ProxyError::Line),
        ("PROXY TCP4  192.0.2.1 192.0.2.2 1\r\n", ProxyError::Address),
        ("PROXY TCP4 ::1 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP6 fe80::1%lo fe80::2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 224.0.0.1 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.1 255.255.255.255 1 2\r\n", ProxyError::Address),
        ("PROXY TCP6 :: ::1 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", ProxyError::Port),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(error), "{line:?}");
    }
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
    assert_eq!(parse(&long), Err(ProxyError::LineTooLong));
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Ok(Parsed::Absent));
    assert_eq!(parse(b"PROXY\r\n"), Ok(Parsed::Absent));
    assert_eq!(parse(b"proxy TCP4"), Ok(Parsed::Absent));
    assert_eq!(parse(b"\r\nGET"), Ok(Parsed::Absent));
}

#[test]
fn version_2_headers() {
    let tlvs = [V4_BODY, &[tlv::ALPN, 0, 2, b'h', b'2', 0xe0, 0, 0]].concat();
    for family in [0x11, 0x12] {
        let input = [v2(0x21, family, &tlvs), b"rest".to_vec()].concat();
        let header = whole(&input);
        assert_eq!((header.version, header.len), (Version::V2, 36));
        assert_eq!(header.addresses, inet("192.0.2.1:1111", "192.0.2.2:2222"));
        let all: Vec<_> = header.tlvs().collect();
        assert_eq!(all, [(tlv::ALPN, b"h2".as_slice()), (0xe0, b"")]);
    }
    let local = v2(0x20, 0xff, b"anything");
    assert_eq!(whole(&local).addresses, Addresses::Local);
    let unspecified = v2(0x21, 0x00, b"abcd");
    assert_eq!(whole(&unspecified).addresses, Addresses::Unspecified);
    let mut paths = [0; 216];
    paths[..4].copy_from_slice(b"/tmp");
    let unix = v2(0x21, 0x31, &paths);
    let expected = Addresses::Unix { source: b"/tmp", destination: b"" };
    assert_eq!(whole(&unix).addresses, expected);
}

#[test]
fn version_2_headers_that_are_malformed() {
    let more = |tail: &[u8]| v2(0x21, 0x11, &[V4_BODY, tail].concat());
    for (input, error) in [
        (v2(0x11, 0x11, V4_BODY), ProxyError::Command),
        (v2(0x22, 0x11, V4_BODY), ProxyError::Command),
        (v2(0x21, 0x41, V4_BODY), ProxyError::Family),
        (v2(0x21, 0x13, V4_BODY), ProxyError::Family),
        (v2(0x21, 0x10, V4_BODY), ProxyError::Family),
        (v2(0x21, 0x11, &V4_BODY[..11]), ProxyError::Short),
        (v2(0x21, 0x21, V4_BODY), ProxyError::Short),
        (v2(0x21, 0x11, &[0; 12]), ProxyError::Address),
        (more(&[1]), ProxyError::Tlv),
        (more(&[1, 0]), ProxyError::Tlv),
        (more(&[1, 0, 5, 1]), ProxyError::Tlv),
        (more(&[tlv::CRC32C, 0, 4, 0, 0, 0, 0]), ProxyError::Checksum),
        (more(&[tlv::CRC32C, 0, 3, 0, 0, 0]), ProxyError::Checksum),
    ] {
        assert_eq!(parse(&input), Err(error), "{}", input.escape_ascii());
    }
}

#[test]
fn the_checksum_is_that_of_the_rfc() {
    // RFC 3720 appendix B.4.
    assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
    assert_eq!(!crc32c(!0, &[0xff; 32]), 0x62a8_ab43);
    assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
}

#[test]
fn too_many_tlvs_are_not_written() {
    let mut out = b"before".to_vec();
    let large = vec![0; 40_000];
    let twice = [(0xe0, large.as_slice()), (0xe1, large.as_slice())];
    assert_eq!(encode_v2(&Addresses::Local, twice.into_iter(), &mut out), Err(TooLong));
    assert_eq!(out, b"before");
    let mixed = inet("192.0.2.1:1", "[::1]:2");
    encode_v1(&mixed, &mut out);
    assert_eq!(out, b"beforePROXY UNKNOWN\r\n");
    out.clear();
    encode_v2(&mixed, std::iter::empty(), &mut out).unwrap();
    assert_eq!(whole(&out).addresses, inet("[::ffff:192.0.2.1]:1", "[::1]:2"));
}

/// Where this parser refuses what Envoy takes, and why.
const STRICTER: &[&str] = &[
    "012-v1-port-lead0", // Leading zeros are not allowed.
    "024-v1-trail-space",
    "030-v1-v6-zone", // A zone means nothing elsewhere.
    "032-v1-nul",     // Two readers may see two addresses.
    "076-v2-tlv-crc-bad",
];

/// Where it takes what Envoy refuses, as the specification asks for: the addresses are no IP.
const LAXER: &[&str] = &["048-v2-unix", "049-v2-unixd", "051-v2-unspec-pl"];

#[test]
fn the_corpus_as_envoy_or_stricter() {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join("pp-corpus");
    let Ok(results) = std::fs::read_to_string(folder.join("envoy-results.tsv")) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    for row in results.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let name = columns[0].trim_end_matches(".bin");
        let input = std::fs::read(folder.join(columns[0])).unwrap();
        let seen = match parse(&input) {
            Err(_) | Ok(Parsed::Absent) => "refused".to_owned(),
            Ok(Parsed::NeedMore(_)) => "open".to_owned(),
            Ok(Parsed::Header(header)) => match header.addresses {
                Addresses::Inet { source, .. } => source.ip().to_string(),
                Addresses::Local => "<LOCALIP>".to_owned(),
                other => format!("{other:?}"),
            },
        };
        let loops = name == "033-v1-loop";
        match (columns[1], columns[2]) {
            _ if LAXER.contains(&name) => assert!(seen.starts_with("Un"), "{name}: {seen}"),
            _ if STRICTER.contains(&name) => assert_eq!(seen, "refused", "{name}"),
            ("200", _) if loops => assert_eq!(seen, "127.0.0.1", "{name}"),
            ("200", _) => assert_eq!(seen, columns[3], "{name}"),
            // A second header is taken for the request, which it is not.
            ("400", _) => assert_eq!(seen, "192.0.2.1", "{name}"),
            (_, "open") => assert_eq!(seen, "open", "{name}"),
            _ => assert_eq!(seen, "refused", "{name}"),
        }
    }
}

fn addresses() -> impl Strategy<Value = Addresses<'static>> {
    let v4 = (1u8..200, any::<[u8; 3]>(), any::<u16>())
        .prop_map(|(a, [b, c, d], port)| SocketAddr::from(([a, b, c, d], port)));
    let v6 = (1u16..0xff00, any::<[u16; 7]>(), any::<u16>()).prop_map(|(a, rest, port)| {
        let mut parts = [a; 8];
        parts[1..].copy_from_slice(&rest);
        SocketAddr::from((parts, port))
    });
    prop_oneof![
        (v4.clone(), v4).prop_map(|(source, destination)| Addresses::Inet { source, destination }),
        (v6.clone(), v6).prop_map(|(source, destination)| Addresses::Inet { source, destination }),
        Just(Addresses::Unix { source: b"/run/a", destination: b"\0abstract" }),
        Just(Addresses::Local),
        Just(Addresses::Unspecified),
    ]
}

proptest! {
    #[test]
    fn written_and_read_in_pieces(
        addresses in addresses(),
        tlvs in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
        v1 in any::<bool>(),
    ) {
        let v1 = v1 && matches!(addresses, Addresses::Inet { .. } | Addresses::Local);
        let mut out = Vec::new();
        if v1 {
            encode_v1(&addresses, &mut out);
            prop_assert!(out.len() <= V1_BYTES_MAX);
        } else {
            let tlvs = tlvs.iter().filter(|(kind, _)| *kind != tlv::CRC32C);
            let all = tlvs.map(|(kind, value)| (*kind, value.as_slice())).chain([(3, &[][..])]);
            encode_v2(&addresses, all, &mut out).unwrap();
        }
        let len = out.len();
        out.extend_from_slice(b"GET");
        let mut here = 0;
        loop {
            match parse(&out[..here]) {
                Ok(Parsed::NeedMore(needed)) => {
                    prop_assert!(needed > here && needed <= len, "{needed} of {len} at {here}");
                    here = needed;
                }
                Ok(Parsed::Header(header)) => {
                    prop_assert_eq!(header.len, len);
                    prop_assert_eq!(header.addresses, addresses);
                    let ip_or_unix =
                        matches!(addresses, Addresses::Inet { .. } | Addresses::Unix { .. });
                    if !v1 && ip_or_unix {
                        let read: Vec<_> = header.tlvs().filter(|(kind, _)| *kind != 3).collect();
                        let sent = tlvs.iter().filter(|(kind, _)| *kind != 3);
                        let sent: Vec<_> = sent.map(|(k, v)| (*k, v.as_slice())).collect();
                        prop_assert_eq!(read, sent);
                    }
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        tail in proptest::collection::vec(any::<u8>(), 0..60),
        start in 0usize..3,
    ) {
        let start = [V1_START, V2_START.as_slice(), b""][start];
        let _ = parse(&[start, &tail].concat());
    }
}
