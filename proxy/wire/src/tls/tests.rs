use proptest::prelude::*;

use super::*;

/// The body of a ClientHello with these extensions.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&list16(&[0x13, 0x01, 0xc0, 0x2b, 0x0a, 0x0a]));
    body.extend_from_slice(&[1, 0]);
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend_from_slice(&kind.to_be_bytes());
        all.extend_from_slice(&list16(content));
    }
    body.extend_from_slice(&list16(&all));
    let mut message = vec![1, 0];
    message.extend_from_slice(&list16(&body));
    message
}

fn list16(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u16).to_be_bytes().as_slice(), bytes].concat()
}

/// A message in records of these lengths, the last of which takes the rest.
fn records(message: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), message);
    for len in lengths.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(rest.len().min(len));
        if !now.is_empty() {
            out.extend_from_slice(&[22, 3, 1]);
            out.extend_from_slice(&list16(now));
        }
        rest = later;
    }
    out
}

fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (0, list16(&[&[0], list16(name).as_slice()].concat()))
}

fn alpn(names: &[&str]) -> (u16, Vec<u8>) {
    let mut list = Vec::new();
    for name in names {
        list.push(name.len() as u8);
        list.extend_from_slice(name.as_bytes());
    }
    (16, list16(&list))
}

fn usual() -> Vec<u8> {
    hello(&[
        (0x0a0a, vec![]),
        sni(b"Shop.example.com"),
        alpn(&["h2", "http/1.1"]),
        (43, vec![4, 3, 4, 3, 3]),
        (10, list16(&[0, 29, 0, 23])),
        (13, list16(&[4, 3])),
        (11, vec![1, 0]),
    ])
}

fn kind(input: &[u8]) -> &'static str {
    match peek_client_hello(input, CLIENT_HELLO_BYTES_MAX, &mut Vec::new()) {
        Peek::NeedMore(_) => "more",
        Peek::Found(_) => "found",
        Peek::NotTls => "not tls",
        Peek::TooLarge => "too large",
        Peek::Malformed(why) => why,
    }
}

/// What a hello says, however it comes.
fn facts(hello: &ClientHello<'_>) -> String {
    let name = hello.server_name().map(<[u8]>::escape_ascii);
    let alpn: Vec<_> = hello.alpn().map(<[u8]>::escape_ascii).collect();
    let versions: Vec<u16> = hello.versions().collect();
    let types: Vec<u16> = hello.extension_types().collect();
    format!("{name:?} {alpn:?} {versions:?} {types:?}")
}

#[test]
fn reads_what_a_chain_is_chosen_by() {
    let input = records(&usual(), &[]);
    let mut scratch = Vec::new();
    let peek = peek_client_hello(&input, CLIENT_HELLO_BYTES_MAX, &mut scratch);
    let Peek::Found(hello) = peek else { panic!("{peek:?}") };
    assert_eq!(hello.server_name(), Some(b"Shop.example.com".as_slice()));
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [b"h2".as_slice(), b"http/1.1"]);
    assert_eq!(hello.versions().collect::<Vec<_>>(), [0x0304, 0x0303]);
    assert_eq!(hello.ciphers().collect::<Vec<_>>(), [0x1301, 0xc02b, 0x0a0a]);
    assert_eq!(hello.groups().collect::<Vec<_>>(), [29, 23]);
    assert_eq!(hello.signature_algorithms().collect::<Vec<_>>(), [0x0403]);
    assert_eq!(hello.point_formats().collect::<Vec<_>>(), [0]);
    let types: Vec<u16> = hello.extension_types().filter(|t| !is_grease(*t)).collect();
    assert_eq!(types, [0, 16, 43, 10, 13, 11]);
    assert!(scratch.is_empty(), "one record is read in place");
}

#[test]
fn without_extensions() {
    let mut bare = hello(&[]);
    bare.truncate(bare.len() - 2);
    bare[3] -= 2;
    for message in [bare, hello(&[])] {
        let input = records(&message, &[]);
        let mut scratch = Vec::new();
        let peek = peek_client_hello(&input, CLIENT_HELLO_BYTES_MAX, &mut scratch);
        let Peek::Found(hello) = peek else { panic!("{peek:?}") };
        assert_eq!(facts(&hello), "None [] [771] []");
    }
}

#[test]
fn what_is_not_tls() {
    for bytes in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0", "\x16\x02\x01", "\x70\x2e\x01", "S"] {
        assert_eq!(kind(bytes.as_bytes()), "not tls", "{bytes:?}");
    }
    assert_eq!(kind(b""), "more");
    assert_eq!(kind(b"\x16\x03"), "more");
    assert_eq!(kind(b"\x16\x03\x01\0\0"), "a TLS record is empty or too long");
    assert_eq!(kind(b"\x16\x03\x01\x40\x01"), "a TLS record is empty or too long");
    assert!(kind(b"\x16\x03\x01\0\x10\x02").contains("no ClientHello"));
    let interrupted = [records(&usual()[..20], &[]), b"\x15\x03\x01\0\x02".to_vec()].concat();
    assert!(kind(&interrupted).contains("another type"));
}

#[test]
fn hellos_that_are_put_together_wrongly() {
    for (extension, word) in [
        (sni(b""), "server_name"),
        (sni(b"a\0b"), "server_name"),
        (sni(&[b'a'; 256]), "server_name"),
        ((0, vec![]), "server_name"),
        ((0, vec![0, 4, 1, 0, 1, b'a']), "server_name"),
        ((16, vec![]), "ALPN"),
        ((16, vec![0, 0]), "ALPN"),
        ((16, vec![0, 1, 0]), "ALPN"),
        ((16, vec![0, 3, 1, b'a', 9]), "ALPN"),
    ] {
        let found = kind(&records(&hello(std::slice::from_ref(&extension)), &[]));
        assert!(found.contains(word), "{extension:?}: {found}");
    }
    assert!(kind(&records(&hello(&[sni(b"a"), sni(b"b")]), &[])).contains("twice"));
    let mut short = hello(&[sni(b"a")]);
    short[3] -= 1;
    assert!(kind(&records(&short, &[])).contains("cut short"));
    let mut odd = hello(&[]);
    odd[4 + 2 + 32 + 2] = 5;
    assert_ne!(kind(&records(&odd, &[])), "found");
}

#[test]
fn large_hellos_are_refused_as_soon_as_their_length_is_known() {
    let large = hello(&[(21, vec![0; 20_000])]);
    let input = records(&large, &[16_000]);
    assert_eq!(kind(&input), "too large", "even if all of it is here");
    assert_eq!(kind(&input[..8]), "more");
    assert_eq!(kind(&input[..9]), "too large");
    let one = records(&hello(&[(21, vec![0; 16_000])]), &[]);
    let limit = |bytes_max| peek_client_hello(&one[..9], bytes_max, &mut Vec::new()).is_large();
    assert!(limit(10_000));
    assert!(!limit(17_000));
}

trait IsLarge {
    fn is_large(&self) -> bool;
}

impl IsLarge for Peek<'_> {
    fn is_large(&self) -> bool {
        *self == Peek::TooLarge
    }
}

proptest! {
    #[test]
    fn records_and_pieces_do_not_matter(
        lengths in proptest::collection::vec(1usize..60, 0..20),
        tail in proptest::collection::vec(any::<u8>(), 0..10),
    ) {
        let whole = records(&usual(), &[]);
        let mut scratch = Vec::new();
        let expected = match peek_client_hello(&whole, CLIENT_HELLO_BYTES_MAX, &mut scratch) {
            Peek::Found(hello) => facts(&hello),
            other => panic!("{other:?}"),
        };
        let input = [records(&usual(), &lengths), tail.clone()].concat();
        let len = input.len() - tail.len();
        let mut here = 0;
        loop {
            let mut scratch = Vec::new();
            let peek = peek_client_hello(&input[..here], CLIENT_HELLO_BYTES_MAX, &mut scratch);
            match peek {
                Peek::NeedMore(needed) => {
                    prop_assert!(needed > here && needed <= len, "{needed} of {len} at {here}");
                    // One byte less is not enough.
                    let mut scratch = Vec::new();
                    let before = peek_client_hello(
                        &input[..needed - 1], CLIENT_HELLO_BYTES_MAX, &mut scratch);
                    prop_assert!(matches!(before, Peek::NeedMore(_)));
                    here = needed;
                }
                Peek::Found(hello) => {
                    prop_assert_eq!(facts(&hello), expected);
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        at in 0usize..200,
        byte in any::<u8>(),
        tail in proptest::collection::vec(any::<u8>(), 0..100),
        cut in 0usize..300,
    ) {
        let mut input = [records(&usual(), &[30]), tail].concat();
        if let Some(place) = input.get_mut(at) {
            *place = byte;
        }
        input.truncate(cut);
        let mut scratch = Vec::new();
        let peek = peek_client_hello(&input, CLIENT_HELLO_BYTES_MAX, &mut scratch);
        if let Peek::Found(hello) = peek {
            let _ = facts(&hello);
        }
    }
}
