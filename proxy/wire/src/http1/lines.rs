//! Splitting a head into lines and its header lines into a map.

use memchr::memchr;

use super::error::{H1Error, H1Rule};
use super::fields::{is_joined, may_be_trailer};
use super::options::{HeadLimits, ParseOptions, UnderscoreAction};
use crate::chars::{TOKEN_LOWER, is_field_value, list_members, parse_u64};
use crate::headers::{Entry, HeaderMap};
use crate::message::HostName;
use crate::names::{KnownName, NAME_WORDS, NameHash};
use crate::swar;

/// The extent of a complete head; where its lines end is in the map's scratch.
#[derive(Clone, Copy)]
pub(super) struct Lines {
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
    map: &mut HeaderMap,
) -> Result<Option<Lines>, H1Error> {
    map.line_ends.clear();
    let window = input.get(..input.len().min(limits.head_bytes_max)).unwrap_or_default();
    let mut splitter = Splitter {
        window,
        start,
        line_start: start,
        ends: &mut map.line_ends,
        suspicious: false,
        headers_count_max: limits.headers_count_max,
    };
    let (words, rest) = window.get(start..).unwrap_or_default().as_chunks::<8>();
    let mut at = start;
    for word in words {
        let mut hits = swar::controls(u64::from_le_bytes(*word));
        while hits != 0 {
            let lane = swar::first(hits);
            hits &= hits - 1;
            match splitter.control(at + lane)? {
                Found::End(lines) => return Ok(Some(lines)),
                // The LF is the next hit, unless it is in the next word.
                Found::Line if lane < 7 => hits &= hits - 1,
                Found::Line | Found::Nothing => {}
            }
        }
        at += 8;
    }
    for byte in rest {
        if swar::is_control(*byte)
            && let Found::End(lines) = splitter.control(at)?
        {
            return Ok(Some(lines));
        }
        at += 1;
    }
    if input.len() > limits.head_bytes_max {
        return Err(H1Error::new(H1Rule::HeadTooLarge, limits.head_bytes_max));
    }
    Ok(None)
}

/// Turns the control characters of a head into lines.
struct Splitter<'a> {
    window: &'a [u8],
    start: usize,
    line_start: usize,
    /// Offset of each line's CR, from the start of the input.
    ends: &'a mut Vec<u32>,
    suspicious: bool,
    headers_count_max: usize,
}

/// What a control character was.
enum Found {
    /// The CR of a CRLF behind a line.
    Line,
    /// The CR of the empty line.
    End(Lines),
    /// Neither.
    Nothing,
}

impl Splitter<'_> {
    /// Takes the control character at `at`; LFs behind their CR need not be told.
    #[inline]
    fn control(&mut self, at: usize) -> Result<Found, H1Error> {
        match (self.window.get(at), self.window.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => self.line(at),
            // What follows is still to come.
            (Some(b'\r'), None) | (Some(b'\t'), _) => Ok(Found::Nothing),
            (Some(b'\n'), _) if at + 1 == self.line_start => Ok(Found::Nothing),
            (Some(b'\n'), _) => Err(H1Error::new(H1Rule::BareLf, at)),
            _ => {
                self.suspicious = true;
                Ok(Found::Nothing)
            }
        }
    }

    #[inline]
    fn line(&mut self, cr: usize) -> Result<Found, H1Error> {
        if cr == self.line_start {
            let Self { start, suspicious, .. } = *self;
            return Ok(Found::End(Lines { start, head_len: cr + 2, suspicious }));
        }
        if self.ends.len() >= self.headers_count_max {
            return Err(H1Error::new(H1Rule::TooManyHeaders, self.line_start));
        }
        self.ends.push(cr as u32);
        self.line_start = cr + 2;
        Ok(Found::Line)
    }
}

/// Which message the lines belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
    Trailers,
}

/// Copies the lines into `map` and resolves them. `Host` of a request goes to `authority`.
pub(super) fn parse_lines(
    input: &[u8],
    lines: Lines,
    side: Side,
    options: &ParseOptions,
    map: &mut HeaderMap,
    authority: &mut Vec<u8>,
) -> Result<Facts, H1Error> {
    let head = input.get(lines.start..lines.head_len).unwrap_or_default();
    map.load(head);
    let preserve = options.header_key_format.keeps_case();
    if preserve {
        map.keep_case(head);
    }
    let ends = std::mem::take(&mut map.line_ends);
    let mut facts = Facts::default();
    let mut outcome = Ok(());
    let mut start = 0;
    for &cr in &ends {
        let end = cr as usize - lines.start;
        let line = Line { head, start, end, side, preserve, check: lines.suspicious };
        if let Err(rule) = line.parse(options, map, &mut facts, authority) {
            outcome = Err(H1Error::new(rule, lines.start + start));
            break;
        }
        start = end + 2;
    }
    map.line_ends = ends;
    map.join_repeated();
    outcome.map(|()| facts)
}

/// One line of a head.
struct Line<'a> {
    /// All header lines, as received; the map's arena starts with a copy.
    head: &'a [u8],
    /// First byte of the line in `head`.
    start: usize,
    /// Its CR.
    end: usize,
    side: Side,
    preserve: bool,
    /// Whether the value may have control characters.
    check: bool,
}

impl Line<'_> {
    #[inline]
    fn parse(
        &self,
        options: &ParseOptions,
        map: &mut HeaderMap,
        facts: &mut Facts,
        authority: &mut Vec<u8>,
    ) -> Result<(), H1Rule> {
        let (colon, known) = lower_name(self.head, self.start, map.arena_mut())?;
        let line = self.head.get(self.start..self.end).unwrap_or_default();
        let (from, to) = value_range(line, colon);
        let value = line.get(from..to).unwrap_or_default();
        if self.check && !is_field_value(value) {
            return Err(H1Rule::HeaderValue);
        }
        let keep = match known {
            Some(known) => note(known, value, self.side, facts, authority)?,
            None => underscores(line.get(..colon).unwrap_or_default(), options)?,
        };
        if self.preserve && known == Some(KnownName::Host) {
            facts.host_name = line.first_chunk().map(|name| HostName(*name));
        }
        if keep {
            let verbatim =
                from == colon + 2 && to == line.len() && line.get(colon + 1) == Some(&b' ');
            let name = self.start..self.start + colon;
            let value = self.start + from..self.start + to;
            let entry = Entry::parsed(name, value, known, verbatim);
            push(map, entry, self.side, self.preserve);
        }
        Ok(())
    }
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
    let mut hash = NameHash::default();
    for index in 0..NAME_WORDS {
        let at = start + index * 8;
        let Some(bytes) = head.get(at..).and_then(|h| h.first_chunk::<8>()) else { break };
        let raw = u64::from_le_bytes(*bytes);
        let (lower, count) = swar::lower_word(raw);
        if count == 8 {
            write_word(arena, at, lower);
            hash.push(index, lower);
            continue;
        }
        let colon = index * 8 + count;
        if bytes.get(count) != Some(&b':') || colon == 0 {
            break;
        }
        let mask = (1u64 << (count * 8)) - 1;
        write_word(arena, at, lower & mask | raw & !mask);
        hash.push(index, lower & mask);
        return Ok((colon, hash.finish()));
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
                (0, _) => return Err(H1Rule::Control),
                (b':', 1..) if i <= usize::from(u16::MAX) => i,
                _ => return Err(H1Rule::HeaderName),
            };
            return Ok((colon, KnownName::lookup(line.get(..colon).unwrap_or_default())));
        }
        *byte = lower;
    }
    Err(H1Rule::HeaderName)
}

/// Where the value lies in the line, without white space around it.
#[inline]
fn value_range(line: &[u8], colon: usize) -> (usize, usize) {
    let mut from = colon + 1;
    while let Some(b' ' | b'\t') = line.get(from) {
        from += 1;
    }
    let mut to = line.len();
    while to > from && matches!(line.get(to - 1), Some(b' ' | b'\t')) {
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

/// Adds the line; notes whether it has to be joined to an earlier one of the same name.
#[inline]
fn push(map: &mut HeaderMap, entry: Entry, side: Side, cased: bool) {
    if let Some(known) = entry.known()
        && map.contains(known)
        && is_joined(known, side)
    {
        map.mark_repeated(known);
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
