//! Base64 (RFC 4648 section 4), with padding.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Marks a byte that is no digit.
const NONE: u8 = u8::MAX;

/// Value of each digit.
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        table[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    table
}

/// Appends the encoded form of `input`.
pub fn encode(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len().div_ceil(3) * 4);
    for group in input.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { digit } else { b'=' });
        }
    }
}

/// Appends what `input` encodes. Padding is demanded, and may end any group of four: encoded pieces
/// can be put one behind the other. `false` where it is no Base64; `out` has what came before.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> bool {
    if !input.len().is_multiple_of(4) {
        return false;
    }
    out.reserve(input.len() / 4 * 3);
    input.chunks_exact(4).all(|group| decode_group(group, out))
}

fn decode_group(group: &[u8], out: &mut Vec<u8>) -> bool {
    let padding = match group {
        [_, _, b'=', b'='] => 2,
        [_, _, _, b'='] => 1,
        _ => 0,
    };
    let mut bits = 0_u32;
    for digit in group.iter().take(4 - padding) {
        let value = VALUES[usize::from(*digit)];
        if value == NONE {
            return false;
        }
        bits = bits << 6 | u32::from(value);
    }
    bits <<= 6 * padding;
    let [_, bytes @ ..] = bits.to_be_bytes();
    // Bits behind the last byte must be zero, or two texts would mean the same.
    if bytes.iter().skip(3 - padding).any(|byte| *byte != 0) {
        return false;
    }
    out.extend(bytes.iter().take(3 - padding));
    true
}

#[cfg(test)]
mod tests;
