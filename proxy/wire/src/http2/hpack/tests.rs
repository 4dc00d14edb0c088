mod peer;

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::statics::{self, STATIC_LEN};
use super::{Decoder, Encoder, Field, Target, huffman, integer};
use crate::headers::LineRef;
use crate::names::KnownName;

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Takes everything, valid or not.
#[derive(Default)]
struct Collector {
    scratch: Vec<u8>,
    lines: Lines,
    sensitive: Vec<bool>,
}

impl Target for Collector {
    fn add_line(&mut self, line: &[u8], field: Field) {
        let name = line[..field.name_len as usize].to_vec();
        assert_eq!(line.len(), field.line_len());
        assert_eq!(field.known, KnownName::lookup(&name));
        self.lines.push((name, field.value(line).to_vec()));
        self.sensitive.push(field.sensitive);
    }

    fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    fn add_written(&mut self, at: usize, field: Field) {
        let line = self.scratch.split_off(at);
        self.add_line(&line, field);
    }
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Lines, &'static str> {
    let mut target = Collector::default();
    decoder.decode(bytes, &mut target).map_err(|error| error.reason)?;
    assert!(target.scratch.is_empty());
    Ok(target.lines)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|b| (b as char).to_digit(16).map(|d| d as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn lines(text: &[(&str, &str)]) -> Lines {
    text.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

fn encode(encoder: &mut Encoder, lines: &Lines) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in lines {
        let known = KnownName::lookup(name);
        encoder.line(&LineRef { known, name, value, sensitive: false }, &mut out);
    }
    out
}

#[test]
fn integers_as_in_appendix_c_1() {
    let mut out = Vec::new();
    integer::write(10, 5, 0, &mut out);
    integer::write(1337, 5, 0, &mut out);
    integer::write(42, 8, 0, &mut out);
    assert_eq!(out, hex("0a 1f9a0a 2a"));
    let mut rest = out.as_slice();
    assert_eq!(integer::read(&mut rest, 5), Some(10));
    assert_eq!(integer::read(&mut rest, 5), Some(1337));
    assert_eq!(integer::read(&mut rest, 8), Some(42));
    assert!(rest.is_empty());
}

#[test]
fn integers_that_are_cut_or_too_large() {
    for bad in ["", "1f", "1f80", "1fffffffffff0f", "1fffffffff7f", "1f808080808000"] {
        assert_eq!(integer::read(&mut hex(bad).as_slice(), 5), None, "{bad}");
    }
    // Zeros behind are odd but say a number.
    assert_eq!(integer::read(&mut hex("1f80808000").as_slice(), 5), Some(31));
}

const COOKIE_CODED: &str = "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab27\
    0fb5291f9587316065c003ed4ee5b1063d5007";

#[test]
fn strings_as_in_appendix_c_4_and_6() {
    for (text, coded) in [
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        ("no-cache", "a8eb10649cbf"),
        ("custom-value", "25a849e95bb8e8b4bf"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ("foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1", COOKIE_CODED),
    ] {
        let mut out = Vec::new();
        huffman::encode(text.as_bytes(), &mut out);
        assert_eq!(out, hex(coded), "{text}");
        assert_eq!(huffman::encoded_len(text.as_bytes()), out.len());
        let mut back = b"before".to_vec();
        assert_eq!(huffman::decode(&out, &mut back), Some(()));
        assert_eq!(back, [b"before", text.as_bytes()].concat());
    }
}

#[test]
fn padding_and_the_end_symbol_are_checked() {
    let decode = |text: &str| huffman::decode(&hex(text), &mut Vec::new());
    assert_eq!(decode(""), Some(()));
    // 'a' is 00011, then three ones.
    assert_eq!(decode("1f"), Some(()));
    assert_eq!(decode("1e"), None, "padding that is not all ones");
    assert_eq!(decode("18"), None);
    assert_eq!(decode("1fff"), None, "eleven bits of padding");
    assert_eq!(decode("ff"), None, "eight bits of padding");
    assert_eq!(decode("ffffffff"), None, "the end symbol and more");
    assert_eq!(decode("fffffffc"), None, "the end symbol");
    assert_eq!(decode("1ffffffffc"), None);
}

#[test]
fn requests_as_in_appendix_c_3_and_4() {
    let heads = [
        lines(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ]),
        lines(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
            ("cache-control", "no-cache"),
        ]),
        lines(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ]),
    ];
    for coded in [
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        for (coded, expected) in coded.iter().zip(&heads) {
            assert_eq!(decode(&mut decoder, &hex(coded)).as_ref(), Ok(expected));
        }
        assert_eq!(decoder.table_size(), 164);
    }
}

#[test]
fn responses_as_in_appendix_c_6_evict() {
    let mut decoder = Decoder::default();
    decoder.set_limit(256);
    let first = [
        "3fe101", // The change of the size, which the examples leave out.
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff",
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    ];
    let mut expected = lines(&[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ]);
    assert_eq!(decode(&mut decoder, &hex(&first.concat())), Ok(expected.clone()));
    assert_eq!(decoder.table_size(), 222);
    expected[0].1 = b"307".to_vec();
    assert_eq!(decode(&mut decoder, &hex("4883640effc1c0bf")), Ok(expected));
    let third =
        ["88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad", COOKIE_CODED];
    let decoded = decode(&mut decoder, &hex(&third.concat())).unwrap();
    assert_eq!(decoded[4], (b"content-encoding".to_vec(), b"gzip".to_vec()));
    assert_eq!(decoded.len(), 6);
    assert_eq!(decoder.table_size(), 215);
}

#[test]
fn never_indexed_is_remembered() {
    let mut target = Collector::default();
    let coded = hex("100870617373776f726406736563726574");
    assert_eq!(Decoder::default().decode(&coded, &mut target), Ok(()));
    assert_eq!(target.lines, lines(&[("password", "secret")]));
    assert_eq!(target.sensitive, [true]);
}

#[test]
fn what_cannot_be_decoded() {
    for (bad, why) in [
        ("80", "does not exist"),
        ("be", "does not exist"),
        ("7f0061", "does not exist"),
        ("ff", "integer"),
        ("ffffffffffff", "integer"),
        ("0005", "longer than the block"),
        ("000161", "integer"),
        ("00016105", "longer than the block"),
        ("000161821fff", "Huffman"),
        ("8220", "must come first"),
        ("3fe21f", "must come first"),
    ] {
        let result = decode(&mut Decoder::default(), &hex(bad));
        assert!(result.as_ref().is_err_and(|e| e.contains(why)), "{bad}: {result:?}");
    }
}

#[test]
fn a_lower_limit_has_to_be_acknowledged() {
    let mut decoder = Decoder::default();
    decoder.set_limit(100);
    assert!(decode(&mut decoder, &hex("82")).is_err());
    let mut decoder = Decoder::default();
    decoder.set_limit(100);
    assert!(decode(&mut decoder, &hex("3f4582")).is_ok());
    assert!(decode(&mut decoder, &hex("82")).is_ok());
}

#[test]
fn static_rows_have_their_names() {
    for index in 1..=STATIC_LEN {
        let (line, field) = statics::row(index).unwrap();
        let name = &line[..field.name_len as usize];
        assert_eq!(field.known, KnownName::lookup(name), "row {index}");
        let first = match field.known {
            Some(known) => statics::index_of(known),
            None => statics::index_of_other(name),
        };
        assert!((1..=index).contains(&first));
        assert_eq!(statics::row(first).map(|(l, f)| l[..f.name_len as usize] == *name), Some(true));
    }
    assert!(statics::row(0).is_none());
    assert!(statics::row(STATIC_LEN + 1).is_none());
}

#[test]
fn the_encoder_adds_what_comes_again() {
    let mut encoder = Encoder::default();
    let head = lines(&[(":path", "/a"), ("x-tenant", "acme"), ("x-request-id", "1")]);
    let sizes: Vec<usize> = (0..4).map(|_| encode(&mut encoder, &head).len()).collect();
    assert_eq!(sizes[2], 1 + 1 + 4, "two indexed lines and a name: {sizes:?}");
    assert_eq!(sizes[3], sizes[2]);
    for i in 0..1000u32 {
        let path = format!("/item/{i}");
        encode(&mut encoder, &lines(&[(":path", &path), ("x-request-id", &path)]));
    }
    assert_eq!(encode(&mut encoder, &head).len(), sizes[2], "changing values push nothing out");
}

#[test]
fn secrets_stay_out_of_the_table() {
    let mut encoder = Encoder::default();
    let head = lines(&[("authorization", "Bearer x"), ("cookie", "a=b")]);
    let first = encode(&mut encoder, &head);
    assert_eq!(first[0], 0x1f);
    for _ in 0..3 {
        assert_eq!(encode(&mut encoder, &head), first);
    }
}

/// Every block of every story of every encoder, one story a connection.
#[test]
fn stories_of_other_encoders() {
    let Some(folder) = stories() else { return };
    let (mut blocks, mut bytes) = (0, 0);
    for story in json_files(&folder).filter(|p| !p.to_string_lossy().contains("raw-data")) {
        let mut decoder = Decoder::default();
        for case in cases(&story) {
            if let Some(size) = case["header_table_size"].as_u64() {
                decoder.set_limit(size as usize);
            }
            let wire = hex(case["wire"].as_str().unwrap());
            let decoded = decode(&mut decoder, &wire);
            assert_eq!(decoded, Ok(headers_of(&case)), "{}", story.display());
            blocks += 1;
            bytes += wire.len();
        }
    }
    println!("{blocks} blocks of {bytes} bytes");
    assert!(blocks > 1000);
}

/// What our encoder makes of the stories' headers is read back, at several table sizes.
#[test]
fn stories_encoded_and_read_back() {
    let Some(folder) = stories() else { return };
    let (mut plain, mut coded) = (0, 0);
    for story in json_files(&folder.join("raw-data")) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (i, case) in cases(&story).into_iter().enumerate() {
            if i % 7 == 3 {
                let sizes = [0, 100, 4096, 1000, 200_000];
                let (least, last) = (sizes[i % 5], sizes[(i + 2) % 5]);
                encoder.set_limit(least.min(last), last);
                decoder.set_limit(least.min(last));
                decoder.set_limit(last);
            }
            let head: Lines =
                headers_of(&case).into_iter().filter(|(name, _)| !is_absent(name)).collect();
            let wire = encode(&mut encoder, &head);
            plain += head.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
            coded += wire.len();
            assert_eq!(decode(&mut decoder, &wire), Ok(head), "{}", story.display());
        }
    }
    println!("{plain} bytes in {coded}: {:.1} %", coded as f64 * 100.0 / plain as f64);
}

/// What the encoder leaves out.
fn is_absent(name: &[u8]) -> bool {
    matches!(
        name,
        b"host" | b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
    ) || name == b"upgrade"
}

fn stories() -> Option<PathBuf> {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join("hpack");
    if !folder.is_dir() {
        println!("skipped: no {}", folder.display());
        return None;
    }
    Some(folder)
}

fn json_files(folder: &std::path::Path) -> impl Iterator<Item = PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "json") {
                files.push(path);
            }
        }
    }
    files.into_iter()
}

fn cases(story: &std::path::Path) -> Vec<Value> {
    let json: Value = serde_json::from_slice(&std::fs::read(story).unwrap()).unwrap();
    json["cases"].as_array().unwrap().clone()
}

fn headers_of(case: &Value) -> Lines {
    let headers = case["headers"].as_array().unwrap();
    let pairs = headers.iter().flat_map(|h| h.as_object().unwrap());
    pairs.map(|(n, v)| (n.as_bytes().to_vec(), v.as_str().unwrap().as_bytes().to_vec())).collect()
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..KnownName::COUNT)
            .prop_map(|id| KnownName::from_id(id as u8).unwrap().as_bytes().to_vec()),
        "[a-z-]{1,20}".prop_map(String::into_bytes),
        proptest::sample::select(vec!["x-a", "x-b", "refresh", "allow"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        proptest::sample::select(vec!["", "a", "bb", "gzip, deflate", "GET"])
            .prop_map(|value| value.as_bytes().to_vec()),
        Just(vec![b'x'; 1500]),
    ]
}

proptest! {
    #[test]
    fn huffman_identity(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        huffman::encode(&bytes, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_len(&bytes));
        prop_assert_eq!(huffman::decode(&coded, &mut back), Some(()));
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn huffman_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut back = Vec::new();
        if huffman::decode(&bytes, &mut back).is_some() {
            let mut again = Vec::new();
            huffman::encode(&back, &mut again);
            prop_assert_eq!(again, bytes, "one string has one code");
        }
    }

    #[test]
    fn encoded_and_decoded_is_the_same(
        heads in proptest::collection::vec(
            proptest::collection::vec((name(), value()), 0..12), 1..30),
        sizes in proptest::collection::vec(0usize..6000, 1..4),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (i, head) in heads.iter().enumerate() {
            if i % 5 == 4 {
                let size = sizes[i % sizes.len()];
                encoder.set_limit(size, size);
                decoder.set_limit(size);
            }
            let head: Lines = head.iter().filter(|(n, _)| !is_absent(n)).cloned().collect();
            let coded = encode(&mut encoder, &head);
            prop_assert_eq!(decode(&mut decoder, &coded), Ok(head));
        }
    }

    #[test]
    fn garbage_never_panics(blocks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..100), 1..10)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            if decode(&mut decoder, &block).is_err() {
                break;
            }
            prop_assert!(decoder.table_size() <= 4096);
        }
    }
}
