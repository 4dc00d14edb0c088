//! Integers with a prefix (RFC 7541 section 5.1).

/// More is never meant: no table, block or string is that large.
const INTEGER_MAX: u32 = 1 << 28;

/// Reads an integer whose prefix is the `bits` low bits of the first byte, and cuts it from
/// `input`. `None`: cut short, or above 2^28, or longer than six bytes.
#[inline]
pub(super) fn read(input: &mut &[u8], bits: u32) -> Option<u32> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    let mask = (1u32 << bits) - 1;
    let prefix = u32::from(*first) & mask;
    if prefix < mask { Some(prefix) } else { read_rest(input, mask) }
}

fn read_rest(input: &mut &[u8], prefix: u32) -> Option<u32> {
    let mut value = u64::from(prefix);
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value += u64::from(byte & 0x7f) << shift;
        if value > u64::from(INTEGER_MAX) {
            return None;
        }
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// Writes an integer with a prefix of `bits` bits; `pattern` fills the bits above it.
#[inline]
pub(super) fn write(value: usize, bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
