//! `%XFCC_VALUE(key)%`: a value of the `x-forwarded-client-cert` header.

use super::eval::Kind;

/// Appends the value of `key` in the first element that has it. Elements are separated by `,`,
/// pairs by `;`; quotes protect both, and `\"` is a quote within quotes.
pub(super) fn write_value(header: &[u8], key: &str, out: &mut Vec<u8>) -> Kind {
    let mut rest = header;
    while !rest.is_empty() {
        let (pair, after) = next_pair(rest);
        rest = after;
        let Some(equals) = pair.iter().position(|&b| b == b'=') else { continue };
        let (name, value) = pair.split_at_checked(equals).unwrap_or_default();
        if name.trim_ascii().eq_ignore_ascii_case(key.as_bytes()) {
            unquote(value.get(1..).unwrap_or_default().trim_ascii(), out);
            return Kind::Text;
        }
    }
    Kind::Absent
}

fn next_pair(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b';' if !quoted => {
                let (pair, after) = text.split_at_checked(i).unwrap_or_default();
                return (pair, after.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (text, &[])
}

fn unquote(value: &[u8], out: &mut Vec<u8>) {
    let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    let Some(inner) = inner else { return out.extend_from_slice(value) };
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'\\' && bytes.peek().is_some();
        out.push(if escaped { bytes.next().unwrap_or(byte) } else { byte });
    }
}
