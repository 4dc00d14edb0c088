//! What every plot needs: colours, text, a frame.

use std::fmt::Write;

/// A colour in SVG's spelling.
pub type Color = &'static str;

/// Colours told apart by most people, on white and on dark.
pub const COLORS: [Color; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/// Width of every plot.
pub(super) const WIDTH: f64 = 760.0;

/// A plot under construction.
pub(super) struct Svg {
    body: String,
    height: f64,
}

impl Svg {
    pub(super) fn new(height: f64, title: &str) -> Self {
        let mut svg = Self { body: String::new(), height };
        svg.text(16.0, 24.0, "start", 15, title);
        svg
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        let text = escape(text);
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">\
             {text}</text>"
        ));
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.add(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{fill}\"/>"
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.add(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], color: &str) {
        let list: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(&format!(
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            list.join(" ")
        ));
    }

    pub(super) fn finish(self) -> String {
        let height = self.height;
        let mut out = String::new();
        // Text and lines follow the reader's dark or light setting.
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\">\n<style>\
             .bg{{fill:#fff}} text{{fill:#222}} .grid{{stroke:#ddd}} .axis{{stroke:#777}}\n\
             .range{{stroke:#222;stroke-width:1.5}}\n\
             @media (prefers-color-scheme:dark){{.bg{{fill:#16181c}} text{{fill:#ddd}}\
             .grid{{stroke:#333}} .axis{{stroke:#888}} .range{{stroke:#ddd}}}}</style>\n\
             <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n{}</svg>\n",
            self.body
        );
        out
    }

    fn add(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }
}

/// Text inside of XML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A round step of about a fifth of `max`.
pub(super) fn step(max: f64) -> f64 {
    let raw = (max / 5.0).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= raw);
    step.unwrap_or(10.0) * power
}
