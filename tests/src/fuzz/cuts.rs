//! Ways to cut an input into the pieces a connection may bring it in.

use super::mutate::Rng;

/// Longest input that is also given byte by byte: each piece makes a parser start again, so the
/// cost grows with the square.
const BYTE_BY_BYTE_MAX: usize = 400;
/// Random ways to cut.
const WAYS: usize = 4;
/// Most pieces of one random way.
const PIECES_MAX: usize = 8;

/// Several lists of ends of pieces; each list is ascending and its last end is the whole length.
/// The same input is always cut alike, so that a finding can be replayed from its bytes.
#[must_use]
pub fn ways(input: &[u8]) -> Vec<Vec<usize>> {
    let mut rng = Rng::of_bytes(input);
    let mut ways: Vec<Vec<usize>> = (0..WAYS)
        .map(|_| {
            let pieces = 1 + rng.below(PIECES_MAX);
            let mut ends: Vec<usize> = (0..pieces).map(|_| rng.below(input.len() + 1)).collect();
            ends.push(input.len());
            ends.sort_unstable();
            ends
        })
        .collect();
    if input.len() <= BYTE_BY_BYTE_MAX {
        ways.push((1..=input.len()).collect());
    }
    ways
}
