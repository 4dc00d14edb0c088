//! A run as a page.

use super::svg::escape;
use super::{latency_svg, text};
use crate::load::Report;

/// A run as a page that needs nothing else.
#[must_use]
pub fn html(report: &Report) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{url}</title>\n<style>\n\
         :root {{ color-scheme: light dark }}\n\
         body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;\n\
         padding: 0 1rem }}\n\
         pre {{ font: 13px/1.4 ui-monospace, monospace; overflow-x: auto }}\n\
         svg {{ width: 100%; height: auto }}\n</style></head>\n<body>\n<h1>{url}</h1>\n{svg}\n\
         <pre>{text}</pre>\n</body></html>\n",
        url = escape(&report.url),
        svg = latency_svg(report),
        text = escape(&text(report)),
    )
}
