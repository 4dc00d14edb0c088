//! Small helpers on `:path` values: splitting, percent-encoding.

/// Path and query of a `:path` value; the query without its `?`, `None` when there is no `?`.
/// A fragment, which no valid request target has, stays where it is.
#[inline]
pub fn split_query(path_and_query: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', path_and_query) {
        None => (path_and_query, None),
        Some(at) => {
            let (path, rest) = path_and_query.split_at(at);
            (path, rest.get(1..))
        }
    }
}

/// Query parameters in order, as `(key, value)` without decoding; `None` for a key without `=`.
/// Empty pieces (`a&&b`) are left out.
pub fn query_parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    query.split(|&b| b == b'&').filter(|piece| !piece.is_empty()).map(|piece| match memchr::memchr(
        b'=', piece,
    ) {
        None => (piece, None),
        Some(at) => (piece.split_at(at).0, piece.get(at + 1..)),
    })
}

/// Replaces each well-formed `%XX` by its byte; malformed ones stay. Appends to `out`.
pub fn percent_decode(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        match after {
            [_, high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                rest = tail;
            }
            [percent, tail @ ..] => {
                out.push(*percent);
                rest = tail;
            }
            [] => rest = &[],
        }
    }
    out.extend_from_slice(rest);
}

/// Writes `input` to `out`, with every byte that is not visible ASCII, and every byte of
/// `reserved`, as `%XX`; `%` itself always. With `reserved` empty this is the encoding of
/// `grpc-message`.
pub fn percent_encode(input: &[u8], reserved: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        let plain = (b' '..=b'~').contains(&byte) && byte != b'%' && !reserved.contains(&byte);
        if plain {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
}

/// The host of an authority without its port; an IPv6 literal keeps its brackets.
pub fn host_of(authority: &[u8]) -> &[u8] {
    split_port(authority).0
}

/// Host and port text of an authority. The port is what follows the last colon, if that is all
/// digits and, for an IPv6 literal, stands behind the bracket.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(colon) = memchr::memrchr(b':', authority) else { return (authority, None) };
    let (host, rest) = authority.split_at(colon);
    let port = rest.get(1..).unwrap_or_default();
    let bracketed = host.first() == Some(&b'[');
    let literal_whole = !bracketed || host.last() == Some(&b']');
    let bare_v6 = !bracketed && memchr::memchr(b':', host).is_some();
    if port.is_empty() || !port.iter().all(u8::is_ascii_digit) || !literal_whole || bare_v6 {
        (authority, None)
    } else {
        (host, Some(port))
    }
}

#[inline]
pub(crate) fn hex_digit(nibble: u8) -> u8 {
    match nibble & 15 {
        n @ 0..=9 => b'0' + n,
        n => b'A' + n - 10,
    }
}

#[inline]
pub(crate) fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a' - 10),
    }
}

#[cfg(test)]
mod tests;
