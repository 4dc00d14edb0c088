//! Reading a TLS ClientHello without answering it: what a listener has to know before it chooses a
//! filter chain (RFC 8446 section 4.1.2).

/// Largest ClientHello that is looked at, record headers included, unless configured otherwise:
/// Envoy's `max_client_hello_size`, in bytes.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek<'a> {
    /// A ClientHello as far as one can tell. At least this many bytes, counted from the first, are
    /// needed before anything more can be told.
    NeedMore(usize),
    /// A whole ClientHello.
    Found(ClientHello<'a>),
    /// Not TLS: the first bytes are no handshake record.
    NotTls,
    /// It does not fit into the limit.
    TooLarge,
    /// TLS, but no ClientHello, or one that is put together wrongly: what about it.
    Malformed(&'static str),
}

/// A ClientHello. All lists have been checked for their structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// `legacy_version`: 0x0303 for TLS 1.2 and later.
    pub legacy_version: u16,
    ciphers: &'a [u8],
    extensions: &'a [u8],
}

/// Numbers of the extensions read here.
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const SUPPORTED_GROUPS: u16 = 10;
    pub(super) const EC_POINT_FORMATS: u16 = 11;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const ALPN: u16 = 16;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

const RECORD_HEADER: usize = 5;
const RECORD_BYTES_MAX: usize = 1 << 14;
const MESSAGE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Looks at the first bytes of a connection. `input` is everything that has come; `bytes_max`
/// bounds it. A message that is spread over several records is put together in `scratch`, which is
/// left alone otherwise.
///
/// The answer depends on the bytes alone and not on how often it is asked for, except that less of
/// them may get [`Peek::NeedMore`].
pub fn peek_client_hello<'a>(
    input: &'a [u8],
    bytes_max: usize,
    scratch: &'a mut Vec<u8>,
) -> Peek<'a> {
    let body = match message(input, bytes_max, scratch) {
        Err(other) => return other,
        Ok(Message::Whole(range)) => input.get(range).unwrap_or_default(),
        Ok(Message::Scattered) => scratch.as_slice(),
        Ok(Message::Partial(needed)) if needed > bytes_max => return Peek::TooLarge,
        Ok(Message::Partial(needed)) => return Peek::NeedMore(needed),
    };
    ClientHello::parse(body).map_or_else(Peek::Malformed, Peek::Found)
}

const MALFORMED_RECORD: Peek<'_> = Peek::Malformed("a TLS record is empty or too long");

/// Where the body of the first handshake message is.
enum Message {
    /// In one piece of the input.
    Whole(std::ops::Range<usize>),
    /// In the scratch.
    Scattered,
    /// Not all here.
    Partial(usize),
}

/// Finds the ClientHello message in the records of `input`.
fn message<'a>(input: &[u8], bytes_max: usize, scratch: &mut Vec<u8>) -> Result<Message, Peek<'a>> {
    scratch.clear();
    let mut at = 0;
    loop {
        let Some(len) = record(input, at)? else {
            // Each of the first bytes may tell that it is something else.
            let needed = if input.len() < 2 { input.len() + 1 } else { at + RECORD_HEADER };
            return Ok(Message::Partial(needed));
        };
        let start = at + RECORD_HEADER;
        let here = input.get(start..input.len().min(start + len)).unwrap_or_default();
        if scratch.is_empty() && here.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Peek::Malformed("the first TLS message is no ClientHello"));
        }
        // Bytes of the message before this record, and with it.
        let (before, known) = (scratch.len(), scratch.len() + here.len());
        if before > 0 || here.len() == len {
            scratch.extend_from_slice(here);
        }
        let head = if scratch.is_empty() { here } else { scratch.as_slice() };
        let wanted = match body_len(head) {
            None => MESSAGE_HEADER,
            Some(body) => MESSAGE_HEADER + body,
        };
        // Where it ends, if this record goes on far enough.
        let end = start + (wanted - before);
        if end > bytes_max {
            return Err(Peek::TooLarge);
        }
        if known >= wanted && body_len(head).is_some() {
            return Ok(if before == 0 {
                scratch.clear();
                Message::Whole(start + MESSAGE_HEADER..end)
            } else {
                scratch.truncate(wanted);
                scratch.drain(..MESSAGE_HEADER);
                Message::Scattered
            });
        }
        if here.len() < len {
            return Ok(Message::Partial(end.min(start + len)));
        }
        at = start + len;
    }
}

/// The length of the record at `at`; `None`: its header is not all here.
fn record<'a>(input: &[u8], at: usize) -> Result<Option<usize>, Peek<'a>> {
    let header = input.get(at..).unwrap_or_default();
    let plausible = matches!(header, [] | [HANDSHAKE] | [HANDSHAKE, 3, ..]);
    if !plausible {
        return Err(if at == 0 {
            Peek::NotTls
        } else {
            Peek::Malformed("a TLS record of another type comes inside the ClientHello")
        });
    }
    let Some([_, _, _, l0, l1]) = header.first_chunk::<RECORD_HEADER>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    if len == 0 || len > RECORD_BYTES_MAX {
        return Err(MALFORMED_RECORD);
    }
    Ok(Some(len))
}

/// The length a message's header gives for its body.
fn body_len(message: &[u8]) -> Option<usize> {
    let [_, l0, l1, l2] = message.first_chunk::<MESSAGE_HEADER>()?;
    Some(u32::from_be_bytes([0, *l0, *l1, *l2]) as usize)
}

impl<'a> ClientHello<'a> {
    /// Reads the body of the message, without its header.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(body: &'a [u8]) -> Result<Self, &'static str> {
        const CUT: &str = "the ClientHello is cut short or longer than its parts";
        let mut rest = Reader(body);
        let legacy_version = rest.u16().ok_or(CUT)?;
        rest.take(32).ok_or(CUT)?;
        let session = rest.list8().ok_or(CUT)?;
        let ciphers = rest.list16().ok_or(CUT)?;
        let compression = rest.list8().ok_or(CUT)?;
        let extensions = if rest.0.is_empty() { &[] } else { rest.list16().ok_or(CUT)? };
        if !rest.0.is_empty() {
            return Err(CUT);
        }
        if session.len() > 32 || compression.is_empty() {
            return Err("the ClientHello has a session id or compression list of wrong length");
        }
        if ciphers.is_empty() || !ciphers.len().is_multiple_of(2) {
            return Err("the ClientHello has a cipher list of wrong length");
        }
        let hello = Self { legacy_version, ciphers, extensions };
        hello.check_extensions()?;
        Ok(hello)
    }

    fn check_extensions(&self) -> Result<(), &'static str> {
        let mut rest = Reader(self.extensions);
        let (mut names, mut protocols) = (0, 0);
        while !rest.0.is_empty() {
            let kind = rest.u16().ok_or("a TLS extension is cut short")?;
            let body = rest.list16().ok_or("a TLS extension is cut short")?;
            match kind {
                extension::SERVER_NAME => {
                    names += 1;
                    server_name(body).ok_or("the server_name extension is malformed")?;
                }
                extension::ALPN => {
                    protocols += 1;
                    check_alpn(body).ok_or("the ALPN extension is malformed")?;
                }
                _ => {}
            }
        }
        if names > 1 || protocols > 1 {
            return Err("a TLS extension comes twice");
        }
        Ok(())
    }

    /// The name of the server the client asks for, as it was spelled: at most 255 bytes and no NUL,
    /// but not otherwise checked.
    pub fn server_name(&self) -> Option<&'a [u8]> {
        self.extension(extension::SERVER_NAME).and_then(server_name)
    }

    /// The protocols the client offers by ALPN, in its order (RFC 7301); none without ALPN.
    pub fn alpn(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut list = Reader(self.extension(extension::ALPN).unwrap_or_default());
        let mut names = Reader(list.list16().unwrap_or_default());
        std::iter::from_fn(move || names.list8())
    }

    /// The versions the client offers: `supported_versions`, or `legacy_version` without it.
    pub fn versions(&self) -> impl Iterator<Item = u16> {
        let list = self.extension(extension::SUPPORTED_VERSIONS);
        let given = list.and_then(|body| Reader(body).list8()).unwrap_or_default();
        let legacy = list.is_none().then_some(self.legacy_version);
        numbers(given).chain(legacy)
    }

    /// Cipher suites in the client's order, GREASE values included (for JA3 and JA4).
    pub fn ciphers(&self) -> impl Iterator<Item = u16> {
        numbers(self.ciphers)
    }

    /// Types of the extensions in the client's order, GREASE values included.
    pub fn extension_types(&self) -> impl Iterator<Item = u16> {
        extensions(self.extensions).map(|(kind, _)| kind)
    }

    /// Key-exchange groups in the client's order.
    pub fn groups(&self) -> impl Iterator<Item = u16> {
        self.numbers_of(extension::SUPPORTED_GROUPS)
    }

    /// Signature algorithms in the client's order.
    pub fn signature_algorithms(&self) -> impl Iterator<Item = u16> {
        self.numbers_of(extension::SIGNATURE_ALGORITHMS)
    }

    /// Point formats of elliptic curves in the client's order.
    pub fn point_formats(&self) -> impl Iterator<Item = u8> {
        let body = self.extension(extension::EC_POINT_FORMATS).unwrap_or_default();
        Reader(body).list8().unwrap_or_default().iter().copied()
    }

    /// The body of an extension.
    pub fn extension(&self, kind: u16) -> Option<&'a [u8]> {
        extensions(self.extensions).find(|(found, _)| *found == kind).map(|(_, body)| body)
    }

    /// An extension that is one list of numbers.
    fn numbers_of(&self, kind: u16) -> impl Iterator<Item = u16> {
        let body = self.extension(kind).unwrap_or_default();
        numbers(Reader(body).list16().unwrap_or_default())
    }
}

/// Whether a cipher suite, group, version or extension is only there to be ignored (RFC 8701).
pub const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

fn extensions(list: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = Reader(list);
    std::iter::from_fn(move || Some((rest.u16()?, rest.list16()?)))
}

fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
}

/// The host name in a `server_name` extension (RFC 6066 section 3); `None`: malformed.
fn server_name(body: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader(body);
    let mut names = Reader(outer.list16()?);
    let host_name = names.u8()? == 0;
    let name = names.list16()?;
    // Other types of names, or several, were never defined.
    let only = outer.0.is_empty() && names.0.is_empty();
    let valid = (1..=255).contains(&name.len()) && !name.contains(&0);
    (host_name && only && valid).then_some(name)
}

/// At least one protocol, none of them empty (RFC 7301 section 3.1).
fn check_alpn(body: &[u8]) -> Option<()> {
    let mut outer = Reader(body);
    let mut names = Reader(outer.list16()?);
    if !outer.0.is_empty() || names.0.is_empty() {
        return None;
    }
    while !names.0.is_empty() {
        names.list8().filter(|name| !name.is_empty())?;
    }
    Some(())
}

/// Takes bytes from the front; `None` when there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.as_array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A list behind its length in one byte.
    fn list8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// A list behind its length in two bytes.
    fn list16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests;
