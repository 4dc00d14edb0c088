//! Horizontal bars in groups.

use super::svg::{Color, Svg, WIDTH, step};

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Whose it is.
    pub name: String,
    /// Its colour.
    pub color: Color,
    /// Its length.
    pub value: f64,
    /// The least and the most of what `value` is the median of.
    pub range: Option<(f64, f64)>,
}

const LEFT: f64 = 110.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 18.0;

/// A plot of groups of bars; `unit` stands behind each value.
#[must_use]
pub fn bars(title: &str, unit: &str, groups: &[(String, Vec<Bar>)]) -> String {
    let count: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = 60.0 + groups.len() as f64 * 34.0 + count as f64 * (BAR + 4.0);
    let mut svg = Svg::new(height, title);
    let largest = groups
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|bar| bar.range.map_or(bar.value, |(_, high)| high.max(bar.value)))
        .fold(0.0, f64::max)
        .max(1e-9);
    let scale = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / largest;
    let step = step(largest);
    let mut tick = 0.0;
    while tick <= largest {
        svg.line((scale(tick), 40.0), (scale(tick), height - 18.0), "grid");
        svg.text(scale(tick), height - 4.0, "middle", 11, &figure(tick));
        tick += step;
    }
    let mut y = 44.0;
    for (name, group) in groups {
        svg.text(16.0, y + 15.0, "start", 13, name);
        y += 24.0;
        for bar in group {
            svg.text(LEFT - 8.0, y + 13.0, "end", 12, &bar.name);
            svg.rect(LEFT, y, (scale(bar.value) - LEFT).max(1.0), BAR, bar.color);
            let mut label = scale(bar.value);
            if let Some((low, high)) = bar.range {
                svg.line((scale(low), y + BAR / 2.0), (scale(high), y + BAR / 2.0), "range");
                label = label.max(scale(high));
            }
            let text = format!("{} {unit}", figure(bar.value));
            svg.text(label + 6.0, y + 13.0, "start", 12, &text);
            y += BAR + 4.0;
        }
        y += 10.0;
    }
    svg.finish()
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 || v == v.floor() => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
