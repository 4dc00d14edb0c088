//! Splitting a head into lines and its header lines into a map.

use memchr::memchr;
use smallvec::SmallVec;

use super::error::{H1Error, H1Rule};
use super::fields::{is_joined, may_be_trailer};
use super::options::{HeadLimits, HeaderKeyFormat, ParseOptions, UnderscoreAction};
use crate::chars::{TOKEN_LOWER, is_field_value, list_members, parse_u64};
use crate::headers::{Entry, HeaderMap};
use crate::message::HostName;
use crate::names::{KnownName, NAME_WORDS};
use crate::swar;

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
    /// Whether there is a control character besides HTAB and the CRLF of each line.
    suspicious: bool,
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
    let mut splitter = Splitter {
        lines: Lines { ends: LineEnds::new(), start, head_len: 0, suspicious: false },
        line_start: start,
        last_cr: NO_CR,
        headers_count_max: limits.headers_count_max,
    };
    let window = input.get(start..input.len().min(limits.head_bytes_max)).unwrap_or_default();
    let (words, rest) = window.as_chunks::<8>();
    let mut at = start;
    for word in words {
        let mut hits = swar::controls(u64::from_le_bytes(*word));
        while hits != 0 {
            let lane = swar::first(hits);
            let byte = word.get(lane).copied().unwrap_or_default();
            if splitter.control(byte, at + lane)? {
                return Ok(Some(splitter.lines));
            }
            hits &= hits - 1;
        }
        at += 8;
    }
    for byte in rest {
        if swar::is_control(*byte) && splitter.control(*byte, at)? {
            return Ok(Some(splitter.lines));
        }
        at += 1;
    }
    if input.len() > limits.head_bytes_max {
        return Err(H1Error::new(H1Rule::HeadTooLarge, limits.head_bytes_max));
    }
    Ok(None)
}

/// No CR seen yet.
const NO_CR: usize = usize::MAX;

/// Turns the control characters of a head into lines.
struct Splitter {
    lines: Lines,
    line_start: usize,
    last_cr: usize,
    headers_count_max: usize,
}

impl Splitter {
    /// Takes the next control character; `true` at the end of the empty line.
    #[inline]
    fn control(&mut self, byte: u8, at: usize) -> Result<bool, H1Error> {
        match byte {
            b'\r' => {
                // A second CR on a line means that the first was bare.
                self.lines.suspicious |= self.last_cr >= self.line_start && self.last_cr != NO_CR;
                self.last_cr = at;
                return Ok(false);
            }
            b'\n' => {}
            b'\t' => return Ok(false),
            _ => {
                self.lines.suspicious = true;
                return Ok(false);
            }
        }
        let cr = at.wrapping_sub(1);
        if cr != self.last_cr {
            return Err(H1Error::new(H1Rule::BareLf, at));
        }
        if cr == self.line_start {
            self.lines.head_len = at + 1;
            return Ok(true);
        }
        if self.lines.ends.len() >= self.headers_count_max {
            return Err(H1Error::new(H1Rule::TooManyHeaders, self.line_start));
        }
        self.lines.ends.push(cr as u32);
        self.line_start = at + 1;
        Ok(false)
    }
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
        let at = |offset: usize| lines.start + start + offset;
        let arena = map.arena_mut();
        let (colon, known) =
            lower_name(head, start, arena).map_err(|rule| H1Error::new(rule, at(0)))?;
        let line = arena.get(start..end).unwrap_or_default();
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let (value_from, value_to) = value_range(value);
        let value = value.get(value_from..value_to).unwrap_or_default();
        if lines.suspicious && !is_field_value(value) {
            return Err(H1Error::new(H1Rule::HeaderValue, at(colon)));
        }
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

/// Lower-cases the name at `start` of `head` in `arena`, which is a copy of it; returns the offset
/// of its colon and which name it is.
///
/// Eight bytes at a time as long as they are letters, digits and hyphens, like all known names.
#[inline]
fn lower_name(
    head: &[u8],
    start: usize,
    arena: &mut [u8],
) -> Result<(usize, Option<KnownName>), H1Rule> {
    let mut words = [0; NAME_WORDS];
    let mut offset = 0;
    for word in &mut words {
        let at = start + offset;
        let Some(bytes) = head.get(at..).and_then(|h| h.first_chunk::<8>()) else { break };
        let raw = u64::from_le_bytes(*bytes);
        let (lower, count) = swar::lower_word(raw);
        if count == 8 {
            write_word(arena, at, lower);
            *word = lower;
            offset += 8;
            continue;
        }
        if bytes.get(count) != Some(&b':') || offset + count == 0 {
            break;
        }
        let mask = (1u64 << (count * 8)) - 1;
        write_word(arena, at, lower & mask | raw & !mask);
        *word = lower & mask;
        return Ok((offset + count, KnownName::from_words(&words)));
    }
    lower_name_slowly(arena.get_mut(start..).unwrap_or_default())
}

#[inline]
fn write_word(arena: &mut [u8], at: usize, word: u64) {
    if let Some(place) = arena.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// For names that are long, at the very end of the head, or have other token characters.
#[inline(never)]
fn lower_name_slowly(line: &mut [u8]) -> Result<(usize, Option<KnownName>), H1Rule> {
    for (i, byte) in line.iter_mut().enumerate() {
        let lower = TOKEN_LOWER[usize::from(*byte)];
        if lower == 0 {
            let colon = match (*byte, i) {
                (b' ' | b'\t', 0) => return Err(H1Rule::Folded),
                (b':', 1..) if i <= usize::from(u16::MAX) => i,
                _ => return Err(H1Rule::HeaderName),
            };
            return Ok((colon, KnownName::lookup(line.get(..colon).unwrap_or_default())));
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
