//! Durations, sizes and figures as people write them.

use anyhow::{Result, bail, ensure};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Reads `10s`, `500ms`, `250us`, `2m`, `1.5s`; a bare number counts as seconds.
///
/// # Errors
/// No number, another unit, negative or not finite.
pub fn duration(text: &str) -> Result<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Ok(number) = number.parse::<f64>() else {
        bail!("no duration: {text:?}; write 500ms, 10s or 2m");
    };
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" | "" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => bail!("unknown unit {unit:?} in {text:?}; allowed are us, ms, s, m, h"),
    };
    ensure!(seconds <= 86_400.0 * 7.0, "{text:?} is more than a week");
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a size in bytes: `100`, `10k` (10 × 1024), `1m`, `1g`; a `b` may follow.
///
/// # Errors
/// No whole number, another unit, or more than 64 bits.
pub fn size(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let Ok(number) = number.parse::<u64>() else {
        bail!("no size: {text:?}; write 100, 10k or 1m");
    };
    let factor = match unit {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => bail!("unknown unit {unit:?} in {text:?}; allowed are k, m, g"),
    };
    match number.checked_mul(factor) {
        Some(bytes) => Ok(bytes),
        None => bail!("{text:?} is too large"),
    }
}

/// A time in microseconds with the unit that reads best: `87 µs`, `1.24 ms`, `2.00 s`.
#[must_use]
pub fn micros(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.2} s", us / 1e6),
        us if us >= 1e4 => format!("{:.1} ms", us / 1e3),
        us if us >= 1e3 => format!("{:.2} ms", us / 1e3),
        us if us >= 100.0 => format!("{us:.0} µs"),
        us => format!("{us:.1} µs"),
    }
}

/// A count with thin groups: `1 234 567`.
#[must_use]
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Bytes with the unit that reads best: `512 B`, `3.7 KB`, `66.1 MB` (powers of 1024).
#[must_use]
pub fn bytes(bytes: f64) -> String {
    match bytes {
        b if b >= 1024.0 * 1024.0 * 1024.0 => format!("{:.2} GB", b / 1024.0 / 1024.0 / 1024.0),
        b if b >= 1024.0 * 1024.0 => format!("{:.1} MB", b / 1024.0 / 1024.0),
        b if b >= 1024.0 => format!("{:.1} KB", b / 1024.0),
        b => format!("{b:.0} B"),
    }
}
