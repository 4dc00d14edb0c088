//! Results as text, SVG and HTML. JSON is [`crate::load::Report`] itself.

mod bars;
mod curves;
mod html;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub use bars::{Bar, bars};
pub use curves::{Curve, curves};
pub use html::html;
pub use svg::{COLORS, Color};
pub use text::text;

use crate::load::Report;

/// Latency by percentile of one run.
#[must_use]
pub fn latency_svg(report: &Report) -> String {
    let points = report.curve.clone();
    let curve = Curve { name: "latency".to_owned(), color: COLORS[0], points };
    let load = match report.rate {
        Some(rate) => format!("{} requests/s", crate::units::grouped(rate)),
        None => "closed loop".to_owned(),
    };
    let title = format!("{} · {} connections, {load}", report.url, report.connections);
    curves(&title, &[curve])
}
