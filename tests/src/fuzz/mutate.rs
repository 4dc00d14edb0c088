//! A mutational driver: no instrumentation, no special compiler. Inputs follow from a seed and the
//! corpus alone, so that a run can be repeated.

use super::Target;
use crate::bins;
use anyhow::{Context, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest input made.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Most changes made to one input.
const CHANGES_MAX: usize = 6;

/// A small generator (a Weyl sequence through a mixer). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The same numbers for the same bytes (FNV-1a).
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// Inputs tried.
    pub inputs: u64,
    /// The longest that one took.
    pub slowest: Duration,
}

/// An input that made the target panic.
#[derive(Debug)]
pub struct Finding {
    /// Where it was written.
    pub file: PathBuf,
    /// Its number in the run, from 0.
    pub round: u64,
}

/// Runs mutations of `seeds` through a target until the time is over or one makes it panic, which
/// is written to `target/reports/fuzz`. The panic itself has been printed.
///
/// # Errors
/// The finding cannot be written.
pub fn run(
    target: &Target,
    seeds: &[Vec<u8>],
    seed: u64,
    time: Duration,
) -> Result<Result<Report, Finding>> {
    let start = Instant::now();
    let mut report = Report { inputs: 0, slowest: Duration::ZERO };
    while start.elapsed() < time {
        // A generator per round: a round does not depend on those before it.
        let mut rng = Rng::new(seed ^ report.inputs.wrapping_mul(0xff51_afd7_ed55_8ccd));
        let input = mutated(seeds, target.words, &mut rng);
        let before = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let file = keep(target, seed, report.inputs, &input)?;
            return Ok(Err(Finding { file, round: report.inputs }));
        }
        report.slowest = report.slowest.max(before.elapsed());
        report.inputs += 1;
    }
    Ok(Ok(report))
}

fn keep(target: &Target, seed: u64, round: u64, input: &[u8]) -> Result<PathBuf> {
    let dir = bins::reports_dir()?.join("fuzz").join(target.name);
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{seed:016x}-{round}"));
    std::fs::write(&file, input).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// A seed with a few changes.
fn mutated(seeds: &[Vec<u8>], words: &[&str], rng: &mut Rng) -> Vec<u8> {
    let mut input = seeds.get(rng.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=rng.below(CHANGES_MAX) {
        change(&mut input, seeds, words, rng);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    let end = at + rng.below((input.len() - at).min(64) + 1);
    match rng.below(8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => input.insert(at, rng.below(256) as u8),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            let to = rng.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        4 => {
            let word = words.get(rng.below(words.len())).copied().unwrap_or_default();
            input.splice(at..at, word.bytes());
        }
        5 => {
            let word = words.get(rng.below(words.len())).copied().unwrap_or_default();
            input.splice(at..end, word.bytes());
        }
        6 => {
            // The start of this and the end of another.
            let other = seeds.get(rng.below(seeds.len())).map(Vec::as_slice).unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(&other[rng.below(other.len() + 1)..]);
        }
        _ => number(input, at, rng),
    }
}

/// Replaces the digits at or behind `at` by another number.
fn number(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = input[at..].iter().position(digit).map(|n| at + n) else { return };
    let end = input[start..].iter().position(|b| !digit(b)).map_or(input.len(), |n| start + n);
    let numbers = [0, 1, 7, 15, 16, 99, 255, 65_535, 65_536, u64::from(u32::MAX), u64::MAX];
    let number = numbers.get(rng.below(numbers.len())).copied().unwrap_or_default();
    input.splice(start..end, number.to_string().bytes());
}
