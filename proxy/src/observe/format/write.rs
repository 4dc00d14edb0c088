//! Appending to a line of bytes.

use std::fmt;

/// Lets `write!` append to bytes.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends a number in decimal.
pub(crate) fn number(mut n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (n % 10) as u8;
        }
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Appends two digits of a number below 100.
pub(super) fn two_digits(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// Appends a number with at least `width` digits, filled with `fill`.
pub(super) fn padded(n: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    if width == 2 && fill == b'0' && n < 100 {
        return two_digits(n, out);
    }
    if width == 3 && fill == b'0' && n < 1000 {
        out.push(b'0' + (n / 100) as u8);
        return two_digits(n % 100, out);
    }
    let start = out.len();
    number(n, out);
    let missing = width.saturating_sub(out.len() - start);
    if missing > 0 {
        out.resize(out.len() + missing, fill);
        if let Some(field) = out.get_mut(start..) {
            field.rotate_right(missing);
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(nibble: u8) -> u8 {
    HEX.get(usize::from(nibble & 15)).copied().unwrap_or(b'0')
}

/// Appends a version-4 UUID made of random bits.
pub(super) fn uuid(random: u128, out: &mut Vec<u8>) {
    let version = 4 << 76;
    let variant = 2 << 62;
    let bits = random & !(0xf << 76) & !(3 << 62) | version | variant;
    for (i, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[hex(byte >> 4), hex(byte)]);
    }
}

/// Turns what was appended since `start` into a JSON string. In place: most values need nothing
/// but the quotes.
pub(crate) fn quote_from(start: usize, out: &mut Vec<u8>) {
    let raw = out.get(start..).unwrap_or_default();
    let plain = raw.iter().all(|&b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\');
    if plain {
        out.push(b'"');
        out.push(b'"');
        if let Some(field) = out.get_mut(start..) {
            let end = field.len() - 1;
            if let Some(inner) = field.get_mut(..end) {
                inner.rotate_right(1);
            }
        }
        return;
    }
    let raw = raw.to_vec();
    out.truncate(start);
    json_string(&raw, out);
}

/// Appends bytes as a JSON string. Of what is not UTF-8, every byte that is no plain ASCII is
/// written as `\u00XX`, as Envoy does.
pub(crate) fn json_string(raw: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let utf8 = std::str::from_utf8(raw).is_ok();
    for &byte in raw {
        match byte {
            b'"' | b'\\' | 0x7f.. if !utf8 => escaped(byte, out),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' if utf8 => out.extend_from_slice(b"\\n"),
            b'\r' if utf8 => out.extend_from_slice(b"\\r"),
            b'\t' if utf8 => out.extend_from_slice(b"\\t"),
            8 if utf8 => out.extend_from_slice(b"\\b"),
            12 if utf8 => out.extend_from_slice(b"\\f"),
            0..0x20 => escaped(byte, out),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn escaped(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[hex(byte >> 4), hex(byte)]);
}
