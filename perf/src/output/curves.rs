//! Latency by percentile, the axis stretched towards 100 %.

use super::svg::{Color, Svg, WIDTH};
use crate::units::micros;

/// One distribution.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Whose it is.
    pub name: String,
    /// Its colour.
    pub color: Color,
    /// Quantile (0 to 1) and latency in microseconds, ascending.
    pub points: Vec<(f64, f64)>,
}

const HEIGHT: f64 = 360.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 34.0;

/// A plot of several distributions; both axes are logarithmic.
#[must_use]
pub fn curves(title: &str, curves: &[Curve]) -> String {
    let mut svg = Svg::new(HEIGHT, title);
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let nines_max = points().map(|(quantile, _)| nines(quantile)).fold(1.0, f64::max);
    let latencies = points().map(|(_, us)| us.max(0.1));
    let high = latencies.clone().fold(1.0, f64::max).log10().ceil();
    let low = latencies.fold(1e12, f64::min).log10().floor().min(high - 1.0);
    let x = |quantile: f64| LEFT + (WIDTH - LEFT - RIGHT) * nines(quantile) / nines_max;
    let y = |us: f64| {
        let share = (us.max(0.1).log10() - low) / (high - low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    };
    let mut power = low;
    while power <= high {
        for factor in [1.0, 2.0, 5.0] {
            let us = 10_f64.powf(power) * factor;
            if us > 10_f64.powf(high) {
                break;
            }
            svg.line((LEFT, y(us)), (WIDTH - RIGHT, y(us)), "grid");
            svg.text(LEFT - 6.0, y(us) + 4.0, "end", 11, &micros(us));
        }
        power += 1.0;
    }
    for (quantile, label) in
        [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99")]
    {
        if nines(quantile) <= nines_max {
            svg.line((x(quantile), TOP), (x(quantile), HEIGHT - BOTTOM), "grid");
            svg.text(x(quantile), HEIGHT - BOTTOM + 16.0, "middle", 11, &format!("{label} %"));
        }
    }
    svg.line((LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), "axis");
    let mut legend = LEFT;
    for curve in curves {
        let line: Vec<_> = curve.points.iter().map(|&(q, us)| (x(q), y(us))).collect();
        svg.path(&line, curve.color);
        svg.rect(legend, 38.0, 12.0, 12.0, curve.color);
        svg.text(legend + 18.0, 49.0, "start", 12, &curve.name);
        legend += 44.0 + 7.0 * curve.name.chars().count() as f64;
    }
    svg.finish()
}

/// 0.9 is one nine, 0.99 two.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}
