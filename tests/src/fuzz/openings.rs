//! The first bytes of connections, as listener filters look at them: PROXY protocol, ClientHello.

use ringway_wire::proxy_protocol::{self, Addresses, Parsed, ProxyError, tlv};
use ringway_wire::tls::{CLIENT_HELLO_BYTES_MAX, Peek, peek_client_hello};

/// What means something in an opening.
pub const WORDS: &[&str] = &[
    "PROXY ",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "PROXY TCP6 ::1 ::2 1 2\r\n",
    "PROXY UNKNOWN\r\n",
    "UNKNOWN",
    " ",
    "\r\n",
    "65535",
    "0",
    "\r\n\r\n\0\r\nQUIT\n",
    "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}\0\u{c}",
    "\r\n\r\n\0\r\nQUIT\n\u{20}\0\0\0",
    "\u{3}\0\u{4}\0\0\0\0",
    "\u{1}\0\u{2}h2",
    "\u{16}\u{3}\u{1}\0\u{1}",
    "\u{16}\u{3}\u{1}\0\u{10}\u{1}\0\0",
    "\0\0\0\u{6}\0\u{4}\0\0\u{1}a",
    "\0\u{10}\0\u{5}\0\u{3}\u{2}h2",
    "\0\u{2b}\0\u{3}\u{2}\u{3}\u{4}",
];

/// What is told of a part holds for the whole; what is needed is more than there is, and not more
/// than tells.
pub fn run(input: &[u8]) {
    let whole = proxy(input);
    let hello = tls(input);
    for end in 0..input.len().min(600) {
        match proxy(&input[..end]) {
            Told::More(needed) => assert!(needed > end, "{needed} needed of {end}"),
            told => assert_eq!(told, whole, "the first {end} bytes told otherwise"),
        }
        match tls(&input[..end]) {
            Told::More(needed) => assert!(needed > end, "{needed} needed of {end}"),
            told => assert_eq!(told, hello, "the first {end} bytes told otherwise"),
        }
    }
    if let Ok(Parsed::Header(header)) = proxy_protocol::parse(input) {
        assert!(header.len <= input.len(), "a header longer than what has come");
        let has_sum = header.tlvs().filter(|(kind, _)| *kind == tlv::CRC32C).count() == 1;
        let (mut out, tlvs) = (Vec::new(), header.tlvs());
        if proxy_protocol::encode_v2(&header.addresses, tlvs, &mut out).is_ok()
            && header.version == proxy_protocol::Version::V2
            && matches!(header.addresses, Addresses::Inet { .. })
            && has_sum
        {
            assert!(
                matches!(proxy_protocol::parse(&out), Ok(Parsed::Header(_))),
                "a header written anew cannot be read"
            );
        }
    }
}

/// An answer, without its borrows.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    More(usize),
    Proxy(Result<String, ProxyError>),
    Tls(String),
}

fn proxy(input: &[u8]) -> Told {
    match proxy_protocol::parse(input) {
        Ok(Parsed::NeedMore(needed)) => Told::More(needed),
        Ok(found) => Told::Proxy(Ok(format!("{found:?}"))),
        Err(error) => Told::Proxy(Err(error)),
    }
}

fn tls(input: &[u8]) -> Told {
    let mut scratch = Vec::new();
    match peek_client_hello(input, CLIENT_HELLO_BYTES_MAX, &mut scratch) {
        Peek::NeedMore(needed) => Told::More(needed),
        Peek::Found(hello) => {
            let lists = (
                hello.server_name(),
                hello.alpn().collect::<Vec<_>>(),
                hello.versions().collect::<Vec<_>>(),
                hello.groups().count() + hello.signature_algorithms().count(),
                hello.point_formats().count() + hello.extension_types().count(),
            );
            Told::Tls(format!("{lists:?}"))
        }
        other => Told::Tls(format!("{other:?}")),
    }
}
