//! `envoy.filters.listener.http_inspector`: whether a client in plain text speaks HTTP, and which.
//!
//! Only as much is read as tells: the HTTP/2 preface, or the first line. What counts as HTTP is
//! what Envoy 1.40 takes: a method of token characters, a target, and `HTTP/1.1` for version 1.1;
//! no version or another number is HTTP/1.0.

use super::Verdict;
use crate::listener::candidate::Candidate;
use crate::observe::stats::{HttpInspectorStats, ShardStats};

/// What every HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A first line longer than this is no HTTP: Envoy looks no further either.
const LINE_MAX: usize = 64 * 1024;

/// What the bytes so far tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Http10,
    Http11,
    Http2,
    /// No HTTP.
    Other,
    /// Not enough to tell.
    Unclear,
}

pub(super) fn look(
    stats: &ShardStats,
    counters: &HttpInspectorStats,
    candidate: &mut Candidate,
) -> Verdict {
    // What TLS hides is not for this filter.
    if candidate.meta.is_tls() {
        return Verdict::Done;
    }
    let (counter, protocol): (_, Option<&'static [u8]>) = match inspect(candidate.inbox.bytes()) {
        Seen::Unclear => return Verdict::More,
        Seen::Http10 => (counters.http10_found(), Some(b"http/1.0")),
        Seen::Http11 => (counters.http11_found(), Some(b"http/1.1")),
        Seen::Http2 => (counters.http2_found(), Some(b"h2c")),
        Seen::Other => (counters.http_not_found(), None),
    };
    stats.inc(counter);
    if let Some(protocol) = protocol {
        candidate.meta.set_application_protocol(protocol);
    }
    Verdict::Done
}

/// Looks at the beginning of a connection.
pub(super) fn inspect(bytes: &[u8]) -> Seen {
    let common = bytes.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
    if common == PREFACE.len() {
        return Seen::Http2;
    }
    if common == bytes.len() {
        return Seen::Unclear;
    }
    let end = memchr::memchr2(b'\r', b'\n', bytes.get(..LINE_MAX).unwrap_or(bytes));
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        // No method, or a character none has.
        Some(byte) if method == 0 || *byte != b' ' => return Seen::Other,
        None if end.is_some() => return Seen::Other,
        _ => {}
    }
    match end {
        Some(_) => version(line.get(method..).unwrap_or_default()),
        None if bytes.len() >= LINE_MAX => Seen::Other,
        None => Seen::Unclear,
    }
}

/// The version at the end of what follows a method.
fn version(rest: &[u8]) -> Seen {
    let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(_), Some(b"HTTP/1.1"), None) => Seen::Http11,
        (Some(_), None, _) => Seen::Http10,
        (Some(_), Some(version), None) => match version.strip_prefix(b"HTTP/") {
            Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => {
                Seen::Http10
            }
            _ => Seen::Other,
        },
        _ => Seen::Other,
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
