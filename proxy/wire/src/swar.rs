//! Eight bytes at a time in a `u64`, exact in every lane.
//!
//! Each test works on seven bits a lane, so that no carry crosses into the next; a lane's answer is
//! its highest bit.

const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The same byte in every lane.
const fn splat(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Lanes whose seven low bits are at least `bound` (1 to 128).
#[inline]
const fn at_least(low: u64, bound: u8) -> u64 {
    low + splat(128 - bound)
}

/// The first lane (in memory order) of a non-zero answer.
#[inline]
pub(crate) const fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// Lanes with a control character: below 0x20, or DEL.
#[inline]
pub(crate) const fn controls(word: u64) -> u64 {
    let low = word & LOW;
    let plain = at_least(low, 0x20) & !at_least(low, 0x7f);
    !(plain | word) & HIGH
}

/// The same for one byte.
#[inline]
pub(crate) const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// Lower-cases letters; how many lanes from the first on are letters, digits or hyphens.
#[inline]
pub(crate) const fn lower_word(word: u64) -> (u64, usize) {
    let low = word & LOW;
    let folded = low | splat(0x20);
    let letter = at_least(folded, b'a') & !at_least(folded, b'z' + 1);
    let digit = at_least(low, b'0') & !at_least(low, b'9' + 1);
    let hyphen = !at_least(low ^ splat(b'-'), 1);
    let good = (letter | digit | hyphen) & !word & HIGH;
    let bad = good ^ HIGH;
    let count = if bad == 0 { 8 } else { first(bad) };
    // 0x80 of a letter, moved to 0x20.
    (word | (letter & !word & HIGH) >> 2, count)
}

#[cfg(test)]
mod tests;
