//! Parsing a response head.

use super::error::{H1Error, H1Rule};
use super::lines::{Facts, Side, header_lines, parse_lines, start_line};
use super::options::{HeadLimits, ParseOptions};
use super::{BodyKind, ParsedHead};
use crate::chars::is_field_value;
use crate::message::{Method, ResponseHead, Version};
use crate::names::KnownName;

/// Parses the head of a response at the start of `input` into `head`, which is emptied first.
///
/// `method` is that of the request it answers; it decides whether there is a body. An interim
/// response ([`ResponseHead::is_interim`]) comes back like any other, with no body: the caller
/// passes it on or drops it, and parses again. A 101 is an upgrade whether or not one was asked
/// for: the caller refuses the latter. `None` and errors as for
/// [`parse_request`](super::parse_request); the server is to blame.
///
/// What Envoy does and this does too: 204 and 1xx with a `content-length` other than 0, or with
/// `transfer-encoding`, are errors; 304 and the answer to HEAD may have either and have no body.
pub fn parse_response(
    input: &[u8],
    limits: &HeadLimits,
    options: &ParseOptions,
    method: &Method,
    head: &mut ResponseHead,
) -> Result<Option<ParsedHead>, H1Error> {
    parse(input, limits, options, method, head).map_err(H1Error::upstream)
}

fn parse(
    input: &[u8],
    limits: &HeadLimits,
    options: &ParseOptions,
    method: &Method,
    head: &mut ResponseHead,
) -> Result<Option<ParsedHead>, H1Error> {
    head.clear();
    let Some((line, start)) = start_line(input, Side::Response, limits)? else { return Ok(None) };
    status_line(line, head)
        .map_err(|rule| H1Error::new(rule, start.saturating_sub(line.len() + 2)))?;
    let Some(lines) = header_lines(input, start, limits, &mut head.headers)? else {
        return Ok(None);
    };
    let mut no_authority = Vec::new();
    let facts =
        parse_lines(input, lines, Side::Response, options, &mut head.headers, &mut no_authority)?;
    let body = framing(head, &facts, options, method).map_err(|rule| H1Error::new(rule, start))?;
    let persistent = match head.version {
        Version::Http10 => facts.keep_alive && !facts.close,
        Version::Http11 | Version::Http2 => !facts.close,
    };
    let upgrade =
        head.status == 101 || *method == Method::Connect && (200..300).contains(&head.status);
    // RFC 9112 section 6.1: chunks from an HTTP/1.0 server are read, but its connection is not
    // trusted afterwards.
    let odd = head.version == Version::Http10 && body == BodyKind::Chunked;
    let keep_alive = persistent && body != BodyKind::UntilClose && !odd;
    Ok(Some(ParsedHead { head_len: lines.head_len, body, keep_alive, upgrade }))
}

/// `HTTP/1.x`, a space, three digits, and a reason phrase that may be empty or missing.
fn status_line(line: &[u8], head: &mut ResponseHead) -> Result<(), H1Rule> {
    let (version, rest) = line.split_at_checked(9).ok_or(H1Rule::StatusLine)?;
    head.version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(H1Rule::StatusLine),
    };
    let (status, reason) = match rest {
        [a, b, c] => ([a, b, c], &[][..]),
        [a, b, c, b' ', reason @ ..] => ([a, b, c], reason),
        _ => return Err(H1Rule::StatusLine),
    };
    if !status.iter().all(|d| d.is_ascii_digit()) || *status[0] == b'0' || !is_field_value(reason) {
        return Err(H1Rule::StatusLine);
    }
    head.status = status.iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
    head.reason.extend_from_slice(reason);
    Ok(())
}

/// Framing headers against status and method (RFC 9112 section 6.3).
fn framing(
    head: &mut ResponseHead,
    facts: &Facts,
    options: &ParseOptions,
    method: &Method,
) -> Result<BodyKind, H1Rule> {
    let coded = facts.transfer_encoding_lines > 0;
    if coded {
        let exact = facts.transfer_encoding_lines == 1 && facts.chunked;
        if facts.content_length.is_some() && !(exact && options.allow_chunked_length) {
            return Err(H1Rule::LengthAndCoding);
        }
        if !exact {
            return Err(H1Rule::TransferCoding);
        }
        head.headers.remove(KnownName::ContentLength);
    }
    // RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid both on 1xx and 204. A server that
    // sends them would have a lax reader wait for a body; a length of zero is merely dropped.
    if head.status < 200 || head.status == 204 {
        if coded {
            return Err(H1Rule::TransferCodingNotAllowed);
        }
        match facts.content_length {
            Some(1..) => return Err(H1Rule::LengthNotAllowed),
            Some(0) => {
                head.headers.remove(KnownName::ContentLength);
            }
            None => {}
        }
    }
    Ok(response_body(head.status, method, coded, facts.content_length))
}

/// The body of a response, from its status, the request's method and the framing headers.
pub fn response_body(
    status: u16,
    method: &Method,
    chunked: bool,
    content_length: Option<u64>,
) -> BodyKind {
    let tunnel = status == 101 || *method == Method::Connect && (200..300).contains(&status);
    if tunnel {
        return BodyKind::UntilClose;
    }
    if status < 200 || status == 204 || status == 304 || *method == Method::Head {
        return BodyKind::None;
    }
    match (chunked, content_length) {
        (true, _) => BodyKind::Chunked,
        (false, Some(0)) => BodyKind::None,
        (false, Some(length)) => BodyKind::Length(length),
        (false, None) => BodyKind::UntilClose,
    }
}
