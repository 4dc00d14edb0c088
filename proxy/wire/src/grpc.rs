//! gRPC over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): framing of messages, statuses, deadlines.

use std::ops::Range;
use std::time::Duration;

use crate::chars::Decimal;
use crate::path::{percent_decode, percent_encode};

/// A status code of gRPC. Codes nobody defined stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

/// The statuses in the order of their numbers, in camel and snake case.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

#[allow(missing_docs, reason = "grpc/doc/statuscodes.md says what each means")]
impl Status {
    pub const OK: Self = Self(0);
    pub const CANCELLED: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
    pub const INVALID_ARGUMENT: Self = Self(3);
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    pub const NOT_FOUND: Self = Self(5);
    pub const ALREADY_EXISTS: Self = Self(6);
    pub const PERMISSION_DENIED: Self = Self(7);
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    pub const FAILED_PRECONDITION: Self = Self(9);
    pub const ABORTED: Self = Self(10);
    pub const OUT_OF_RANGE: Self = Self(11);
    pub const UNIMPLEMENTED: Self = Self(12);
    pub const INTERNAL: Self = Self(13);
    pub const UNAVAILABLE: Self = Self(14);
    pub const DATA_LOSS: Self = Self(15);
    pub const UNAUTHENTICATED: Self = Self(16);
}

impl Status {
    /// Reads `grpc-status`. `None`: no decimal number of 32 bits.
    pub fn parse(value: &[u8]) -> Option<Self> {
        crate::chars::parse_u64(value).and_then(|n| u32::try_from(n).ok()).map(Self)
    }

    /// What an HTTP status without `grpc-status` stands for
    /// (grpc/doc/http-grpc-status-mapping.md): a 200 is unknown as well.
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// The HTTP status for clients that do not speak gRPC (grpc_web, transcoding), as Envoy maps.
    pub const fn to_http(self) -> u16 {
        match self {
            Self::OK => 200,
            Self::CANCELLED => 499,
            Self::INVALID_ARGUMENT | Self::FAILED_PRECONDITION | Self::OUT_OF_RANGE => 400,
            Self::DEADLINE_EXCEEDED => 504,
            Self::NOT_FOUND => 404,
            Self::ALREADY_EXISTS | Self::ABORTED => 409,
            Self::PERMISSION_DENIED => 403,
            Self::UNAUTHENTICATED => 401,
            Self::RESOURCE_EXHAUSTED => 429,
            Self::UNIMPLEMENTED => 501,
            Self::UNAVAILABLE => 503,
            _ => 500,
        }
    }

    /// The name in camel case (`NotFound`), if the code is defined.
    pub fn camel(self) -> Option<&'static str> {
        NAMES.get(self.0 as usize).map(|(camel, _)| *camel)
    }

    /// The name in snake case (`NOT_FOUND`), if the code is defined.
    pub fn snake(self) -> Option<&'static str> {
        NAMES.get(self.0 as usize).map(|(_, snake)| *snake)
    }

    /// The code of a name in snake case.
    pub fn named(snake: &str) -> Option<Self> {
        NAMES.iter().position(|(_, name)| *name == snake).map(|at| Self(at as u32))
    }

    /// As in `grpc-status`.
    pub fn digits(self) -> Decimal {
        Decimal::new(u64::from(self.0))
    }
}

/// Whether a `content-type` is that of a gRPC request: `application/grpc`, alone or with a suffix
/// (`application/grpc+proto`), as Envoy asks for.
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest, [] | [b'+', ..]))
}

/// Writes a text as `grpc-message`: percent-encoded but for visible ASCII and spaces.
pub fn encode_message(text: &[u8], out: &mut Vec<u8>) {
    percent_encode(text, b"", out);
}

/// Reads `grpc-message`. What is no percent code stays as it is, as the specification asks for.
pub fn decode_message(value: &[u8], out: &mut Vec<u8>) {
    percent_decode(value, out);
}

/// Service and method of a call, as the path of its request names them: `/package.Service/Method`.
pub fn service_and_method(path: &[u8]) -> Option<(&str, &str)> {
    let path = path.split(|b| *b == b'?').next().unwrap_or_default();
    let text = std::str::from_utf8(path).ok()?.strip_prefix('/')?;
    let (service, method) = text.split_once('/')?;
    let plain = !service.is_empty() && !method.is_empty() && !method.contains('/');
    plain.then_some((service, method))
}

/// Reads `grpc-timeout`: one to eight digits and a unit. `None`: malformed.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let count = crate::chars::parse_u64(digits)?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Writes a `grpc-timeout`: milliseconds as long as eight digits hold them, then seconds, minutes,
/// hours, rounded down, as Envoy does.
pub fn format_timeout(timeout: Duration, out: &mut Vec<u8>) {
    const COUNT_MAX: u128 = 99_999_999;
    let ms = timeout.as_millis();
    let (count, unit) = if ms <= COUNT_MAX {
        (ms, b'm')
    } else if ms / 1000 <= COUNT_MAX {
        (ms / 1000, b'S')
    } else if ms / 60_000 <= COUNT_MAX {
        (ms / 60_000, b'M')
    } else {
        ((ms / 3_600_000).min(COUNT_MAX), b'H')
    };
    out.extend_from_slice(Decimal::new(count as u64).as_bytes());
    out.push(unit);
}

/// Bytes before each message.
pub const PREFIX_LEN: usize = 5;

/// What goes before a message: a flag and a length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// Bit 0: the message is compressed. Bit 7: it holds the trailers of gRPC-Web.
    pub flags: u8,
    /// Bytes of the message.
    pub len: u32,
}

impl Prefix {
    /// Flag: compressed as `grpc-encoding` says.
    pub const COMPRESSED: u8 = 0x01;
    /// Flag of gRPC-Web: trailers.
    pub const TRAILERS: u8 = 0x80;

    /// Reads five bytes.
    pub const fn parse(bytes: [u8; PREFIX_LEN]) -> Self {
        let [flags, len @ ..] = bytes;
        Self { flags, len: u32::from_be_bytes(len) }
    }

    /// The five bytes.
    pub const fn bytes(self) -> [u8; PREFIX_LEN] {
        let [l0, l1, l2, l3] = self.len.to_be_bytes();
        [self.flags, l0, l1, l2, l3]
    }
}

/// Writes a message with its prefix. `false`, and nothing written, for a message of 4 GiB or more,
/// which the prefix cannot express.
pub fn encode_frame(flags: u8, message: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(len) = u32::try_from(message.len()) else { return false };
    out.extend_from_slice(&Prefix { flags, len }.bytes());
    out.extend_from_slice(message);
    true
}

/// What a piece of a body says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A message begins. An empty one has ended with this.
    Start(Prefix),
    /// A piece of the message: where in the input, and whether the message ends with it.
    Data {
        /// Relative to the input of that call; never empty.
        range: Range<usize>,
        /// Whether the message is complete.
        end: bool,
    },
}

/// Splits a body into messages as it comes; holds no bytes but those of a split prefix.
///
/// LIFECYCLE: prefix (up to five bytes) → data (as many as it said) → prefix. A body that ends when
/// [`is_inside`](Self::is_inside) is cut short.
#[derive(Clone, Debug, Default)]
pub struct Deframer {
    prefix: [u8; PREFIX_LEN],
    /// Bytes of the prefix that have come.
    have: u8,
    /// Bytes of the message still to come.
    left: u32,
}

impl Deframer {
    /// At the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next piece of `input`, and how many bytes of it are dealt with. A piece may be missing
    /// where the input ends inside a prefix; nothing is said about empty input.
    pub fn next(&mut self, input: &[u8]) -> (usize, Option<Piece>) {
        if self.left > 0 {
            let here = u32::try_from(input.len()).unwrap_or(u32::MAX).min(self.left);
            if here == 0 {
                return (0, None);
            }
            self.left -= here;
            let range = 0..here as usize;
            return (range.end, Some(Piece::Data { range, end: self.left == 0 }));
        }
        let have = usize::from(self.have);
        let missing = self.prefix.get_mut(have..).unwrap_or_default();
        let taken = missing.len().min(input.len());
        for (place, byte) in missing.iter_mut().zip(input) {
            *place = *byte;
        }
        if have + taken < PREFIX_LEN {
            self.have += taken as u8;
            return (taken, None);
        }
        self.have = 0;
        let prefix = Prefix::parse(self.prefix);
        self.left = prefix.len;
        (taken, Some(Piece::Start(prefix)))
    }

    /// Counts the messages that begin in `input`, all of which is dealt with (`grpc_stats`).
    pub fn count(&mut self, mut input: &[u8]) -> u64 {
        let mut messages = 0;
        while !input.is_empty() {
            let (consumed, piece) = self.next(input);
            messages += u64::from(matches!(piece, Some(Piece::Start(_))));
            input = input.get(consumed..).unwrap_or_default();
        }
        messages
    }

    /// Whether a message or its prefix is only half here.
    pub fn is_inside(&self) -> bool {
        self.left > 0 || self.have > 0
    }
}

#[cfg(test)]
mod tests;
