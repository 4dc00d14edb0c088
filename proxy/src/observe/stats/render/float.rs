//! Floating-point numbers as Envoy's pages print them.

/// As short as possible, scientific where that is shorter: JSON. NaN has no JSON: `null`.
pub(super) fn json(n: f64) -> String {
    if !n.is_finite() {
        return "null".into();
    }
    let fixed = format!("{n}");
    let scientific = scientific(&format!("{n:e}"));
    if scientific.len() < fixed.len() { scientific } else { fixed }
}

/// As short as possible, scientific from 10^16 on: quantiles in text.
pub(super) fn text(n: f64) -> String {
    if n.is_nan() {
        return "nan".into();
    }
    if n != 0.0 && !(1e-4..1e16).contains(&n.abs()) {
        return scientific(&format!("{n:e}"));
    }
    format!("{n}")
}

/// `%.6g`: bounds of buckets in text.
pub(super) fn six_digits(n: f64) -> String {
    let rounded = format!("{n:.5e}");
    let (digits, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trimmed(&format!("{n:.decimals$}")).to_owned();
    }
    scientific(&format!("{}e{exponent}", trimmed(digits)))
}

/// `%.32g`: Prometheus sums and bounds, exact to 32 digits.
pub(super) fn thirty_two_digits(n: f64) -> String {
    if n.is_nan() {
        return "nan".into();
    }
    if n == 0.0 {
        return "0".into();
    }
    let exponent: i32 =
        format!("{n:e}").split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let decimals = usize::try_from(31 - exponent).unwrap_or(0);
    trimmed(&format!("{n:.decimals$}")).to_owned()
}

/// Two digits of exponent at least, and its sign.
fn scientific(rust: &str) -> String {
    let (digits, exponent) = rust.split_once('e').unwrap_or((rust, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn trimmed(n: &str) -> &str {
    if n.contains('.') { n.trim_end_matches('0').trim_end_matches('.') } else { n }
}
