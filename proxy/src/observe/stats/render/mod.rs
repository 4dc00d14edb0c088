//! The `/stats` pages, streamed: each call of `next` appends a piece and says whether there is
//! more. They read a [`View`](super::View) and never build the whole text.

mod entries;
mod float;
mod histogram;
mod json;
mod number;
mod params;
mod prometheus;
mod text;
mod walk;

pub use params::{BucketsMode, PageFormat, ParamError, StatsParams};
pub use prometheus::PrometheusPage;

pub(super) use text::join as full_name;

use super::View;
use super::tags::TagRules;

/// Bytes after which a piece is handed out.
const PIECE: usize = 64 * 1024;

/// A `/stats` page being written.
#[derive(Debug)]
pub enum StatsPage {
    /// `format=text`
    Text(text::TextPage),
    /// `format=json`
    Json(json::JsonPage),
    /// `format=prometheus`
    Prometheus(Box<PrometheusPage>),
}

impl StatsPage {
    /// Begins a page.
    pub fn new(view: View, params: StatsParams, tags: std::sync::Arc<TagRules>) -> Self {
        match params.format {
            PageFormat::Text => Self::Text(text::TextPage::new(view, params)),
            PageFormat::Json => Self::Json(json::JsonPage::new(view, params)),
            PageFormat::Prometheus => {
                Self::Prometheus(Box::new(PrometheusPage::new(view, params, tags)))
            }
        }
    }

    /// The `content-type` of the page.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            _ => "text/plain; charset=UTF-8",
        }
    }

    /// Appends the next piece (about 64 KB, or nothing while it is being prepared); false once the
    /// page is complete.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Text(page) => page.next(out),
            Self::Json(page) => page.next(out),
            Self::Prometheus(page) => page.next(out),
        }
    }

    /// The whole page, for tests and small processes.
    pub fn collect(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.next(&mut out) {}
        out
    }
}
