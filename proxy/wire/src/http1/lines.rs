//! Splitting a head into lines and its header lines into a map.

use memchr::{memchr, memchr_iter};
use smallvec::SmallVec;

use super::error::{H1Error, H1Rule};
use super::options::{HeadLimits, HeaderKeyFormat, ParseOptions, UnderscoreAction};
use crate::chars::{TOKEN_LOWER, is_field_value, list_members, parse_u64};
use crate::headers::{Entry, HeaderMap};
use crate::message::HostName;
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
    /// How the last `Host` name was spelled, when spelling is preserved.
    pub(super) host_name: Option<HostName>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_nominated: bool,
    /// Members of `Connection`.
    connection_members: usize,
    /// Whether `Connection` names a header besides the options above.
    nominates: bool,
}

/// Most members of `Connection`; Envoy refuses a tenth.
const CONNECTION_MEMBERS_MAX: usize = 9;

/// Skips empty lines before a start line (RFC 9112 section 2.2) and finds its end.
///
/// Returns the start line (without CRLF) and the offset behind it; `None` when more is needed.
#[inline]
pub(super) fn start_line<'a>(
    input: &'a [u8],
    side: Side,
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
    // A start line begins with a token character. Anything else (a TLS hello, say) is refused
    // without waiting for a line that may never end; a lone CR may become an empty line.
    let hopeless = match window {
        [] | [b'\r'] => false,
        [first, ..] => TOKEN_LOWER[usize::from(*first)] == 0,
    };
    if hopeless {
        let rule = if side == Side::Request { H1Rule::RequestLine } else { H1Rule::StatusLine };
        return Err(H1Error::new(rule, from));
    }
    let Some(lf) = memchr(b'\n', window) else {
        return if input.len() > limits.head_bytes_max {
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
        if preserve && known == Some(KnownName::Host) {
            facts.host_name = head.get(start..).and_then(|h| h.first_chunk()).map(|n| HostName(*n));
        }
        if keep {
            let verbatim = value_from == 2
                && start + colon + value_to == end
                && map.arena_mut().get(start + colon + 1) == Some(&b' ');
            let value = start + colon + value_from..start + colon + value_to;
            push(map, Entry::parsed(start..start + colon, value, known, verbatim), side, preserve);
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
fn push(map: &mut HeaderMap, entry: Entry, side: Side, cased: bool) {
    if let Some(known) = entry.known()
        && map.contains(known)
        && is_joined(known, side)
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
        KnownName::ContentLength => content_length(value, side, facts),
        KnownName::TransferEncoding => {
            facts.transfer_encoding_lines = facts.transfer_encoding_lines.saturating_add(1);
            facts.chunked = value.eq_ignore_ascii_case(b"chunked");
            Ok(true)
        }
        KnownName::Connection => {
            for member in list_members(value) {
                connection_member(member, side, facts)?;
            }
            Ok(true)
        }
        KnownName::ProxyConnection => {
            facts.close |= list_members(value).any(|m| m.eq_ignore_ascii_case(b"close"));
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// A plain number, once: Envoy refuses a second line even when it says the same. Leading zeros
/// in a response are harmless; in a request they may be octal to someone.
fn content_length(value: &[u8], side: Side, facts: &mut Facts) -> Result<bool, H1Rule> {
    let padded = side == Side::Request && value.len() > 1 && value.first() == Some(&b'0');
    let length = parse_u64(value).filter(|_| !padded).ok_or(H1Rule::ContentLength)?;
    match facts.content_length.replace(length) {
        None => Ok(true),
        Some(_) => Err(H1Rule::ContentLength),
    }
}

/// Headers that frame or route a message: if one hop obeyed their nomination and dropped them,
/// the next would see another message. Envoy refuses the `x-forwarded-` ones and pseudo-headers,
/// and `host` ends in 400 as well; it ignores the nomination of the framing ones or obeys it.
const NEVER_NOMINATED: [&[u8]; 6] = [
    b"transfer-encoding",
    b"content-length",
    b"host",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

fn connection_member(member: &[u8], side: Side, facts: &mut Facts) -> Result<(), H1Rule> {
    facts.connection_members += 1;
    if member.eq_ignore_ascii_case(b"close") {
        facts.close = true;
    } else if member.eq_ignore_ascii_case(b"keep-alive") {
        facts.keep_alive = true;
    } else if member.eq_ignore_ascii_case(b"upgrade") {
        facts.upgrade_nominated = true;
    } else if side == Side::Request {
        facts.nominates = true;
        if member.contains(&b':')
            || NEVER_NOMINATED.iter().any(|name| member.eq_ignore_ascii_case(name))
        {
            return Err(H1Rule::Nominated);
        }
    }
    if side == Side::Request && facts.connection_members > CONNECTION_MEMBERS_MAX {
        return Err(H1Rule::Nominated);
    }
    Ok(())
}

/// Removes from a request that is no upgrade the headers `Connection` names, as Envoy's codec
/// does (RFC 9110 section 7.6.1). `te` stays for [`sanitize_te`](super::sanitize_te); Envoy leaves
/// the headers of an upgrade alone.
pub(super) fn remove_nominated(map: &mut HeaderMap, facts: &Facts) {
    if !facts.nominates {
        return;
    }
    let connection = map.get(KnownName::Connection).unwrap_or_default().to_ascii_lowercase();
    for member in list_members(&connection) {
        let option =
            matches!(member, b"close" | b"keep-alive" | b"upgrade" | b"connection" | b"te");
        if !option {
            map.remove(member);
        }
    }
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

/// Whether Envoy joins several lines of this name into one, with a comma: the headers its maps
/// keep in fixed slots, which differ between requests and responses. What reads one of them then
/// sees every line, so that a second line cannot hide from a check. Found by asking Envoy 1.40.
fn is_joined(known: KnownName, side: Side) -> bool {
    use KnownName as K;
    let in_both = matches!(
        known,
        K::CacheControl
            | K::Connection
            | K::ContentEncoding
            | K::ContentType
            | K::KeepAlive
            | K::ProxyConnection
            | K::ProxyStatus
            | K::TransferEncoding
            | K::Upgrade
            | K::Via
            | K::XRequestId
    ) || known.as_str().starts_with("x-envoy-");
    let in_requests = || {
        matches!(
            known,
            K::Accept
                | K::AcceptEncoding
                | K::AccessControlRequestHeaders
                | K::AccessControlRequestMethod
                | K::Authorization
                | K::Expect
                | K::GrpcAcceptEncoding
                | K::GrpcTimeout
                | K::IfMatch
                | K::IfModifiedSince
                | K::IfNoneMatch
                | K::IfRange
                | K::Origin
                | K::Pragma
                | K::Referer
                | K::Te
                | K::UserAgent
                | K::XClientTraceId
        ) || known.as_str().starts_with("x-forwarded-")
    };
    let in_responses = || {
        matches!(
            known,
            K::AccessControlAllowCredentials
                | K::AccessControlAllowHeaders
                | K::AccessControlAllowMethods
                | K::AccessControlAllowOrigin
                | K::AccessControlExposeHeaders
                | K::AccessControlMaxAge
                | K::Age
                | K::Date
                | K::Etag
                | K::Expires
                | K::GrpcMessage
                | K::GrpcStatus
                | K::LastModified
                | K::Location
                | K::Server
                | K::Vary
        )
    };
    in_both
        || match side {
            Side::Request => in_requests(),
            Side::Response | Side::Trailers => in_responses(),
        }
}
