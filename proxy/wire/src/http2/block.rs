//! [`HeaderBlock`]: one decoded header block, and the rules its lines have to keep.

use super::error::{H2Rule, StreamError};
use super::hpack::{Field, Target};
use super::{Limits, Role};
use crate::chars::{is_authority, is_target, parse_u64};
use crate::headers::HeaderMap;
use crate::http1::UnderscoreAction;
use crate::http1::fields::{Side, is_joined, may_be_trailer};
use crate::message::{HostName, Method, RequestHead, ResponseHead, Scheme, Version};
use crate::names::{KnownName, Name};

/// A decoded header block, kept by the connection and filled again and again.
///
/// It is taken out as what the stream's state says it is: [`into_request`](Self::into_request),
/// [`into_response`](Self::into_response), [`into_trailers`](Self::into_trailers); each swaps
/// buffers and copies nothing.
#[derive(Debug, Default)]
pub struct HeaderBlock {
    headers: HeaderMap,
    path: Vec<u8>,
    authority: Vec<u8>,
    protocol: Vec<u8>,
    method: Option<Method>,
    scheme: Option<Scheme>,
    status: Option<u16>,
    content_length: Option<u64>,
    /// Which pseudo-headers came, one bit each: [`pseudo_bit`].
    pseudo: u8,
    /// A regular header came.
    regular: bool,
    /// The first rule broken. Lines behind it are not kept.
    broken: Option<H2Rule>,
    dropped_underscores: u32,
    /// Bytes and lines so far, as the limits count.
    bytes: usize,
    count: usize,
    rules: Rules,
}

/// What [`Limits`] and [`Role`] say about a block.
#[derive(Clone, Copy, Debug)]
struct Rules {
    role: Role,
    bytes_max: usize,
    count_max: usize,
    underscores: UnderscoreAction,
    extended_connect: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Role::Server, &Limits::default())
    }
}

impl Rules {
    fn new(role: Role, limits: &Limits) -> Self {
        Self {
            role,
            bytes_max: limits.header_list_bytes_max,
            count_max: limits.headers_count_max,
            underscores: limits.underscores,
            extended_connect: limits.extended_connect,
        }
    }
}

const METHOD: u8 = pseudo_bit(KnownName::Method);
const SCHEME: u8 = pseudo_bit(KnownName::Scheme);
const PATH: u8 = pseudo_bit(KnownName::Path);
const AUTHORITY: u8 = pseudo_bit(KnownName::Authority);
const PROTOCOL: u8 = pseudo_bit(KnownName::Protocol);

/// The bit of a pseudo-header; 0 for other names.
const fn pseudo_bit(name: KnownName) -> u8 {
    match name {
        KnownName::Method => 1,
        KnownName::Scheme => 2,
        KnownName::Path => 4,
        KnownName::Authority => 8,
        KnownName::Protocol => 16,
        KnownName::Status => 32,
        _ => 0,
    }
}

/// How a line is taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// As it is.
    Plain,
    /// To a field of its own.
    Pseudo,
    /// After a look at its value.
    Special,
}

/// The class of each known name, by id.
static CLASSES: [Class; KnownName::COUNT] = build_classes();

const fn build_classes() -> [Class; KnownName::COUNT] {
    let mut classes = [Class::Plain; KnownName::COUNT];
    let mut id = 0;
    while id < KnownName::COUNT {
        if let Some(known) = KnownName::from_id(id as u8) {
            classes[id] = match known {
                KnownName::Host
                | KnownName::Te
                | KnownName::ContentLength
                | KnownName::Connection
                | KnownName::KeepAlive
                | KnownName::ProxyConnection
                | KnownName::TransferEncoding
                | KnownName::Upgrade => Class::Special,
                _ if known.is_pseudo() => Class::Pseudo,
                _ => Class::Plain,
            };
        }
        id += 1;
    }
    classes
}

/// For the session.
impl HeaderBlock {
    /// An empty block; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `:protocol` of an extended CONNECT (RFC 8441 section 4), until the next block.
    pub fn protocol(&self) -> Option<&[u8]> {
        (self.pseudo & PROTOCOL != 0).then_some(self.protocol.as_slice())
    }

    /// `content-length`, to be compared with the body.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// How many lines were dropped for an underscore in their name (`DropHeader`).
    pub fn dropped_underscores(&self) -> u32 {
        self.dropped_underscores
    }

    /// Whether `:status` says that this is an interim response.
    pub fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| status < 200)
    }

    /// Moves a request out. `head` is overwritten; its buffers come back here.
    ///
    /// As Envoy, `host` counts where `:authority` is missing and is dropped otherwise.
    ///
    /// # Errors
    /// Pseudo-headers are missing or contradict each other, or the block broke a rule before;
    /// `head` is then of no use.
    pub fn into_request(&mut self, head: &mut RequestHead) -> Result<(), StreamError> {
        self.verdict()?;
        let checked = self.check_request().map_err(StreamError::new);
        // One that is answered all the same is moved out for the answer and the log.
        if let Err(error) = checked
            && error.status().is_none()
        {
            return checked;
        }
        self.headers.join_repeated_with(|known| match known {
            KnownName::Cookie => Some(b"; "),
            known if is_joined(known, Side::Request) => Some(b","),
            _ => None,
        });
        head.method = self.method.unwrap_or_default();
        head.scheme = self.scheme;
        head.version = Version::Http2;
        head.host_name = HostName::default();
        std::mem::swap(&mut head.path, &mut self.path);
        std::mem::swap(&mut head.authority, &mut self.authority);
        std::mem::swap(&mut head.headers, &mut self.headers);
        checked
    }

    /// Moves a response out; `end`: the stream ends with it. `head` is overwritten; its buffers
    /// come back here.
    ///
    /// # Errors
    /// No `:status`, an interim response that ends the stream, or the block broke a rule before.
    pub fn into_response(&mut self, head: &mut ResponseHead, end: bool) -> Result<(), StreamError> {
        self.verdict()?;
        let status = self.status.ok_or(StreamError::new(H2Rule::MissingPseudo))?;
        if end && status < 200 {
            return Err(StreamError::new(H2Rule::InterimEnd));
        }
        self.headers.join_repeated_with(|known| {
            is_joined(known, Side::Response).then_some(b",".as_slice())
        });
        head.status = status;
        head.version = Version::Http2;
        head.reason.clear();
        std::mem::swap(&mut head.headers, &mut self.headers);
        Ok(())
    }

    /// Moves trailers out. Fields that mean nothing behind a body are dropped, as they are from
    /// HTTP/1.1 (RFC 9110 section 6.5.1). `trailers` is overwritten; its buffers come back here.
    ///
    /// # Errors
    /// A pseudo-header, a `content-length`, or the block broke a rule before.
    pub fn into_trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), StreamError> {
        self.verdict()?;
        if self.pseudo != 0 {
            return Err(StreamError::new(H2Rule::UnknownPseudo));
        }
        if self.content_length.is_some() {
            return Err(StreamError::new(H2Rule::ContentLength));
        }
        let out_of_place =
            |name: Name<'_>| matches!(name, Name::Known(known) if !may_be_trailer(known));
        if self.headers.iter_named().any(|(name, _)| out_of_place(name)) {
            self.headers.retain(|name, _| !out_of_place(name));
        }
        self.headers.join_repeated_with(|known| {
            is_joined(known, Side::Trailers).then_some(b",".as_slice())
        });
        std::mem::swap(trailers, &mut self.headers);
        Ok(())
    }

    /// Gives memory back when one message needed far more than the usual: keeps at most
    /// `bytes_max` of each buffer. What the block holds is lost.
    pub fn trim(&mut self, bytes_max: usize) {
        self.headers.clear();
        self.headers.trim(bytes_max);
        for buffer in [&mut self.path, &mut self.authority, &mut self.protocol] {
            if buffer.capacity() > bytes_max {
                *buffer = Vec::new();
            }
        }
    }

    fn check_request(&self) -> Result<(), H2Rule> {
        let has = |bit| self.pseudo & bit != 0;
        let connect = self.method == Some(Method::Connect);
        if !has(METHOD) {
            return Err(H2Rule::MissingPseudo);
        }
        if has(PROTOCOL) && !(connect && self.rules.extended_connect) {
            return Err(H2Rule::Protocol);
        }
        if self.authority.is_empty() {
            let rule = if has(AUTHORITY) { H2Rule::Authority } else { H2Rule::MissingPseudo };
            return Err(rule);
        }
        if connect && !has(PROTOCOL) {
            return if has(SCHEME | PATH) { Err(H2Rule::Connect) } else { Ok(()) };
        }
        if !(has(SCHEME) && has(PATH)) {
            return Err(H2Rule::MissingPseudo);
        }
        match self.path.as_slice() {
            [b'/', ..] if self.path.contains(&b'#') => Err(H2Rule::Fragment),
            [b'/', ..] => Ok(()),
            b"*" if self.method == Some(Method::Options) => Ok(()),
            _ => Err(H2Rule::Path),
        }
    }
}

/// For the decoder.
impl HeaderBlock {
    /// Empties it for a new block.
    pub(super) fn begin(&mut self, role: Role, limits: &Limits) {
        self.headers.clear();
        self.path.clear();
        self.authority.clear();
        self.protocol.clear();
        self.method = None;
        self.scheme = None;
        self.status = None;
        self.content_length = None;
        self.pseudo = 0;
        self.regular = false;
        self.broken = None;
        self.dropped_underscores = 0;
        self.bytes = 0;
        self.count = 0;
        self.rules = Rules::new(role, limits);
    }

    /// Notes a rule that the frame broke.
    pub(super) fn refuse(&mut self, rule: H2Rule) {
        self.broken = Some(rule);
    }

    /// Whether all lines were valid and within the limits.
    pub(super) fn verdict(&self) -> Result<(), StreamError> {
        self.broken.map_or(Ok(()), |rule| Err(StreamError::new(rule)))
    }

    fn look(&mut self, at: usize, class: Class, field: Field) -> bool {
        // Taken out for the moment, so that the value can be looked at while the rest changes.
        let lines = std::mem::take(self.headers.scratch());
        let keep = self.keeps(class, field, field.value(lines.get(at..).unwrap_or_default()));
        *self.headers.scratch() = lines;
        keep
    }

    /// Counts a line; whether it is to be kept, as far as limits and the line itself say.
    #[inline]
    fn admit(&mut self, field: Field) -> bool {
        self.bytes = self.bytes.saturating_add(field.bytes());
        // Crumbs of a cookie are one header in the end; their bytes count all the same.
        self.count += usize::from(field.known != Some(KnownName::Cookie));
        if self.broken.is_some() {
            return false;
        }
        self.broken = if self.bytes > self.rules.bytes_max {
            Some(H2Rule::HeadersTooLarge)
        } else if self.count > self.rules.count_max {
            Some(H2Rule::TooManyHeaders)
        } else {
            field.broken
        };
        self.broken.is_none() && !(field.underscore && self.drops_underscore())
    }

    fn drops_underscore(&mut self) -> bool {
        match self.rules.underscores {
            UnderscoreAction::Allow => return false,
            UnderscoreAction::RejectRequest => self.broken = Some(H2Rule::Underscore),
            UnderscoreAction::DropHeader => self.dropped_underscores += 1,
        }
        true
    }

    /// Looks at a line that is not plain; whether it is kept among the headers.
    fn keeps(&mut self, class: Class, field: Field, value: &[u8]) -> bool {
        let Some(known) = field.known else { return true };
        let result = if class == Class::Pseudo {
            self.pseudo(known, value).map(|()| false)
        } else {
            self.special(known, value)
        };
        result.unwrap_or_else(|rule| {
            self.broken = Some(rule);
            false
        })
    }

    fn pseudo(&mut self, known: KnownName, value: &[u8]) -> Result<(), H2Rule> {
        let bit = pseudo_bit(known);
        if (self.rules.role == Role::Client) != (known == KnownName::Status) {
            return Err(H2Rule::UnknownPseudo);
        }
        if self.pseudo & bit != 0 {
            return Err(H2Rule::RepeatedPseudo);
        }
        if self.regular {
            return Err(H2Rule::LatePseudo);
        }
        self.pseudo |= bit;
        match known {
            KnownName::Method => {
                self.method = Some(Method::from_bytes(value).ok_or(H2Rule::Method)?);
            }
            KnownName::Scheme => self.scheme = scheme(value)?,
            KnownName::Path if is_target(value) => self.path.extend_from_slice(value),
            KnownName::Path => return Err(H2Rule::Path),
            // User info is not allowed here (RFC 9113 section 8.3.1).
            KnownName::Authority
                if is_authority(value) && !value.is_empty() && !value.contains(&b'@') =>
            {
                self.authority.extend_from_slice(value);
            }
            KnownName::Authority => return Err(H2Rule::Authority),
            KnownName::Status => self.status = Some(status(value)?),
            _ => self.protocol.extend_from_slice(value),
        }
        Ok(())
    }

    fn special(&mut self, known: KnownName, value: &[u8]) -> Result<bool, H2Rule> {
        match known {
            KnownName::Host if self.rules.role == Role::Server => {
                if !is_authority(value) || value.is_empty() {
                    return Err(H2Rule::Authority);
                }
                self.regular = true;
                if self.pseudo & AUTHORITY == 0 && self.authority.is_empty() {
                    self.authority.extend_from_slice(value);
                }
                Ok(false)
            }
            KnownName::Host => Ok(true),
            KnownName::Te if value.eq_ignore_ascii_case(b"trailers") => Ok(true),
            KnownName::Te => Err(H2Rule::Te),
            KnownName::ContentLength => {
                let plain = !matches!(value, [b'0', _, ..]);
                let length = parse_u64(value).filter(|_| plain).ok_or(H2Rule::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(H2Rule::ContentLength);
                }
                Ok(true)
            }
            _ => Err(H2Rule::ConnectionField),
        }
    }
}

impl Target for HeaderBlock {
    #[inline]
    fn scratch(&mut self) -> &mut Vec<u8> {
        self.headers.scratch()
    }

    #[inline]
    fn add_line(&mut self, line: &[u8], field: Field) {
        if !self.admit(field) {
            return;
        }
        let class = field.known.map_or(Class::Plain, |known| CLASSES[known as usize]);
        if class == Class::Plain || self.keeps(class, field, field.value(line)) {
            self.regular = true;
            self.headers.append_line(line, field.shape());
        }
    }

    #[inline]
    fn add_written(&mut self, at: usize, field: Field) {
        let class = field.known.map_or(Class::Plain, |known| CLASSES[known as usize]);
        let keep = self.admit(field) && (class == Class::Plain || self.look(at, class, field));
        if keep {
            self.regular = true;
            self.headers.push_written(at, field.shape());
        } else {
            self.headers.scratch().truncate(at);
        }
    }
}

/// A scheme the proxy does not know is none: what it is told then is what the connection says.
fn scheme(value: &[u8]) -> Result<Option<Scheme>, H2Rule> {
    if value.eq_ignore_ascii_case(b"http") {
        return Ok(Some(Scheme::Http));
    }
    if value.eq_ignore_ascii_case(b"https") {
        return Ok(Some(Scheme::Https));
    }
    let valid = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    match value {
        [first, rest @ ..] if first.is_ascii_alphabetic() && rest.iter().all(valid) => Ok(None),
        _ => Err(H2Rule::Scheme),
    }
}

/// Three digits. An upgrade (101) does not exist in HTTP/2 (RFC 9113 section 8.6).
fn status(value: &[u8]) -> Result<u16, H2Rule> {
    match value {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
            let status = a * 100 + b * 10 + c;
            if status == 101 { Err(H2Rule::Status) } else { Ok(status) }
        }
        _ => Err(H2Rule::Status),
    }
}
