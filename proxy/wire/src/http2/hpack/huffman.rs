//! The Huffman code of RFC 7541, appendix B.
//!
//! It is canonical: codes of one length are consecutive numbers, in the order of their symbols. So
//! the lengths are all that has to be written down; codes and decoding tables are computed from
//! them at compile time.

/// Bits of the code of each symbol; 256 is the end of the string, which must not be sent.
#[rustfmt::skip]
static LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const EOS: u16 = 256;
const BITS_MIN: u32 = 5;
const BITS_MAX: u32 = 30;

/// Bits looked up at once: nearly all symbols of header values have shorter codes.
const FAST_BITS: u32 = 10;

struct Codes {
    /// Code of each symbol, right-aligned.
    code: [u32; 257],
    /// For each length: the first code.
    first: [u32; BITS_MAX as usize + 1],
    /// For each length: how many codes are shorter.
    before: [u16; BITS_MAX as usize + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

static CODES: Codes = build_codes();
static FAST: [Fast; 1 << FAST_BITS] = build_fast();

/// The symbol a group of bits starts with; `bits` is 0 when its code is longer.
#[derive(Clone, Copy)]
struct Fast {
    symbol: u8,
    bits: u8,
}

const fn build_codes() -> Codes {
    let mut codes = Codes {
        code: [0; 257],
        first: [0; BITS_MAX as usize + 1],
        before: [0; BITS_MAX as usize + 1],
        symbols: [0; 257],
    };
    let (mut next, mut placed, mut bits) = (0u32, 0u16, 1u32);
    while bits <= BITS_MAX {
        next <<= 1;
        codes.first[bits as usize] = next;
        codes.before[bits as usize] = placed;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as u32 == bits {
                codes.code[symbol] = next;
                codes.symbols[placed as usize] = symbol as u16;
                next += 1;
                placed += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    assert!(placed == 257 && next == 1 << BITS_MAX, "the code must be complete");
    codes
}

const fn build_fast() -> [Fast; 1 << FAST_BITS] {
    let codes = build_codes();
    let mut fast = [Fast { symbol: 0, bits: 0 }; 1 << FAST_BITS];
    let mut symbol = 0;
    while symbol < 256 {
        let bits = LENGTHS[symbol] as u32;
        if bits <= FAST_BITS {
            let low = codes.code[symbol] << (FAST_BITS - bits);
            let mut i = 0;
            while i < 1 << (FAST_BITS - bits) {
                fast[(low + i) as usize] = Fast { symbol: symbol as u8, bits: bits as u8 };
                i += 1;
            }
        }
        symbol += 1;
    }
    fast
}

/// Decodes a string to the end of `out`. `None`: it holds the end symbol, or its padding is more
/// than 7 bits or not all ones (RFC 7541 section 5.2); `out` then has leftovers.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    // The shortest code has 5 bits.
    out.resize(start + input.len() * 8 / BITS_MIN as usize, 0);
    let mut written = 0;
    let mut slots = out.get_mut(start..)?.iter_mut();
    let mut rest = input;
    // Bits not yet used, from the top; below the first `count` they are zero.
    let (mut window, mut count) = (0u64, 0u32);
    loop {
        if let Some((word, tail)) = rest.split_first_chunk::<4>() {
            if count <= 32 {
                window |= u64::from(u32::from_be_bytes(*word)) << (32 - count);
                count += 32;
                rest = tail;
            }
        } else {
            for byte in rest {
                window |= u64::from(*byte) << (56 - count);
                count += 8;
            }
            rest = &[];
        }
        // With more to come, a whole code must be here; at the end, what is left must be padding.
        let least = if rest.is_empty() { BITS_MIN } else { BITS_MAX };
        while count >= least {
            let fast = FAST[(window >> (64 - FAST_BITS)) as usize];
            let (symbol, bits) = match fast.bits {
                0 => slow(window)?,
                bits => (fast.symbol, u32::from(bits)),
            };
            if bits > count {
                break;
            }
            *slots.next()? = symbol;
            written += 1;
            window <<= bits;
            count -= bits;
        }
        if rest.is_empty() {
            break;
        }
    }
    let padding = !(u64::MAX.checked_shr(count).unwrap_or(0));
    if count > 7 || window != padding {
        return None;
    }
    out.truncate(start + written);
    Some(())
}

/// The symbol of a code longer than the fast table knows. With less bits than the code has, it is
/// some symbol with more bits than there are. `None`: the end symbol.
fn slow(window: u64) -> Option<(u8, u32)> {
    for bits in FAST_BITS + 1..=BITS_MAX {
        let code = (window >> (64 - bits)) as u32;
        let length = bits as usize;
        let offset = code.wrapping_sub(*CODES.first.get(length)?);
        let place = u32::from(*CODES.before.get(length)?) + offset;
        let next = CODES.before.get(length + 1).map_or(257, |n| u32::from(*n));
        if place < next {
            let symbol = *CODES.symbols.get(place as usize)?;
            return u8::try_from(symbol).ok().map(|symbol| (symbol, bits));
        }
    }
    debug_assert_eq!(EOS, 256);
    None
}

/// Bytes that `input` takes when coded.
#[inline]
pub(super) fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|b| usize::from(LENGTHS[usize::from(*b)])).sum();
    bits.div_ceil(8)
}

/// Codes `input` to the end of `out`.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut count) = (0u64, 0u32);
    for byte in input {
        let symbol = usize::from(*byte);
        let bits = u32::from(LENGTHS[symbol]);
        window = window << bits | u64::from(CODES.code[symbol]);
        count += bits;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((window >> count) as u32).to_be_bytes());
        }
    }
    if count > 0 {
        let padded = (window << (32 - count)) as u32 | u32::MAX.checked_shr(count).unwrap_or(0);
        let bytes = padded.to_be_bytes();
        out.extend_from_slice(bytes.get(..count.div_ceil(8) as usize).unwrap_or(&bytes));
    }
}
