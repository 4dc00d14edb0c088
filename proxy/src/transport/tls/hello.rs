//! What of a ClientHello decides how its handshake is done (RFC 8446 section 4.1.2).
//!
//! rustls shows a hello to resolvers of certificates only, and not all of it.

use super::record::{self, HEADER, content};

/// Longest hello that is waited for before rustls gets it.
const HELLO_MAX: usize = 64 << 10;

/// What is asked of a hello.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The name the client asks for.
    pub(super) sni: Option<Box<str>>,
    /// The protocols the client offers by ALPN.
    pub(super) alpn: Option<Vec<Box<[u8]>>>,
    /// It can take an OCSP response.
    pub(super) status_request: bool,
}

/// How far a hello has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peek {
    /// Its end is not here.
    Incomplete,
    /// It is here; or this is no hello, which rustls will say better.
    Complete(Hello),
}

/// Looks at the first records of a connection.
pub(super) fn peek(input: &[u8]) -> Peek {
    let mut message = Vec::new();
    let mut rest = input;
    loop {
        let Ok(len) = record::record_len(rest) else { return Peek::Complete(Hello::default()) };
        if rest.first().is_some_and(|kind| *kind != content::HANDSHAKE) || message.len() > HELLO_MAX
        {
            return Peek::Complete(Hello::default());
        }
        let Some(record) = len.and_then(|len| rest.get(..len)) else { return Peek::Incomplete };
        let body = record.get(HEADER..).unwrap_or_default();
        rest = rest.get(record.len()..).unwrap_or_default();
        // In one record, as nearly always, nothing is copied.
        match whole(if message.is_empty() {
            body
        } else {
            message.extend_from_slice(body);
            &message
        }) {
            Some(hello) => return Peek::Complete(read(hello).unwrap_or_default()),
            None if message.is_empty() => message.extend_from_slice(body),
            None => {}
        }
    }
}

/// The body of the first handshake message, if it is all there.
fn whole(message: &[u8]) -> Option<&[u8]> {
    let [_, a, b, c] = message.first_chunk::<4>()?;
    message.get(4..)?.get(..u32::from_be_bytes([0, *a, *b, *c]) as usize)
}

fn read(body: &[u8]) -> Option<Hello> {
    // Version and random.
    let mut rest = Reader(body.get(34..)?);
    rest.list8()?;
    rest.list16()?;
    rest.list8()?;
    let mut extensions = Reader(rest.list16()?);
    let mut hello = Hello::default();
    while let Some(kind) = extensions.number() {
        let body = extensions.list16()?;
        match kind {
            STATUS_REQUEST => hello.status_request = true,
            SERVER_NAME => hello.sni = host_name(body),
            ALPN => hello.alpn = protocols(body),
            _ => {}
        }
    }
    Some(hello)
}

/// `server_name` (RFC 6066 section 3).
const SERVER_NAME: usize = 0;
/// `status_request` (RFC 6066 section 8).
const STATUS_REQUEST: usize = 5;
/// `application_layer_protocol_negotiation` (RFC 7301).
const ALPN: usize = 16;

fn host_name(body: &[u8]) -> Option<Box<str>> {
    let mut list = Reader(Reader(body).list16()?);
    let (kind, name) = (list.take(1)?, list.list16()?);
    (kind == [0]).then(|| std::str::from_utf8(name).ok().map(Box::from))?
}

fn protocols(body: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut list = Reader(Reader(body).list16()?);
    let mut out = Vec::new();
    while let Some(name) = list.list8() {
        out.push(Box::from(name));
    }
    Some(out)
}

/// Lists with their length in front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self) -> Option<usize> {
        match self.take(2)? {
            [high, low] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
            _ => None,
        }
    }

    fn list8(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.take(1)?.first()?);
        self.take(len)
    }

    fn list16(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }
}
