//! Parsing a request head.

use memchr::memchr;

use super::error::{H1Error, H1Rule};
use super::lines::{Facts, Side, header_lines, parse_lines, remove_nominated, start_line};
use super::options::{ParseOptions, RequestLimits};
use super::semantics::asks_upgrade;
use super::{BodyKind, ParsedHead};
use crate::chars::{is_authority, is_target, is_token, parse_u64};
use crate::message::{Method, RequestHead, Scheme, Version};
use crate::names::KnownName;

/// Parses the head of a request at the start of `input` into `head`, which is emptied first.
///
/// `None`: the head is not complete; call again with more bytes, from the same start. On an error
/// `head` holds what was read so far, for the access log. The outcome does not depend on how the
/// bytes were cut into pieces.
///
/// What Envoy does and this does too: the authority of an absolute-form target replaces `Host`;
/// a version other than 1.1 counts as 1.0; `Transfer-Encoding` other than `chunked` is 501;
/// headers named by `Connection` are removed unless the request is an upgrade.
pub fn parse_request(
    input: &[u8],
    limits: &RequestLimits,
    options: &ParseOptions,
    head: &mut RequestHead,
) -> Result<Option<ParsedHead>, H1Error> {
    head.clear();
    let Some((line, start)) = start_line(input, Side::Request, limits)? else { return Ok(None) };
    let target = request_line(line, options, head)
        .map_err(|rule| H1Error::new(rule, start.saturating_sub(line.len() + 2)))?;
    let Some(lines) = header_lines(input, start, limits, &mut head.headers)? else {
        return Ok(None);
    };
    let facts =
        parse_lines(input, lines, Side::Request, options, &mut head.headers, &mut head.authority)?;
    let body = finish(head, target, &facts, options).map_err(|rule| H1Error::new(rule, start))?;
    let keep_alive = match head.version {
        Version::Http10 => facts.keep_alive && !facts.close,
        Version::Http11 | Version::Http2 => !facts.close,
    };
    head.host_name = facts.host_name.unwrap_or_default();
    let upgrade = facts.upgrade_nominated && asks_upgrade(&head.headers);
    if !upgrade {
        remove_nominated(&mut head.headers, &facts);
    }
    let upgrade = upgrade || head.method == Method::Connect;
    Ok(Some(ParsedHead { head_len: lines.head_len, body, keep_alive, upgrade }))
}

/// Forms of a request target (RFC 9112 section 3.2).
enum Target<'a> {
    /// `/path?query`
    Origin(&'a [u8]),
    /// `http://authority/path?query`
    Absolute { scheme: Scheme, authority: &'a [u8], path: &'a [u8] },
    /// `authority`, of CONNECT
    Authority(&'a [u8]),
    /// `*`, of OPTIONS
    Asterisk,
}

/// Method, target and version. Three words with exactly one space between.
fn request_line<'a>(
    line: &'a [u8],
    options: &ParseOptions,
    head: &mut RequestHead,
) -> Result<Target<'a>, H1Rule> {
    let method_end = memchr(b' ', line).ok_or(H1Rule::RequestLine)?;
    let (method, rest) = line.split_at(method_end);
    let rest = rest.get(1..).unwrap_or_default();
    let target_end = memchr(b' ', rest).ok_or(H1Rule::RequestLine)?;
    let (target, version) = rest.split_at(target_end);
    // A target cannot be empty, and what looks like white space in the other words is some.
    let version = version.get(1..).unwrap_or_default();
    if target.is_empty() || !is_token(method) || memchr(b' ', version).is_some() {
        return Err(H1Rule::RequestLine);
    }
    let method = Method::from_bytes(method).ok_or(H1Rule::Method)?;
    if !options.allow_custom_methods && !method.is_registered() {
        return Err(H1Rule::Method);
    }
    head.method = method;
    head.version = version_of(version)?;
    classify(target, method, options)
}

/// `HTTP/` digit `.` digit. All but 1.1 counts as 1.0, as in Envoy's codec.
fn version_of(word: &[u8]) -> Result<Version, H1Rule> {
    match word {
        b"HTTP/1.1" => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Ok(Version::Http10),
        _ => Err(H1Rule::Version),
    }
}

fn classify<'a>(
    target: &'a [u8],
    method: Method,
    options: &ParseOptions,
) -> Result<Target<'a>, H1Rule> {
    if !is_target(target) {
        let control = target.iter().any(|b| b.is_ascii_control() && *b != b'\t');
        return Err(if control { H1Rule::Control } else { H1Rule::Target });
    }
    match (method, target) {
        (Method::Connect, authority) => match host_port(authority)? {
            (_, Some(_)) => Ok(Target::Authority(authority)),
            (_, None) => Err(H1Rule::Url),
        },
        (_, [b'/', ..]) => Ok(Target::Origin(target)),
        (Method::Options, b"*") => Ok(Target::Asterisk),
        _ if options.allow_absolute_url => absolute(target),
        _ => Err(H1Rule::Target),
    }
}

/// `http://` or `https://`, an authority, and a path. User information is dropped.
fn absolute(target: &[u8]) -> Result<Target<'_>, H1Rule> {
    let (scheme, rest) = if let Some(rest) = strip_ignore_case(target, b"http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = strip_ignore_case(target, b"https://") {
        (Scheme::Https, rest)
    } else {
        return Err(H1Rule::Target);
    };
    let end = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // `http://host?query` has no path that could be matched: Envoy finds no route for it (404).
    if path.first() == Some(&b'?') {
        return Err(H1Rule::Url);
    }
    let authority = match memchr(b'@', authority) {
        Some(at) => authority.get(at + 1..).unwrap_or_default(),
        None => authority,
    };
    host_port(authority)?;
    let path = if path.is_empty() { b"/" } else { path };
    Ok(Target::Absolute { scheme, authority, path })
}

/// Host and port of an authority in a request target: a host that is not empty, brackets in pairs
/// around IPv6, a port of 0 to 65535 if there is a colon.
fn host_port(authority: &[u8]) -> Result<(&[u8], Option<u16>), H1Rule> {
    let (host, rest) = match authority {
        [b'[', ..] => {
            let close = memchr(b']', authority).ok_or(H1Rule::Url)?;
            authority.split_at(close + 1)
        }
        _ => authority.split_at(memchr(b':', authority).unwrap_or(authority.len())),
    };
    if host.is_empty() || host == b"[]" || !is_authority(host) || memchr(b'@', host).is_some() {
        return Err(H1Rule::Url);
    }
    match rest {
        [] => Ok((host, None)),
        [b':', port @ ..] if port.len() <= 5 => {
            let port = parse_u64(port).and_then(|p| u16::try_from(p).ok()).ok_or(H1Rule::Url)?;
            Ok((host, Some(port)))
        }
        _ => Err(H1Rule::Url),
    }
}

fn strip_ignore_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Framing, version, authority: in the order in which Envoy judges them.
fn finish(
    head: &mut RequestHead,
    target: Target<'_>,
    facts: &Facts,
    options: &ParseOptions,
) -> Result<BodyKind, H1Rule> {
    let body = request_body(head, facts, options)?;
    if facts.host_lines > 1 {
        return Err(H1Rule::SeveralHosts);
    }
    match target {
        Target::Origin(path) => head.path.extend_from_slice(path),
        Target::Asterisk => head.path.push(b'*'),
        Target::Absolute { scheme, authority, path } => {
            head.scheme = Some(scheme);
            head.path.extend_from_slice(path);
            replace(&mut head.authority, authority);
        }
        Target::Authority(authority) => replace(&mut head.authority, authority),
    }
    if head.version == Version::Http10 {
        if !options.accept_http_10 {
            return Err(H1Rule::Http10);
        }
        if head.authority.is_empty() && facts.host_lines == 0 {
            head.authority.extend_from_slice(&options.default_host_for_http_10);
        }
    }
    // An empty `Host` is legal (RFC 9112 section 3.2) and Envoy sends it on; none at all is not.
    if head.authority.is_empty() && facts.host_lines == 0 {
        return Err(H1Rule::MissingHost);
    }
    if !is_authority(&head.authority) {
        return Err(H1Rule::Authority);
    }
    if memchr(b'#', &head.path).is_some() {
        return Err(H1Rule::Fragment);
    }
    let query = matches!(head.method, Method::Other(_)) && head.method.as_bytes() == b"QUERY";
    if query && !head.headers.contains(KnownName::ContentType) {
        return Err(H1Rule::QueryWithoutType);
    }
    Ok(body)
}

fn replace(bytes: &mut Vec<u8>, by: &[u8]) {
    bytes.clear();
    bytes.extend_from_slice(by);
}

/// RFC 9112 section 6.3, without its leniency.
fn request_body(
    head: &mut RequestHead,
    facts: &Facts,
    options: &ParseOptions,
) -> Result<BodyKind, H1Rule> {
    let coded = facts.transfer_encoding_lines > 0;
    if coded {
        let exact = facts.transfer_encoding_lines == 1 && facts.chunked;
        if facts.content_length.is_some() && !(exact && options.allow_chunked_length) {
            return Err(H1Rule::LengthAndCoding);
        }
        if !exact || head.method == Method::Connect {
            return Err(H1Rule::TransferCoding);
        }
        if head.version == Version::Http10 && options.accept_http_10 {
            return Err(H1Rule::TransferCodingHttp10);
        }
        head.headers.remove(KnownName::ContentLength);
        return Ok(BodyKind::Chunked);
    }
    match facts.content_length {
        Some(1..) if head.method == Method::Connect => Err(H1Rule::ConnectBody),
        None | Some(0) => Ok(BodyKind::None),
        Some(length) => Ok(BodyKind::Length(length)),
    }
}
