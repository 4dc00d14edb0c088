//! Character classes of RFC 9110 and RFC 3986, as tables and whole-slice checks.

/// `tchar` of RFC 9110 section 5.6.2, mapped to lower case; 0 marks every other byte.
pub(crate) static TOKEN_LOWER: [u8; 256] = token_table();

const fn token_table() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0u8;
    loop {
        let token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            )
            || matches!(byte, b'`' | b'|' | b'~');
        if token {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// Whether `byte` may stand in a token: a method, a header name (RFC 9110 section 5.6.2).
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN_LOWER[usize::from(byte)] != 0
}

/// Whether `bytes` is a token: not empty, token characters only.
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Whether `bytes` may be a field value: no control character but HTAB, no DEL; bytes from 0x80
/// up are `obs-text` and pass (RFC 9110 section 5.5).
///
/// Branch-free inside a block so that it compiles to vector code.
#[inline]
pub fn is_field_value(bytes: &[u8]) -> bool {
    let bad = |b: u8| ((b < 0x20) & (b != b'\t')) | (b == 0x7f);
    let mut chunks = bytes.chunks_exact(16);
    let mut any = false;
    for chunk in &mut chunks {
        let mut hit = 0u8;
        for &b in chunk {
            hit |= u8::from(bad(b));
        }
        any |= hit != 0;
    }
    !any && !chunks.remainder().iter().any(|&b| bad(b))
}

/// Whether a value would break the line it is written on: holds CR, LF or NUL.
#[inline]
pub fn breaks_line(bytes: &[u8]) -> bool {
    let bad = |b: u8| (b == b'\r') | (b == b'\n') | (b == 0);
    bytes.iter().fold(false, |any, &b| any | bad(b))
}

/// Whether `bytes` may be a request target: visible ASCII characters only.
///
/// Envoy also lets HTAB and FF through (as http_parser did); no path needs them, and a server
/// behind the proxy may split its request line there.
#[inline]
pub fn is_target(bytes: &[u8]) -> bool {
    // Without a way out of the loop, so that it compiles to vector code.
    bytes.iter().fold(true, |all, byte| all & byte.is_ascii_graphic())
}

/// Whether `bytes` may be an authority: the characters Envoy's codec and its Host check let
/// through, that is `reg-name`, IP literal, port and user info (RFC 3986 section 3.2).
pub fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| AUTHORITY[usize::from(b)])
}

static AUTHORITY: [bool; 256] = authority_table();

const fn authority_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'$' | b'%' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+')
            || matches!(byte, b',' | b'-' | b'.' | b':' | b';' | b'=' | b'@' | b'[' | b']')
            || matches!(byte, b'_' | b'~');
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// Cuts spaces and tabs (`OWS`, RFC 9110 section 5.6.3) from both ends.
#[inline]
pub fn trim_ows(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim_ows).filter(|member| !member.is_empty())
}

/// Reads a decimal number: digits only, at least one, no sign, no overflow. Leading zeros pass.
#[inline]
pub fn parse_u64(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, &b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A number in decimal, without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: u8,
}

impl Decimal {
    /// Writes `n`.
    pub fn new(mut n: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return Self { digits, start: start as u8 };
            }
        }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(usize::from(self.start)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
