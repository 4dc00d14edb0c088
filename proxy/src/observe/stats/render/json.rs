//! `/stats` as JSON: a list of names and values; histograms together in its last element.

use super::params::{BucketsMode, StatsParams};
use super::text::{Phase, join, texts};
use super::{PIECE, histogram, number};
use crate::observe::format::write::json_string;
use crate::observe::stats::merge::View;

/// The JSON page.
#[derive(Debug)]
pub struct JsonPage {
    view: View,
    params: StatsParams,
    phase: Phase,
    begun: bool,
    any: bool,
    any_histogram: bool,
}

impl JsonPage {
    pub(super) fn new(view: View, params: StatsParams) -> Self {
        Self { view, params, phase: Phase::Texts, begun: false, any: false, any_histogram: false }
    }

    /// Appends a piece; false at the end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let end = out.len() + PIECE;
        out.reserve(PIECE + (PIECE >> 4));
        let mut name = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"{\"stats\":[");
        }
        while out.len() < end && !matches!(self.phase, Phase::Done) {
            if self.step(&mut name, out) {
                continue;
            }
            let phase = std::mem::replace(&mut self.phase, Phase::Done);
            self.phase = phase.after(&self.view, &self.params);
            if matches!(self.phase, Phase::Done) {
                self.end(out);
            }
        }
        !matches!(self.phase, Phase::Done)
    }

    /// One statistic; false at the end of the phase.
    fn step(&mut self, name: &mut String, out: &mut Vec<u8>) -> bool {
        let (view, params) = (&self.view, &self.params);
        match &mut self.phase {
            Phase::Texts => {
                texts(view, params, |name, value| {
                    comma(&mut self.any, out);
                    push_name(name, out);
                    json_string(value.as_bytes(), out);
                    out.push(b'}');
                });
                false
            }
            Phase::Numbers(walk) => {
                let Some((scope, entry)) = walk.next() else { return false };
                join(name, &scope.prefix, &entry.suffix);
                let (value, used) = entry.number(view, &scope);
                let shown = used || !params.used_only;
                if shown && params.wants_kind(entry.kind) && params.wants(name) {
                    comma(&mut self.any, out);
                    push_name(name, out);
                    number::push(value, out);
                    out.push(b'}');
                }
                true
            }
            Phase::Histograms(walk) => {
                let Some((scope, entry)) = walk.next() else { return false };
                join(name, &scope.prefix, &entry.suffix);
                let found = entry.histogram(view, &scope);
                let shown = found.is_some() || !params.used_only;
                if shown && params.wants(name) {
                    let mode = params.buckets.unwrap_or_default();
                    if std::mem::replace(&mut self.any_histogram, true) {
                        out.push(b',');
                    } else {
                        comma(&mut self.any, out);
                        out.extend_from_slice(histograms_begin(mode).as_bytes());
                    }
                    let mut text = String::new();
                    let bounds = view.settings().bounds(|| name.clone());
                    histogram::json(&quoted(name), found, (mode, bounds), &mut text);
                    out.extend_from_slice(text.as_bytes());
                }
                true
            }
            Phase::Done => false,
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.any_histogram {
            let mode = self.params.buckets.unwrap_or_default();
            let nested = matches!(mode, BucketsMode::Summary | BucketsMode::Detailed);
            out.extend_from_slice(if nested { b"]}}" } else { b"]}" });
        }
        out.extend_from_slice(b"]}");
    }
}

fn histograms_begin(mode: BucketsMode) -> String {
    let percentiles = histogram::percentiles();
    match mode {
        BucketsMode::Summary => format!(
            "{{\"histograms\":{{\"supported_quantiles\":{percentiles},\"computed_quantiles\":["
        ),
        BucketsMode::Detailed => {
            format!("{{\"histograms\":{{\"supported_percentiles\":{percentiles},\"details\":[")
        }
        BucketsMode::Cumulative | BucketsMode::Disjoint => "{\"histograms\":[".into(),
    }
}

fn comma(any: &mut bool, out: &mut Vec<u8>) {
    if std::mem::replace(any, true) {
        out.push(b',');
    }
}

fn push_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    json_string(name.as_bytes(), out);
    out.extend_from_slice(b",\"value\":");
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    json_string(text.as_bytes(), &mut out);
    String::from_utf8(out).unwrap_or_default()
}
