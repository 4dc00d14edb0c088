//! Path and host normalisation before routing: `normalize_path`, `merge_slashes`,
//! `path_with_escaped_slashes_action`, `strip_*_host_port`, `strip_trailing_host_dot`.
//!
//! Order and outcome are Envoy's: escaped slashes, then the canonical form, then slashes are
//! merged. Only the path is touched, never the query.

use ringway_wire::chars::Decimal;
use ringway_wire::path::{split_port, split_query};
use ringway_wire::{Method, RequestHead};

use crate::plan::http::{EscapedSlashes, Normalise, StripPort};

/// What is to happen with the normalised request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalised {
    /// It goes on.
    Forward,
    /// The client is sent to the normal form (`UNESCAPE_AND_REDIRECT`).
    Redirect,
}

/// The path cannot be normalised, or may not need it: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// Normalises path and host in place. `port` is that of the socket the request came to.
pub(crate) fn normalise(
    head: &mut RequestHead,
    rules: &Normalise,
    port: u16,
) -> Result<Normalised, Refused> {
    normalise_host(head, rules, port);
    if head.method == Method::Connect || head.path.first() != Some(&b'/') {
        return Ok(Normalised::Forward);
    }
    let touches =
        rules.path || rules.merge_slashes || rules.escaped_slashes != EscapedSlashes::Keep;
    if !touches || is_normal(&head.path) {
        return Ok(Normalised::Forward);
    }
    let (path, query) = split_query(&head.path);
    let mut path = path.to_vec();
    let mut outcome = Normalised::Forward;
    if rules.escaped_slashes != EscapedSlashes::Keep && unescape_slashes(&mut path) {
        match rules.escaped_slashes {
            EscapedSlashes::Reject => return Err(Refused),
            EscapedSlashes::UnescapeAndRedirect => outcome = Normalised::Redirect,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::Keep => {}
        }
    }
    if rules.path {
        path = canonical(&path)?;
    }
    if rules.merge_slashes {
        let only_slashes = path.len() > 1 && path.iter().all(|b| *b == b'/');
        path.dedup_by(|b, a| *a == b'/' && *b == b'/');
        if only_slashes {
            // Envoy keeps the first and the last one.
            path.push(b'/');
        }
    }
    if let Some(query) = query {
        path.push(b'?');
        path.extend_from_slice(query);
    }
    head.path = path;
    Ok(outcome)
}

/// A quick look that lets ordinary paths through without a copy: nothing in them that any rule
/// would change.
fn is_normal(path: &[u8]) -> bool {
    let (path, _) = split_query(path);
    let mut before = 0;
    path.iter().all(|&byte| {
        let special = match byte {
            b'/' => before == b'/',
            b'.' => before == b'/',
            byte => !passes(byte),
        };
        before = byte;
        !special
    })
}

/// `%2F`, `%5C` and their lower-case forms become the slashes they stand for.
fn unescape_slashes(path: &mut Vec<u8>) -> bool {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_slice();
    let mut found = false;
    while let Some((&byte, tail)) = rest.split_first() {
        let unescaped = match rest {
            [b'%', b'2', b'f' | b'F', ..] => Some(b'/'),
            [b'%', b'5', b'c' | b'C', ..] => Some(b'\\'),
            _ => None,
        };
        if let Some(slash) = unescaped {
            out.push(slash);
            found = true;
            rest = rest.get(3..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    *path = out;
    found
}

/// The canonical form of a path: backslashes are slashes, dot segments are resolved (RFC 3986
/// section 5.2.4; a segment's `;parameters` do not save it), escapes of unreserved characters are
/// undone, characters no path has are escaped.
fn canonical(path: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|b| matches!(b, b'/' | b'\\')).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let clean = canonical_segment(segment)?;
        match dots(&clean) {
            Dots::None => {
                out.push(b'/');
                out.extend_from_slice(&clean);
            }
            Dots::Same => {
                if last {
                    out.push(b'/');
                }
            }
            Dots::Parent => {
                let parent = out.iter().rposition(|b| *b == b'/').unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

enum Dots {
    None,
    Same,
    Parent,
}

fn dots(segment: &[u8]) -> Dots {
    let name = segment.split(|b| *b == b';').next().unwrap_or_default();
    match name {
        b"." => Dots::Same,
        b".." => Dots::Parent,
        _ => Dots::None,
    }
}

fn canonical_segment(segment: &[u8]) -> Result<Vec<u8>, Refused> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            match escaped(tail) {
                Some(0) => return Err(Refused),
                Some(value) if is_unreserved(value) => {
                    out.push(value);
                    rest = tail.get(2..).unwrap_or_default();
                }
                _ => out.push(b'%'),
            }
        } else if passes(byte) || byte == b'.' {
            out.push(byte);
        } else if byte.is_ascii() {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            return Err(Refused);
        }
    }
    Ok(out)
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(*high)? << 4 | value(*low)?).ok()
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Characters that stand in a canonical path as they are.
fn passes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,;=:@[]".contains(&byte)
}

fn normalise_host(head: &mut RequestHead, rules: &Normalise, port: u16) {
    if rules.strip_port != StripPort::None {
        let (host, named) = split_port(&head.authority);
        let goes = named.is_some_and(|named| match rules.strip_port {
            StripPort::Any => true,
            StripPort::Matching => named == Decimal::new(u64::from(port)).as_bytes(),
            StripPort::None => false,
        });
        if goes {
            let keep = host.len();
            head.authority.truncate(keep);
        }
    }
    if rules.strip_trailing_dot {
        let (host, _) = split_port(&head.authority);
        if host.len() > 1 && host.last() == Some(&b'.') {
            let dot = host.len() - 1;
            head.authority.remove(dot);
        }
    }
}

#[cfg(test)]
mod tests;
