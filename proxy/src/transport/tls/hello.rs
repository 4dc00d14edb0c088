//! What of a ClientHello decides how its handshake is done. rustls shows a hello to resolvers of
//! certificates only, and not all of it.

use ringway_wire::tls::{self, ClientHello};

/// Longest hello that is waited for before rustls gets it.
const HELLO_MAX: usize = 64 << 10;
/// `status_request` (RFC 6066 section 8).
const STATUS_REQUEST: u16 = 5;

/// What is asked of a hello.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The name the client asks for.
    pub(super) sni: Option<Box<str>>,
    /// The protocols the client offers by ALPN.
    pub(super) alpn: Vec<Box<[u8]>>,
    /// It can take an OCSP response.
    pub(super) status_request: bool,
}

impl Hello {
    fn of(hello: &ClientHello<'_>) -> Self {
        let sni = hello.server_name().and_then(|name| std::str::from_utf8(name).ok());
        Self {
            sni: sni.map(Box::from),
            alpn: hello.alpn().map(Box::from).collect(),
            status_request: hello.extension(STATUS_REQUEST).is_some(),
        }
    }
}

/// Looks at the first bytes of a connection; `None` while the hello's end is not here. What is no
/// hello rustls refuses in the right way, so it is as good as one that asks for nothing.
pub(super) fn peek(input: &[u8], scratch: &mut Vec<u8>) -> Option<Hello> {
    match tls::peek_client_hello(input, HELLO_MAX, scratch) {
        tls::Peek::NeedMore(_) => None,
        tls::Peek::Found(hello) => Some(Hello::of(&hello)),
        tls::Peek::NotTls | tls::Peek::TooLarge | tls::Peek::Malformed(_) => Some(Hello::default()),
    }
}
