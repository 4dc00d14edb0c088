//! Splitting a head into lines and its header lines into a map.

use memchr::{memchr, memchr_iter};
use smallvec::SmallVec;

use super::error::{H1Error, H1Rule};
use super::options::{HeadLimits, HeaderKeyFormat, ParseOptions, UnderscoreAction};
use crate::chars::{TOKEN_LOWER, is_field_value, list_members, parse_u64};
use crate::headers::{Entry, HeaderMap};
use crate::names::KnownName;

/// Ends (offset of CR) of the header lines of one head.
type LineEnds = SmallVec<[u32; 104]>;

/// The lines of a complete head.
pub(super) struct Lines {
    /// Offset of each line's CR, from the start of the input.
    ends: LineEnds,
    /// First byte of the first header line.
    start: usize,
    /// First byte after the empty line.
    pub(super) head_len: usize,
}

/// What the header lines say about framing and the connection.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) content_length: Option<u64>,
    pub(super) transfer_encoding_lines: u8,
    pub(super) chunked: bool,
    pub(super) host_lines: u8,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_nominated: bool,
}

/// Skips empty lines before a start line (RFC 9112 section 2.2) and finds its end.
///
/// Returns the start line (without CRLF) and the offset behind it; `None` when more is needed.
#[inline]
pub(super) fn start_line<'a>(
    input: &'a [u8],
    limits: &HeadLimits,
) -> Result<Option<(&'a [u8], usize)>, H1Error> {
    let mut from = 0;
    while let Some(rest) = input.get(from..).and_then(|i| i.strip_prefix(b"\r\n")) {
        from = input.len() - rest.len();
        if from > limits.head_bytes_max {
            return Err(H1Error::new(H1Rule::HeadTooLarge, from));
        }
    }
    let window = input.get(from..).unwrap_or_default();
    let Some(lf) = memchr(b'\n', window) else {
        // A start line begins with a token character: anything else (a TLS hello, say) is refused
        // without waiting for a line that may never end. A lone CR may become an empty line.
        let hopeless = match window {
            [] | [b'\r'] => false,
            [first, ..] => TOKEN_LOWER[usize::from(*first)] == 0,
        };
        return if hopeless {
            Err(H1Error::new(H1Rule::RequestLine, from))
        } else if input.len() > limits.head_bytes_max {
            Err(H1Error::new(H1Rule::HeadTooLarge, input.len()))
        } else {
            Ok(None)
        };
    };
    let end = from + lf + 1;
    if end > limits.head_bytes_max {
        return Err(H1Error::new(H1Rule::HeadTooLarge, end));
    }
    match window.get(..lf) {
        Some([line @ .., b'\r']) => Ok(Some((line, end))),
        _ => Err(H1Error::new(H1Rule::BareLf, end)),
    }
}

/// Finds the lines up to the empty one, from offset `start`.
///
/// `None` when the empty line has not come yet. What it finds wrong does not depend on how much
/// has come, so that a head arriving in pieces fares like one arriving whole.
#[inline]
pub(super) fn header_lines(
    input: &[u8],
    start: usize,
    limits: &HeadLimits,
) -> Result<Option<Lines>, H1Error> {
    let mut ends = LineEnds::new();
    let mut line_start = start;
    let rest = input.get(start..).unwrap_or_default();
    for lf in memchr_iter(b'\n', rest) {
        let lf = start + lf;
        if lf >= limits.head_bytes_max {
            break;
        }
        let cr = lf.wrapping_sub(1);
        if lf == line_start || input.get(cr) != Some(&b'\r') {
            return Err(H1Error::new(H1Rule::BareLf, lf));
        }
        if cr == line_start {
            return Ok(Some(Lines { ends, start, head_len: lf + 1 }));
        }
        if ends.len() >= limits.headers_count_max {
            return Err(H1Error::new(H1Rule::TooManyHeaders, line_start));
        }
        ends.push(cr as u32);
        line_start = lf + 1;
    }
    if input.len() > limits.head_bytes_max {
        return Err(H1Error::new(H1Rule::HeadTooLarge, limits.head_bytes_max));
    }
    Ok(None)
}

/// Which message the lines belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
    Trailers,
}

/// Copies the lines into `map` and resolves them. `Host` of a request goes to `authority`.
pub(super) fn parse_lines(
    input: &[u8],
    lines: &Lines,
    side: Side,
    options: &ParseOptions,
    map: &mut HeaderMap,
    authority: &mut Vec<u8>,
) -> Result<Facts, H1Error> {
    let head = input.get(lines.start..lines.head_len).unwrap_or_default();
    map.load(head);
    let preserve = options.header_key_format == HeaderKeyFormat::PreserveCase;
    if preserve {
        map.keep_case(head);
    }
    let mut facts = Facts::default();
    let mut start = 0;
    for &cr in &lines.ends {
        let end = cr as usize - lines.start;
        let line = map.arena_mut().get_mut(start..end).unwrap_or_default();
        let at = |offset: usize| lines.start + start + offset;
        let colon = lower_name(line).map_err(|rule| H1Error::new(rule, at(0)))?;
        let (name, value) = line.split_at(colon);
        let (value_from, value_to) = value_range(value);
        let value = value.get(value_from..value_to).unwrap_or_default();
        if !is_field_value(value) {
            return Err(H1Error::new(H1Rule::HeaderValue, at(colon)));
        }
        let known = KnownName::lookup(name);
        let keep = match known {
            Some(known) => note(known, value, side, &mut facts, authority),
            None => underscores(name, options),
        };
        let keep = keep.map_err(|rule| H1Error::new(rule, at(0)))?;
        if keep {
            let verbatim = value_from == 2
                && start + colon + value_to == end
                && map.arena_mut().get(start + colon + 1) == Some(&b' ');
            let value = start + colon + value_from..start + colon + value_to;
            push(map, Entry::parsed(start..start + colon, value, known, verbatim), preserve);
        }
        start = end + 2;
    }
    Ok(facts)
}

/// Lower-cases the name at the start of the line; returns the offset of its colon.
#[inline]
fn lower_name(line: &mut [u8]) -> Result<usize, H1Rule> {
    for (i, byte) in line.iter_mut().enumerate() {
        let lower = TOKEN_LOWER[usize::from(*byte)];
        if lower == 0 {
            return match (*byte, i) {
                (b' ' | b'\t', 0) => Err(H1Rule::Folded),
                (b':', 1..) if i <= usize::from(u16::MAX) => Ok(i),
                _ => Err(H1Rule::HeaderName),
            };
        }
        *byte = lower;
    }
    Err(H1Rule::HeaderName)
}

/// Where the value lies in `rest`, which starts at the colon, without white space around it.
#[inline]
fn value_range(rest: &[u8]) -> (usize, usize) {
    let mut from = 1;
    while let Some(b' ' | b'\t') = rest.get(from) {
        from += 1;
    }
    let mut to = rest.len();
    while to > from && matches!(rest.get(to - 1), Some(b' ' | b'\t')) {
        to -= 1;
    }
    (from, to)
}

#[inline]
fn underscores(name: &[u8], options: &ParseOptions) -> Result<bool, H1Rule> {
    let action = options.headers_with_underscores_action;
    if action == UnderscoreAction::Allow || memchr(b'_', name).is_none() {
        return Ok(true);
    }
    match action {
        UnderscoreAction::RejectRequest => Err(H1Rule::Underscore),
        UnderscoreAction::DropHeader | UnderscoreAction::Allow => Ok(false),
    }
}

/// Adds the line, or joins it to an earlier one of the same name.
#[inline]
fn push(map: &mut HeaderMap, entry: Entry, cased: bool) {
    if let Some(known) = entry.known()
        && map.contains(known)
        && is_joined(known)
    {
        map.join_parsed(known, entry);
        return;
    }
    map.push(entry);
    if cased {
        map.mark_cased();
    }
}

/// Reads a line that matters to framing; whether it stays in the map.
#[inline]
fn note(
    known: KnownName,
    value: &[u8],
    side: Side,
    facts: &mut Facts,
    authority: &mut Vec<u8>,
) -> Result<bool, H1Rule> {
    if side == Side::Trailers {
        return Ok(may_be_trailer(known));
    }
    match known {
        KnownName::Host if side == Side::Request => {
            facts.host_lines = facts.host_lines.saturating_add(1);
            authority.clear();
            authority.extend_from_slice(value);
            Ok(false)
        }
        KnownName::ContentLength => content_length(value, facts),
        KnownName::TransferEncoding => {
            facts.transfer_encoding_lines = facts.transfer_encoding_lines.saturating_add(1);
            facts.chunked = value.eq_ignore_ascii_case(b"chunked");
            Ok(true)
        }
        KnownName::Connection => {
            for member in list_members(value) {
                connection_member(member, facts)?;
            }
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// A plain number; a second line is dropped when it says the same (RFC 9112 section 6.3).
fn content_length(value: &[u8], facts: &mut Facts) -> Result<bool, H1Rule> {
    let padded = value.len() > 1 && value.first() == Some(&b'0');
    let length = parse_u64(value).filter(|_| !padded).ok_or(H1Rule::ContentLength)?;
    match facts.content_length.replace(length) {
        None => Ok(true),
        Some(before) if before == length => Ok(false),
        Some(_) => Err(H1Rule::ContentLength),
    }
}

fn connection_member(member: &[u8], facts: &mut Facts) -> Result<(), H1Rule> {
    // Headers a next hop would drop if it obeyed, while this one frames or routes by them. Envoy
    // ignores such a nomination; refusing it leaves nothing to disagree about.
    const FRAMING: [&[u8]; 5] =
        [b"transfer-encoding", b"content-length", b"host", b"x-forwarded-for", b"trailer"];
    if member.eq_ignore_ascii_case(b"close") {
        facts.close = true;
    } else if member.eq_ignore_ascii_case(b"keep-alive") {
        facts.keep_alive = true;
    } else if member.eq_ignore_ascii_case(b"upgrade") {
        facts.upgrade_nominated = true;
    } else if FRAMING.iter().any(|name| member.eq_ignore_ascii_case(name)) {
        return Err(H1Rule::Nominated);
    }
    Ok(())
}

/// Fields that frame, route or authenticate a message mean nothing after its body and are dropped
/// there (RFC 9110 section 6.5.1).
fn may_be_trailer(known: KnownName) -> bool {
    !matches!(
        known,
        KnownName::Host
            | KnownName::ContentLength
            | KnownName::TransferEncoding
            | KnownName::Connection
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::Te
            | KnownName::Trailer
            | KnownName::Upgrade
            | KnownName::Authorization
            | KnownName::ProxyAuthorization
            | KnownName::Cookie
            | KnownName::SetCookie
            | KnownName::ContentEncoding
            | KnownName::ContentType
            | KnownName::Range
            | KnownName::Expect
            | KnownName::CacheControl
    ) && !known.as_str().starts_with("x-envoy-")
        && !known.as_str().starts_with("x-forwarded-")
}

/// Whether Envoy joins several lines of this name into one, with a comma: the headers its map
/// keeps in fixed slots (`INLINE_REQ_HEADERS` and its like). What reads one of them then sees
/// every line, so that a second line cannot hide from a check.
fn is_joined(known: KnownName) -> bool {
    matches!(
        known,
        KnownName::Connection
            | KnownName::ContentType
            | KnownName::Date
            | KnownName::Expect
            | KnownName::GrpcMessage
            | KnownName::GrpcStatus
            | KnownName::GrpcTimeout
            | KnownName::KeepAlive
            | KnownName::Location
            | KnownName::ProxyConnection
            | KnownName::ProxyStatus
            | KnownName::Server
            | KnownName::Te
            | KnownName::TransferEncoding
            | KnownName::Upgrade
            | KnownName::UserAgent
            | KnownName::Via
            | KnownName::XClientTraceId
            | KnownName::XRequestId
    ) || known.as_str().starts_with("x-envoy-")
        || known.as_str().starts_with("x-forwarded-")
}
